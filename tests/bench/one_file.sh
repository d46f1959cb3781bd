#!/bin/bash
# one_file.sh [--dir DIR] [--gb N]
# What a restore of one file of 100 MB reads of a repository in which N GB (50) were saved: the bytes of all
# its reads, as the kernel counts them, against what the file takes in a repository of its own.
#   --dir DIR    where its scratch folder is made, and removed at the end (/var/tmp); needs 0.8 × N GB
set -euo pipefail
source=$(cd "$(dirname "$0")/../.." && pwd)
cd "$source"
cmake --preset release >/dev/null
cmake --build --preset release --target fortress-agent >/dev/null
exec /usr/bin/python3 -B tests/bench/one_file.py --bin build/release/bin "$@"
