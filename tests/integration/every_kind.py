"""A small repository with objects of every kind that docs/format.md names, and copies of it to be damaged."""

import filecmp
import hashlib
import json
import os
import shutil
import signal
import subprocess

import support
from pg_server import Agent, Receiver, Server, open_to_postgres, shown_on_failure
from support import wait_until

# Prefixes of docs/format.md; every one has an object here.
KINDS = (
    "config", "keys", "erasures", "packs", "indexes", "verified", "snapshots", "streams", "leases",
    "leases-over", "revocations", "settled", "forgotten", "arriving", "holds", "gaps", "repairs",
    "marks",
)


def memory_folder():
    """Where files cost little: these tests make and remove thousands."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def same(left, right):
    """Whether two folders hold the same files with the same content."""
    found = filecmp.dircmp(left, right)
    if found.left_only or found.right_only or found.funny_files:
        return False
    for name in found.common_files:
        if not filecmp.cmp(f"{left}/{name}", f"{right}/{name}", shallow=False):
            return False
    return all(same(f"{left}/{name}", f"{right}/{name}") for name in found.common_dirs)


def readable_object(magic, message=b""):
    """By docs/format.md, "Readable objects"."""
    before = magic + bytes([1, 0, 0, 0]) + message
    return before + hashlib.sha256(before).digest()


class Repository:
    """Made once; `copy` gives one to damage."""

    begins_wal_anew = False  # its segment is then nearly empty

    def __init__(self, folder, rng):
        self.folder = os.path.realpath(folder)
        self.rng = rng
        self.states = {}  # snapshot -> the folder with its right content
        self.words = ["--key-file", f"{self.folder}/repo.key"]
        self.pristine = f"{self.folder}/repo"
        self.segment = None  # (system, name, its bytes)
        self.old = {}  # objects that are there no more: key -> bytes
        self.data = f"{self.folder}/data"
        self.make_streams()
        self.make_snapshots()
        self.make_notes()
        self.check_kinds()

    def agent(self, *words, url=None, **options):
        words = [*words, "--repo", url or self.pristine, *self.words]
        return support.agent(*words, **options)

    def remember(self):
        """What is there now, for the day when it is not."""
        self.old.update((key, self.read(key)) for key in self.names("."))

    def backup(self, name):
        lines = self.agent("backup", "files", self.data, "--name", "data", "--json").out
        identity = json.loads(lines.splitlines()[-1])["snapshot"]["id"]
        shutil.copytree(self.data, f"{self.folder}/copy-{name}")
        self.states[identity] = f"{self.folder}/copy-{name}"
        self.remember()
        return identity

    def write(self, name, size):
        with open(f"{self.data}/{name}", "wb") as file:
            file.write(self.rng.randbytes(size // 2) + bytes(size - size // 2) + b"end")

    def make_streams(self):
        open_to_postgres(self.folder)
        agent = Agent(self.folder)
        server = Server(self.folder, "server")
        receiver = Receiver(agent, server.conninfo)
        with shown_on_failure(server, receiver):
            server.init().start()
            if self.begins_wal_anew:
                server.sql("SELECT pg_switch_wal()")
                server.sql("CHECKPOINT")
            receiver.start()
            wait_until("the slot", lambda: server.sql("SELECT 1 FROM pg_replication_slots"))
            receiver.wait_stored(server, server.value("SELECT pg_switch_wal()"))
            receiver.stop()
            system = str(server.value("SELECT system_identifier FROM pg_control_system()"))
            name = sorted(receiver.segments())[0]
            with open(f"{server.data}/pg_wal/{name}", "rb") as file:
                self.segment = (system, name, file.read())
        shutil.rmtree(server.data)

    def make_snapshots(self):
        os.makedirs(f"{self.data}/sub")
        for name, size in (("a", 1_200_000), ("sub/b", 100), ("sub/c", 200_000)):
            self.write(name, size)
        forgotten = self.backup("none")
        self.write("a", 1_000_000)
        first = self.backup("first")
        self.agent("hold", "add", first, "--kind", "legal", "--reason", "a test")
        self.agent("hold", "release", first, "--reason", "a test")
        self.agent("hold", "add", first, "--kind", "anomaly", "--reason", "a test")
        self.agent("key", "rotate")
        self.write("sub/d", 50_000)
        self.backup("second")
        self.agent("scope", "create", "to-be-erased")
        self.agent("scope", "erase", "to-be-erased", "--yes")
        self.write("sub/b", 400_000)
        self.backup("third")
        self.arriving = self.read(f"snapshots/{forgotten}")
        self.arriving_id = forgotten
        self.agent("forget", forgotten)
        del self.states[forgotten]

    def make_notes(self):
        """What writers and collectors that were killed leave behind."""
        self.kill_when_there_is("leases", "backup", "files", self.data, "--name", "broken")
        self.agent("collect", "--revoke", "--live-percent", "95")  # so that it has work to do
        assert self.names("settled") and not self.names("leases")
        self.write("sub/e", 60_000)
        self.backup("fourth")  # so that there is more than one index again
        self.kill_when_there_is("marks", "collect", "--revoke")
        self.put(f"arriving/{self.arriving_id}", self.arriving)
        lease = self.names("leases")[0]
        self.put(f"leases-over/{lease}", readable_object(b"FXLEASE1"))
        self.put(f"repairs/snapshots/{self.arriving_id}", readable_object(b"FXREPAIR"))
        for end in (2, 3):
            gap = readable_object(b"FXGAP001", b"\x0a\x06wal/1/" + bytes([0x18, 1, 0x20, end]))
            self.put(f"gaps/{hashlib.sha256(gap).hexdigest()}", gap)

    def kill_when_there_is(self, prefix, *words):
        """It leaves an object of that kind behind."""
        for _ in range(100):
            process = subprocess.Popen([support.AGENT, *words, "--repo", self.pristine, *self.words],
                                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            while not self.names(prefix) and process.poll() is None:
                pass
            process.send_signal(signal.SIGKILL)
            process.wait()
            if self.names(prefix):
                self.remember()
                return
        raise AssertionError(f"never met an object in {prefix}")

    def names(self, prefix, url=None):
        folder = f"{url or self.pristine}/{prefix}"
        return sorted(os.path.relpath(os.path.join(path, name), folder)
                      for path, _, names in os.walk(folder) for name in names)

    def read(self, key):
        with open(f"{self.pristine}/{key}", "rb") as file:
            return file.read()

    def put(self, key, content):
        path = f"{self.pristine}/{key}"
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(content)

    def check_kinds(self):
        done = self.agent("verify", "--read-data", "--json").out.splitlines()
        packs = json.loads(done[-1])["pack_count"]
        # Nobody needs a pack that no index names: a flipped bit in one is no damage.
        assert packs == len(self.names("packs")), "a pack is in no index"
        self.keys = [name for name in self.names(".") if not name.startswith("tmp")]
        assert {name.split("/")[0] for name in self.keys} == set(KINDS), self.keys
        self.old = {key: content for key, content in self.old.items()
                    if key not in self.keys and not key.startswith("tmp")}

    def copy(self, name):
        """Links to the same files: whoever changes one takes a copy of it first."""
        url = f"{self.folder}/{name}"
        shutil.rmtree(url, ignore_errors=True)
        shutil.copytree(self.pristine, url, copy_function=os.link)
        return url

    def change(self, url, key, content):
        """Puts other bytes in an object's place."""
        path = f"{url}/{key}"
        if os.path.lexists(path):
            os.unlink(path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(content)

    def forget_cache(self):
        shutil.rmtree(os.environ["FORTRESS_CACHE_DIR"], ignore_errors=True)

    def restores(self, url, identity, where):
        """True: the right bytes came back; False: it failed, and left nothing. All else fails the test."""
        back = f"{self.folder}/out/back"
        shutil.rmtree(f"{self.folder}/out", ignore_errors=True)
        os.mkdir(f"{self.folder}/out")
        done = self.agent("restore", identity, "--target", back, "--path", self.data, url=url,
                          status=None)
        if done.returncode == 0:
            assert same(self.states[identity], back), f"wrong content after {where}"
            return True
        assert done.returncode in (4, 5, 6, 14, 15, 17, 19), f"{where}: {done.returncode} {done.err}"
        assert done.err.strip(), f"restore failed silently after {where}"
        assert not os.path.exists(back), f"something was left after {where}"
        return False

    def resumes(self, identity, where):
        """What a failed restore kept must not hurt when the same one is run again with whole objects."""
        back = f"{self.folder}/out/back"
        self.agent("restore", identity, "--target", back, "--path", self.data)
        assert same(self.states[identity], back), f"wrong content after {where}, then healed"

    def gets_wal(self, url, where):
        system, name, content = self.segment
        target = f"{self.folder}/got.wal"
        if os.path.exists(target):
            os.unlink(target)
        done = self.agent("wal-get", name, target, "--system", system, url=url, status=None)
        if done.returncode == 0:
            with open(target, "rb") as file:
                assert file.read() == content, f"wrong WAL after {where}"
            return True
        assert not os.path.exists(target), f"{where}: wal-get failed and left something"
        return False
