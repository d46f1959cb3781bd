#!/bin/bash
# repository.sh [--dir DIR] [--rounds N] [--quick] [--cold] [--keep] [--steps A,B…] [--json FILE]
# Compares the repository engine with Debian's restic and borgbackup: every step in turn, round after
# round, on files of this machine. Prints ratios of medians beside the figures to reach.
#   --dir DIR    scratch folder, removed at the end (a new one below /var/tmp); needs about 25 GB
#   --quick      a small corpus: shows that all works, its figures mean little
#   --cold       drop the page cache before each step, instead of filling it (needs root)
#   --keep       leave the scratch folder, and use the corpus in it again
set -euo pipefail
source=$(cd "$(dirname "$0")/../.." && pwd)
"$source/deploy/install_packages.sh" build bench
cd "$source"
cmake --preset release >/dev/null
cmake --build --preset release --target fortress-agent bench_create_files bench_stages >/dev/null
exec /usr/bin/python3 tests/bench/repository.py --bin build/release/bin "$@"
