#!/bin/bash
# index_memory.sh [--dir DIR] [--chunks N] [--in-pack N] [--keep]
# What an index of 20 million chunks takes: room on disk for each (at most 40 bytes are wanted), memory of
# the process's own (RssAnon at its peak: at most 256 MiB), time. The index is generated; its packs are
# files of the right size with a head and no content; at the end nearly all of them are collected.
# Needs 10 GB and an inode a pack (1.4 million).
#   --dir DIR     scratch folder, removed at the end (a new one below /var/tmp)
#   --in-pack N   chunks in each pack (default 14: what half-compressible large files give)
set -euo pipefail
source=$(cd "$(dirname "$0")/../.." && pwd)
folder='' chunks=20000000 in_pack=14 keep=''
while [ $# -gt 0 ]; do
    case $1 in
    --dir) folder=$2 && shift ;;
    --chunks) chunks=$2 && shift ;;
    --in-pack) in_pack=$2 && shift ;;
    --keep) keep=1 ;;
    *) echo "index_memory.sh: there is no option $1" >&2 && exit 2 ;;
    esac
    shift
done
cd "$source"
cmake --preset release >/dev/null
cmake --build --preset release --target fortress-agent bench_index_memory >/dev/null
bench=$source/build/release/bin/bench_index_memory
agent=$source/build/release/bin/fortress-agent
folder=${folder:-$(mktemp -d /var/tmp/index-memory.XXXXXX)}
mkdir -p "$folder"
[ -n "$keep" ] || trap 'rm -rf "$folder"' EXIT
[ -e "$folder/count" ] || "$bench" generate "$folder" "$chunks" "$in_pack"
"$bench" measure "$folder"
export FORTRESS_REPO=$folder/repo FORTRESS_KEY_FILE=$folder/key FORTRESS_CACHE_DIR=$folder/cache
"$bench" run "$agent" backup files "$source/docs" --name docs
"$bench" run "$agent" restore latest --source docs --target "$folder/restored"
diff -r "$source/docs" "$folder/restored$source/docs"
"$bench" run "$agent" verify
"$bench" run "$agent" collect --dry-run
"$bench" run "$agent" collect
left=$(find "$FORTRESS_REPO/marks" "$FORTRESS_REPO/leases" -type f)
[ -z "$left" ] || { echo "index_memory.sh: the collection left $left" >&2 && exit 1; }
"$bench" run "$agent" verify
"$bench" run "$agent" restore latest --source docs --target "$folder/restored-again"
diff -r "$source/docs" "$folder/restored-again$source/docs"
