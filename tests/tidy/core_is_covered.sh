#!/bin/sh
# core_is_covered.sh: every branch of */core/ is taken by a test of the cores, or excluded with its
# reason (see core_coverage.py). Builds and runs nothing else.
set -eu
cd "$(dirname "$0")/../.."
tests='^(unit/[^/]+/core/|sim/)'
unset FORTRESS_SIM_SEED # the same counts everywhere
export FORTRESS_SIM_RUNS=100

cmake --preset coverage >/dev/null
names=$(ctest --preset coverage --show-only -R "$tests" | sed -n 's/^ *Test *#[0-9]*: //p')
# shellcheck disable=SC2046 # a test's target is its path with underscores; it has no spaces
cmake --build --preset coverage --target $(printf '%s\n' "$names" | tr / _)
find build/coverage -name '*.gcda' -delete # counts of earlier runs
ctest --preset coverage -R "$tests" --parallel "$(nproc)"
python3 tests/tidy/core_coverage.py build/coverage
