"""What tests of the guard share: a cluster, a guard over it, writers that record what was acknowledged."""

import errno
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

import psycopg2

from support import AGENT, free_port, run, scratch, wait_until

PG_BIN = "/usr/lib/postgresql/15/bin"
NS = 1_000_000_000
LEASE_S, MARGIN_S = 2.0, 0.6


def boottime_ns():
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def user_words():
    """How to run a program of PostgreSQL's, which refuses root."""
    if os.geteuid() == 0:
        return ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
    return []


def give_to_user(path):
    if os.geteuid() == 0:
        entry = pwd.getpwnam("postgres")
        os.chown(path, entry.pw_uid, entry.pw_gid)


def make_cluster(folder):
    """A cluster with a table, stopped in order; copied for each test."""
    os.chmod(folder, 0o755)
    data = os.path.join(folder, "template")
    os.mkdir(data, 0o700)
    give_to_user(data)
    run(*user_words(), f"{PG_BIN}/initdb", "-D", data, "-U", "test", "-A", "trust", "-N",
        cwd="/")
    with open(os.path.join(data, "postgresql.conf"), "a", encoding="utf-8") as conf:
        conf.write("listen_addresses = '127.0.0.1'\nunix_socket_directories = ''\n"
                   "shared_buffers = 16MB\nmax_connections = 20\ndynamic_shared_memory_type = mmap\n")
    return data


def processes_of(data):
    """Pids of live PostgreSQL processes that work in the data directory."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                if (os.readlink(f"/proc/{name}/cwd") == os.path.realpath(data)
                        and "/postgres" in os.readlink(f"/proc/{name}/exe")):
                    found.append(int(name))
            except OSError:
                pass
    return found


def warden_of(guard_pid):
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat", encoding="utf-8") as source:
                head, tail = source.read().rsplit(")", 1)
        except OSError:
            continue
        if head.endswith("(fx-warden") and tail.split()[1] == str(guard_pid) and tail.split()[0] != "Z":
            return int(name)
    return None


def is_alive(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as source:
            return source.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


def remove_cgroup(path):
    """A process that is just ending is in its cgroup for longer than it has a working directory."""
    try:
        os.rmdir(path)  # empty: it says so by working
    except FileNotFoundError:
        pass
    except OSError as error:
        if error.errno == errno.EBUSY:
            return False
        raise
    return True


class Guard:
    """A guard of a copy of the template, on a port of its own."""

    def __init__(self, folder, template, name, no_cgroup=False):
        self.folder = os.path.join(folder, name)
        os.mkdir(self.folder, 0o755)
        self.data = os.path.join(self.folder, "pg")
        run("cp", "-a", template, self.data)
        self.state = os.path.join(self.folder, "state")
        self.port = free_port()
        self.no_cgroup = no_cgroup
        self.process = None

    def start(self):
        words = [AGENT, "guard", "--service", "db", "--state-dir", self.state, "--data-dir", self.data,
                 "--bin-dir", PG_BIN, "--options", f"-c port={self.port}"]
        if os.geteuid() == 0:
            words += ["--run-as", "postgres"]
        if self.no_cgroup:
            words.append("--no-cgroup")
        with open(os.path.join(self.folder, "guard.log"), "ab") as log:
            self.process = subprocess.Popen(words, stderr=log, stdin=subprocess.DEVNULL,
                                            start_new_session=True)
        wait_until("the guard answers", self.answers, 15)

    def answers(self):
        try:
            return self.ask("status").startswith("ok")
        except OSError:
            if self.process.poll() is not None:
                raise AssertionError(f"the guard ended with {self.process.returncode}") from None
            return False

    def ask(self, request, timeout=5.0):
        return ask(self.state, request, timeout)

    def status(self):
        words = self.ask("status").split(" detail=")[0].split()
        assert words[0] == "ok", words
        return dict(word.split("=", 1) for word in words[1:])

    def lease(self, epoch, length_s, margin_s):
        """Grants a lease from now; gives its end by CLOCK_BOOTTIME."""
        end = boottime_ns() + int(length_s * NS)
        answer = self.ask(f"lease {epoch} {end} {int(margin_s * NS)}")
        assert answer == "ok", answer
        return end

    def start_primary(self, epoch, lease_s=30, margin_s=0.5):
        end = self.lease(epoch, lease_s, margin_s)
        answer = self.ask(f"start primary {epoch}")
        assert answer == "ok", answer
        wait_until("the primary runs", lambda: self.status()["state"] == "primary", 20)
        return end

    def connect(self):
        conn = psycopg2.connect(host="127.0.0.1", port=self.port, user="test", dbname="postgres",
                                connect_timeout=2)
        conn.autocommit = True
        return conn

    def sql(self, text):
        conn = self.connect()
        try:
            with conn.cursor() as cursor:
                cursor.execute(text)
                return cursor.fetchall() if cursor.description else None
        finally:
            conn.close()

    def warden(self):
        """The pid of the process that watches the guard; None: there is none at this moment."""
        return warden_of(self.process.pid)

    def has_signal_file(self):
        return os.path.exists(os.path.join(self.data, "standby.signal"))

    def is_gone(self):
        return not processes_of(self.data)

    def kill(self, signal_number=signal.SIGKILL):
        self.process.send_signal(signal_number)
        if signal_number == signal.SIGKILL:
            self.process.wait()

    def close(self):
        warden = self.warden() if self.process is not None else None
        if warden is not None:
            os.kill(warden, signal.SIGCONT)  # it leaves by itself, unless it is stopped
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait()
        wait_until("the server has left with its guard", self.is_gone, 10)
        with open(os.path.join(self.folder, "guard.log"), encoding="utf-8") as log:
            for path in set(re.findall(r'cgroup="([^"]+)"', log.read())):
                wait_until("nobody is left in the cgroup", lambda p=path: remove_cgroup(p), 5)
        shutil.rmtree(self.folder, ignore_errors=True)


def ask(state, request, timeout=5.0):
    with socket.socket(socket.AF_UNIX) as link:
        link.settimeout(timeout)
        folder = os.open(state, os.O_PATH)
        try:
            link.connect(f"/proc/self/fd/{folder}/guard.sock")
        finally:
            os.close(folder)
        link.sendall(request.encode() + b"\n")
        answer = b""
        while not answer.endswith(b"\n"):
            part = link.recv(4096)
            if not part:
                raise OSError("the guard closed the connection")
            answer += part
        return answer.decode().strip()


class Writer(threading.Thread):
    """Runs one statement once, or again and again; notes when each commit was acknowledged."""

    def __init__(self, guard, statement, once):
        super().__init__(daemon=True)
        self.guard = guard
        self.statement = statement
        self.once = once
        self.acked_ns = []
        self.began = threading.Event()
        self.stopping = False

    def run(self):
        try:
            conn = self.guard.connect()
            cursor = conn.cursor()
            self.began.set()
            while not self.stopping:
                cursor.execute(self.statement)
                self.acked_ns.append(boottime_ns())
                if self.once:
                    break
                time.sleep(0.005)
        except psycopg2.Error:
            pass  # what is under test


SLEEPS = "INSERT INTO t SELECT 1 FROM pg_sleep(4)"
BUSY = """DO $$DECLARE until timestamptz := clock_timestamp() + interval '4 s'; BEGIN
 WHILE clock_timestamp() < until LOOP END LOOP; INSERT INTO t VALUES (2); END$$"""
QUICK = "INSERT INTO t VALUES (3)"


def writers(guard):
    guard.sql("CREATE TABLE IF NOT EXISTS t (n int)")
    all_of_them = [Writer(guard, SLEEPS, True), Writer(guard, BUSY, True), Writer(guard, QUICK, False)]
    for writer in all_of_them:
        writer.start()
        assert writer.began.wait(5)
    return all_of_them


RENEW = """
import os, sys, time
sys.path.insert(0, sys.argv[1])
from guarded import ask, boottime_ns, NS
state, epoch, length_s, margin_s = sys.argv[2], int(sys.argv[3]), float(sys.argv[4]), float(sys.argv[5])
while True:
    end = boottime_ns() + int(length_s * NS)
    if ask(state, f"lease {epoch} {end} {int(margin_s * NS)}") == "ok":
        print(end, flush=True)
    time.sleep(0.2)
"""


class Renewer:
    """A process that renews the lease, as the agent does, and can be killed or stopped."""

    def __init__(self, guard, epoch, length_s, margin_s):
        self.process = subprocess.Popen(
            [sys.executable, "-B", "-c", RENEW, os.path.dirname(os.path.abspath(__file__)), guard.state,
             str(epoch), str(length_s), str(margin_s)], stdout=subprocess.PIPE, text=True)
        self.last_end_ns = 0
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        for line in self.process.stdout:
            self.last_end_ns = max(self.last_end_ns, int(line))

    def kill(self):
        self.process.send_signal(signal.SIGCONT)
        self.process.kill()
        self.process.wait()
        self.reader.join(5)


# Stands where a warden stands that is stopped while it has the lock of a dead guard.
HOLDS_THE_LOCK = """
import ctypes, fcntl, os, signal, sys
ctypes.CDLL(None).prctl(15, b"fx-warden", 0, 0, 0)  # PR_SET_NAME
lock = os.open(sys.argv[1], os.O_RDWR)
fcntl.flock(lock, fcntl.LOCK_EX)
os.write(lock, b"%d" % os.getpid())
os.kill(os.getpid(), signal.SIGSTOP)
"""


def run_checks(checks):
    """Runs (name, call(guard)) pairs, those named on the command line or all, with a cgroup and without."""
    with scratch() as folder:
        template = make_cluster(folder)
        for no_cgroup in (False, True):
            for name, check in checks:
                if sys.argv[1:] and name not in sys.argv[1:]:
                    continue
                began_ns = boottime_ns()
                print(f"{name} {'without' if no_cgroup else 'with'} cgroup", flush=True)
                guard = Guard(folder, template, name, no_cgroup)
                guard.start()
                try:
                    check(guard)
                except BaseException:
                    with open(os.path.join(guard.folder, "guard.log"), encoding="utf-8") as log:
                        print(log.read()[-4000:], flush=True)
                    raise
                finally:
                    guard.close()
                print(f"  took {(boottime_ns() - began_ns) / NS:.1f} s", flush=True)
    return 0
