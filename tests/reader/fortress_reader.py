#!/usr/bin/env python3
"""An independent reader of Fortress repositories in a folder, written from docs/format.md:
    fortress_reader.py restore --repo DIR --key-file FILE SNAPSHOT|latest --target DIR

--passphrase-file FILE and --identity FILE open a keyring that is wrapped for a passphrase or an X25519 key.
It changes nothing in the repository, and gives files owners by number. A PostgreSQL snapshot is restored as the data
directory that was copied: recovery settings are not written. Needs the packages cryptography and zstandard.
"""

import argparse
import base64
import collections
import hashlib
import hmac
import os
import pathlib
import shutil
import stat
import struct
import sys
import tempfile

import zstandard
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

HEAD_BYTES, LINE_BYTES, FOOT_BYTES, CHUNK_MAX_BYTES = 144, 44, 32, 4 << 20
PACK, INDEX, SNAPSHOT = 1, 2, 3
FILE, FOLDER, SYMLINK, FIFO, SOCKET, CHARACTER, BLOCK = range(1, 8)
SPECIAL = {FIFO: stat.S_IFIFO, SOCKET: stat.S_IFSOCK, CHARACTER: stat.S_IFCHR, BLOCK: stat.S_IFBLK}

class Damage(Exception):
    """Something is not as the format says; nothing is believed of it."""

def check(condition, what):
    if not condition:
        raise Damage(what)

def read(path):
    return pathlib.Path(path).read_bytes()

def little(data):
    return int.from_bytes(data, "little")

def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()

# ---- protobuf: its wire format is all that is needed -----------------------------------------------------
def varint(data, at):
    value = 0
    for shift in range(0, 70, 7):
        check(at < len(data), "a message is cut short")
        value, at = value | (data[at] & 0x7F) << shift, at + 1
        if not data[at - 1] & 0x80:
            return value & (1 << 64) - 1, at
    raise Damage("a message has a number that is too long")

def message(data):
    """The fields of a message: number to the list of its values, integers or bytes."""
    fields, at = {}, 0
    while at < len(data):
        tag, at = varint(data, at)
        check(tag & 7 in (0, 2), "a message has a field of an unknown type")
        value, at = varint(data, at)
        if tag & 7 == 2:
            check(value <= len(data) - at, "a message is cut short")
            value, at = data[at : at + value], at + value
        fields.setdefault(tag >> 3, []).append(value)
    return fields

def number(fields, which):
    return fields.get(which, [0])[-1]

def octets(fields, which):
    return fields.get(which, [b""])[-1]

# ---- keys ------------------------------------------------------------------------------------------------
def hkdf(secret, salt, info):
    return HKDF(hashes.SHA256(), 32, salt, info).derive(secret)

def raw_public(private):
    return private.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)

def open_box(private, box, info):
    private = X25519PrivateKey.from_private_bytes(private)
    shared = private.exchange(X25519PublicKey.from_public_bytes(box[:32]))
    return AESGCM(hkdf(shared, box[:32] + raw_public(private), info)).decrypt(bytes(12), box[32:], None)

def chained_lines(path, first):
    """The words of each line of a keyring or an identity file, without its check."""
    chain, lines = bytes(32), []
    for line in read(path).decode("ascii").split("\n"):
        content, _, last = line.rpartition(" ")
        if content == "end":
            check(last == chain.hex(), f"{path}: its end is not what the lines before it say")
            check(lines and lines[0] == first.split(), f"{path}: not a {first!r}")
            return lines[1:]
        chain = sha256(chain, content.encode("ascii"))
        check(last == chain.hex()[:8], f"{path}: line {len(lines) + 1} is damaged, missing or moved")
        lines.append(content.split(" "))
    raise Damage(f"{path}: its end is missing")

class Keyring:
    """What the options open of a key file: (scope, version) to (X25519 private key, id key)."""
    def __init__(self, path, passphrase_file, identity_file):
        self.secrets, self.public, openers, scope, version = {}, {}, {}, None, None
        for words in chained_lines(path, "fortress keyring 1"):
            if words[0] == "recipient":
                openers[words[1]] = self.opener(words[2:], passphrase_file, identity_file)
            elif words[0] == "scope":
                scope = words[1:]
            elif words[0] == "version":
                version = words[1:]
                self.public[scope[0], int(version[0])] = version[2]
            elif words[0] == "wrap" and openers[words[1]] is not None:
                self.add(scope, version, openers[words[1]](base64.b64decode(words[2], validate=True)))
        check(self.secrets, f"{path}: nothing in it can be opened with what was given")

    @staticmethod
    def opener(words, passphrase_file, identity_file):
        """A function from a wrap to the secret; None where what it takes was not given."""
        if words[0] == "plain":
            return lambda wrap: wrap
        if words[0] == "passphrase" and passphrase_file:
            log2_n, r, p = map(int, words[2:5])
            check(log2_n <= 22 and r <= 32 and p <= 16, "the passphrase's parameters are too large")
            kdf = Scrypt(bytes.fromhex(words[5]), 32, 1 << log2_n, r, p)
            private = kdf.derive(read(passphrase_file).split(b"\n")[0])
        elif words[0] == "x25519" and identity_file:
            private = bytes.fromhex(dict(chained_lines(identity_file, "fortress identity 1"))["private"])
        else:
            return None
        fits = raw_public(X25519PrivateKey.from_private_bytes(private)).hex() == words[-1]
        return (lambda wrap: open_box(private, wrap, b"fortress wrapped key 1")) if fits else None

    def add(self, scope, version, secret):
        private, signing, id_key = secret[:32], secret[32:64], secret[64:]
        public = raw_public(X25519PrivateKey.from_private_bytes(private)).hex()
        verify = raw_public(Ed25519PrivateKey.from_private_bytes(signing)).hex()
        id_check = sha256(b"fortress id key check 1", id_key)[:16].hex()
        good = len(secret) == 96 and [public, verify, id_check] == [*version[2:4], scope[3]]
        check(good, f"the secret of scope {scope[1]} is not the keyring's")
        self.secrets[scope[0], int(version[0])] = private, id_key

# ---- objects ---------------------------------------------------------------------------------------------
Blob = collections.namedtuple("Blob", "id stored size flags offset line")

class Object:
    """A pack, an index or a snapshot. Only what is asked for is read; all of it is authenticated before."""
    def __init__(self, path, kind, keyring):
        self.path = path
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            head = file.read(HEAD_BYTES)
            check(len(head) == HEAD_BYTES and head[:12] == b"FORTRESS\1\0\0\0", f"{path}: no object of version 1")
            check(little(head[12:16]) == kind and little(head[128:132]) <= 65536, f"{path}: not of its kind")
            self.readable = file.read(little(head[128:132]))
            begin = HEAD_BYTES + len(self.readable)
            file.seek(max(size - FOOT_BYTES, 0))
            foot = file.read()
            count = little(foot[16:20])
            fits = count <= 1 << 20 and begin + count * LINE_BYTES + FOOT_BYTES <= size
            check(fits and foot[20:] == bytes(4) + b"FXOBJEND", f"{path}: it is cut short")
            file.seek(size - FOOT_BYTES - count * LINE_BYTES)
            directory = file.read(count * LINE_BYTES)
        self.blobs = []
        for at in range(0, len(directory), LINE_BYTES):
            line = directory[at : at + LINE_BYTES]
            self.blobs.append(Blob(line[:32], *struct.unpack("<3I", line[32:]), begin, line))
            check(self.blobs[-1].size <= CHUNK_MAX_BYTES, f"{path}: a blob is too large")
            begin += self.blobs[-1].stored
        check(begin == size - FOOT_BYTES - len(directory), f"{path}: its directory does not fill it")
        self.bound, self.aead = sha256(head, self.readable), None
        private, self.id_key = keyring.secrets.get((head[132:140].hex(), little(head[140:144])), (None, None))
        if private:
            try:
                session = open_box(private, head[48:128], b"fortress session key 1")
                self.aead = AESGCM(hkdf(session + self.id_key, head[16:48], b"fortress object key 1"))
                bound = self.bound + count.to_bytes(4, "little") + sha256(directory)
                self.aead.decrypt((1 << 32).to_bytes(12, "big"), foot[:16], bound)
            except InvalidTag:
                raise Damage(f"{path}: its head or directory is damaged") from None

    def content(self, which):
        check(self.aead, f"{self.path}: there is no key for it")
        blob = self.blobs[which]
        with open(self.path, "rb") as file:
            file.seek(blob.offset)
            data = file.read(blob.stored)
        bound = self.bound + which.to_bytes(4, "little") + blob.id + blob.line[36:]
        try:
            data = self.aead.decrypt(which.to_bytes(12, "big"), data, bound)
            if blob.flags & 1:
                data = zstandard.ZstdDecompressor().decompress(data, max_output_size=blob.size)
        except (InvalidTag, zstandard.ZstdError):
            raise Damage(f"{self.path}: blob {which} is damaged") from None
        check(len(data) == blob.size, f"{self.path}: blob {which} has another size than it says")
        return data

    def chunk(self, which):
        data = self.content(which)
        check(hmac.digest(self.id_key, data, "sha256") == self.blobs[which].id, f"{self.path}: a chunk is not its id's")
        return data

class Repository:
    def __init__(self, folder, keyring):
        self.folder, self.keyring = folder, keyring
        check(octets(message(self.readable("config", b"FXCONFIG")), 1), "config: it names no repository")
        self.places, self.packs, self.seen_packs = {}, {}, False
        self.check_scopes()
        for name in self.names("indexes"):
            self.add_index(f"{folder}/indexes/{name}", name)

    def names(self, below):
        return sorted(os.listdir(f"{self.folder}/{below}")) if os.path.isdir(f"{self.folder}/{below}") else []

    def readable(self, name, magic):
        data = read(f"{self.folder}/{name}")
        check(data[:12] == magic + b"\1\0\0\0" and sha256(data[:-32]) == data[-32:], f"{name}: it is damaged")
        return data[12:-32]

    def check_scopes(self):
        scopes = {scope for scope, _ in self.keyring.secrets} & set(self.names("keys"))
        check(scopes, "the key file is another repository's")
        for scope in scopes:
            for name in self.names(f"keys/{scope}"):
                key = message(self.readable(f"keys/{scope}/{name}", b"FXKEYOBJ")[:-64])
                known = self.keyring.public.get((scope, number(key, 3)), octets(key, 6).hex())
                check(known == octets(key, 6).hex(), f"keys/{scope}/{name}: another key than the keyring's")

    def add_index(self, path, name):
        """An index that cannot be used is passed over: the packs' directories say the same."""
        try:
            check(sha256(read(path)).hex() == name, f"{path}: it is damaged")
            index = Object(path, INDEX, self.keyring)
            data = b"".join(index.content(i) for i in range(len(index.blobs))) if index.aead else b""
            while data:
                pack, count = data[:32].hex(), little(data[40:44])
                for i in range(count):
                    self.places.setdefault(data[44 + 32 * i : 76 + 32 * i], []).append((pack, i))
                data = data[44 + 32 * count :]
        except (Damage, OSError) as error:
            print(f"warning: {error}", file=sys.stderr)

    def pack(self, name):
        if name not in self.packs:
            self.packs[name] = Object(f"{self.folder}/packs/{name[:2]}/{name}", PACK, self.keyring)
        return self.packs[name]

    def look_into_packs(self):
        self.seen_packs = True
        for name in [name for two in self.names("packs") for name in self.names(f"packs/{two}")]:
            try:
                for i, blob in enumerate(self.pack(name).blobs):
                    self.places.setdefault(blob.id, []).append((name, i))
            except (Damage, OSError) as error:
                print(f"warning: {error}", file=sys.stderr)

    def chunk(self, wanted):
        """Any whole copy will do."""
        why = "no index and no pack has it"
        for _ in range(2):
            for name, which in self.places.get(wanted, []):
                try:
                    pack = self.pack(name)
                    check(which < len(pack.blobs) and pack.blobs[which].id == wanted, f"{name}: not where it should be")
                    return pack.chunk(which)
                except (Damage, OSError) as error:
                    why = error
            if not self.seen_packs:
                self.look_into_packs()
        raise Damage(f"chunk {wanted.hex()} cannot be read: {why}")

    def counts(self, name, snapshot):
        """Was it not forgotten, and not put by a writer whose right to was revoked?"""
        lease = octets(message(snapshot.readable), 11).decode("ascii", "replace")
        if name in self.names("forgotten") or lease not in self.names("settled"):
            return name not in self.names("forgotten")
        ids = octets(message(self.readable(f"settled/{lease}", b"FXSETTLE")), 1)
        return bytes.fromhex(name) in [ids[i : i + 32] for i in range(0, len(ids), 32)]

    def root(self, which):
        """The root tree of a snapshot: of the newest, or of that whose id begins so."""
        found = []
        for name in [name for name in self.names("snapshots") if which in ("latest", name[: len(which)])]:
            path = f"{self.folder}/snapshots/{name}"
            check(sha256(read(path)).hex() == name, f"snapshots/{name}: it is damaged")
            snapshot = Object(path, SNAPSHOT, self.keyring)
            if self.counts(name, snapshot):
                found.append((number(message(snapshot.readable), 4), name, snapshot))
        check(found and (which == "latest" or len(found) == 1), f"there is no one snapshot {which!r}")
        return max(found)[2].content(0)

    def nodes(self, wanted):
        """The nodes of a folder, as messages."""
        tree, last = message(self.chunk(wanted)), b""
        check(number(tree, 3) == 1, "a folder is of an unknown version")
        trees = [message(self.chunk(part)) for part in tree.get(2, [])] or [tree]
        for node in (message(data) for one in trees for data in one.get(1, [])):
            name = octets(node, 2)
            good = name > last and name not in (b".", b"..") and b"/" not in name and b"\0" not in name
            check(good, f"a folder has a forbidden name: {name!r}")
            last = name
            yield node

    def extents(self, node):
        lists = [message(self.chunk(part)).get(1, []) for part in node.get(17, [])] or [node.get(16, [])]
        return [(number(one, 1), octets(one, 2)) for many in lists for one in map(message, many)]

# ---- restore ---------------------------------------------------------------------------------------------
def attributes(node, fd, name=None):
    """Of what is open, or of `name` in the folder that is."""
    place = fd if name is None else b"/proc/self/fd/%d/" % fd + name
    how = {} if name is None else {"follow_symlinks": False}
    if os.geteuid() == 0:
        os.chown(place, number(node, 4), number(node, 5), **how)
    if number(node, 1) != SYMLINK:
        os.chmod(place, number(node, 3))
    for xattr in map(message, node.get(15, [])):
        os.setxattr(place, octets(xattr, 1), octets(xattr, 2), **how)
    time = (number(node, 8) >> 1) ^ -(number(node, 8) & 1)  # zigzag
    os.utime(place, ns=(time, time), **how)

class Restore:
    """By descriptors below a folder of our own: a link in the snapshot leads nowhere, no path is too long."""

    def __init__(self, repository, top):
        self.repository, self.top, self.linked = repository, top, {}

    def folder(self, wanted, fd, path):
        for node in self.repository.nodes(wanted):
            name, kind, inside = octets(node, 2), number(node, 1), path + [octets(node, 2)]
            if kind == FOLDER:
                os.mkdir(name, 0o700, dir_fd=fd)
                below = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=fd)
                self.folder(octets(node, 18), below, inside)
                attributes(node, below)
                os.close(below)
            elif kind == FILE:
                self.file(node, fd, inside)
            else:
                check(kind == SYMLINK or kind in SPECIAL, f"{name!r} is of an unknown kind")
                if kind == SYMLINK:
                    os.symlink(octets(node, 14), name, dir_fd=fd)
                else:
                    os.mknod(name, SPECIAL[kind] | 0o600, number(node, 11), dir_fd=fd)
                attributes(node, fd, name)

    def file(self, node, folder, path):
        extents = self.repository.extents(node)
        check(sum(size for size, _ in extents) == number(node, 12), f"{path[-1]!r} is not of its size")
        joint = number(node, 13), tuple(extents)
        if joint[0] and joint in self.linked:
            os.link(self.linked[joint], path[-1], src_dir_fd=self.top, dst_dir_fd=folder, follow_symlinks=False)
            return
        with open(os.open(path[-1], os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=folder), "wb") as file:
            for size, chunk in extents:
                if chunk:
                    data = self.repository.chunk(chunk)
                    check(len(data) == size, f"{path[-1]!r}: a chunk is not of its size")
                    file.write(data)
                else:
                    file.seek(size, os.SEEK_CUR)
            file.truncate(number(node, 12))
            file.flush()
            attributes(node, file.fileno())
        self.linked[joint] = b"/".join(path)

def restore(repository, which, target):
    check(not os.path.lexists(target) or not os.listdir(target), f"{target}: it is not empty")
    root = repository.root(which)
    staging = tempfile.mkdtemp(prefix=".fortress-reader-", dir=os.path.dirname(os.path.abspath(target)))
    try:
        top = os.open(staging, os.O_RDONLY | os.O_DIRECTORY)
        Restore(repository, top).folder(root, top, [])
        os.chmod(staging, 0o755)
        os.rename(staging, target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)  # of what was renamed nothing is left

def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=["restore"])
    parser.add_argument("snapshot", help="an id, the beginning of one, or latest")
    for option in ("repo", "key-file", "target", "passphrase-file", "identity"):
        parser.add_argument(f"--{option}", required=option in ("repo", "key-file", "target"))
    options = parser.parse_intermixed_args()
    sys.setrecursionlimit(20000)
    try:
        keyring = Keyring(options.key_file, options.passphrase_file, options.identity)
        restore(Repository(options.repo, keyring), options.snapshot, options.target)
    except (Damage, OSError, InvalidTag, ValueError, IndexError) as error:
        sys.exit(f"fortress_reader: {str(error) or 'what is wrapped cannot be opened'}")

main()
