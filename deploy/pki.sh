#!/bin/sh
# pki.sh: the keys and certificates of a cluster, by openssl. It never overwrites a file.
#   pki.sh init DIR CLUSTER                             the CA: DIR/ca.pem, DIR/ca.key
#   pki.sh issue DIR agent|coordinator NAME [SAN…]      DIR/NAME.pem, DIR/NAME.key; SAN: IP address or DNS name
#   pki.sh endorse DIR NAME                             DIR/NAME.endorse.key, DIR/NAME.endorse.pub (Ed25519)
# Keep ca.key off the hosts: who has it can be anyone.
set -eu
umask 077

fail() {
    echo "pki.sh: $1" >&2
    exit "${2:-1}"
}

usage() {
    sed -n '2,6s/^# \{0,1\}//p' "$0" >&2
    exit 2
}

new_file() {
    [ ! -e "$1" ] || fail "could not create $1: it exists already"
}

check_name() {
    case "$1" in
    '' | *[!A-Za-z0-9._-]* | [.-]*) fail "could not use \"$1\" as a name: letters, digits, '.', '_' and '-'" 2 ;;
    esac
}

new_key() {
    openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1" 2>/dev/null
}

init() {
    [ $# -eq 2 ] || usage
    check_name "$2"
    mkdir -p "$1"
    new_file "$1/ca.key"
    new_file "$1/ca.pem"
    new_key "$1/ca.key"
    openssl req -x509 -new -key "$1/ca.key" -sha256 -days 3650 -subj "/O=fortress/CN=$2 CA" \
        -addext 'basicConstraints=critical,CA:TRUE,pathlen:0' \
        -addext 'keyUsage=critical,keyCertSign,cRLSign' -out "$1/ca.pem"
    chmod 644 "$1/ca.pem"
}

# "IP:127.0.1.1,DNS:db1": every certificate also names its own host.
alternative_names() {
    names="DNS:$1"
    shift
    for san in "$@"; do
        case "$san" in
        *:* | *[!0-9.]*) kind=DNS ;;
        *) kind=IP ;;
        esac
        case "$san" in *:*) kind=IP ;; esac
        names="$names,$kind:$san"
    done
    echo "$names"
}

issue() {
    [ $# -ge 3 ] || usage
    dir=$1 role=$2 name=$3
    shift 3
    case "$role" in agent | coordinator) ;; *) usage ;; esac
    check_name "$name"
    [ -e "$dir/ca.key" ] || fail "could not sign: no $dir/ca.key; run pki.sh init $dir CLUSTER first"
    new_file "$dir/$name.key"
    new_file "$dir/$name.pem"
    new_key "$dir/$name.key"
    extensions=$dir/$name.ext
    trap 'rm -f "$extensions"' EXIT
    {
        echo 'basicConstraints=critical,CA:FALSE'
        echo 'keyUsage=critical,digitalSignature'
        echo 'extendedKeyUsage=serverAuth,clientAuth'
        echo "subjectAltName=$(alternative_names "$name" "$@")"
    } >"$extensions"
    openssl req -new -key "$dir/$name.key" -subj "/O=fortress/OU=$role/CN=$name" |
        openssl x509 -req -CA "$dir/ca.pem" -CAkey "$dir/ca.key" -sha256 -days 825 \
            -set_serial "0x$(openssl rand -hex 16)" -extfile "$extensions" -out "$dir/$name.pem" 2>/dev/null
    chmod 644 "$dir/$name.pem"
}

endorse() {
    [ $# -eq 2 ] || usage
    check_name "$2"
    new_file "$1/$2.endorse.key"
    new_file "$1/$2.endorse.pub"
    openssl genpkey -algorithm ED25519 -out "$1/$2.endorse.key"
    openssl pkey -in "$1/$2.endorse.key" -pubout -out "$1/$2.endorse.pub"
    chmod 644 "$1/$2.endorse.pub"
}

[ $# -ge 1 ] || usage
verb=$1
shift
case "$verb" in
init | issue | endorse) "$verb" "$@" ;;
*) usage ;;
esac
