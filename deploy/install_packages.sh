#!/bin/sh
# install_packages.sh SECTION…: installs what is missing of the named sections of packages.txt. A line is a package,
# or a package and a command: then nothing is missing where the command is there, wherever it came from.
# Debian's PostgreSQL and name server packages start services of their own; none is wanted here.
set -eu
list=$(dirname "$0")/packages.txt
wanted=
for section in "$@"; do
    packages=$(awk -v section="# [$section]" '
        index($0, "# [") == 1 { on = index($0, section) == 1 } !/^#/ && NF && on { print $1 ":" $2 }' "$list")
    [ -n "$packages" ] || { echo "install_packages.sh: no section $section in $list" >&2; exit 2; }
    wanted="$wanted $packages"
done

missing=
for line in $wanted; do
    package=${line%%:*}
    command=${line#*:}
    if [ -n "$command" ] && command -v "$command" >/dev/null; then
        continue
    fi
    status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$status" = installed ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" -ne 0 ]; then
    echo "these Debian packages are missing; install them as root, then start again:" >&2
    echo "  apt-get install --no-install-recommends$missing" >&2
    exit 1
fi
echo "installing Debian packages:$missing"
export DEBIAN_FRONTEND=noninteractive

# postgresql-common creates a cluster on installation unless told otherwise.
if [ ! -e /etc/postgresql-common/createcluster.conf ]; then
    mkdir -p /etc/postgresql-common
    echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.conf
fi
# policy-rc.d, for the time of the installation, keeps packages from starting services.
policy=
if [ ! -e /usr/sbin/policy-rc.d ]; then
    policy=/usr/sbin/policy-rc.d
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
fi
trap '[ -z "$policy" ] || rm -f "$policy"' EXIT
apt-get update -q
# shellcheck disable=SC2086 # a list of names
apt-get install -q -y --no-install-recommends $missing
