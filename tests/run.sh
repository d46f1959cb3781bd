#!/bin/bash
# run.sh: installs what is missing, builds, and runs every test and tidy rule. Ends with ctest's summary.
# As an ordinary user, tests that need root are skipped; with CI=true a skip is a failure.
set -euo pipefail
cd "$(dirname "$0")/.."
deploy/install_packages.sh build run test

log=$(mktemp)
trap 'rm -f "$log"' EXIT

cmake --preset asan >/dev/null
cmake --build --preset asan
result=0
ctest --preset asan -j "$(nproc)" 2>&1 | tee "$log" || result=$?

# Races: the thread sanitizer over the tests of what runs on several threads.
threaded=(unit/common/base/pool_test unit/common/loop/loop_test unit/common/http/http_test unit/common/httpd/httpd_test
    unit/common/wire/wire_test unit/common/repository/repository_test unit/common/repository/collect_test
    unit/common/repository/collect_writers_test
    unit/agent/link/reporter_test unit/coordinator/fleet/listener_test)
cmake --preset tsan >/dev/null
cmake --build --preset tsan --target "${threaded[@]//\//_}"
ctest --preset tsan -R "^($(IFS='|' && echo "${threaded[*]}"))\$" || result=$?

tests/tidy/all.sh || result=$?
tests/tidy/core_is_covered.sh || result=$?

if [ "${CI:-}" = true ] && grep -Eq '\*\*\*(Skipped|Not Run)' "$log"; then
    echo "a test was skipped: CI runs all of them"
    result=1
fi
[ "$result" -eq 0 ] || echo "tests/run.sh: failed (tests above, or a tidy rule)"
grep -E '^[0-9]+% tests passed' "$log"
exit "$result"
