"""PostgreSQL servers, and an agent that works beside them as the same user, for the tests of backups."""

import contextlib
import os
import pwd
import re
import shutil
import signal
import subprocess

import psycopg2

from support import AGENT, free_port, run, wait_until

PG_BIN = "/usr/lib/postgresql/15/bin"
HOST = "127.0.0.1"


def as_postgres(*words):
    """PostgreSQL refuses to run as root: then everything runs as the user postgres."""
    if os.geteuid() != 0:
        return list(words)
    return ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", *words]


def own(path):
    if os.geteuid() == 0:
        user = pwd.getpwnam("postgres")
        os.chown(path, user.pw_uid, user.pw_gid)


class Server:
    """One server in a folder of its own."""

    def __init__(self, folder, name):
        self.folder = folder
        self.data = os.path.join(folder, name)
        self.log = os.path.join(folder, name + ".log")
        self.port = free_port(HOST)
        self.conninfo = f"host={HOST} port={self.port} user=postgres dbname=postgres"

    def settings(self, **extra):
        values = {
            "port": self.port,
            "listen_addresses": f"'{HOST}'",
            "unix_socket_directories": f"'{self.folder}'",
            "fsync": "off",
            "max_wal_size": "64MB",
            "min_wal_size": "32MB",
            "max_connections": 20,
            "dynamic_shared_memory_type": "mmap",
            **extra,
        }
        return "".join(f"{key} = {value}\n" for key, value in values.items())

    def init(self, **extra):
        run(*as_postgres(f"{PG_BIN}/initdb", "-D", self.data, "-A", "trust", "-U", "postgres", "-N"))
        with open(os.path.join(self.data, "postgresql.conf"), "a", encoding="utf-8") as conf:
            conf.write(self.settings(**extra))
        return self

    def follow(self, primary):
        """Makes this a standby of `primary`."""
        run(*as_postgres(f"{PG_BIN}/pg_basebackup", "-d", primary.conninfo, "-D", self.data,
                         "-R", "-X", "stream", "-c", "fast", "-C", "-S", f"standby_{self.port}"))
        return self.use()

    def use(self):
        """Settles a data directory that came from elsewhere on this server's port."""
        with open(os.path.join(self.data, "postgresql.conf"), "a", encoding="utf-8") as conf:
            conf.write(self.settings())
        return self

    def start(self):
        try:
            run(*as_postgres(f"{PG_BIN}/pg_ctl", "-D", self.data, "-l", self.log, "-w", "-t", "60",
                             "start"))
        except AssertionError:
            print(self.log_text(), flush=True)
            raise
        return self

    def stop(self, mode="fast", timeout=60):
        return run(*as_postgres(f"{PG_BIN}/pg_ctl", "-D", self.data, "-m", mode, "-w", "stop"),
                   status=None, timeout=timeout)

    def log_text(self):
        with open(self.log, encoding="utf-8", errors="replace") as log:
            return log.read()

    def connect(self):
        connection = psycopg2.connect(self.conninfo)
        connection.autocommit = True
        return connection

    def sql(self, statement, *arguments):
        """Runs one statement; gives its rows."""
        with contextlib.closing(self.connect()) as connection:
            with connection.cursor() as cursor:
                cursor.execute(statement, arguments or None)
                return cursor.fetchall() if cursor.description else None

    def value(self, statement, *arguments):
        return self.sql(statement, *arguments)[0][0]

    def wait_recovered(self):
        wait_until("the end of recovery", lambda: not self.value("SELECT pg_is_in_recovery()"), 60)
        return self


class Agent:
    """fortress-agent with a repository, as the servers' user and where that user may run it."""

    def __init__(self, folder):
        self.folder = folder
        self.program = os.path.join(folder, "fortress-agent")
        shutil.copy(AGENT, self.program)
        os.chmod(self.program, 0o755)
        self.repo = os.path.join(folder, "repo")
        self.key = os.path.join(folder, "repo.key")
        self.run("repo", "init")

    def words(self, *words):
        return as_postgres(self.program, *words, "--repo", self.repo, "--key-file", self.key)

    def run(self, *words, status=0, **options):
        return run(*self.words(*words), status=status, **options)


class Receiver:
    """fortress-agent wal-receive as a process."""

    def __init__(self, agent, conninfo, *options, slot="fortress_test"):
        self.agent = agent
        self.path = os.path.join(agent.folder, "receiver.log")
        self.words = agent.words("wal-receive", conninfo, "--slot", slot, *options)
        self.process = None

    def start(self):
        with open(self.path, "ab") as log:
            self.process = subprocess.Popen(self.words, stdin=subprocess.DEVNULL, stderr=log)
        return self

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)

    def stop(self):
        """As an operator does: it must end by itself, and well."""
        self.process.terminate()
        status = self.process.wait(20)
        if status != 0:
            raise AssertionError(f"wal-receive ended with {status}:\n{self.text()}")

    def text(self):
        with open(self.path, encoding="utf-8", errors="replace") as log:
            return log.read()

    def segments(self):
        """Names of the whole segments that it says it stored."""
        return set(re.findall(r'event=wal.stored segment="([0-9A-F]{24})"', self.text()))

    def has(self, server, segment):
        """Asks the repository itself: a receiver may be killed after it stored and before it said so."""
        target = os.path.join(self.agent.folder, "got.wal")
        system = server.value("SELECT system_identifier FROM pg_control_system()")
        done = self.agent.run("wal-get", segment, target, "--system", str(system), status=None)
        assert done.returncode in (0, 6), f"wal-get ended with {done.returncode}: {done.err}"
        return done.returncode == 0

    def wait_stored(self, server, lsn):
        """Until the segment that holds the byte before `lsn` is stored."""
        name = server.value("SELECT pg_walfile_name(%s)", lsn)
        wait_until(f"segment {name} to be stored", lambda: name in self.segments(), 30)


@contextlib.contextmanager
def shown_on_failure(*servers_and_receivers):
    """Stops everything at the end; after a failure prints the logs first."""
    try:
        yield
    except BaseException:
        for each in servers_and_receivers:
            path = each.log if isinstance(each, Server) else each.path
            if os.path.exists(path):
                with open(path, encoding="utf-8", errors="replace") as log:
                    print(f"---- {path}\n{log.read()[-6000:]}", flush=True)
        raise
    finally:
        for each in servers_and_receivers:
            if isinstance(each, Receiver):
                if each.process and each.process.poll() is None:
                    each.kill()
            elif os.path.exists(os.path.join(each.data, "postmaster.pid")):
                each.stop("immediate")


def open_to_postgres(folder):
    os.chmod(folder, 0o755)
    own(folder)
    return folder
