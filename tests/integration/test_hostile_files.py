"""Files that change under a backup, and folders that change under a restore."""

import ctypes
import json
import os
import resource
import stat
import subprocess
import sys
import threading

import support

LIBC = ctypes.CDLL(None, use_errno=True)
AT_FDCWD, RENAME_EXCHANGE = -100, 2
SECRET = b"never to be read through a link " * 4096


def exchange(left, right, at=AT_FDCWD):
    """Swaps two names at once; the left one below the folder at."""
    left, right = os.fsencode(left), os.fsencode(right)
    if LIBC.renameat2(at, left, AT_FDCWD, right, RENAME_EXCHANGE) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def write(path, content):
    with open(path, "wb") as file:
        file.write(content)


class Repository:
    def __init__(self, folder):
        self.url = os.path.join(folder, "repo")
        self.words = ["--repo", self.url, "--key-file", os.path.join(folder, "repo.key")]
        support.agent("repo", "init", *self.words)

    def backup(self, *words, **options):
        return support.agent("backup", "files", *words, *self.words, **options)

    def restore(self, *words, **options):
        return support.agent("restore", *words, *self.words, **options)


class Racer:
    """Does something again and again beside the test's own work."""

    def __init__(self, step):
        self.step = step
        self.stop = threading.Event()
        self.failure = None
        self.count = 0
        self.thread = threading.Thread(target=self.run)

    def run(self):
        try:
            while not self.stop.is_set():
                self.step(self.count)
                self.count += 1
        except OSError as failure:
            self.failure = failure

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join()
        assert self.failure is None, self.failure


def warned_paths(done):
    events = [json.loads(line) for line in done.out.splitlines()]
    return {each["path"] for each in events if each["event"] == "warning"}, events[-1]


def make_victims(data, aside, rng):
    """Files, and beside the data what takes their places."""
    os.makedirs(data)
    os.makedirs(aside)
    write(f"{aside}/secret", SECRET)
    for number in range(8):
        name = f"victim{number}"
        write(f"{data}/{name}", rng.randbytes(300_000))
        if number % 4 == 0:
            os.mkfifo(f"{aside}/{name}")
        elif number % 4 == 1:
            os.symlink(f"{aside}/secret", f"{aside}/{name}")
        elif number % 4 == 2:
            os.makedirs(f"{aside}/{name}")
            write(f"{aside}/{name}/inner", b"inner")
        else:
            os.mknod(f"{aside}/{name}", stat.S_IFCHR | 0o600, os.makedev(1, 5))
    for name in ("victim-grows", "victim-goes"):
        write(f"{data}/{name}", rng.randbytes(300_000))
    stable = {}
    for number in range(100):
        stable[f"stable{number}"] = rng.randbytes(2000)
        write(f"{data}/stable{number}", stable[f"stable{number}"])
    return stable


def test_files_that_change_while_they_are_read(folder, rng):
    data, aside = f"{folder}/data", f"{folder}/aside"
    stable = make_victims(data, aside, rng)
    content = rng.randbytes(300_000)

    def step(count):
        for number in range(8):
            exchange(f"{data}/victim{number}", f"{aside}/victim{number}")
        size = 300_000 if count % 2 else 100_000
        with open(f"{data}/victim-grows", "r+b") as file:
            file.truncate(size)
            file.write(content[:size])
        os.rename(f"{data}/victim-goes", f"{data}/victim-went")
        os.rename(f"{data}/victim-went", f"{data}/victim-goes")

    repository = Repository(folder)
    warned = set()
    with Racer(step) as racer:
        for number in range(8):
            done = repository.backup(data, "--name", "race", "--json", "--force", status=None)
            assert done.returncode in (0, 3), done.out + done.err
            paths, last = warned_paths(done)
            assert (done.returncode == 3) == bool(paths), last
            warned |= paths
            target = f"{folder}/back{number}"
            repository.restore(last["snapshot"]["id"], "--path", data, "--target", target)
            for name, expected in stable.items():
                with open(f"{target}/{name}", "rb") as file:
                    assert file.read() == expected, name
            for name in os.listdir(target):
                info = os.lstat(f"{target}/{name}")
                if stat.S_ISREG(info.st_mode):
                    with open(f"{target}/{name}", "rb") as file:
                        assert SECRET[:1000] not in file.read(), f"{name}: a link was followed"
    assert racer.count > 8, racer.count
    assert warned and all(path.startswith(f"{data}/victim") for path in warned), warned
    print(f"{racer.count} rounds of changes, warned of {len(warned)} names")
    support.agent("verify", "--read-data", *repository.words)


# ---- odd and long paths


def make_long(top, names):
    """Folders in each other, with a file in the innermost: no whole path is ever used."""
    at = os.open(top, os.O_RDONLY | os.O_DIRECTORY)
    for name in names:
        os.mkdir(name, 0o750, dir_fd=at)
        below = os.open(name, os.O_RDONLY | os.O_DIRECTORY, dir_fd=at)
        os.close(at)
        at = below
    file = os.open("file", os.O_WRONLY | os.O_CREAT, 0o640, dir_fd=at)
    os.write(file, names[-1])
    os.close(file)
    os.close(at)


def read_long(top, names):
    at = os.open(top, os.O_RDONLY | os.O_DIRECTORY)
    for name in names:
        below = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=at)
        os.close(at)
        at = below
    assert stat.S_IMODE(os.fstat(at).st_mode) == 0o750
    file = os.open("file", os.O_RDONLY | os.O_NOFOLLOW, dir_fd=at)
    content = os.read(file, 4096)
    assert stat.S_IMODE(os.fstat(file).st_mode) == 0o640
    os.close(file)
    os.close(at)
    return content


def test_odd_and_long_paths(folder):
    data = f"{folder}/data"
    os.makedirs(f"{data}/long")
    os.makedirs(f"{data}/deep")
    long_names = [bytes([ord("a") + at]) * 255 for at in range(16)]  # 4,096 bytes
    longer_names = [b"%02d" % at + b"\xff" * 253 for at in range(40)]  # 10,240, no UTF-8
    deep_names = [b"%d" % (at % 10) for at in range(480)]
    make_long(f"{data}/long", long_names[:15])
    make_long(f"{data}/long", longer_names)
    make_long(f"{data}/deep", deep_names)
    make_long(f"{data}/deep", [b"too"] + [b"d"] * 600)
    odd = [b"new\nline", b"\n", b"\r\t\x1b[31m\x7f", b"\xff\xfe\xc3", b"\xc3\xa9" * 127 + b"x",
           b"-rf", b"...", b"..x", b"a\\b", b"\"quoted\"", b"'", b"*?[", b" ", b"%s%n", b"~"]
    os.makedirs(f"{data}/odd")
    for name in odd:
        write(os.path.join(os.fsencode(f"{data}/odd"), name), name)
        os.makedirs(os.path.join(os.fsencode(f"{data}/odd"), b"d" + name[:254], name))
    repository = Repository(folder)
    usual = {"preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 1024))}
    done = repository.backup(data, "--name", "odd", "--json", status=3, **usual)
    warned, last = warned_paths(done)
    assert len(warned) == 1 and min(warned).startswith(f"{data}/deep/too/d/d/"), warned
    assert "too deep" in done.out and last["snapshot"]["snapshot_warning_count"] == 1, last
    repository.restore("latest", "--target", f"{folder}/back", "--path", data, **usual)
    assert read_long(f"{folder}/back/long", long_names[:15]) == long_names[14]
    assert read_long(f"{folder}/back/long", longer_names) == longer_names[-1]
    assert read_long(f"{folder}/back/deep", deep_names) == deep_names[-1]
    at = os.fsencode(f"{folder}/back/odd")
    assert sorted(os.listdir(at)) == sorted(odd + [b"d" + name[:254] for name in odd])
    for name in odd:
        with open(os.path.join(at, name), "rb") as file:
            assert file.read() == name
        assert os.listdir(os.path.join(at, b"d" + name[:254])) == [name]
    # Again, in place and without a change; and the innermost file alone.
    repository.restore("latest", "--target", f"{folder}/back", "--path", data, "--in-place")
    assert read_long(f"{folder}/back/long", longer_names) == longer_names[-1]
    inner = os.fsencode(f"{data}/long/") + b"/".join(longer_names) + b"/file"
    support.agent("restore", "latest", "--target", f"{folder}/one", "--path", inner,
                  *repository.words)
    with open(f"{folder}/one/file", "rb") as file:
        assert file.read() == longer_names[-1]
    support.agent("verify", "--read-data", *repository.words)


def test_a_folder_of_many(folder):
    data = f"{folder}/data"
    os.makedirs(data)
    at = os.open(data, os.O_RDONLY | os.O_DIRECTORY)
    for number in range(100_000):
        os.close(os.open(f"{number:x}", os.O_WRONLY | os.O_CREAT, 0o600, dir_fd=at))
    os.close(at)
    repository = Repository(folder)
    repository.backup(data, "--name", "many")
    repository.restore("latest", "--target", f"{folder}/back", "--path", data)
    assert sorted(os.listdir(f"{folder}/back")) == sorted(os.listdir(data))


# ---- hostile targets


class Victim:
    """A folder beside the target in which nothing may change."""

    def __init__(self, folder):
        self.folder = f"{folder}/victim"
        os.makedirs(f"{self.folder}/inner")
        for name in ("file0", "file1", "pipe0", "inner/file0", "precious"):
            write(f"{self.folder}/{name}", b"precious")
            os.chmod(f"{self.folder}/{name}", 0o604)
        os.chmod(self.folder, 0o705)
        os.chmod(f"{self.folder}/inner", 0o701)
        self.before = self.look()

    def look(self):
        facts = {}
        for folder, folders, files in os.walk(self.folder):
            for name in ["."] + folders + files:
                path = os.path.normpath(f"{folder}/{name}")
                info = os.lstat(path)
                facts[path] = [info.st_mode, info.st_uid, info.st_mtime_ns]
                if stat.S_ISREG(info.st_mode):
                    with open(path, "rb") as file:
                        facts[path].append(file.read())
        return facts

    def check(self):
        after = self.look()
        for path in sorted(set(self.before) | set(after)):
            assert self.before.get(path) == after.get(path), (
                f"{path}: {self.before.get(path)} became {after.get(path)}"
            )


def make_tree(data):
    """What is restored: folders and files whose names the victim has, too."""
    for number in range(20):
        os.makedirs(f"{data}/sub{number}/inner")
        for name in ("file0", "file1", "inner/file0"):
            write(f"{data}/sub{number}/{name}", os.urandom(30_000))
        os.link(f"{data}/sub{number}/file1", f"{data}/sub{number}/linked")
        os.mkfifo(f"{data}/sub{number}/pipe0", 0o666)
        os.chmod(f"{data}/sub{number}", 0o777)
        os.chown(f"{data}/sub{number}/pipe0", 12, 34)


def check_tree(data, back):
    for number in range(20):
        for name in ("file0", "file1", "inner/file0", "linked"):
            path = f"{back}/sub{number}/{name}"
            assert stat.S_ISREG(os.lstat(path).st_mode), path
            with open(path, "rb") as left, open(f"{data}/sub{number}/{name}", "rb") as right:
                assert left.read() == right.read(), path
        assert stat.S_ISFIFO(os.lstat(f"{back}/sub{number}/pipe0").st_mode)
        assert stat.S_ISDIR(os.lstat(f"{back}/sub{number}").st_mode)


def plant(back, victim):
    """Links into the victim at the names that a restore will use; a pipe that nobody reads."""
    for number, (name, kind) in enumerate(
        [("file0", "link"), ("file1", "hard"), ("pipe0", "link"), ("inner", "link"), ("", "link"),
         ("file0", "pipe"), ("linked", "hard"), ("pipe0", "hard"), ("inner", "file")]
    ):
        path = f"{back}/sub{number}/{name}".rstrip("/")
        if os.path.lexists(path):
            support.run("rm", "-rf", path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if kind == "link":
            os.symlink(f"{victim}/{name}".rstrip("/"), path)
        elif kind == "hard":
            os.link(f"{victim}/file0", path)
        elif kind == "pipe":
            os.mkfifo(path)
        else:
            write(path, b"in the way")


def test_planted_links(folder):
    data, back = f"{folder}/data", f"{folder}/back"
    make_tree(data)
    victim = Victim(folder)
    repository = Repository(folder)
    repository.backup(data, "--name", "planted")
    words = ["latest", "--path", data, "--target", back]
    os.makedirs(back)
    plant(back, victim.folder)
    victim.before = victim.look()
    repository.restore(*words, "--in-place")
    victim.check()
    check_tree(data, back)
    # The target itself is a link.
    os.symlink(victim.folder, f"{folder}/link")
    for way in ([], ["--in-place"]):
        done = repository.restore(
            "latest", "--path", data, "--target", f"{folder}/link", *way, status=None
        )
        assert done.returncode not in (0, 3), done.out
        victim.check()


def break_off(folder, repository, words):
    """Kills a restore that has begun to write; gives the folder in which it did."""
    for _ in range(20):
        child = subprocess.Popen(
            [support.AGENT, "restore", *words, *repository.words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        staging = []
        while child.poll() is None and not staging:
            staging = [each for each in os.listdir(folder) if "fortress-restore-" in each]
        child.kill()
        child.communicate()
        staging = [each for each in os.listdir(folder) if "fortress-restore-" in each]
        if staging:
            return f"{folder}/{staging[0]}"
        support.run("rm", "-rf", words[-1])  # it was faster than the signal
    raise AssertionError("no restore was broken off")


def test_links_planted_in_a_broken_off_restore(folder):
    data, back = f"{folder}/data", f"{folder}/back"
    make_tree(data)
    write(f"{data}/large", os.urandom(20_000_000))
    victim = Victim(folder)
    repository = Repository(folder)
    repository.backup(data, "--name", "resumed")
    words = ["latest", "--path", data, "--target", back]
    staging = break_off(folder, repository, words)
    plant(staging, victim.folder)
    victim.before = victim.look()
    repository.restore(*words)
    victim.check()
    check_tree(data, back)


def test_links_that_are_swapped_in(folder):
    data, back = f"{folder}/data", f"{folder}/back"
    make_tree(data)
    victim = Victim(folder)
    repository = Repository(folder)
    repository.backup(data, "--name", "swapped")
    words = ["latest", "--path", data, "--target"]
    repository.restore(*words, back)
    aside = f"{folder}/aside"
    os.makedirs(aside)
    swaps = []
    for number in range(20):
        for name in ("", "inner", "file0", "pipe0"):
            link = f"{aside}/{number}-{name}"
            os.symlink(f"{victim.folder}/{name}".rstrip("/"), link)
            below = f"sub{number}" if name else ""
            swaps.append((below, name or f"sub{number}", link))

    def step(count):
        """In the target and in any place where a restore makes ready.

        A swap that found no folder leaves the link behind with the next one: this never goes
        through such a link itself, for what changes in the victim must be the restore's doing."""
        tops = [back] + [f"{folder}/{each}" for each in os.listdir(folder) if "restore-" in each]
        below, name, link = swaps[count % len(swaps)]
        for top in tops:
            try:
                at = os.open(f"{top}/{below}", os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW)
            except OSError:
                continue  # it is not there now, or a link
            for _ in range(2):
                try:
                    exchange(name, link, at)
                except OSError:
                    pass  # it is not there now
            os.close(at)

    ends = {}
    with Racer(step) as racer:
        for number in range(12):
            target = [back, "--in-place"] if number % 2 else [f"{folder}/new{number}"]
            done = repository.restore(*words, *target, status=None)
            ends[done.returncode] = ends.get(done.returncode, 0) + 1
            assert 0 <= done.returncode < 64, done.err
            victim.check()
    victim.check()
    print(f"{racer.count} swaps; restores ended with {ends}")


def main():
    support.need_root()
    rng = support.seed()
    tests = [
        lambda at: test_files_that_change_while_they_are_read(at, rng),
        test_odd_and_long_paths,
        test_a_folder_of_many,
        test_planted_links,
        test_links_planted_in_a_broken_off_restore,
        test_links_that_are_swapped_in,
    ]
    with support.scratch() as folder:
        for number, test in enumerate(tests):
            if len(sys.argv) > 1 and getattr(test, "__name__", "") not in sys.argv[1:]:
                continue
            place = f"{folder}/{number}"
            os.makedirs(place)
            test(place)
            print("ok", getattr(test, "__name__", number), flush=True)


if __name__ == "__main__":
    main()
