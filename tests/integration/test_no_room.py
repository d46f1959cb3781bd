"""Each tier full and each read-only: verbs say so, lose nothing, and succeed when there is room again."""

import json
import os
import shutil
import subprocess
import sys

import every_kind
import support

INSIDE = "FORTRESS_TEST_INSIDE"  # a mount namespace of the test's own
MEBIBYTE = 1 << 20
FULL = 8
READ_ONLY = 7
# Each enough for the small objects, and not for all data, of which every run has 3 MB.
ROOMS = (4, 12, 200, 1500)


class Disk:
    """A file system of a few MiB."""

    def __init__(self, folder, name):
        self.path = f"{folder}/{name}"
        self.filler = f"{self.path}/filler"
        os.mkdir(self.path)
        support.run("mount", "-t", "tmpfs", "-o", "size=24m", "fortress-test", self.path)

    def fill(self, leave_kib=0):
        self.free()
        with open(self.filler, "wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError:
                pass
            file.truncate(os.fstat(file.fileno()).st_size - leave_kib * 1024)

    def free(self):
        if os.path.exists(self.filler):
            os.unlink(self.filler)

    def lock(self):
        support.run("mount", "-o", "remount,ro", self.path)

    def unlock(self):
        support.run("mount", "-o", "remount,rw", self.path)


class Platform:
    """Two tiers and a place to restore to, each on a disk of its own."""

    def __init__(self, folder, rng):
        self.folder = folder
        self.rng = rng
        self.disks = {name: Disk(folder, name) for name in ("source", "target", "restored")}
        self.source = f"{self.disks['source'].path}/repo"
        self.target = f"{self.disks['target'].path}/repo"
        self.back = f"{self.disks['restored'].path}/back"
        self.key = f"{folder}/key"
        self.data = f"{folder}/data"
        self.states = {}
        os.mkdir(self.data)
        self.agent("repo", "init")
        self.change()
        self.backup()
        self.agent("replicate", "--to", self.target)

    def agent(self, *words, url=None, status=0):
        keyless = words[0] in ("forget", "hold")
        words = [*words, "--repo", url or self.source]
        return support.agent(*words, *([] if keyless else ["--key-file", self.key]), status=status)

    def change(self):
        with open(f"{self.data}/file", "wb") as file:
            file.write(self.rng.randbytes(3_000_000))

    def backup(self):
        done = self.agent("backup", "files", self.data, "--name", "data", "--json")
        identity = json.loads(done.out.splitlines()[-1])["snapshot"]["id"]
        copy = f"{self.folder}/copy-{len(self.states)}"
        shutil.copytree(self.data, copy)
        self.states[identity] = copy
        return identity

    def listed(self, url):
        done = self.agent("snapshots", "--json", url=url)
        return {each["id"] for each in map(json.loads, done.out.splitlines())
                if each["event"] == "snapshot"}

    def restores(self, url, identity):
        back = f"{self.folder}/back"
        self.agent("restore", identity, "--target", back, "--path", self.data, url=url)
        assert every_kind.same(self.states[identity], back)
        shutil.rmtree(back)

    def is_whole(self, url):
        """Reading needs no room."""
        self.agent("verify", "--read-data", url=url)
        for identity in self.listed(url):
            self.restores(url, identity)

    def refused(self, disk, status, *words, url=None):
        """It says what, where and what to do, in words and as JSON; no temporary is left."""
        place = self.disks[disk].path
        done = self.agent(*words, url=url, status=status)
        lines = done.err.splitlines()
        assert place in lines[0], done.err
        reason = "No space left" if status == FULL else "Read-only file system"
        assert "could not" in lines[0] and reason in lines[0], done.err
        advice = "make room there" if status == FULL else "make it writable there"
        assert advice in lines[-1] and "run it again" in lines[-1], done.err
        told = json.loads(self.agent(*words, "--json", url=url, status=status).out.splitlines()[-1])
        assert told["result"] == "failed" and told["exit_code"] == status, told
        assert advice in told["advice"], told
        for name in ("source", "target"):
            left = f"{self.disks[name].path}/repo/tmp"
            assert not os.listdir(left), f"{words} left temporaries"


def writers(platform, snapshot):
    """Every verb that puts something into the source."""
    return (
        ("backup", "files", platform.data, "--name", "data"),
        ("collect",),
        ("forget", snapshot),
        ("hold", "add", snapshot, "--kind", "legal", "--reason", "a test"),
        ("key", "publish"),
        ("scope", "create", "another"),
        ("repair", "index"),
    )


def source_unwritable(platform, status, snapshot):
    """Verbs that write are refused; all that read go on."""
    before = platform.listed(platform.source)
    for words in writers(platform, snapshot):
        if words[0] in ("key", "scope"):
            continue  # they change the key file first
        platform.refused("source", status, *words)
    assert platform.listed(platform.source) == before
    platform.is_whole(platform.source)


def rotate_unwritable(platform, status):
    """The key file is changed, the repository is not: it says how to tell it, and that works later."""
    done = platform.agent("key", "rotate", "--scope", "default", status=status)
    assert "the key file is changed" in done.err and "key publish" in done.err, done.err
    platform.is_whole(platform.source)
    platform.refused("source", status, "key", "publish")


def source(platform):
    disk = platform.disks["source"]
    snapshot = sorted(platform.states)[0]
    for status, begin, end in ((FULL, disk.fill, disk.free), (READ_ONLY, disk.lock, disk.unlock)):
        platform.change()
        begin()
        source_unwritable(platform, status, snapshot)
        # The source of a replication is only read.
        platform.agent("replicate", "--to", platform.target)
        rotate_unwritable(platform, status)
        end()
        platform.agent("key", "publish")
        platform.backup()
        platform.agent("collect")
        platform.is_whole(platform.source)
        print("ok: source", "full" if status == FULL else "read-only", flush=True)


def source_fills_up(platform):
    """There is room for the first objects, and then no more."""
    disk = platform.disks["source"]
    for room in ROOMS:
        platform.change()
        disk.fill(room)
        before = platform.listed(platform.source)
        platform.refused("source", FULL, "backup", "files", platform.data, "--name", "data")
        assert platform.listed(platform.source) == before
        platform.is_whole(platform.source)
        disk.free()
        platform.backup()
        left = os.listdir(f"{platform.source}/leases")
        assert not left, f"leases: {left}"
        # What is forgotten leaves half-needed packs; to write the rest anew takes room.
        snapshot = sorted(platform.listed(platform.source))[0]
        disk.fill(min(room, 12))
        done = platform.agent("forget", snapshot, status=None)
        assert done.returncode in (0, FULL), done.err
        forgotten = snapshot not in platform.listed(platform.source)
        assert forgotten == (done.returncode == 0), done.err
        done = platform.agent("collect", "--live-percent", "100", status=None)
        assert done.returncode in (0, FULL), done.err
        platform.is_whole(platform.source)
        disk.free()
        platform.agent("forget", snapshot, status=6 if forgotten else 0)
        platform.agent("collect", "--live-percent", "100")
        for kind in ("leases", "marks"):
            assert not os.listdir(f"{platform.source}/{kind}"), kind
        platform.is_whole(platform.source)
    print("ok: source fills up", flush=True)


def target(platform):
    disk = platform.disks["target"]
    words = ("replicate", "--to", platform.target)
    for status, begin, end in (
        (FULL, disk.fill, disk.free),
        *((FULL, lambda room=room: disk.fill(room), disk.free) for room in ROOMS),
        (READ_ONLY, disk.lock, disk.unlock),
    ):
        platform.change()
        fresh = platform.backup()
        before = platform.listed(platform.target)
        begin()
        platform.refused("target", status, *words)
        assert platform.listed(platform.target) == before, "a snapshot came before what it needs"
        platform.is_whole(platform.target)
        snapshot = sorted(before)[0]
        if status == READ_ONLY:
            platform.refused("target", status, "collect", url=platform.target)
            platform.refused("target", status, "forget", snapshot, url=platform.target)
            platform.refused("target", status, "repair", "--from", platform.source,
                             url=platform.target)
        end()
        platform.agent(*words)
        assert fresh in platform.listed(platform.target)
        platform.is_whole(platform.target)
        # So that the disks do not fill by themselves.
        for url in (platform.source, platform.target):
            for identity in sorted(platform.listed(url) - {fresh}):
                platform.agent("forget", identity, url=url)
            platform.agent("collect", url=url)
        assert not os.listdir(f"{platform.target}/leases")
    print("ok: target full, filling up and read-only", flush=True)


def restored(platform):
    disk = platform.disks["restored"]
    snapshot = sorted(platform.listed(platform.source))[-1]
    words = ("restore", snapshot, "--target", platform.back, "--path", platform.data)
    for status, begin, end in (
        (FULL, disk.fill, disk.free),
        *((FULL, lambda room=room: disk.fill(room), disk.free) for room in ROOMS),
        (READ_ONLY, disk.lock, disk.unlock),
    ):
        begin()
        platform.refused("restored", status, *words)
        assert not os.path.exists(platform.back), "something that is not whole appeared"
        end()
        platform.agent(*words)
        assert every_kind.same(platform.states[snapshot], platform.back)
        shutil.rmtree(platform.back)
        assert not os.listdir(disk.path), os.listdir(disk.path)
    print("ok: restored to full, filling up and read-only", flush=True)


def keys(platform):
    """A key file is whole, whatever becomes of its disk."""
    disk = platform.disks["restored"]
    key = f"{disk.path}/key"
    shutil.copy(platform.key, key)
    for status, begin, end in ((FULL, disk.fill, disk.free), (READ_ONLY, disk.lock, disk.unlock)):
        with open(key, "rb") as file:
            before = file.read()
        begin()
        done = support.agent("key", "rotate", "--key-file", key, "--repo", platform.source,
                             status=status)
        assert key in done.err and "run it again" in done.err, done.err
        with open(key, "rb") as file:
            assert file.read() == before
        support.agent("verify", "--key-file", key, "--repo", platform.source)
        end()
        support.agent("key", "rotate", "--key-file", key, "--repo", platform.source)
        support.agent("verify", "--key-file", key, "--repo", platform.source)
    print("ok: key file on a disk that is full or read-only", flush=True)


def main():
    support.need_root()
    if INSIDE not in os.environ:
        if subprocess.run(["unshare", "-m", "true"], check=False).returncode != 0:
            support.skip("needs a mount namespace")
        os.environ[INSIDE] = "1"
        os.execvp("unshare", ["unshare", "-m", sys.executable, "-B", *sys.argv])
    rng = support.seed()
    with support.scratch() as folder:
        platform = Platform(os.path.realpath(folder), rng)
        try:
            for part in (source, source_fills_up, target, restored, keys):
                part(platform)
        finally:
            for disk in platform.disks.values():
                support.run("umount", "-l", disk.path)


if __name__ == "__main__":
    main()
