#!/bin/bash
# quickstart.sh [--keep] [--dir DIR]: Fortress protects and saves a real platform, on this one machine.
#
# Installs what is missing (as root; else says what), builds, and starts three regions on 127.0.1.1, 127.0.2.1
# and 127.0.3.1: etcd, coordinator, agent and PostgreSQL in each, with a name server, a caching resolver and
# a writer. Then backups, a region killed, the service moved, the past restored; a report at the end.
#   --keep     leave it running and say how to look around
#   --dir DIR  where the platform lives (default: a new folder in /tmp)
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
case " $* " in
*" --help "* | *" -h "*)
    sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0"
    exit 0
    ;;
esac

"$here/install_packages.sh" build run
(
    cd "$here/.."
    cmake --preset release >/dev/null
    cmake --build --preset release --target fortress fortress-agent fortress-coordinator
)
exec /usr/bin/python3 -B "$here/quickstart/story.py" --binaries "$here/../build/release/bin" "$@"
