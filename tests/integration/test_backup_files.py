"""Backs up a folder with everything a file system has in it, restores it, and compares all of it."""

import json
import os
import socket
import stat
import subprocess
import threading
import time

import support


def agent(*words, status=0, **options):
    return support.run(support.AGENT, *words, status=status, **options)


def summary(done):
    return json.loads(done.out.splitlines()[-1])


class Repository:
    def __init__(self, folder):
        self.url = os.path.join(folder, "repo")
        self.key = os.path.join(folder, "repo.key")
        self.words = ["--repo", self.url, "--key-file", self.key]
        agent("repo", "init", *self.words)

    def backup(self, *words, **options):
        return agent("backup", "files", *words, *self.words, **options)

    def restore(self, *words, **options):
        return agent("restore", *words, *self.words, **options)


def describe(root):
    """All that matters about a tree: a dictionary from path to facts."""
    root = os.fsencode(root)
    facts = {}
    groups = {}
    for folder, folders, files in os.walk(root):
        for name in [b"."] + folders + files:
            path = os.path.normpath(os.path.join(folder, name))
            info = os.lstat(path)
            fact = {
                "mode": info.st_mode,
                "owner": (info.st_uid, info.st_gid),
                "mtime": info.st_mtime_ns,
                "xattrs": {
                    each: os.getxattr(path, each, follow_symlinks=False)
                    for each in os.listxattr(path, follow_symlinks=False)
                },
            }
            if stat.S_ISREG(info.st_mode):
                with open(path, "rb") as file:
                    fact["content"] = file.read()
                fact["links"] = info.st_nlink
                groups.setdefault(info.st_ino, []).append(os.path.relpath(path, root))
            if stat.S_ISLNK(info.st_mode):
                fact["target"] = os.readlink(path)
            if stat.S_ISCHR(info.st_mode) or stat.S_ISBLK(info.st_mode):
                fact["device"] = info.st_rdev
            facts[os.path.relpath(path, root)] = fact
    facts["links"] = sorted(sorted(group) for group in groups.values() if len(group) > 1)
    return facts


def compare(left, right):
    left, right = describe(left), describe(right)
    for path in sorted(set(left) | set(right), key=str):
        assert left.get(path) == right.get(path), (
            f"{path!r} differs: {str(left.get(path))[:300]} / {str(right.get(path))[:300]}"
        )


def make_everything(root, rng):
    os.makedirs(f"{root}/folder/deep/er")
    os.makedirs(f"{root}/empty")
    for name, size in (("small", 10), ("nothing", 0), ("large", 9_000_000), ("odd", 65537)):
        with open(f"{root}/folder/{name}", "wb") as file:
            file.write(rng.randbytes(size))
    for name in (b"new\nline", b"\xff\xfe invalid", b" blank ", "snow ☃".encode(), b"-rf", b"*"):
        with open(os.path.join(os.fsencode(root), name), "wb") as file:
            file.write(name)
    with open(f"{root}/sparse", "wb") as file:
        file.write(b"begin")
        file.seek(300 * 1024 * 1024)
        file.write(b"middle")
        file.truncate(1024 * 1024 * 1024)
    with open(f"{root}/zeros", "wb") as file:
        file.write(bytes(3_000_001))
    os.link(f"{root}/folder/small", f"{root}/second-name")
    os.link(f"{root}/folder/small", f"{root}/folder/deep/third-name")
    os.symlink("../folder/small", f"{root}/folder/deep/link")
    os.symlink("/nonexistent", f"{root}/dangling")
    os.symlink("/etc", f"{root}/to-etc")
    os.mkfifo(f"{root}/pipe", 0o620)
    with socket.socket(socket.AF_UNIX) as end:
        end.bind(f"{root}/socket")
    os.mknod(f"{root}/null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.setxattr(f"{root}/folder/large", "user.note", b"\x00\x01binary")
    os.setxattr(f"{root}/folder", "user.folder", b"yes")
    os.setxattr(f"{root}/to-etc", "trusted.link", b"of the link", follow_symlinks=False)
    support.run("setfacl", "-m", "u:daemon:r--,g:bin:rw-", f"{root}/folder/odd")
    support.run("setfacl", "-d", "-m", "u:daemon:rwx", f"{root}/folder/deep")
    os.chown(f"{root}/folder/odd", 1234, 4321)
    os.lchown(f"{root}/dangling", 77, 88)
    os.chmod(f"{root}/folder/large", 0o4711)
    os.chmod(f"{root}/folder/nothing", 0o000)
    os.chmod(f"{root}/empty", 0o2775)
    os.chmod(f"{root}/folder/deep/er", 0o1777)
    os.utime(f"{root}/folder/small", ns=(0, 1_234_567_890_123_456_789))
    os.utime(f"{root}/dangling", ns=(0, -1_500_000_000), follow_symlinks=False)
    os.utime(f"{root}/empty", ns=(0, 981_173_106_000_000_001))
    os.utime(f"{root}/folder", ns=(0, 1))


def test_everything_comes_back(folder, rng):
    data = f"{folder}/data"
    make_everything(data, rng)
    repository = Repository(folder)
    assert stat.S_IMODE(os.stat(repository.key).st_mode) == 0o600
    repository.backup(data, "--name", "all")
    repository.restore("latest", "--target", f"{folder}/back")
    compare(data, f"{folder}/back{data}")
    for name in ("sparse", "zeros"):
        before, after = os.stat(f"{data}/{name}"), os.stat(f"{folder}/back{data}/{name}")
        assert after.st_blocks <= before.st_blocks, f"{name} takes more room than it did"
    # A part of it, directly into the target.
    repository.restore("latest", "--target", f"{folder}/part", "--path", f"{data}/folder")
    compare(f"{data}/folder/deep/er", f"{folder}/part/deep/er")
    assert os.stat(f"{folder}/part").st_mtime_ns == 1
    repository.restore("latest", "--target", f"{folder}/one", "--path", f"{data}/folder/large")
    assert os.listdir(f"{folder}/one") == ["large"]
    done = repository.restore("latest", "--target", f"{folder}/no", "--path", "/nope", status=6)
    assert "/nope" in done.err and not os.path.exists(f"{folder}/no")
    # Unchanged files are not read again, and nothing is stored anew.
    support.wait_until_settled(data)
    repository.backup(data, "--name", "all")
    again = summary(repository.backup(data, "--name", "all", "--json"))
    assert again["result"] == "done" and again["exit_code"] == 0, again
    assert again["snapshot"]["added_bytes"] < 4096, again
    repository.restore("latest", "--target", f"{folder}/back2")
    compare(data, f"{folder}/back2{data}")


def test_only_changed_files_are_read(folder):
    data = f"{folder}/data"
    os.makedirs(data)
    for name in ("a", "b"):
        with open(f"{data}/{name}", "wb") as file:
            file.write(os.urandom(300_000))
    repository = Repository(folder)
    support.wait_until_settled(data)
    repository.backup(data)
    # Same size, same modification time: only the change time tells.
    before = os.stat(f"{data}/a")
    with open(f"{data}/a", "r+b") as file:
        file.write(b"changed")
    os.utime(f"{data}/a", ns=(before.st_atime_ns, before.st_mtime_ns))
    repository.backup(data)
    repository.restore("latest", "--target", f"{folder}/back")
    compare(data, f"{folder}/back{data}")
    repository.backup(data, "--force")
    # What no index names may be about to go: the unchanged files are read and stored again.
    indexes = f"{folder}/repo/indexes"
    for name in os.listdir(indexes):
        os.unlink(f"{indexes}/{name}")
    again = summary(repository.backup(data, "--json"))
    assert again["snapshot"]["added_bytes"] > 600_000, again
    repository.restore("latest", "--target", f"{folder}/back-again")
    compare(data, f"{folder}/back-again{data}")


def test_warnings(folder):
    data = f"{folder}/data"
    os.makedirs(data)
    with open(f"{data}/good", "wb") as file:
        file.write(b"good")
    with open(f"{data}/growing", "wb") as file:
        file.write(os.urandom(4 << 20))
    repository = Repository(folder)
    stop = threading.Event()

    def change():
        while not stop.is_set():
            with open(f"{data}/growing", "r+b") as file:
                file.seek(1 << 20)
                file.write(os.urandom(4096))

    thread = threading.Thread(target=change)
    thread.start()
    try:
        done = repository.backup(data, f"{folder}/missing", "--name", "w", "--json", status=3)
    finally:
        stop.set()
        thread.join()
    events = [json.loads(line) for line in done.out.splitlines()]
    warned = {each["path"] for each in events if each["event"] == "warning"}
    assert warned == {f"{data}/growing", f"{folder}/missing"}, warned
    assert events[-1]["result"] == "warnings" and events[-1]["exit_code"] == 3
    assert events[-1]["snapshot"]["snapshot_warning_count"] == 2
    repository.restore("latest", "--target", f"{folder}/back")
    with open(f"{folder}/back{data}/good", "rb") as file:
        assert file.read() == b"good"
    repository.backup(f"{folder}/missing", status=6)


def test_unreadable_file(folder):
    """As an ordinary user, for whom modes count."""
    home = f"{folder}/home"
    os.makedirs(f"{home}/data/closed")
    for name in ("open", "secret", "closed/in"):
        with open(f"{home}/data/{name}", "wb") as file:
            file.write(name.encode())
    support.run("chown", "-R", "nobody:nogroup", home)
    os.chmod(folder, 0o755)
    os.chown(f"{home}/data/secret", 0, 0)
    os.chmod(f"{home}/data/secret", 0o600)
    os.chmod(f"{home}/data/closed", 0o000)
    user = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", support.AGENT]
    words = ["--repo", f"{home}/repo", "--key-file", f"{home}/key"]
    support.run(*user, "repo", "init", *words, cwd="/")
    done = support.run(*user, "backup", "files", f"{home}/data", *words, status=3, cwd="/")
    assert "secret" in done.err and "closed" in done.err, done.err
    words += ["--path", f"{home}/data"]
    support.run(*user, "restore", "latest", "--target", f"{home}/back", *words, cwd="/")
    assert os.listdir(f"{home}/back") == ["open"]
    # The folders above it belong to root: that they cannot is told.
    words[-1] = "/"
    done = support.run(*user, "restore", "latest", "--target", f"{home}/all", *words, cwd="/")
    assert "only root may give it" in done.out and done.err == "", done.out + done.err
    done = support.run(
        *user, "restore", "latest", "--target", f"{home}/again", "--json", *words, cwd="/"
    )
    assert json.loads(done.out.splitlines()[-1])["owners_left"] is True, done.out
    assert os.path.exists(f"{home}/all{home}/data/open")


def test_keys(folder):
    repository = Repository(folder)
    os.makedirs(f"{folder}/data")
    repository.backup(f"{folder}/data")
    agent("repo", "init", "--repo", f"{folder}/other", "--key-file", f"{folder}/other.key")
    for verb in (["restore", "latest", "--target", f"{folder}/back"], ["verify"]):
        done = agent(*verb, "--repo", repository.url, "--key-file", f"{folder}/other.key", status=5)
        assert "key" in done.err, done.err
    assert not os.path.exists(f"{folder}/back")
    agent("verify", "--repo", repository.url, "--key-file", f"{folder}/absent", status=6)
    agent("verify", "--repo", f"{folder}/absent", "--key-file", repository.key, status=6)
    agent("repo", "init", *repository.words, status=9)
    agent("restore", "latest", *repository.words, status=2)
    agent("snapshots", "--read-data", *repository.words, status=2)
    agent("nonsense", status=2)
    agent("verify", *repository.words)
    environment = {
        **os.environ,
        "FORTRESS_REPO": f"posix:{repository.url}",
        "FORTRESS_KEY_FILE": repository.key,
    }
    agent("verify", "--read-data", env=environment)


def test_time_and_source(folder):
    repository = Repository(folder)
    os.makedirs(f"{folder}/data")
    times = []
    for content in ("one", "two", "three"):
        with open(f"{folder}/data/file", "w", encoding="ascii") as file:
            file.write(content)
        repository.backup(f"{folder}/data", "--name", "app")
        second = int(time.time()) + 1  # times have whole seconds: the next backup begins after this one
        times.append(time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(second)))
        support.wait_until("the second is over", lambda at=second: time.time() > at + 1)
    for index, content in enumerate(("one", "two", "three")):
        target = f"{folder}/back{index}"
        repository.restore("latest", "--time", times[index], "--target", target)
        with open(f"{target}{folder}/data/file", encoding="ascii") as file:
            assert file.read() == content
    early = ["--time", "2001-01-01T00:00:00Z"]
    repository.restore("latest", *early, "--target", f"{folder}/none", status=6)
    repository.backup(f"{folder}/data", "--name", "other")
    done = repository.restore("latest", "--target", f"{folder}/none", status=14)
    assert "files:app" in done.err and "files:other" in done.err, done.err
    repository.restore("latest", "--source", "app", "--target", f"{folder}/named")
    listed = agent("snapshots", "--json", *repository.words)
    snapshots = [json.loads(line) for line in listed.out.splitlines()][:-1]
    assert [each["source"] for each in snapshots] == ["files:app"] * 3 + ["files:other"]
    repository.restore(snapshots[0]["id"][:12], "--target", f"{folder}/by-id")
    with open(f"{folder}/by-id{folder}/data/file", encoding="ascii") as file:
        assert file.read() == "one"
    table = agent("snapshots", "--repo", repository.url)
    assert len(table.out.splitlines()) == 5 and "files:other" in table.out


def test_targets(folder):
    repository = Repository(folder)
    os.makedirs(f"{folder}/data/sub")
    with open(f"{folder}/data/sub/file", "w", encoding="ascii") as file:
        file.write("ours")
    repository.backup(f"{folder}/data")
    victim = f"{folder}/victim"
    os.makedirs(victim)
    # What is there stays as it is.
    full = f"{folder}/full"
    os.makedirs(full)
    with open(f"{full}/precious", "w", encoding="ascii") as file:
        file.write("precious")
    done = repository.restore("latest", "--target", full, status=9)
    assert "not empty" in done.err and os.listdir(full) == ["precious"]
    # A link is not followed, neither as the target nor planted in it.
    os.symlink(victim, f"{folder}/link")
    done = repository.restore("latest", "--target", f"{folder}/link", status=9)
    assert "symbolic link" in done.err
    os.makedirs(f"{folder}/planted")
    os.symlink(victim, f"{folder}/planted/sub")
    path = ["--path", f"{folder}/data"]
    repository.restore("latest", *path, "--target", f"{folder}/planted", status=9)
    with open(f"{folder}/file", "w", encoding="ascii"):
        pass
    repository.restore("latest", "--target", f"{folder}/file", status=9)
    assert os.listdir(victim) == []
    # An empty folder keeps its owner and mode; a mount point can be filled, too.
    os.makedirs(f"{folder}/empty")
    os.chown(f"{folder}/empty", 12, 34)
    os.chmod(f"{folder}/empty", 0o751)
    repository.restore("latest", "--target", f"{folder}/empty/")
    info = os.stat(f"{folder}/empty")
    assert (info.st_uid, info.st_gid, stat.S_IMODE(info.st_mode)) == (12, 34, 0o751)
    os.makedirs(f"{folder}/mounted")
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "none", f"{folder}/mounted"], check=False, capture_output=True
    )
    if mount.returncode == 0:
        try:
            repository.restore("latest", *path, "--target", f"{folder}/mounted")
            assert os.listdir(f"{folder}/mounted") == ["sub"]
        finally:
            support.run("umount", f"{folder}/mounted")
    left = [name for name in os.listdir(folder) if "fortress-restore" in name]
    assert left == [], left


def test_repository_within_what_is_saved(folder):
    repository = Repository(folder)
    with open(f"{folder}/file", "wb") as file:
        file.write(b"x")
    repository.backup(folder)
    repository.restore("latest", "--target", f"{folder}.back")
    names = os.listdir(f"{folder}.back{folder}")
    support.run("rm", "-rf", f"{folder}.back")
    assert "file" in names and "repo" not in names, names


def main():
    support.need_root()
    rng = support.seed()
    with support.scratch() as folder:
        tests = [
            lambda at: test_everything_comes_back(at, rng),
            test_only_changed_files_are_read,
            test_warnings,
            test_unreadable_file,
            test_keys,
            test_time_and_source,
            test_targets,
            test_repository_within_what_is_saved,
        ]
        for number, test in enumerate(tests):
            os.chmod(folder, 0o755)
            place = f"{folder}/{number}"
            os.makedirs(place)
            test(place)
            print("ok", getattr(test, "__name__", number), flush=True)


if __name__ == "__main__":
    main()
