#!/usr/bin/env python3
"""An independent reader of Fortress repositories in a folder, written from docs/format.md:
    fortress_reader.py restore --repo DIR --key-file FILE SNAPSHOT|latest --target DIR
--passphrase-file FILE and --identity FILE open a keyring that is wrapped for a passphrase or an X25519 key, --scope
takes the latest of one scope. It changes nothing in the repository, and gives files owners by number, where it may.
A PostgreSQL snapshot is restored as the data directory that was copied: recovery settings are not written.
Exit status: 0 restored, 3 restored with warnings, 1 nothing restored."""
import argparse, base64, functools, hashlib, hmac, os, re, resource  # one line: the file is to stay short
import stat, struct, sys, tempfile

import zstandard
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric import ed25519, x25519
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

HEAD_BYTES, LINE_BYTES, FOOT_BYTES, CHUNK_MAX_BYTES, OBJECT_MAX_BYTES = 144, 44, 32, 4 << 20, 128 << 20
BLOBS_MAX, DEPTH_MAX, PACKS_KEPT, MAX_32, MAX_64 = 1 << 20, 2048, 16, (1 << 32) - 1, (1 << 64) - 1
PACK, INDEX, SNAPSHOT, FILE, FOLDER, SYMLINK = 1, 2, 3, 1, 2, 3
SPECIAL = {4: stat.S_IFIFO, 5: stat.S_IFSOCK, 6: stat.S_IFCHR, 7: stat.S_IFBLK}
WARNINGS, little = set(), functools.partial(int.from_bytes, byteorder="little")

class Damage(Exception):
    """Something is not as the format says; nothing is believed of it."""

def check(condition, what):
    if not condition:
        raise Damage(what)

def attempt(what, act, *words, **how):
    """What it gives; None after a warning: others will do, or a user has no right to it."""
    try:
        return act(*words, **how)
    except (Damage, OSError, ValueError) as error:
        warning = f"warning: {what}: {error}".replace("\n", "\\n")
        warning in WARNINGS or print(warning, file=sys.stderr)
        WARNINGS.add(warning)

def read(path):
    with open(path, "rb") as file:
        data = file.read(OBJECT_MAX_BYTES + 1)
    check(len(data) <= OBJECT_MAX_BYTES, f"{path}: it is too large")
    return data

def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()

def varint(data, at):
    end = next((end for end in range(at, len(data)) if data[end] < 0x80), at + 10)
    check(end - at < 10, "a message has a number that is cut short or too long")
    return sum((data[i] & 0x7F) << 7 * (i - at) for i in range(at, end + 1)) & MAX_64, end + 1

def message(data):
    """The fields of a message: number to the list of its values, integers or bytes."""
    fields, at = {}, 0
    while at < len(data):
        tag, at = varint(data, at)
        check(tag & 7 in (0, 1, 2, 5), "a message has a field of an unknown type")
        value, at = varint(data, at) if tag & 7 in (0, 2) else ({1: 8, 5: 4}[tag & 7], at)
        if tag & 7:
            check(value <= len(data) - at, "a message is cut short")
            value, at = data[at : at + value], at + value
        fields.setdefault(tag >> 3, []).append(value)
    return fields

def number(fields, which, most=MAX_64):
    value = fields.get(which, [0])[-1]
    check(isinstance(value, int) and value <= most, f"field {which} of a message is no number, or too large")
    return value

def many(fields, which, most=1 << 24):
    values = fields.get(which, [])
    check(len(values) <= most and all(isinstance(value, bytes) for value in values), f"field {which} is malformed")
    return values

def octets(fields, which, *sizes):
    value = (many(fields, which) or [b""])[-1]
    check(not sizes or len(value) in sizes, f"field {which} of a message has a size that it cannot have")
    return value

def hkdf(secret, salt, info):
    return hmac.digest(hmac.digest(salt, secret, "sha256"), info + b"\1", "sha256")  # 32 bytes are one block

def public_of(private, kind=x25519.X25519PrivateKey):
    return kind.from_private_bytes(private).public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)

def trusted(act, *words):
    try:
        return act(*words)
    except (InvalidTag, InvalidSignature, zstandard.ZstdError):
        raise Damage("a seal, a signature or a frame is damaged, or of another key") from None

def unseal(key, nonce, sealed, bound=None):
    return trusted(AESGCM(key).decrypt, nonce.to_bytes(12, "big"), sealed, bound)

def open_box(private, box, info):
    public = x25519.X25519PublicKey.from_public_bytes(box[:32])
    shared = x25519.X25519PrivateKey.from_private_bytes(private).exchange(public)
    return unseal(hkdf(shared, box[:32] + public_of(private), info), 0, box[32:])

def check_signature(key, use, statement, signature):
    trusted(ed25519.Ed25519PublicKey.from_public_bytes(key).verify, signature, sha256(use, b"\0", statement))

def chained_lines(path, first):
    chain, lines = bytes(32), []
    for line in read(path).decode("ascii").split("\n"):
        content, _, last = line.rpartition(" ")
        if content == "end":
            check(last == chain.hex() and lines[:1] == [first.split()], f"{path}: no {first!r}, or with another end")
            return lines[1:]
        chain = sha256(chain, content.encode("ascii"))
        check(last == chain.hex()[:8], f"{path}: line {len(lines) + 1} is damaged, missing or moved")
        lines.append(content.split(" "))
    raise Damage(f"{path}: its end is missing")

class Keyring:
    """What the options open of a key file: (scope, version) to (X25519 private key, id key)."""
    def __init__(self, path, passphrase_file, identity_file):
        self.secrets, self.public, self.labels, openers, scope, version = {}, {}, {}, {}, None, None
        try:
            for words in chained_lines(path, "fortress keyring 1"):
                if words[0] == "recipient":
                    openers[words[1]] = self.opener(words[2:], passphrase_file, identity_file)
                elif words[0] == "scope":
                    scope = words[1:]
                    self.labels[scope[1]] = scope[0]
                elif words[0] == "version":
                    version = words[1:]
                    self.public[scope[0], int(version[0])] = tuple(map(bytes.fromhex, version[2:4]))
                elif words[0] == "wrap" and openers[words[1]] is not None:
                    self.add(scope, version, openers[words[1]](base64.b64decode(words[2], validate=True)))
        except (LookupError, TypeError, ValueError) as error:
            raise Damage(f"{path}: a line is malformed ({error})") from None
        check(self.secrets, f"{path}: nothing in it can be opened with what was given")

    def opener(self, words, passphrase_file, identity_file):
        """A function from a wrap to the secret; None where what it takes was not given."""
        if words[0] == "plain":
            return lambda wrap: wrap
        if words[0] == "passphrase" and passphrase_file:
            log2_n, r, p = map(int, words[2:5])
            check(17 <= log2_n <= 22 and 1 <= r <= 32 and 1 <= p <= 16, "a passphrase's parameters are out of bounds")
            private = hashlib.scrypt(read(passphrase_file).split(b"\n")[0], salt=bytes.fromhex(words[5]), dklen=32,
                                     n=1 << log2_n, r=r, p=p, maxmem=(128 * r << log2_n) + (1 << 24))
        elif words[0] == "x25519" and identity_file:
            private = bytes.fromhex(dict(chained_lines(identity_file, "fortress identity 1"))["private"])
        else:
            return None
        fits = public_of(private).hex() == words[-1]
        return (lambda wrap: open_box(private, wrap, b"fortress wrapped key 1")) if fits else None

    def add(self, scope, version, secret):
        private, signing, id_key = secret[:32], secret[32:64], secret[64:]
        public, verify = public_of(private).hex(), public_of(signing, ed25519.Ed25519PrivateKey).hex()
        told = [public, verify, sha256(b"fortress id key check 1", id_key)[:16].hex(), 32]
        check(told == [*version[2:4], scope[3], len(id_key)], f"the secret of scope {scope[1]} is not the keyring's")
        self.secrets[scope[0], int(version[0])] = private, id_key

class Object:
    """A pack, an index or a snapshot: named by its bytes, and authenticated where there is a key for it."""
    def __init__(self, path, kind, keyring):
        data, self.path = read(path), path
        check(sha256(data).hex() == os.path.basename(path), "its bytes are not what was written")
        check(data[:12] == b"FORTRESS\1\0\0\0" and little(data[12:16]) == kind, "another kind or version")
        foot, begin = data[-FOOT_BYTES:], HEAD_BYTES + little(data[128:132])
        count = little(foot[16:20])
        end = len(data) - FOOT_BYTES - count * LINE_BYTES
        good = len(data) >= HEAD_BYTES and begin <= min(end, HEAD_BYTES + 65536) and count <= BLOBS_MAX
        check(good and foot[20:] == bytes(4) + b"FXOBJEND", "it is cut short")
        self.bound, self.readable, self.key, self.data = sha256(data[:begin]), data[HEAD_BYTES:begin], None, data
        self.scope, version, self.blobs = data[132:140].hex(), little(data[140:144]), []
        for at in range(end, len(data) - FOOT_BYTES, LINE_BYTES):
            wanted, stored, size, flags = struct.unpack_from("<32s3I", data, at)
            self.blobs.append((wanted, begin, begin + stored, size, flags))
            begin += stored
        check(begin == end, "its directory does not fill it")
        private, self.id_key = keyring.secrets.get((self.scope, version), (None, None))
        self.verify_key = keyring.public.get((self.scope, version), (None, None))[1]
        if private:
            session = open_box(private, data[48:128], b"fortress session key 1")
            self.key = hkdf(session + self.id_key, data[16:48], b"fortress object key 1")
            unseal(self.key, 1 << 32, foot[:16], self.bound + foot[16:20] + sha256(data[end:-FOOT_BYTES]))

    def content(self, which):
        check(self.key and which < len(self.blobs), f"there is no key for blob {which}, or it is not there")
        wanted, begin, end, size, flags = self.blobs[which]
        bound = self.bound + struct.pack("<I32s2I", which, wanted, size, flags)
        data = unseal(self.key, which, self.data[begin:end], bound)
        if flags & 1:  # what a frame says of its size would be believed, and taken as memory
            good = 0 < size <= CHUNK_MAX_BYTES and trusted(zstandard.frame_content_size, data) in (-1, size)
            check(good, f"blob {which} has a bad frame")
            data = trusted(zstandard.ZstdDecompressor().decompress, data, size)
        check(len(data) == size <= CHUNK_MAX_BYTES, f"blob {which} has another size")
        return data

class Repository:
    def __init__(self, folder, keyring):
        self.folder, self.keyring, self.places = folder, keyring, {}
        self.unseen = [name for two in self.names("packs") for name in self.names(f"packs/{two}")]
        self.pack = functools.lru_cache(PACKS_KEPT)(
            lambda name: Object(f"{folder}/packs/{name[:2]}/{name}", PACK, keyring))
        octets(message(self.readable("config", b"FXCONFIG")), 1, 16)
        scopes = {scope for scope, _ in keyring.secrets}
        paths = [(scope, f"keys/{scope}/{name}") for scope in scopes for name in self.names(f"keys/{scope}")]
        keys = [attempt(path, self.is_own_key, scope, path) for scope, path in paths]
        check(any(keys), "the key file is another repository's")
        for name in self.names("indexes"):
            attempt(f"indexes/{name}", self.add_index, f"{folder}/indexes/{name}")

    def names(self, below):
        return sorted(os.listdir(f"{self.folder}/{below}")) if os.path.isdir(f"{self.folder}/{below}") else []

    def readable(self, name, magic):
        data = read(f"{self.folder}/{name}")
        check(data[:12] == magic + b"\1\0\0\0" and sha256(data[:-32]) == data[-32:], f"{name}: it is damaged")
        return data[12:-32]

    def is_own_key(self, scope, path):
        """Such an object only tells that the key file is the repository's: one that is no good does no harm."""
        body = self.readable(path, b"FXKEYOBJ")
        key, statement = message(body[:-64]), b"FXKEYOBJ\1\0\0\0" + body[:-64]
        named = f"keys/{octets(key, 1).hex()}/{number(key, 3):08}-{number(key, 4):08}"
        check(named == path, f"it was put as {named}")
        check_signature(octets(key, 7), b"fortress key object 1", statement, body[-64:])
        own = self.keyring.public.get((scope, number(key, 3)))
        check(own in (None, (octets(key, 6), octets(key, 7))), "another key than the keyring's")
        return own is not None

    def add_index(self, path):
        """An index that cannot be used is passed over: the packs' directories say the same."""
        index, found, at = Object(path, INDEX, self.keyring), [], 0
        data = b"".join(index.content(i) for i in range(len(index.blobs))) if index.key else b""
        while at < len(data):
            pack, count = data[at : at + 32].hex(), little(data[at + 40 : at + 44])
            begin, at = at + 44, at + 44 + 32 * count
            check(count <= BLOBS_MAX and at <= len(data), "a record is longer than the index")
            found += [(data[begin + 32 * i : begin + 32 * i + 32], (pack, i)) for i in range(count)]
        for wanted, place in found:
            self.places.setdefault(wanted, []).append(place)

    def add_pack(self, name):
        for i, blob in enumerate(self.pack(name).blobs):
            self.places.setdefault(blob[0], []).append((name, i))

    def copy(self, wanted, name, which):
        data = (pack := self.pack(name)).content(which)
        same = hmac.digest(self.id_key, data, "sha256") == wanted == pack.blobs[which][0]
        check(same, f"blob {which} is another, or another scope's")
        return data

    def chunk(self, wanted):
        for _ in range(2):
            for name, which in self.places.get(wanted, []):
                if (data := attempt(f"pack {name}", self.copy, wanted, name, which)) is not None:
                    return data
            while self.unseen:
                attempt(f"pack {self.unseen[-1]}", self.add_pack, self.unseen.pop())
        raise Damage(f"chunk {wanted.hex()} cannot be read from any pack")

    def counts(self, name, snapshot):
        """Was it not forgotten, and not put by a writer whose right to was revoked?"""
        lease = octets(message(snapshot.readable), 11).decode("ascii", "replace")
        if name in self.names("forgotten") or lease not in self.names("settled"):
            return name not in self.names("forgotten")
        ids = octets(message(self.readable(f"settled/{lease}", b"FXSETTLE")), 1)
        check(len(ids) % 32 == 0, f"settled/{lease}: it is malformed")
        return bytes.fromhex(name) in [ids[i : i + 32] for i in range(0, len(ids), 32)]

    def root(self, which, label):
        """The root tree of a snapshot: of the newest that can be read, or of that whose id begins so."""
        check(which == "latest" or re.fullmatch("[0-9a-f]{8,64}", which), f"{which!r}: not 8 digits of a snapshot")
        found = [attempt(f"snapshots/{name}", self.dated_root, name, label) for name in self.names("snapshots")
                 if which in ("latest", name[: len(which)])]
        found = sorted(filter(None, found))
        check(found and (which == "latest" or len(found) == 1), f"there is no one snapshot {which!r} that can be read")
        self.id_key = found[-1][3]
        return found[-1][2]

    def dated_root(self, name, label):
        """Its time, id, root and id key; None where it does not count, or there is no key for it."""
        snapshot = Object(f"{self.folder}/snapshots/{name}", SNAPSHOT, self.keyring)
        is_wanted = label in (None, snapshot.scope) or self.keyring.labels.get(label) == snapshot.scope
        if not is_wanted or snapshot.key is None or not self.counts(name, snapshot):
            return None
        content = snapshot.content(0) if len(snapshot.blobs) == 1 else b""
        check(len(content) in (32, 96), "it has no root")
        if len(content) == 96:
            check_signature(snapshot.verify_key, b"fortress snapshot 1", snapshot.bound + content[:32], content[32:])
        began = number(message(snapshot.readable), 4)
        return min(began - (began >> 63 << 64), os.stat(snapshot.path).st_mtime_ns), name, content[:32], snapshot.id_key

    def nodes(self, wanted):
        tree, last = message(self.chunk(wanted)), b""
        parts = [message(self.chunk(part)) for part in many(tree, 2)]
        good = all(number(one, 3) == 1 for one in [tree, *parts]) and not any(many(part, 2) for part in parts)
        check(good, "a folder is of an unknown version, or has parts within parts")
        for node in (message(data) for one in [tree, *parts] for data in many(one, 1)):
            name, kind, link, empty = octets(node, 2), number(node, 1), octets(node, 14), not (16 in node or 17 in node)
            good = name > last and name not in (b".", b"..") and b"/" not in name and b"\0" not in name + link
            good = good and (kind == FILE or empty) and bool(link) == (kind == SYMLINK) and len(link) <= 4096
            check(good, f"a folder has a forbidden entry: {name!r}")
            last = name
            yield node

    def extents(self, node):
        lists = [many(node, 16), *(many(message(self.chunk(part)), 1) for part in many(node, 17))]
        extents = [(number(one, 1), octets(one, 2, 0, 32)) for each in lists for one in map(message, each)]
        good = all(0 < size <= (CHUNK_MAX_BYTES if chunk else MAX_64) for size, chunk in extents)
        check(good and sum(size for size, _ in extents) == number(node, 12, MAX_64 >> 1), "a file is not of its size")
        return extents

class Restore:
    """By descriptors below a folder of our own: a link in the snapshot leads nowhere, no path is too long."""
    def __init__(self, repository, top):
        self.repository, self.top, self.linked = repository, top, {}

    def attributes(self, node, path, fd, name=None):
        """Of what is open, or of `name` in the folder that is."""
        place = fd if name is None else b"/proc/self/fd/%d/" % fd + name
        how = {} if name is None else {"follow_symlinks": False}
        owner, shown = (number(node, 4, MAX_32), number(node, 5, MAX_32)), repr(b"/".join(path))
        if os.geteuid() == 0:
            attempt(shown, os.chown, place, *owner, **how)
        if number(node, 1) != SYMLINK:
            os.chmod(place, number(node, 3, 0o7777))
        for xattr in map(message, many(node, 15, 1024)):
            attempt(shown, os.setxattr, place, octets(xattr, 1), octets(xattr, 2), **how)
        time = (number(node, 8) >> 1) ^ -(number(node, 8) & 1)  # zigzag
        os.utime(place, ns=(time, time), **how)

    def folder(self, wanted, fd, path):
        check(len(path) <= DEPTH_MAX, "its folders are too deep")
        for node in self.repository.nodes(wanted):
            name, kind, inside = octets(node, 2), number(node, 1), path + [octets(node, 2)]
            if kind == FOLDER:
                os.mkdir(name, 0o700, dir_fd=fd)
                below = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=fd)
                self.folder(octets(node, 18, 32), below, inside)
                self.attributes(node, inside, below)
                os.close(below)
            elif kind == FILE:
                self.file(node, fd, inside)
            else:
                check(kind == SYMLINK or kind in SPECIAL, f"{name!r} is of an unknown kind")
                attempt(repr(b"/".join(inside)), self.special, node, inside, fd)

    def special(self, node, path, fd):
        if number(node, 1) == SYMLINK:
            os.symlink(octets(node, 14), path[-1], dir_fd=fd)
        else:
            os.mknod(path[-1], SPECIAL[number(node, 1)] | 0o600, number(node, 11), dir_fd=fd)
        self.attributes(node, path, fd, path[-1])

    def file(self, node, folder, path):
        extents = self.repository.extents(node)
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
            self.attributes(node, path, file.fileno())
        self.linked[joint] = b"/".join(path)

def restore(repository, which, scope, target):
    check(not os.path.lexists(target) or not os.listdir(target), f"{target}: it is not empty")
    root = repository.root(which, scope)
    around = os.path.dirname(os.path.abspath(target))
    with tempfile.TemporaryDirectory(".fortress-reader", dir=around, ignore_cleanup_errors=True) as staging:
        top = os.open(staging, os.O_RDONLY | os.O_DIRECTORY)
        Restore(repository, top).folder(root, top, [])
        os.chmod(staging, 0o755)
        os.rename(staging, target)  # nothing is left to remove

def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=["restore"])
    parser.add_argument("snapshot", help="8 or more digits of an id, or latest")
    for option in ("repo", "key-file", "target", "passphrase-file", "identity", "scope"):
        parser.add_argument(f"--{option}", required=option in ("repo", "key-file", "target"))
    options = parser.parse_intermixed_args()
    sys.setrecursionlimit(20000)
    resource.setrlimit(resource.RLIMIT_NOFILE, resource.getrlimit(resource.RLIMIT_NOFILE)[1:] * 2)  # one a folder
    try:
        keyring = Keyring(options.key_file, options.passphrase_file, options.identity)
        restore(Repository(options.repo, keyring), options.snapshot, options.scope, options.target)
    except (Damage, OSError, ValueError, OverflowError, MemoryError) as error:
        sys.exit(f"fortress_reader: {error}".replace("\n", "\\n"))
    sys.exit(3 if WARNINGS else 0)

if __name__ == "__main__":
    main()
