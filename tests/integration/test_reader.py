"""What the C program saved, the independent reader in Python restores, from docs/format.md alone."""

import ast
import hashlib
import json
import os
import pwd
import shutil
import stat
import sys

import support
from independent_reader import READER, read
from support import agent, flip

LINES_MAX = 400


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


def make_deep(data):
    """A path of nearly 4,000 bytes."""
    here = os.path.join(os.fsencode(data), b"deep")
    for index in range(15):
        here = os.path.join(here, b"%d\n" % index + b"d" * 240)
    os.makedirs(here)
    with open(os.path.join(here, b"end"), "wb") as file:
        file.write(b"end")


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
    for name in (b"new\nline", b"not \xff utf-8", b"n" * 255, b"\xff" * 255, b"\\ ' \" $(x) -- \x1b[1m"):
        with open(os.path.join(os.fsencode(data), name), "wb") as file:
            file.write(name)
    make_deep(data)
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
        at, mask = rng.randrange(os.path.getsize(path)), 1 << rng.randrange(8)
        flip(path, at, mask)
        done = read("latest", back, folder, status=None)
        if done.returncode != 1:
            expect_same(data, back)
        else:
            refused += 1
            assert not os.path.exists(back), f"something was left after {path} byte {at}"
        flip(path, at, mask)
        os.chmod(path, mode)
    assert refused > 0
    print(f"ok damage: {refused} of 21 refused")


def test_one_index(folder):
    """An index object that is damaged is told and not needed."""
    data, back = f"{folder}/data", f"{folder}/back"
    names = sorted(os.listdir(f"{folder}/repo/indexes"))
    path = f"{folder}/repo/indexes/{names[0]}"
    flip(path, os.path.getsize(path) // 2, 1)
    done = read("latest", back, folder, status=3)
    assert f"indexes/{names[0]}" in done.err, done.err
    expect_same(data, back)
    flip(path, os.path.getsize(path) // 2, 1)


def test_packs_exchanged(folder):
    """A pack that has the name of another is not used, whatever is in it."""
    back, found = f"{folder}/back", []
    for top, _, names in os.walk(f"{folder}/repo/packs"):
        found += [os.path.join(top, name) for name in names]
    places = found[1:] + found[:1]
    for index, path in enumerate(found):
        os.rename(path, f"{folder}/pack {index}")
    for index, path in enumerate(places):
        os.rename(f"{folder}/pack {index}", path)
    done = read("latest", back, folder, status=1)
    assert "its bytes are not what was written" in done.err, done.err
    for index, path in enumerate(places):
        os.rename(path, f"{folder}/pack {index}")
    for index, path in enumerate(found):
        os.rename(f"{folder}/pack {index}", path)
    read("latest", back, folder)
    expect_same(f"{folder}/data", back)


def test_key_objects(folder):
    """One that is damaged, or another's with a good name, is told of; with none left the keyring is no one's."""
    data, back = f"{folder}/data", f"{folder}/back"
    scope = os.listdir(f"{folder}/repo/keys")[0]
    names = sorted(os.listdir(f"{folder}/repo/keys/{scope}"))
    shutil.copy(f"{folder}/repo/keys/{scope}/{names[0]}", f"{folder}/repo/keys/{scope}/00000001-00000077")
    done = read("latest", back, folder, status=3)
    assert "00000001-00000077: it was put as" in done.err, done.err
    expect_same(data, back)
    os.remove(f"{folder}/repo/keys/{scope}/00000001-00000077")
    for name in names:  # the last byte of the signature, and a digest that fits
        path = f"{folder}/repo/keys/{scope}/{name}"
        with open(path, "rb") as file:
            body = bytearray(file.read()[:-32])
        body[-1] ^= 1
        shutil.move(path, f"{folder}/{name}")
        with open(path, "wb") as file:
            file.write(body + hashlib.sha256(body).digest())
    done = read("latest", back, folder, status=1)
    assert done.err.count("damaged, or of another key") == len(names), done.err
    assert "the key file is another repository's" in done.err, done.err
    for name in names:
        os.replace(f"{folder}/{name}", f"{folder}/repo/keys/{scope}/{name}")


def test_scopes(folder):
    """The latest is the newest that can be read, or of the scope that is asked for."""
    data, back, words = f"{folder}/data", f"{folder}/back", ["--repo", f"{folder}/repo", "--key-file", f"{folder}/key"]
    shutil.copy(f"{folder}/key", f"{folder}/first")
    agent("scope", "create", "carol", *words)
    os.mkdir(f"{folder}/secret")
    with open(f"{folder}/secret/file", "wb") as file:
        file.write(b"secret")
    agent("backup", "files", f"{folder}/secret", "--scope", "carol", "--name", "carol", *words)
    read("latest", back, folder)
    expect_same(f"{folder}/secret", back)
    read("latest", back, folder, key=f"{folder}/first")
    expect_same(data, back)
    listed = agent("key", "list", "--json", *words[2:]).out.splitlines()
    scopes = [one for one in map(json.loads, listed) if one.get("event") == "scope"]
    own = next(one for one in scopes if one["label"] != "carol")
    for which in (own["label"], own["id"]):
        read("latest", back, folder, "--scope", which)
        expect_same(data, back)
    read("latest", back, folder, "--scope", "carol")
    expect_same(f"{folder}/secret", back)
    refused = read("latest", back, folder, "--scope", "carol", key=f"{folder}/first", status=1)
    assert "no one snapshot" in refused.err, refused.err
    carol = next(name for name in os.listdir(f"{folder}/repo/snapshots")
                 if carol_wrote(f"{folder}/repo/snapshots/{name}"))
    read(carol[:12], back, folder)
    expect_same(f"{folder}/secret", back)
    read(carol[:12], back, folder, key=f"{folder}/first", status=1)


def carol_wrote(path):
    with open(path, "rb") as file:
        return b"files:carol" in file.read()


def test_devices(folder):
    """Who may not make a device gets all else."""
    data, back, words = f"{folder}/dev", f"{folder}/back", ["--repo", f"{folder}/devices", "--key-file", f"{folder}/key"]
    if os.geteuid() != 0:
        print("skipped: devices need root")
        return
    os.mkdir(data)
    os.mknod(f"{data}/null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mknod(f"{data}/disk", stat.S_IFBLK | 0o600, os.makedev(7, 99))
    os.mkfifo(f"{data}/pipe")
    with open(f"{data}/zz", "wb") as file:
        file.write(b"after them")
    agent("repo", "init", *words)
    agent("backup", "files", data, *words)
    os.makedirs(f"{folder}/own")
    shutil.copytree(f"{folder}/devices", f"{folder}/own/repo")
    shutil.copy(f"{folder}/key", f"{folder}/own/key")
    read("latest", back, f"{folder}/own")
    expect_same(data, back)
    assert os.path.getsize(f"{data}/zz") == 10
    user = pwd.getpwnam("postgres")
    for top, folders, names in os.walk(f"{folder}/own"):
        for name in [".", *folders, *names]:
            os.chown(os.path.join(top, name), user.pw_uid, user.pw_gid)
    os.chmod(folder, 0o755)
    prefix = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
    done = read("latest", f"{folder}/own/back", f"{folder}/own", status=3, prefix=prefix)
    assert done.err.count("warning: ") == 2 and "null" in done.err and "disk" in done.err, done.err
    with open(f"{folder}/own/back{data}/zz", "rb") as file:
        assert file.read() == b"after them"
    assert sorted(os.listdir(f"{folder}/own/back{data}")) == ["pipe", "zz"]


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
        for test in (test_one_index, test_packs_exchanged, test_key_objects, test_scopes, test_devices):
            test(folder)
            print(f"ok {test.__name__}", flush=True)


main()
