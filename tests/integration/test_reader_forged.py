"""Repositories made from docs/format.md alone: a whole one, which both readers restore; and ones that are rightly
sealed and hold what no program of ours writes, as who has a public key and the id key can make them."""

import base64
import os
import shutil
import struct
import sys

import support
from independent_reader import read

sys.path.insert(0, os.path.join(support.SOURCE, "tests", "reader"))
import vectors  # noqa: E402
from vectors import field, message  # noqa: E402

FILE, FOLDER, LINK = 1, 2, 3
CONTENT = b"hello"


class Forge:
    """Makes repositories with the keys of the test vectors."""

    def __init__(self, folder):
        self.folder = folder
        self.keys = vectors.key_vectors()
        self.keyring = vectors.keyring_vectors(self.keys)["keyring"]
        record = vectors.pack_vectors(self.keys)
        self.key_object = vectors.statement_vectors(self.keys, record)["key_object"]
        self.salts = 0

    def put(self, name, data):
        path = os.path.join(self.folder, "repo", name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(data)

    def chunk_id(self, content):
        return vectors.mac(self.keys["id_key"], content)

    def sealed(self, kind, readable, blobs):
        self.salts += 1
        return vectors.make_object(kind, readable, blobs, self.keys, struct.pack("<32sQ", b"", self.salts)[8:])

    def begin(self):
        shutil.rmtree(f"{self.folder}/repo", ignore_errors=True)
        os.makedirs(f"{self.folder}/repo/tmp")
        with open(f"{self.folder}/key", "wb") as file:
            file.write(self.keyring)
        os.chmod(f"{self.folder}/key", 0o600)
        body = b"FXCONFIG\1\0\0\0" + message(bytes(range(16)))
        self.put("config", body + vectors.sha256(body))
        self.put(f"keys/{self.keys['scope_id'].hex()}/00000001-00000001", self.key_object)

    def pack(self, blobs, with_index=True):
        data = self.sealed(1, b"", blobs)["bytes"]
        name = vectors.sha256(data)
        self.put(f"packs/{name.hex()[:2]}/{name.hex()}", data)
        record = name + struct.pack("<QI", len(data), len(blobs)) + b"".join(blob[0] for blob in blobs)
        if with_index:
            self.index(record)
        return record

    def index(self, record):
        data = self.sealed(2, b"", [(bytes(32), len(record), 2 << 8, record)])["bytes"]
        self.put(f"indexes/{vectors.sha256(data).hex()}", data)

    def snapshot(self, root, header=None, blobs=None, signature=None):
        if header is None:
            header = message(b"web-1", b"files:data", b"files", 1700000000000000000, 1700000001000000000, 1, 5, 5)
        salts = self.salts
        digest = self.sealed(3, header, [])["head_digest"]
        self.salts = salts
        signature = signature or vectors.signed(self.keys["ed25519_private"], b"fortress snapshot 1", digest + root)
        content = root + signature
        made = self.sealed(3, header, [(bytes(32), len(content), 2 << 8, content)] if blobs is None else blobs)
        self.put(f"snapshots/{vectors.sha256(made['bytes']).hex()}", made["bytes"])

    def chunks(self, *contents):
        return [(self.chunk_id(content), len(content), 1 << 8, content) for content in contents]

    def tree(self, tree, *others):
        """A repository with one snapshot of this tree."""
        self.begin()
        self.pack(self.chunks(tree, CONTENT, *others))
        self.snapshot(self.chunk_id(tree))


def node(forge, **other):
    """A file with the content, but for what is said otherwise."""
    extent = message(len(CONTENT), forge.chunk_id(CONTENT))
    fields = {"kind": FILE, "name": b"a", "mode": 0o640, "uid": os.getuid(), "gid": os.getgid(), "user": b"", "group": b"",
              "mtime": 1_700_000_000_000_000_000 << 1, "ctime": 0, "inode": 7, "device": 0, "size": len(CONTENT),
              "link_group": 0, "link": b"", "xattrs": [], "extents": [extent], "parts": [], "subtree": b""}
    assert set(other) <= set(fields)
    return message(*{**fields, **other}.values())


def folder_of(*nodes, parts=(), version=1):
    return message(list(nodes), list(parts), version)


def bad_trees(forge):
    """What is wrong, the tree, and chunks that it takes."""
    good, chunk = node(forge), forge.chunk_id(CONTENT)
    empty = {"size": 0, "extents": []}
    inner = folder_of(good)
    nested = folder_of(parts=[forge.chunk_id(inner)])
    yield "cut short", folder_of(good)[:-3]
    yield "a group", b"\x0b\x0c"
    yield "a long number", b"\x18" + b"\xff" * 10 + b"\x01"
    yield "no version", folder_of(good, version=0)
    yield "version 2", folder_of(good, version=2)
    yield "a node that is a number", field(1, 5) + field(3, 1)
    yield "a version of bytes", field(1, good) + field(3, b"\1")
    yield "a part's id of 5 bytes", folder_of(parts=[b"abcde"])
    yield "a part that is a number", field(2, 7) + field(3, 1)
    yield "a part that is not there", folder_of(parts=[bytes(32)])
    yield "parts within parts", folder_of(parts=[forge.chunk_id(nested)]), nested, inner
    yield "a part of version 2", folder_of(parts=[forge.chunk_id(folder_of(version=2))]), folder_of(version=2)
    for name in (b"", b".", b"..", b"a/b", b"/etc", b"a\0b", b"n" * 300):
        yield f"the name {name[:9]!r}", folder_of(node(forge, name=name))
    yield "a name that is a number", folder_of(field(1, FILE) + field(2, 9))
    yield "a name twice", folder_of(good, good)
    yield "not in order", folder_of(node(forge, name=b"b"), good)
    yield "kind 0", folder_of(node(forge, kind=0, **empty))
    yield "kind 9", folder_of(node(forge, kind=9, **empty))
    yield "a kind of bytes", folder_of(field(1, b"\1") + field(2, b"a"))
    yield "a mode of a folder", folder_of(node(forge, mode=0o40755))
    yield "a user of 64 bits", folder_of(node(forge, uid=1 << 40))
    yield "another size", folder_of(node(forge, size=6))
    yield "a size of bytes", folder_of(node(forge, size=b"\5"))
    yield "a chunk's id of 31 bytes", folder_of(node(forge, extents=[message(5, chunk[:31])]))
    yield "a chunk of another size", folder_of(node(forge, size=4, extents=[message(4, chunk)]))
    yield "a chunk that is too large", folder_of(node(forge, size=5 << 20, extents=[message(5 << 20, chunk)]))
    yield "an empty extent", folder_of(node(forge, extents=[message(5, chunk), message(0, chunk)]))
    yield "an enormous hole", folder_of(node(forge, size=1 << 63, extents=[message(1 << 63)]))
    yield "a hole that no file system takes", folder_of(node(forge, size=(1 << 63) - 1, extents=[message((1 << 63) - 1)]))
    yield "a chunk that is not there", folder_of(node(forge, extents=[message(5, bytes(32))]))
    yield "a list of extents that is none", folder_of(node(forge, extents=[], parts=[chunk]))
    yield "a folder without a tree", folder_of(node(forge, kind=FOLDER, **empty))
    yield "a folder whose tree is a file", folder_of(node(forge, kind=FOLDER, subtree=chunk, **empty))
    yield "a folder with content", folder_of(node(forge, kind=FOLDER, subtree=forge.chunk_id(inner))), inner
    yield "a link to nowhere", folder_of(node(forge, kind=LINK, **empty))
    yield "a link with a NUL", folder_of(node(forge, kind=LINK, link=b"a\0b", **empty))
    yield "a file that is a link", folder_of(node(forge, link=b"x"))
    yield "attributes that are numbers", folder_of(node(forge, xattrs=[3]))


def refused(forge, what):
    """By the reader with one line, and by the program too; nothing is left."""
    back = f"{forge.folder}/back"
    done = read("latest", back, forge.folder, status=1)
    assert not os.path.exists(back), f"{what}: something was restored"
    assert not [name for name in os.listdir(forge.folder) if name.endswith(".fortress-reader")], what
    return done.err


def test_good(forge):
    """Both restore what was made from the page alone."""
    inner = folder_of(node(forge, name=b"in"))
    xattr = message(b"user.note", b"\0binary")
    nodes = [node(forge, xattrs=[xattr]), node(forge, name=b"b", kind=LINK, link=b"a", size=0, extents=[], mode=0o777),
             node(forge, name=b"c", kind=FOLDER, size=0, extents=[], subtree=forge.chunk_id(inner), mode=0o750),
             node(forge, name=b"d", size=70005, extents=[message(70000), message(5, forge.chunk_id(CONTENT))])]
    forge.tree(folder_of(*nodes), inner)
    for index, restore in enumerate((
            lambda target: read("latest", target, forge.folder),
            lambda target: support.agent("restore", "latest", "--target", target, "--repo", f"{forge.folder}/repo",
                                         "--key-file", f"{forge.folder}/key"))):
        back = f"{forge.folder}/good {index}"
        restore(back)
        for name in ("a", "b", "c/in"):
            with open(f"{back}/{name}", "rb") as file:
                assert file.read() == CONTENT, name
        with open(f"{back}/d", "rb") as file:
            assert file.read() == bytes(70000) + CONTENT
        assert os.getxattr(f"{back}/a", "user.note") == b"\0binary" and os.readlink(f"{back}/b") == "a"
        assert os.stat(f"{back}/a").st_mtime_ns == 1_700_000_000_000_000_000 and os.stat(f"{back}/c").st_mode == 0o40750
    support.agent("verify", "--read-data", "--repo", f"{forge.folder}/repo", "--key-file", f"{forge.folder}/key")
    # Fields that nobody knows yet are passed over, those of other wire types too.
    known = folder_of(node(forge))
    forge.tree(known + field(99, 1) + field(98, b"x") + b"\xa1\x06" + bytes(8) + b"\xa5\x06" + bytes(4))
    read("latest", f"{forge.folder}/unknown fields", forge.folder)
    # An attribute that no file can have.
    forge.tree(folder_of(node(forge, xattrs=[message(b"", b"x"), message(b"nowhere.x", b"y")])))
    done = read("latest", f"{forge.folder}/attributes", forge.folder, status=3)
    assert "warning: b'a': " in done.err, done.err


def test_trees(forge):
    count = 0
    for what, tree, *others in bad_trees(forge):
        forge.tree(tree, *others)
        refused(forge, what)
        count += 1
    print(f"ok {count} trees")


def test_blobs(forge):
    tree = folder_of(node(forge))
    chunk, size = forge.chunk_id(CONTENT), len(CONTENT)
    frame_of_a_tebibyte = bytes.fromhex("28b52ffde0") + struct.pack("<Q", 1 << 40) + b"\x01\x00\x00"
    for what, blob in (
            ("no frame", (chunk, size, 1 << 8 | 1, b"garbage")),
            ("an enormous frame", (chunk, size, 1 << 8 | 1, frame_of_a_tebibyte)),
            ("a frame of nothing", (chunk, 0, 1 << 8 | 1, bytes.fromhex("28b52ffd2000010000"))),
            ("a size of 4 GiB", (chunk, (1 << 32) - 1, 1 << 8 | 1, frame_of_a_tebibyte)),
            ("another size", (chunk, size + 1, 1 << 8, CONTENT)),
            ("another content", (chunk, size, 1 << 8, b"jello"))):
        forge.begin()
        forge.pack([*forge.chunks(tree), blob])
        forge.snapshot(forge.chunk_id(tree))
        refused(forge, what)


def test_snapshots(forge):
    tree = folder_of(node(forge))
    root = forge.chunk_id(tree)
    for what, words in (
            ("a root of 31 bytes", {"blobs": [(bytes(32), 31, 2 << 8, root[:31])]}),
            ("no root", {"blobs": []}),
            ("two roots", {"blobs": [(bytes(32), 32, 2 << 8, root)] * 2}),
            ("another's signature", {"signature": bytes(64)}),
            ("a malformed header", {"header": b"\xff" * 30}),
            ("a time of bytes", {"header": message(b"web-1", b"files:data", b"files", b"now")}),
            ("a lease that is a number", {"header": message(b"web-1") + field(11, 5)})):
        forge.tree(tree)
        shutil.rmtree(f"{forge.folder}/repo/snapshots")
        forge.snapshot(root, **words)
        assert "no one snapshot" in refused(forge, what), what
    # One that cannot be read does not hide the one before it, and is told of.
    forge.tree(tree)
    forge.snapshot(root, header=message(b"web-1", b"files:data", b"files", 1700000009000000000), signature=bytes(64))
    done = read("latest", f"{forge.folder}/before it", forge.folder, status=3)
    assert "a signature" in done.err, done.err
    # One that is not signed says no more than who could write.
    forge.tree(tree)
    shutil.rmtree(f"{forge.folder}/repo/snapshots")
    forge.snapshot(root, blobs=[(bytes(32), 32, 2 << 8, root)])
    read("latest", f"{forge.folder}/not signed", forge.folder)


def test_indexes(forge):
    """What an index object says wrongly costs time and a warning."""
    tree = folder_of(node(forge))
    for number, (what, change) in enumerate((
            ("a count that is too high", lambda record: record[:40] + struct.pack("<I", 3) + record[44:]),
            ("an enormous count", lambda record: record[:40] + b"\xff" * 4 + record[44:]),
            ("a record that is cut short", lambda record: record[:20]),
            ("an id that is cut short", lambda record: record[:-1]),
            ("a pack that is not there", lambda record: bytes(32) + record[32:]),
            ("places exchanged", lambda record: record[:44] + record[76:] + record[44:76]))):
        forge.begin()
        forge.index(change(forge.pack(forge.chunks(tree, CONTENT), with_index=False)))
        forge.snapshot(forge.chunk_id(tree))
        done = read("latest", f"{forge.folder}/index {number}", forge.folder, status=3)
        with open(f"{forge.folder}/index {number}/a", "rb") as file:
            assert file.read() == CONTENT, what
        assert "warning: " in done.err


def test_files(forge):
    """Objects that are not even objects, under the right names."""
    tree = folder_of(node(forge))
    forge.tree(tree)
    pack = next(os.path.join(top, name) for top, _, names in os.walk(f"{forge.folder}/repo/packs") for name in names)
    with open(pack, "rb") as file:
        whole = file.read()
    for data in (b"", b"short", whole[:144], whole[:200], whole[:-16] + b"\xff\xff\xff\xff" + whole[-12:], whole[8:],
                 whole[:128] + b"\xff" * 4 + whole[132:], whole[:8] + b"\2" + whole[9:], whole[:12] + b"\3" + whole[13:]):
        forge.tree(tree)
        shutil.rmtree(f"{forge.folder}/repo/packs")
        shutil.rmtree(f"{forge.folder}/repo/indexes")
        name = vectors.sha256(data).hex()
        forge.put(f"packs/{name[:2]}/{name}", data)
        refused(forge, f"a pack of {len(data)} bytes")
    for name in ("config", f"keys/{forge.keys['scope_id'].hex()}/00000001-00000001"):
        for data in (b"", b"FXCONFIG", b"FXKEYOBJ\1\0\0\0" + bytes(32)):
            forge.tree(tree)
            forge.put(name, data)
            refused(forge, f"{name} of {len(data)} bytes")


def test_keyrings(forge):
    """Lines that are whole and say nonsense."""
    scope = forge.keys["scope_id"].hex()
    forge.tree(folder_of(node(forge)))
    for lines in ([], ["recipient"], ["recipient file"], ["scope"], ["version 1"], ["wrap nobody AAAA"], ["recipient x x25519"],
                  ["recipient file plain", "wrap file AAAA"], [f"scope {scope} main live 00", "version x y z"],
                  ["recipient file plain", f"scope {scope} main live 00", "version 1 1 00 00", "wrap file !"],
                  ["recipient file plain", f"scope {scope} main live 00", "version 1 1 00 00", "wrap file AAAA"],
                  ["recipient w passphrase scrypt 60 8 1 00 00"], ["recipient w passphrase scrypt"]):
        with open(f"{forge.folder}/nonsense", "wb") as file:
            file.write(vectors.chained(["fortress keyring 1", *lines]))
        os.chmod(f"{forge.folder}/nonsense", 0o600)
        read("latest", f"{forge.folder}/back", forge.folder, "--passphrase-file", f"{forge.folder}/key",
             key=f"{forge.folder}/nonsense", status=1)


def test_scopes(forge):
    """What one scope's tree names of another's is not restored, by one who could read both neither."""
    main, other = forge.keys, vectors.key_vectors(b"fortress other")
    lines = ["fortress keyring 1", "recipient file plain"]
    for label, keys in (("main", main), ("other", other)):
        secret = keys["x25519_private"] + keys["ed25519_private"] + keys["id_key"]
        lines += [f"scope {keys['scope_id'].hex()} {label} live {keys['id_check'].hex()}",
                  f"version 1 1700000000000000000 {keys['x25519_public'].hex()} {keys['ed25519_public'].hex()}",
                  f"wrap file {base64.b64encode(secret).decode()}"]

    def named(keys, content):
        return vectors.mac(keys["id_key"], content)

    def around(keys, tree):
        return folder_of(node(forge, name=b"b", kind=FOLDER, size=0, extents=[], subtree=named(keys, tree)))

    own, others = (folder_of(node(forge, extents=[message(len(CONTENT), named(keys, CONTENT))])) for keys in (main, other))
    for what, contents, root in (
            ("nothing", [around(main, own), own, CONTENT], named(main, around(main, own))),
            ("content", [others], named(main, others)),
            ("a tree", [around(other, others)], named(main, around(other, others))),
            ("the root", [CONTENT], named(other, others))):
        forge.begin()
        with open(f"{forge.folder}/key", "wb") as file:
            file.write(vectors.chained(lines))
        forge.pack(forge.chunks(*contents))
        forge.snapshot(root)
        forge.keys = other
        record = forge.pack(forge.chunks(others, CONTENT))
        key_object = vectors.statement_vectors(other, {"head_digest": bytes(32), "record": record})["key_object"]
        forge.put(f"keys/{other['scope_id'].hex()}/00000001-00000001", key_object)
        forge.keys = main
        words = ["--repo", f"{forge.folder}/repo", "--key-file", f"{forge.folder}/key"]
        if what == "nothing":
            read("latest", f"{forge.folder}/own", forge.folder)
            support.agent("verify", "--read-data", *words)
            continue
        assert "cannot be read" in refused(forge, what), what
        done = support.agent("restore", "latest", "--target", f"{forge.folder}/back", *words, status=None)
        assert done.returncode not in (0, 3) and "of another scope" in done.err, (what, done.out, done.err)
        assert not os.path.exists(f"{forge.folder}/back"), what
        done = support.agent("verify", "--read-data", *words, status=None)
        assert done.returncode != 0 and "cannot be restored whole" in done.out + done.err, (what, done.out, done.err)
        done = support.agent("verify", *words, status=None)
        assert (done.returncode != 0) == (what != "content"), (what, done.out, done.err)  # content is read with --read-data


def test_any(forge, rng):
    """Any bytes at all end in a restore, or in one clear line."""
    tree = folder_of(node(forge), node(forge, name=b"b", kind=LINK, link=b"a", size=0, extents=[]))
    statuses = []
    for index in range(60):
        data = bytearray(tree)
        for _ in range(rng.randrange(1, 4)):
            at = rng.randrange(len(data))
            data[at : at + rng.randrange(2)] = rng.randbytes(rng.randrange(3))
        forge.tree(bytes(data))
        statuses.append(read("latest", f"{forge.folder}/any {index}", forge.folder, status=None).returncode)
    print(f"ok any: {statuses.count(1)} of {len(statuses)} refused")


def main():
    rng = support.seed()
    with support.scratch() as folder:
        forge = Forge(folder)
        for test in (test_good, test_trees, test_blobs, test_snapshots, test_indexes, test_files, test_keyrings,
                     test_scopes):
            test(forge)
            print(f"ok {test.__name__}", flush=True)
        test_any(forge, rng)


main()
