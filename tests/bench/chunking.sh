#!/bin/bash
# chunking.sh [--mib N]
# What ways of cutting content into chunks give, on three corpora of two versions each that are made of
# this machine's files and its PostgreSQL. Prints the tables of docs/format.md, "Chunking parameters". Needs about 1 GB
# below /var/tmp, and some minutes.
set -euo pipefail
source=$(cd "$(dirname "$0")/../.." && pwd)
cd "$source"
cmake --preset release >/dev/null
cmake --build --preset release --target bench_chunking >/dev/null
exec /usr/bin/python3 tests/bench/chunking.py --bin build/release/bin/bench_chunking "$@"
