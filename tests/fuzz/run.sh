#!/bin/bash
# run.sh [--seconds N] [--go-on] [TARGET...]: fuzzes each decoder for N seconds (600; 0: not at all), one target
# after the other, and prints of each decoder how many of its lines all inputs found so far reach.
# Fails where a run found a fault, or where less than 90 % of a target's decoders is reached.
# A target is the name of a harness, as tree_fuzz, or a part of its path. What is found stays in
# build/fuzz-corpus, so that the next run goes on from there; inputs with faults in build/fuzz-faults.
# --go-on: targets that ran for N seconds without a fault since they were built last are not run again.
set -euo pipefail
cd "$(dirname "$0")/../.."
seconds=600
least_percent=90
wanted=()
goes_on=false
while [ $# -gt 0 ]; do
    case $1 in
    --seconds)
        seconds=${2:?run.sh: --seconds needs a number}
        shift
        ;;
    --go-on) goes_on=true ;;
    --help | -h)
        sed -n '2,7s/^# //p' "$0"
        exit 0
        ;;
    -*)
        echo "run.sh: unknown option $1; see --help" >&2
        exit 2
        ;;
    *) wanted+=("$1") ;;
    esac
    shift
done
[[ $seconds =~ ^[0-9]+$ ]] || { echo "run.sh: --seconds needs a number" >&2 && exit 2; }

version=$(clang -dumpversion)
tool() { command -v "$1-${version%%.*}" || command -v "$1"; }
if ! cov=$(tool llvm-cov) || ! profdata=$(tool llvm-profdata); then
    echo "run.sh: no llvm-cov and llvm-profdata; install what deploy/packages.txt lists" >&2
    exit 2
fi

# tests/fuzz/common/store/answers_fuzz.c → common_store_answers_fuzz
name_of() {
    local name=${1#tests/fuzz/}
    name=${name%.c}
    echo "${name//\//_}"
}

sources=()
while IFS= read -r source; do
    [ ${#wanted[@]} -gt 0 ] || sources+=("$source")
    for name in "${wanted[@]}"; do
        [[ "$source $(name_of "$source")" != *"$name"* ]] || { sources+=("$source") && break; }
    done
done < <(find tests/fuzz -name '*_fuzz.c' | sort)
[ ${#sources[@]} -gt 0 ] || { echo "run.sh: no such target: ${wanted[*]}" >&2 && exit 2; }

programs=()
for source in "${sources[@]}"; do
    programs+=("fuzz_$(name_of "$source")")
done
for preset in fuzz fuzz-cover; do
    cmake --preset "$preset" >/dev/null
    nice -n 10 cmake --build --preset "$preset" --target "${programs[@]}" >/dev/null
done

# fuzz NAME: leaves seconds, executions and result in build/fuzz-corpus/NAME.run.
fuzz() {
    local name=$1 log=build/fuzz-faults/$1.log corpus=build/fuzz-corpus/$1 ran result
    if $goes_on && [ "$corpus.run" -nt "build/fuzz/bin/fuzz_$name" ] &&
        read -r ran _ result <"$corpus.run" && [ "$result" = clean ] && [ "$ran" -ge "$seconds" ]; then
        return 0
    fi
    mkdir -p "$corpus" build/fuzz-faults
    result=clean
    nice -n 19 "build/fuzz/bin/fuzz_$name" -max_total_time="$seconds" -timeout=10 \
        -rss_limit_mb=1024 -max_len=4096 -print_final_stats=1 \
        -artifact_prefix="build/fuzz-faults/$name-" \
        "$corpus" "tests/fuzz/corpus/$name" >"$log" 2>&1 || result=FAULT
    echo "$seconds $(sed -n 's/^stat::number_of_executed_units: *//p' "$log") $result" >"$corpus.run"
}

# lines NAME FILE [FUNCTION...]: "all missed" of the functions, without any of the whole file.
lines() {
    local name=$1 file=$2
    shift 2
    "$cov" report -show-functions -instr-profile="build/fuzz-cover/$name.profdata" \
        "build/fuzz-cover/bin/fuzz_$name" "$file" |
        awk -v names=" $* " '
            $1 == "TOTAL" { all = $5; missed = $6 }
            { at = split($1, parts, ":"); one = parts[at] }
            index(names, " " one " ") && !seen[one]++ { sum += $5; sum_missed += $6; found++ }
            END {
                if (names ~ /^ *$/) { print all, missed; exit }
                if (split(names, each, " ") != found) { print "not all functions found" > "/dev/stderr"; exit 1 }
                print sum, sum_missed
            }'
}

measure() {
    local name=$1 ran=0 executions=0 result="not run" all=0 missed=0
    [ ! -e "build/fuzz-corpus/$name.run" ] || read -r ran executions result <"build/fuzz-corpus/$name.run"
    mkdir -p "build/fuzz-corpus/$name"
    LLVM_PROFILE_FILE=build/fuzz-cover/$name.profraw "build/fuzz-cover/bin/fuzz_$name" -runs=0 \
        -max_len=4096 "build/fuzz-corpus/$name" "tests/fuzz/corpus/$name" >/dev/null 2>&1
    "$profdata" merge -o "build/fuzz-cover/$name.profdata" "build/fuzz-cover/$name.profraw"
    while read -r _ file functions; do
        local of=0 not=0
        # shellcheck disable=SC2086 # names of functions, one a word
        read -r of not < <(lines "$name" "$file" $functions) || result="decoders.txt names what is not there"
        all=$((all + of)) missed=$((missed + not))
        printf '%-42s %4d s %10d runs  %-40s %5.1f %%\n' \
            "$name" "$ran" "$executions" "$file" "$(percent "$of" "$not")"
    done < <(grep "^$name " tests/fuzz/decoders.txt)
    printf '%-42s %4d s %10d runs  %-40s %5.1f %%  %s\n' \
        "$name" "$ran" "$executions" "together" "$(percent "$all" "$missed")" "$result"
    [ "$result" = clean ] && [ $((100 * (all - missed))) -ge $((least_percent * all)) ] && [ "$all" -gt 0 ]
}

percent() { awk -v all="$1" -v missed="$2" 'BEGIN { printf "%.1f", all ? 100 * (all - missed) / all : 0 }'; }

failed=0
for source in "${sources[@]}"; do
    name=$(name_of "$source")
    [ "$seconds" -eq 0 ] || fuzz "$name"
    measure "$name" || failed=$((failed + 1))
done
[ "$failed" -eq 0 ] || echo "run.sh: $failed of ${#sources[@]} targets found a fault, were not run or reach less than $least_percent %"
[ "$failed" -eq 0 ]
