"""What the integration tests share: programs, scratch folders, ports, running and waiting."""

import contextlib
import os
import random
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import time

SOURCE = os.environ.get("FORTRESS_SOURCE") or os.path.dirname(
    os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
)
sys.path.append(os.path.join(SOURCE, "deploy", "quickstart"))
from leftovers import free_shared_memory  # noqa: E402

BIN = os.path.abspath(os.environ.get("FORTRESS_BIN") or os.path.join(SOURCE, "build/asan/bin"))
AGENT = os.path.join(BIN, "fortress-agent")
COORDINATOR = os.path.join(BIN, "fortress-coordinator")
OPERATOR = os.path.join(BIN, "fortress")


def skip(reason):
    """Ends the test as skipped."""
    print("skipped:", reason)
    sys.exit(77)


def need_root():
    if os.geteuid() != 0:
        skip("needs root")


def seed(environment="FORTRESS_TEST_SEED"):
    """A random generator; prints its seed, which the environment variable sets again."""
    number = int(os.environ.get(environment) or random.SystemRandom().randrange(1 << 32))
    print(f"seed: {environment}={number}", flush=True)
    return random.Random(number)


def remove_all(folder):
    """With folders in it that even their owner may not enter."""
    for top, names, _ in os.walk(folder):
        for path in (os.path.join(top, name) for name in names):
            with contextlib.suppress(OSError):
                mode = os.lstat(path).st_mode
                if stat.S_ISDIR(mode) and mode & stat.S_IRWXU != stat.S_IRWXU:
                    os.chmod(path, stat.S_IRWXU)
    shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def scratch(prefix="fortress-test-", below=None):
    """A folder of the test's own, removed at the end."""
    folder = tempfile.mkdtemp(prefix=prefix, dir=below)
    before = os.environ.get("FORTRESS_CACHE_DIR")
    os.environ["FORTRESS_CACHE_DIR"] = os.path.join(folder, "cache")
    try:
        yield folder
    finally:
        del os.environ["FORTRESS_CACHE_DIR"]
        if before is not None:
            os.environ["FORTRESS_CACHE_DIR"] = before
        free_shared_memory(folder)
        remove_all(folder)


CLAIMS = []


def free_port(address="127.0.0.1", kind=socket.SOCK_STREAM):
    """
    A port for a server that listens only later. No connection takes it meanwhile, as it lies below those that Linux
    gives out, and no other test, as a name says so until this process ends (tests/support/port.c does the same).
    """
    for _ in range(1000):
        port = random.SystemRandom().randrange(20000, 32000)
        mark = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        with socket.socket(socket.AF_INET, kind) as probe:
            try:
                mark.bind(f"\0fortress test port {port}")
                probe.bind((address, port))
            except OSError:
                mark.close()
                continue
        CLAIMS.append(mark)
        return port
    raise AssertionError(f"no free port on {address}")


def run(*words, status=0, timeout=120, **options):
    """Runs a program to its end; fails the test unless it ends with `status` (None: any)."""
    options.setdefault("stdin", subprocess.DEVNULL)
    done = subprocess.run(
        [str(word) if not isinstance(word, bytes) else word for word in words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        timeout=timeout,
        check=False,
        **options,
    )
    done.out = done.stdout.decode("utf-8", "replace")
    done.err = done.stderr.decode("utf-8", "replace")
    if status is not None and done.returncode != status:
        print(f"$ {' '.join(map(str, words))}\n{done.out}{done.err}", flush=True)
        raise AssertionError(f"exit status {done.returncode}, expected {status}")
    return done


def own_reads():
    """The bytes of all reads of files, as the kernel counts them: of this process and those that it has waited for."""
    with open("/proc/self/io", encoding="ascii") as file:
        return int(dict(line.split(": ") for line in file.read().splitlines())["rchar"])


def count_reads(*words):
    """Runs a program to its end; the bytes of all its reads, with what it printed."""
    before = own_reads()
    run(*words)
    return own_reads() - before


def agent(*words, **options):
    return run(AGENT, *words, **options)


def flip(path, at, mask):
    """Exchanges bits of one byte, of an object too, which nobody may write."""
    os.chmod(path, 0o600)
    with open(path, "r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ mask]))


def wait_until(what, condition, timeout=20.0, pause=0.05):
    """Waits for a condition with a deadline; gives what it returned."""
    deadline = time.monotonic() + timeout
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout} s in vain: {what}")
        time.sleep(pause)


def wait_until_settled(path):
    """
    Until all below it changed more than 2 s ago by the files' own clock: a snapshot that begins
    then is one whose unchanged files the next need not read (the walker's FRESH_NS).
    """
    changed = max(os.lstat(one).st_ctime for folder, _, names in os.walk(path)
                  for one in (folder, *(os.path.join(folder, name) for name in names)))
    wait_until(f"{path} is older than 2 s", lambda: time.time() > changed + 2.05)
