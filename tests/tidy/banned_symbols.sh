#!/bin/sh
# banned_symbols.sh BUILD: no object imports a banned function; clocks are read in one file.
set -eu
banned='strcpy|strcat|sprintf|strtok|atoi|gmtime|localtime|rand|system|popen'
clocks='time|clock_gettime'
clock_object='common/base/.*/clock[.]c[.]o:'

cd "$1"
objects=$(sed -n 's/^ *"command": .* -o \([^ ]*\) -c .*/\1/p' compile_commands.json)
if [ -z "$objects" ]; then
    echo "$1/compile_commands.json lists no objects"
    exit 2
fi
# shellcheck disable=SC2086 # object paths have no spaces
imports=$(nm --print-file-name --undefined-only --format=posix $objects)
bad=$(printf '%s\n' "$imports" | awk -v banned="^($banned)\$" -v clocks="^($clocks)\$" \
    -v clock_object="$clock_object\$" \
    '$2 ~ banned || ($2 ~ clocks && $1 !~ clock_object) { print $1, $2 }')
if [ -n "$bad" ]; then
    printf 'banned functions:\n%s\n' "$bad"
    exit 1
fi
