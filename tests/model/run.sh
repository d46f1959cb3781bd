#!/bin/bash
# run.sh: lets SPIN look at every order of steps of tests/model/collect.pml, and at the same with seeded
# mistakes, each of which it must find. Exit 77: SPIN is not there, and this user cannot install it.
set -euo pipefail
model=$(realpath "$(dirname "$0")/collect.pml")
if ! command -v spin >/dev/null; then
    echo "skipped: SPIN is not installed (Debian package spin); root's tests/run.sh installs it"
    exit 77
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0

# NAME EXPECTED(holds|found) FLAG…: one row of the table.
verify() {
    local name=$1 expected=$2 folder="$work/$1" errors states memory seconds result
    shift 2
    mkdir "$folder"
    cd "$folder"
    if ! spin "$@" -a "$model" >spin.log 2>&1; then
        cat spin.log
        exit 1
    fi
    gcc -O2 -w -DSAFETY -DMEMLIM=2000 -o pan pan.c
    ./pan -m10000 -w22 >pan.log 2>&1 || true
    errors=$(sed -n 's/.*errors: \([0-9]*\)$/\1/p' pan.log)
    states=$(sed -n 's/ *\([0-9.e+]*\) states, stored.*/\1/p' pan.log)
    memory=$(sed -n 's/ *\([0-9.]*\)\ttotal actual memory usage/\1/p' pan.log)
    seconds=$(sed -n 's/pan: elapsed time \([0-9.e-]*\) seconds/\1/p' pan.log)
    result=WRONG
    if grep -Eq 'max search depth too small|out of memory|reached -DMEMLIM|Search not completed' pan.log &&
        [ "$expected" = holds ]; then
        result="NOT ALL SEEN"
    elif [ "$expected" = holds ] && [ "${errors:-1}" = 0 ]; then
        result=holds
    elif [ "$expected" = found ] && [ "${errors:-0}" -gt 0 ]; then
        result=found
    fi
    printf '%-38s %12s %9s %8s  errors: %-2s %s\n' "$name" "${states:-?}" "${memory:-?}" "${seconds:-?}" "${errors:-?}" "$result"
    if [ "$result" != "$expected" ]; then
        failed=1
        tail -n 40 pan.log
    fi
}

one_each=(-DWRITERS=1 -DCOLLECTORS=1 -DSLOW_LISTS -DFORGETS_ANY -DSTORES_TWICE)
two_writers=(-DWRITERS=2 -DCOLLECTORS=1)
two_collectors=(-DWRITERS=1 -DCOLLECTORS=2)
twice=(-DSTORES_TWICE -DNO_CRASH) # nobody crashes, but all may be slow

printf '%-38s %12s %9s %8s\n' "what" states MiB seconds
verify one-of-each holds "${one_each[@]}"
verify two-writers holds "${two_writers[@]}"
verify two-writers-that-store-twice holds "${two_writers[@]}" "${twice[@]}"
verify two-collectors holds "${two_collectors[@]}"
verify two-collectors-a-writer-stores-twice holds "${two_collectors[@]}" "${twice[@]}"
# A collector that revokes nobody and does not give up ends too: every process takes finitely many steps, and
# SPIN finds no state but the last in which none can take one.
verify the-collector-ends holds "${two_writers[@]}" -DNO_CRASH -DPATIENT
for mistake in WRITER_LISTS_MARKS_FIRST WRITER_READS_INDEXES_FIRST WRITER_SKIPS_LAST_CHECK \
    WRITER_FORGETS_UNKNOWN_PUT COLLECTOR_TRUSTS_CRASHES COLLECTOR_PUTS_NO_MARK \
    COLLECTOR_LISTS_LEASES_FIRST COLLECTOR_DOES_NOT_LIST_AGAIN NO_SETTLEMENT SETTLES_LEASES_ONLY; do
    verify "$mistake" found "${one_each[@]}" -DLOSS_ALONE "-D$mistake"
done
verify WRITER_VOUCHES_UNSEEN found "${one_each[@]}" -DWRITER_VOUCHES_UNSEEN # nothing is lost by it
verify WRITER_TRUSTS_INDEXES found "${two_writers[@]}" "${twice[@]}" -DLOSS_ALONE -DWRITER_TRUSTS_INDEXES
verify COLLECTOR_TRUSTS_INDEXES found "${two_collectors[@]}" "${twice[@]}" -DLOSS_ALONE -DCOLLECTOR_TRUSTS_INDEXES
for mistake in COLLECTOR_REMOVES_PACKS_FIRST NO_LOCKOUT; do
    verify "$mistake" found "${two_collectors[@]}" -DLOSS_ALONE "-D$mistake"
done
verify COLLECTOR_IGNORES_ITS_REVOCATION found -DWRITERS=1 -DCOLLECTORS=3 -DNO_CRASH -DLOSS_ALONE \
    -DCOLLECTOR_IGNORES_ITS_REVOCATION
exit "$failed"
