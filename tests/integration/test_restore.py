"""Restores in place, goes on with restores that were broken off, and never writes outside of the target."""

import os
import random
import resource
import shutil
import signal
import subprocess
import time

import support
from test_backup_files import Repository, agent, compare, describe, summary

MEGABYTE = 1 << 20


def fill(path, size, rng):
    with open(path, "wb") as file:
        file.write(rng.randbytes(size))


def read(path):
    with open(path, "rb") as file:
        return file.read()


def make_data(folder, rng):
    data = f"{folder}/data"
    for index in range(20):
        os.makedirs(f"{data}/many/{index}")
        for name in range(10):
            fill(f"{data}/many/{index}/{name}", rng.randrange(1, 40_000), rng)
    fill(f"{data}/large", 24 * MEGABYTE, rng)
    fill(f"{data}/linked", 100_000, rng)
    os.link(f"{data}/linked", f"{data}/linked too")
    os.symlink("large", f"{data}/link")
    with open(f"{data}/holes", "wb") as file:
        file.write(b"begin")
        file.seek(5 * MEGABYTE)
        file.write(b"end")
    return data


def staged(folder):
    return [f"{folder}/{name}" for name in os.listdir(folder) if "fortress-restore" in name]


def test_in_place_writes_only_what_differs(folder, repository, data):
    target = f"{folder}/place"
    path = ["--path", data, "--target", target]
    repository.restore("latest", *path)
    expected = describe(target)
    with open(f"{target}/large", "r+b") as file:
        file.seek(10 * MEGABYTE)
        file.write(b"something else")
    with open(f"{target}/holes", "r+b") as file:
        file.seek(MEGABYTE)
        file.write(b"no hole")
    with open(f"{target}/many/3/3", "ab") as file:
        file.write(b"longer")
    os.unlink(f"{target}/many/4/4")
    os.truncate(f"{target}/many/5/5", 0)
    shutil.rmtree(f"{target}/many/6")
    os.chmod(f"{target}/many/7", 0o500)
    os.unlink(f"{target}/link")
    os.symlink("elsewhere", f"{target}/link")
    fill(f"{target}/many/extra", 10, random)
    inode = os.stat(f"{target}/large").st_ino
    done = repository.restore("latest", *path, "--in-place", "--json")
    assert os.stat(f"{target}/large").st_ino == inode
    kept = summary(done)["kept_bytes"]
    total = summary(done)["done_bytes"]
    assert total - 8 * MEGABYTE < kept < total, (kept, total)
    assert len(read(f"{target}/many/extra")) == 10
    os.unlink(f"{target}/many/extra")
    os.utime(f"{target}/many", ns=(0, expected[b"many"]["mtime"]))
    got = describe(target)
    for each in set(got) | set(expected):
        assert got.get(each) == expected.get(each), each
    assert os.stat(f"{target}/holes").st_blocks < 2048
    shutil.rmtree(target)


def test_in_place_leaves_everything_else_alone(folder, repository, data):
    target = f"{folder}/hostile"
    victim = f"{folder}/victim"
    os.makedirs(victim)
    for name in ("file", "other", "large"):
        with open(f"{victim}/{name}", "w", encoding="ascii") as file:
            file.write("precious")
    before = describe(victim)
    path = ["--path", data, "--target", target, "--in-place"]
    os.makedirs(f"{target}/many/2")
    os.symlink(victim, f"{target}/many/1")
    os.symlink(f"{victim}/file", f"{target}/large")
    os.link(f"{victim}/other", f"{target}/holes")
    os.symlink(f"{victim}/file", f"{target}/many/2/2")
    os.mkfifo(f"{target}/many/2/3")
    repository.restore("latest", *path)
    compare(data, target)
    after = describe(victim)
    for name in (b"file", b"other", b"large"):
        assert after[name]["content"] == before[name]["content"] == b"precious", name
    shutil.rmtree(target)
    # The target itself is no link, and must be there.
    os.symlink(victim, f"{folder}/to-victim")
    repository.restore("latest", "--path", data, "--target", f"{folder}/to-victim", "--in-place", status=6)
    repository.restore("latest", "--path", data, "--target", f"{folder}/absent", "--in-place", status=6)
    assert sorted(os.listdir(victim)) == ["file", "large", "other"]


def begin(repository, words):
    return subprocess.Popen(
        [support.AGENT, "restore", *words, *repository.words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def break_off(folder, repository, words, number):
    """Ends a restore by a signal when it has begun to write; gives what it said, or None if it was done before."""
    child = begin(repository, words)
    deadline = time.monotonic() + 30
    while child.poll() is None and not any(os.listdir(one) for one in staged(folder)):
        assert time.monotonic() < deadline
    if child.poll() is None:
        child.send_signal(number)
    said = child.communicate()[1].decode()
    return None if child.returncode == 0 else said


def test_goes_on_after_it_was_broken_off(folder, repository, data):
    target = f"{folder}/resumed"
    words = ["latest", "--path", data, "--target", target]
    for number in (signal.SIGKILL, signal.SIGTERM):
        said = break_off(folder, repository, words, number)
        if said is None:
            print("  it was faster than the signal")
            shutil.rmtree(target)
            continue
        left = staged(folder)
        assert len(left) == 1 and not os.path.exists(target), left
        assert number == signal.SIGKILL or left[0] in said, said
        # What is there is believed only if it is right: a half-written file does no harm.
        large = f"{left[0]}/large"
        if os.path.exists(large):
            with open(large, "r+b") as file:
                file.write(b"power was lost here")
        repository.restore(*words)
        compare(data, target)
        assert staged(folder) == []
        shutil.rmtree(target)


def test_keeps_what_was_restored(folder, repository, data):
    """All but one file is there: next to nothing is fetched again."""
    target = f"{folder}/again"
    words = ["latest", "--path", data, "--target", target]
    child = begin(repository, words)
    while child.poll() is None and not staged(folder):
        pass
    child.kill()
    child.communicate()
    left = staged(folder)
    if left:
        support.run("rm", "-rf", left[0])
        support.run("cp", "-a", data, left[0])
        os.chmod(left[0], 0o700)
        os.unlink(f"{left[0]}/many/1/1")
        done = repository.restore(*words, "--json")
        assert summary(done)["kept_bytes"] > 20 * MEGABYTE
        compare(data, target)
        assert staged(folder) == []
    shutil.rmtree(target, ignore_errors=True)


def test_what_is_not_ours_is_not_used(folder, repository, data):
    target = f"{folder}/planted"
    words = ["latest", "--path", data, "--target", target]
    child = begin(repository, words)
    while child.poll() is None and not staged(folder):
        pass
    child.kill()
    child.communicate()
    left = staged(folder)
    if left:
        support.run("rm", "-rf", left[0])
        os.makedirs(left[0])
        os.chmod(left[0], 0o777)
        fill(f"{left[0]}/planted", 10, random)
        repository.restore(*words)
        compare(data, target)
        assert os.listdir(left[0]) == ["planted"]
        shutil.rmtree(left[0])
    shutil.rmtree(target, ignore_errors=True)


def few_files():
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 1024))


def test_few_files_are_open_at_a_time(folder, repository, data):
    """Deep folders, many folders, many files of several pieces; all of them anew and in place."""
    rng = random.Random(1)
    source = f"{folder}/wide"
    deep = source
    for _ in range(480):
        deep += "/d"
    os.makedirs(deep)
    for index in range(1500):
        os.makedirs(f"{deep}/{index}")
        fill(f"{deep}/{index}/file", 100, rng)
    for index in range(150):
        with open(f"{deep}/many{index}", "wb") as file:
            file.write(rng.randbytes(5))
            file.seek(300_000)
            file.write(rng.randbytes(5))
    repository.backup(source, "--name", "wide")
    target = f"{folder}/narrow"
    words = ["latest", "--source", "wide", "--path", source, "--target", target]
    repository.restore(*words, preexec_fn=few_files)
    support.run("diff", "-r", source, target)
    for index in range(0, 1500, 2):
        os.truncate(f"{target}{deep[len(source):]}/{index}/file", 50)
    repository.restore(*words, "--in-place", preexec_fn=few_files)
    support.run("diff", "-r", source, target)


def test_dry_run_changes_nothing(folder, repository, data):
    target = f"{folder}/dry/run"
    done = repository.restore("latest", "--path", data, "--target", target, "--dry-run", "--json")
    assert summary(done)["dry_run"] is True
    assert summary(done)["file_count"] == 205, summary(done)
    assert summary(done)["done_bytes"] > 24 * MEGABYTE
    assert not os.path.exists(f"{folder}/dry")
    repository.restore("latest", "--target", data, "--dry-run", status=9)


def main():
    support.need_root()
    rng = support.seed()
    with support.scratch() as folder:
        repository = Repository(folder)
        data = make_data(folder, rng)
        repository.backup(data)
        for test in (
            test_in_place_writes_only_what_differs,
            test_in_place_leaves_everything_else_alone,
            test_goes_on_after_it_was_broken_off,
            test_keeps_what_was_restored,
            test_what_is_not_ours_is_not_used,
            test_dry_run_changes_nothing,
            test_few_files_are_open_at_a_time,
        ):
            test(folder, repository, data)
            print("ok", test.__name__, flush=True)


if __name__ == "__main__":
    main()
