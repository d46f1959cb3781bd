#!/bin/bash
# long.sh [--state DIR] [--kills N] [--flips N] [--fuzz-seconds N] [--bin DIR] [--new] [PART...]
# The tests that take hours: kills at 500 random instants, 10,000 flipped bits, and 600 s of fuzzing
# for each decoder. Parts: kills, flips, fuzz (all). Broken off, it goes on where it was when it is
# started again: what is done stands in DIR/state (build/long), with the seed; --new begins anew.
#   --bin DIR    the programs to test; else the release preset is built
# Prints for each part its seed and count, and of what failed how to repeat it; its log is in DIR.
set -euo pipefail
cd "$(dirname "$0")/.."
state=build/long
kills=500
flips=10000
fuzz_seconds=600
bin=
new=false
parts=()

number() { [[ $2 =~ ^[0-9]+$ ]] || { echo "long.sh: $1 needs a number" >&2 && exit 2; }; }
while [ $# -gt 0 ]; do
    case $1 in
    --state) state=${2:?long.sh: --state needs a folder} && shift ;;
    --kills) number "$1" "${2:-}" && kills=$2 && shift ;;
    --flips) number "$1" "${2:-}" && flips=$2 && shift ;;
    --fuzz-seconds) number "$1" "${2:-}" && fuzz_seconds=$2 && shift ;;
    --bin) bin=${2:?long.sh: --bin needs a folder} && shift ;;
    --new) new=true ;;
    --help | -h)
        sed -n '2,7s/^# //p' "$0"
        exit 0
        ;;
    kills | flips | fuzz) parts+=("$1") ;;
    *)
        echo "long.sh: unknown option or part $1; see --help" >&2
        exit 2
        ;;
    esac
    shift
done
[ ${#parts[@]} -gt 0 ] || parts=(kills flips fuzz)

mkdir -p "$state"
exec 9>"$state/lock"
flock -n 9 || { echo "long.sh: another one is at work in $state" >&2 && exit 1; }
if $new; then
    rm -f "$state/state" "$state"/*.log build/fuzz-corpus/*.run
fi
[ -s "$state/state" ] || printf 'seed=%u\n' "$((RANDOM << 15 | RANDOM))" >"$state/state"

# of NAME: what the state file says last.
of() { sed -n "s/^$1=//p" "$state/state" | tail -n 1; }
seed=$(of seed)
echo "long.sh: seed $seed, state in $state"
if [ -z "$bin" ] && [[ " ${parts[*]} " =~ \ (kills|flips)\  ]]; then
    cmake --preset release >/dev/null
    cmake --build --preset release --target fortress-agent >/dev/null
    bin=build/release/bin
fi

# batches PART TEST VARIABLE COUNT SIZE: runs a test again and again, each time with another seed.
batches() {
    local part=$1 test=$2 variable=$3 count=$4 size=$5
    local ready batch now log began=$SECONDS
    ready=$(of "$part")
    ready=${ready:-0}
    while [ "$ready" -lt "$count" ]; do
        batch=$(((seed + 7919 * ready) % 4294967296))
        now=$((count - ready < size ? count - ready : size))
        log=$state/$part-$ready.log
        if ! env FORTRESS_BIN="$bin" FORTRESS_TEST_SEED="$batch" "$variable=$now" \
            /usr/bin/python3 -B "tests/integration/$test.py" >"$log" 2>&1; then
            tail -n 15 "$log"
            echo "$part: FAILED after $ready of $count (log: $log); to repeat it:"
            echo "  FORTRESS_BIN=$bin FORTRESS_TEST_SEED=$batch $variable=$now /usr/bin/python3 -B tests/integration/$test.py"
            return 1
        fi
        ready=$((ready + now))
        echo "$part=$ready" >>"$state/state"
        echo "$part: $ready of $count, seed $batch: $(tail -n 1 "$log")"
        rm -f "$log"
    done
    echo "$part: $ready of $count done, seed $seed, $((SECONDS - began)) s in this run"
}

fuzz() {
    if [ "$(of fuzz)" = "$fuzz_seconds" ]; then
        echo "fuzz: $fuzz_seconds s for each decoder done"
        return 0
    fi
    tests/fuzz/run.sh --seconds "$fuzz_seconds" --go-on || {
        echo "fuzz: FAILED; inputs with faults are in build/fuzz-faults"
        return 1
    }
    echo "fuzz=$fuzz_seconds" >>"$state/state"
}

result=0
for part in "${parts[@]}"; do
    case $part in
    kills) batches kills test_kills FORTRESS_TEST_KILLS "$kills" 20 || result=1 ;;
    flips) batches flips test_damage FORTRESS_TEST_FLIPS "$flips" 500 || result=1 ;;
    fuzz) fuzz || result=1 ;;
    esac
done
[ "$result" -eq 0 ] || echo "long.sh: failed (above)"
exit "$result"
