"""What the C program saved, the independent reader in Python restores, from docs/format.md alone."""

import ast
import json
import os
import shutil
import stat
import sys

import support
from support import agent, flip

READER = os.path.join(support.SOURCE, "tests", "reader", "fortress_reader.py")
LINES_MAX = 400


def read(snapshot, target, folder, *words, key=None, status=0):
    return support.run(
        "/usr/bin/python3", "-B", READER, "restore", "--repo", f"{folder}/repo", "--key-file", key or f"{folder}/key",
        *words, snapshot, "--target", target, status=status)


def described(top):
    """Path to all that a restore must give back; inodes as groups of names."""
    seen, groups = {}, {}
    for folder, folders, files in os.walk(os.fsencode(top)):
        for name in [b"."] + folders + files:
            path = os.path.normpath(os.path.join(folder, name))
            info = os.lstat(path)
            kind = stat.S_IFMT(info.st_mode)
            content = None
            if kind == stat.S_IFREG:
                with open(path, "rb") as file:
                    content = file.read()
            elif kind == stat.S_IFLNK:
                content = os.readlink(path)
            xattrs = {name: os.getxattr(path, name, follow_symlinks=False)
                      for name in os.listxattr(path, follow_symlinks=False)}
            inside = os.path.relpath(path, os.fsencode(top))
            if kind == stat.S_IFREG and info.st_nlink > 1:
                groups.setdefault(info.st_ino, set()).add(inside)
            seen[inside] = (info.st_mode, info.st_uid, info.st_gid, info.st_mtime_ns, content, xattrs)
    return seen, sorted(map(sorted, groups.values()))


def make_data(data, rng):
    os.makedirs(f"{data}/sub/empty")
    with open(f"{data}/large", "wb") as file:
        file.write(rng.randbytes(6_000_000) + b"compressible" * 300_000)
    with open(f"{data}/sparse", "wb") as file:
        file.seek(30_000_000)
        file.write(b"end")
    with open(f"{data}/empty", "wb"):
        pass
    for index in range(300):
        with open(f"{data}/sub/{index}", "wb") as file:
            file.write(rng.randbytes(rng.randrange(5000)))
    for name in (b"new\nline", b"not \xff utf-8", b"n" * 255):
        with open(os.path.join(os.fsencode(data), name), "wb") as file:
            file.write(name)
    os.link(f"{data}/large", f"{data}/sub/hard link")
    os.symlink("../large", f"{data}/sub/link")
    os.symlink("/nowhere", f"{data}/dangling")
    os.mkfifo(f"{data}/fifo", 0o640)
    os.setxattr(f"{data}/large", "user.note", b"\0binary")
    os.chmod(f"{data}/sub/1", 0o4711)
    os.utime(f"{data}/sub/2", ns=(5, -1_500_000_000))
    os.utime(f"{data}/sub", ns=(5, 1_234_567_890_123_456_789))


def expect_same(data, back):
    expected, got = described(data), described(f"{back}{data}")
    for path in expected[0]:
        assert got[0].get(path) == expected[0][path], f"{path!r}: {got[0].get(path)} is not {expected[0][path]}"[:500]
    assert got == expected, "something came that was not saved, or hard links are others"
    shutil.rmtree(back)


def test_rules():
    with open(READER, encoding="utf-8") as file:
        source = file.read()
    assert source.count("\n") <= LINES_MAX, f"the reader has more than {LINES_MAX} lines"
    for node in ast.walk(ast.parse(source)):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module] if isinstance(node, ast.ImportFrom) else []
        for name in names:
            top = name.split(".")[0]
            assert top in ("cryptography", "zstandard") or top in sys.stdlib_module_names, name


def test_files(folder, rng):
    data, back, words = f"{folder}/data", f"{folder}/back", ["--repo", f"{folder}/repo", "--key-file", f"{folder}/key"]
    make_data(data, rng)
    agent("repo", "init", *words)
    agent("backup", "files", data, *words)
    with open(f"{data}/second", "wb") as file:
        file.write(rng.randbytes(100_000))
    agent("backup", "files", data, *words)
    read("latest", back, folder)
    expect_same(data, back)

    # After a rotation, and with what a collection wrote anew.
    agent("key", "rotate", *words)
    os.remove(f"{data}/sub/3")
    agent("backup", "files", data, *words)
    agent("forget", "--keep-last", "1", *words)
    agent("collect", *words)
    read("latest", back, folder)
    expect_same(data, back)

    # Indexes only save time.
    shutil.move(f"{folder}/repo/indexes", f"{folder}/indexes")
    read("latest", back, folder)
    expect_same(data, back)
    shutil.move(f"{folder}/indexes", f"{folder}/repo/indexes")


def test_keys(folder):
    data, back = f"{folder}/data", f"{folder}/back"
    with open(f"{folder}/passphrase", "w", encoding="ascii") as file:
        file.write("correct horse\n")
    os.chmod(f"{folder}/passphrase", 0o600)
    shutil.copy(f"{folder}/key", f"{folder}/other")
    other = ["--repo", f"{folder}/repo", "--key-file", f"{folder}/other"]
    environment = {**os.environ, "FORTRESS_PASSPHRASE_FILE": f"{folder}/passphrase"}
    agent("key", "add", "words", "--passphrase", *other, env=environment)
    agent("key", "remove", "file", *other, env=environment)
    read("latest", back, folder, "--passphrase-file", f"{folder}/passphrase", key=f"{folder}/other")
    expect_same(data, back)
    made = agent("key", "identity", "--out", f"{folder}/identity", "--json")
    public = json.loads(made.out.splitlines()[-1])["public_key"]
    agent("key", "add", "vault", "--x25519", public, *other, env=environment)
    read("latest", back, folder, "--identity", f"{folder}/identity", key=f"{folder}/other")
    expect_same(data, back)
    refused = read("latest", back, folder, key=f"{folder}/other", status=1)
    assert "nothing in it can be opened" in refused.err and not os.path.exists(back), refused.err


def test_damage(folder, rng):
    """Never anything wrong: what a flipped bit did not reach is restored whole, else nothing is."""
    data, back = f"{folder}/data", f"{folder}/back"
    places = [os.path.join(top, name) for top, _, names in os.walk(f"{folder}/repo") for name in names]
    refused = 0
    for path in [rng.choice(sorted(places)) for _ in range(20)] + [f"{folder}/repo/config"]:
        mode = os.stat(path).st_mode
        os.chmod(path, 0o600)
        at, mask = rng.randrange(os.path.getsize(path)), 1 << rng.randrange(8)
        flip(path, at, mask)
        done = read("latest", back, folder, status=None)
        if done.returncode == 0:
            expect_same(data, back)
        else:
            refused += 1
            assert done.returncode == 1 and "fortress_reader: " in done.err, done.err
            assert not os.path.exists(back), f"something was left after {path} byte {at}"
        flip(path, at, mask)
        os.chmod(path, mode)
    assert refused > 0
    print(f"ok damage: {refused} of 21 refused")


def main():
    test_rules()
    rng = support.seed()
    with support.scratch() as folder:
        folder = os.path.realpath(folder)
        test_files(folder, rng)
        print("ok files")
        test_keys(folder)
        print("ok keys")
        test_damage(folder, rng)


main()
