"""A depot: what its driver keeps, what a stolen host can do to it with its own certificate, and the normal
life of a repository in it, with kills, a full disk and a quota that is used up.
Parts: attacker, conformance, life."""

import base64
import concurrent.futures
import filecmp
import glob
import hashlib
import json
import os
import subprocess
import sys
import threading
import time

from depot_server import CLUSTER, COORDINATORS, DEPOT, PKI, Depot, Secrets, depot
from depot_wire import Enemy, field, is_dropped, request
from store_tests import call, conformance, expect
from support import AGENT, COORDINATOR, run, scratch, seed, wait_until

MIB = 1 << 20


# ---- tickets ------------------------------------------------------------------------------------------

class Tickets:
    """Made and signed with the coordinator's own program."""

    def __init__(self, folder, secrets):
        self.folder, self.secrets, self.count = folder, secrets, 0

    def file(self, text):
        self.count += 1
        path = os.path.join(self.folder, f"ticket-{self.count}")
        with open(path, "w", encoding="ascii") as out:
            out.write(text)
        return path

    def make(self, repository, keys, depot_name=DEPOT, cluster=CLUSTER, hours=1):
        return run(COORDINATOR, "ticket", "make", "--cluster", cluster, "--depot", depot_name, "--repository",
                   repository, "--hours", hours, "--reason", "a test", self.file("\n".join(keys) + "\n")).out

    def sign(self, line, *coordinators, key_of=None):
        for name in coordinators:
            done = run(COORDINATOR, "ticket", "sign", "--name", name, "--region", COORDINATORS[name], "--key",
                       self.secrets.path(f"{key_of or name}.endorse.key"), self.file(line))
            line = done.out
        return line

    def good(self, repository, keys):
        return self.sign(self.make(repository, keys), "coord1", "coord2")


def raw(line):
    return base64.b64decode(line.strip())


# ---- conformance --------------------------------------------------------------------------------------

def check_conformance(folder):
    secrets = Secrets(f"{folder}/pki", [DEPOT, "db1"])
    names = [f"c{number}" for number in range(13)]
    depots = {name: (f"{folder}/{name}", [{"name": "db1"}]) for name in names}
    tickets = Tickets(folder, secrets)
    with depot(folder, secrets, depots) as server:
        lines = [tickets.good(name, ["no", "p/a/1"]) for name in names]
        environment = secrets.environment("db1", FORTRESS_DEPOT_TICKETS=tickets.file("".join(lines)))
        conformance(environment, "kept=" + server.url("c{}"))
        found = json.loads(run(AGENT, "doctor", "store", "--repo", server.url("c0"), "--json", env=environment,
                               status=None).out.strip().splitlines()[-1])
        print("  ", found, flush=True)
        for key in ("can_put", "can_get", "can_list", "can_append", "refuses_replacement", "withstands_stolen_host"):
            assert found[key] == "yes", found
        assert found["can_remove"] == "no" and found["can_hide"] == "no", found
        check_refused_clients(server, secrets)


def check_refused_clients(server, secrets):
    print("wrong addresses and certificates", flush=True)
    good = secrets.environment("db1")
    url = server.url("c0")
    expect(call(good, server.url("other"), "get", "a"), "^DENIED PERMANENT .*may not use a repository")
    expect(call(good, url.replace(DEPOT, "depot2"), "get", "a"), "^DENIED PERMANENT")
    expect(call(good, "depot:127.0.0.1", "get", "a"), "^INVALID PERMANENT .*depot:HOST:PORT/NAME")
    expect(call(good, "depot:127.0.0.1:x/c0", "get", "a"), "^INVALID PERMANENT")
    expect(call(good, "depot:127.0.0.1:1/c0?name=x", "get", "a"), "^INVALID PERMANENT")
    nobody = {key: value for key, value in good.items() if not key.startswith("FORTRESS_DEPOT")}
    nobody["HOME"] = "/nonexistent"
    expect(call(nobody, url, "get", "a"), "^NOT_FOUND PERMANENT .*FORTRESS_DEPOT_CA")
    expect(call(good, "depot:127.0.0.1:1/c0?host=depot1", "get", "a", deadline_ms=1500), "^UNREACHABLE TRANSIENT")


# ---- the attacker -------------------------------------------------------------------------------------

def tree_of(*folders):
    """Every object's bytes: what no attack may change."""
    found = {}
    for folder in folders:
        for path in glob.glob(f"{folder}/**", recursive=True):
            if os.path.isfile(path) and f"{folder}/tmp/" not in path:
                with open(path, "rb") as file:
                    found[path] = hashlib.sha256(file.read()).hexdigest()
    return found


def said(reply, code, words=""):
    print(f"   {reply}"[:150], flush=True)
    assert reply.code == code and words in reply.message, f"expected {code} {words}, got {reply}"
    return reply


class Attack:
    """db1 is stolen: its certificate and key are the enemy's. db2 is another host of the same depot."""

    def __init__(self, folder):
        self.folder = folder
        self.secrets = Secrets(f"{folder}/pki", [DEPOT, "db1", "db2", "keeper", "reader", "stranger"])
        self.tickets = Tickets(folder, self.secrets)
        self.main, self.private = f"{folder}/main", f"{folder}/private"
        hosts = [{"name": "db1", "quota_bytes": 40 * MIB}, {"name": "db2"}, {"name": "keeper", "access": "collect"},
                 {"name": "reader", "access": "read"}]
        self.server = Depot(folder, self.secrets, {"main": (self.main, hosts),
                                                   "private": (self.private, [{"name": "db2"}])},
                            host_requests_second=300)
        self.content = os.urandom(3000)
        self.pack = hashlib.sha256(self.content).hexdigest()
        self.pack_key = f"packs/{self.pack[:2]}/{self.pack}"

    def enemy(self, host="db1"):
        return Enemy(self.server.port, self.secrets.path(f"{host}.pem"), self.secrets.path(f"{host}.key"))

    def prepare(self):
        """The past: what may never change."""
        friend, own = self.enemy("db2"), self.enemy()
        said(own.put("main", self.pack_key, self.content), "OK")
        said(own.put("main", "snapshots/mine", b"a snapshot"), "OK")
        said(own.append("main", "wal/mine", 0, b"first"), "OK")
        said(own.put("main", "leases/mine", b"lease"), "OK")
        said(friend.put("main", "leases/theirs", b"lease"), "OK")
        said(friend.put("main", "snapshots/theirs", b"a snapshot"), "OK")
        said(friend.append("main", "wal/theirs", 0, b"first"), "OK")
        said(friend.put("private", "snapshots/secret", b"a secret"), "OK")
        self.past = tree_of(self.main, self.private)

    def check_past(self):
        now = tree_of(self.main, self.private)
        changed = [path for path, digest in self.past.items() if now.get(path) != digest]
        assert not changed, f"changed or gone: {changed}"

    # ---- what it tries -------------------------------------------------------------------------

    def overwrite(self):
        enemy = self.enemy()
        for key in (self.pack_key, "snapshots/mine", "snapshots/theirs", "wal/mine"):
            said(enemy.put("main", key, b"other bytes" * 50), "EXISTS")
            said(enemy.begin("main", key, 100), "EXISTS")
        upload = said(enemy.begin("main", "snapshots/new", 5), "OK").body[11][1][0]
        said(self.enemy("db2").put("main", "snapshots/new", b"the friend was first"), "OK")
        said(enemy.part("main", upload, 0, b"enemy"), "OK")
        said(enemy.commit("main", upload), "EXISTS")
        said(enemy.commit("main", upload), "STALE")
        self.past = {**self.past, **tree_of(self.main)}

    def false_content(self):
        """What lies under the name of a digest counts as stored for everyone."""
        name = hashlib.sha256(b"what the friend will store").hexdigest()
        enemy = self.enemy()
        said(enemy.put("main", f"packs/{name[:2]}/{name}", b"something else"), "DAMAGED", "another SHA-256")
        upload = said(enemy.begin("main", f"indexes/{name}", 4), "OK").body[11][1][0]
        said(enemy.part("main", upload, 0, b"evil"), "OK")
        said(enemy.commit("main", upload), "DAMAGED")
        said(self.enemy("db2").put("main", f"packs/{name[:2]}/{name}", b"what the friend will store"), "OK")
        found = said(enemy.scrub("main", self.pack_key), "OK").body[15]
        assert found[2][0].hex() == self.pack and found[4] == [1], found
        assert said(enemy.scrub("main", "snapshots/mine"), "OK").body[15].get(4) is None

    def append(self):
        enemy = self.enemy()
        for offset in (0, 3, 4, 6, 1 << 62):
            assert enemy.append("main", "wal/mine", offset, b"x").code in ("CONFLICT", "LIMIT"), offset
        for key in (self.pack_key, "snapshots/mine", "snapshots/theirs"):
            for offset in (0, 10):
                reply = enemy.append("main", key, offset, b"x")
                assert reply.code in ("EXISTS", "DENIED"), reply
        said(enemy.append("main", "wal/theirs", 5, b"x"), "DENIED", "another host's")
        said(self.enemy("db2").append("main", "wal/theirs", 5, b""), "OK")

    def hide(self):
        """Objects that speak about backups: what is settled, forgotten, held, marked, revoked or over."""
        enemy = self.enemy()
        for key in ("settled/theirs", "settled/mine", "marks/theirs", "leases-over/theirs", "revocations/theirs",
                    "revocations/none", "leases-over/../leases/theirs", "forgotten/theirs", "holds/theirs-00000001",
                    "repairs/snapshots/theirs"):
            reply = enemy.put("main", key, b"x")
            assert reply.code in ("DENIED", "INVALID"), f"{key}: {reply}"
            assert enemy.append("main", key, 0, b"x").code in ("DENIED", "INVALID"), key
            assert enemy.begin("main", key, 1).code in ("DENIED", "INVALID"), key
        said(enemy.put("main", "leases-over/mine", b"x"), "OK")
        keeper = self.enemy("keeper")
        said(keeper.put("main", "revocations/theirs", b"x"), "OK")
        said(keeper.put("main", "settled/theirs", b"x"), "OK")
        said(keeper.put("main", "forgotten/none", b"x"), "OK")

    def remove(self):
        enemy, keys = self.enemy(), [self.pack_key]
        sign, make = self.tickets.sign, self.tickets.make
        good = self.tickets.good("main", keys)
        said(enemy.remove("main", keys), "DENIED", "two coordinators")
        said(enemy.remove("main", ["absent"]), "DENIED")
        said(enemy.remove("main", keys, raw(make("main", keys))), "DENIED", "fewer than two regions")
        said(enemy.remove("main", keys, raw(sign(make("main", keys), "coord1"))), "DENIED", "fewer than two")
        one_region = sign(make("main", keys), "coord2", "coord3")
        said(enemy.remove("main", keys, raw(one_region)), "DENIED", "fewer than two regions")
        forged = sign(sign(make("main", keys), "coord1"), "coord2", key_of="coord1")
        said(enemy.remove("main", keys, raw(forged)), "DENIED", "fewer than two regions")
        said(enemy.remove("main", ["snapshots/mine"], raw(good)), "DENIED", "does not name")
        said(enemy.remove("main", keys + ["snapshots/mine"], raw(good)), "DENIED", "does not name")
        for what, line in (("another repository", self.tickets.good("private", keys)),
                           ("another depot", sign(make("main", keys, depot_name="depot2"), "coord1", "coord2")),
                           ("another cluster", sign(make("main", keys, cluster="c2"), "coord1", "coord2"))):
            said(enemy.remove("main", keys, raw(line)), "DENIED", what)
        said(enemy.remove("main", keys, self.resigned(expired=True)), "DENIED", "expired")
        said(enemy.remove("main", keys, self.resigned(hours=24 * 8)), "DENIED", "more than a week")
        said(enemy.remove("main", keys, self.resigned(of_an_order=True)), "DENIED", "fewer than two regions")
        broken = bytearray(raw(good))
        broken[40] ^= 1
        assert enemy.remove("main", keys, bytes(broken)).code in ("DENIED", "INVALID", "DAMAGED")
        for cut in (1, 10, len(raw(good)) // 2):
            try:
                assert enemy.remove("main", keys, raw(good)[:-cut]).code in ("DENIED", "INVALID", "DAMAGED")
            except ConnectionError:
                enemy = self.enemy()  # it was garbage
        said(enemy.remove("private", ["snapshots/secret"], raw(good)), "DENIED", "may not use")
        self.check_past()
        said(self.enemy("db2").remove("main", keys, raw(good)), "OK")  # the ticket permits it, whoever brings it
        said(enemy.remove("main", keys, raw(good)), "NOT_FOUND")
        said(enemy.put("main", self.pack_key, self.content), "OK")

    def resigned(self, expired=False, hours=1, of_an_order=False):
        """A ticket that our own program would not make, with true signatures of two regions."""
        now = time.time_ns()
        issued = now - 7200 * 10**9 if expired else now
        expires = now - 1 if expired else now + hours * 3600 * 10**9
        ticket = (field(1, "x") + field(2, CLUSTER) + field(3, DEPOT) + field(4, "main") + field(5, self.pack_key) +
                  field(6, issued) + field(7, expires))
        prefix = b"fortress order 1\0" if of_an_order else b"fortress depot ticket 1\0"
        signed = os.path.join(self.folder, "signed")
        with open(signed, "wb") as out:
            out.write(prefix + ticket)
        whole = field(1, ticket)
        for name in ("coord1", "coord2"):
            run("openssl", "pkeyutl", "-sign", "-rawin", "-inkey", self.secrets.path(f"{name}.endorse.key"),
                "-in", signed, "-out", signed + ".sig")
            with open(signed + ".sig", "rb") as signature:
                whole += field(2, field(1, name) + field(2, COORDINATORS[name]) + field(3, signature.read()))
        return whole

    def paths(self):
        enemy = self.enemy()
        with open(f"{self.folder}/outside", "w", encoding="ascii") as out:
            out.write("outside")
        os.symlink(f"{self.folder}", f"{self.main}/link")
        for key in ("../outside", "/etc/passwd", "a/../../outside", ".depot-lock", "a/.hidden", "./x", "a//b", "a/",
                    "", "link/outside", "tmp/x", "tmp", "a" * 513, "a\nb", "ä", "/".join("abcdefghijkl"), "packs"):
            for reply in (enemy.put("main", key, b"evil"), enemy.append("main", key, 0, b"evil"),
                          enemy.begin("main", key, 4), enemy.get("main", key), enemy.stat("main", key),
                          enemy.scrub("main", key)):
                assert reply.code != "OK", f"{key!r}: {reply}"
                assert self.folder not in reply.message, reply
        os.unlink(f"{self.main}/link")
        with open(f"{self.folder}/outside", encoding="ascii") as file:
            assert file.read() == "outside"
        assert not os.path.exists(f"{self.folder}/x")
        said(enemy.list("main", "../"), "OK")
        for entry in said(enemy.list("main"), "OK").body[14][1]:
            assert b".." not in entry, entry

    def others(self):
        enemy = self.enemy()
        for body, content in (("list", field(3, 10)), ("get", field(1, "snapshots/secret") + field(3, 10)),
                              ("put", field(1, "a") + field(2, b"x")), ("describe", b"")):
            said(enemy.ask("private", body, content), "DENIED", "may not use")
            said(enemy.ask("absent", body, content), "DENIED", "may not use")
        upload = said(self.enemy("db2").begin("main", "snapshots/of-db2", 4), "OK").body[11][1][0]
        said(enemy.part("main", upload, 0, b"evil"), "STALE")
        said(enemy.commit("main", upload), "STALE")
        reader = self.enemy("reader")
        said(reader.get("main", "snapshots/mine"), "OK")
        said(reader.put("main", "a", b"x"), "DENIED", "only read")
        said(reader.append("main", "a", 0, b"x"), "DENIED", "only read")
        said(reader.begin("main", "a", 1), "DENIED", "only read")
        said(self.enemy("stranger").list("main"), "DENIED", "has no host stranger")

    def uploads(self):
        enemy = self.enemy()
        upload = said(enemy.begin("main", "snapshots/parts", 10), "OK").body[11][1][0]
        said(enemy.part("main", upload, 5, b"later"), "CONFLICT")
        said(enemy.part("main", upload, 0, b"first"), "OK")
        said(enemy.part("main", upload, 0, b"first"), "OK")  # the answer was lost
        said(enemy.commit("main", upload), "CONFLICT", "missing")
        upload = said(enemy.begin("main", "snapshots/parts", 10), "OK").body[11][1][0]
        said(enemy.part("main", upload, 0, b"more than was said"), "LIMIT")
        said(enemy.begin("main", "snapshots/huge", 1 << 40), "LIMIT")
        said(enemy.begin("main", "snapshots/huge", (1 << 64) - 1), "LIMIT")
        said(enemy.stat("main", "snapshots/parts"), "NOT_FOUND")

    def quota(self):
        enemy, friend = self.enemy(), self.enemy("db2")
        begun = [enemy.begin("main", f"snapshots/begun-{i}", 1) for i in range(20)]
        assert [reply.code for reply in begun].count("BUSY") >= 4, "too many uploads at a time"
        block = os.urandom(2 * MIB)
        replies = [enemy.put("main", f"fill/{i}", block) for i in range(25)]
        stored = [reply.code for reply in replies].count("OK")
        assert 15 <= stored <= 19 and replies[-1].code == "NO_SPACE", [str(reply) for reply in replies]
        said(replies[-1], "NO_SPACE", "quota")
        said(enemy.append("main", "wal/mine", 5, block), "NO_SPACE")
        said(enemy.begin("main", "fill/parts", 30 * MIB), "NO_SPACE")
        said(friend.put("main", "snapshots/friend-goes-on", block), "OK")
        return stored

    def nonsense(self):
        for message in (os.urandom(3000), b"", b"\xff" * 100, field(1, 1), request("main", 99, b"x")[:-1] + b"\xff"):
            enemy = self.enemy()
            enemy.send(message)
            try:
                assert enemy.receive().code in ("INVALID", "UNSUPPORTED"), message[:20]
            except ConnectionError:
                pass
        enemy = self.enemy()
        said(enemy.ask("main", "describe", version=2), "UNSUPPORTED")
        said(enemy.ask("main", 99), "INVALID")
        said(enemy.ask("../main", "describe"), "INVALID")
        said(enemy.get("main", "a", 0, 64 * MIB), "INVALID")
        said(enemy.list("main", limit=10**6), "INVALID")
        said(enemy.list("main", limit=0), "INVALID")
        said(enemy.put("main", "a", b"x" * (2 * MIB + 1)), "INVALID")
        self.expect_garbage(request("main", "remove", field(1, "") * 400_000))  # far more memory than bytes
        self.expect_garbage(request("main", "put", field(1, "a") + field(2, b"x") + field(77, b"") * 400_000))
        for size_bytes in (4 * MIB, 1 << 40, (1 << 64) - 1, 3):
            enemy = self.enemy()
            try:
                enemy.link.sendall(size_bytes.to_bytes(8, "big") + b"\x80\0\0\1" + b"x" * 65536)
            except OSError:
                pass
            assert is_dropped(enemy)

    def expect_garbage(self, message):
        enemy = self.enemy()
        enemy.send(message)
        assert is_dropped(enemy)

    def strangers(self):
        other = Secrets(f"{self.folder}/other-pki", ["db1"])
        run(PKI, "issue", self.secrets.folder, "coordinator", "db2c")
        for certificate, key in ((None, None), (other.path("db1.pem"), other.path("db1.key"))):
            try:
                enemy = Enemy(self.server.port, certificate, key)
                enemy.send(request("main", "list", field(3, 10)))
                assert is_dropped(enemy)
            except OSError:
                pass
        said(self.enemy("db2c").list("main"), "DENIED", "has no host")

    def flood(self):
        """One host asks without end; another is served all the same."""
        stop, busy = threading.Event(), []

        def ask_on():
            enemy = self.enemy()
            while not stop.is_set():
                if enemy.list("main").code == "BUSY":
                    busy.append(1)

        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            floods = [pool.submit(ask_on) for _ in range(8)]
            try:
                wait_until("the flood is slowed down", lambda: len(busy) > 50, 60)
                friend, began = self.enemy("db2"), time.monotonic()
                for i in range(20):
                    said(friend.put("main", f"snapshots/during-{i}", b"x"), "OK")
                took = time.monotonic() - began
                print(f"   20 puts took {took:.1f} s meanwhile", flush=True)
                assert took < 20
            finally:
                stop.set()
            for each in floods:
                each.result()

    def restart(self, stored):
        """What each host has there is counted anew."""
        self.server.kill()
        assert glob.glob(f"{self.main}/tmp/depot-*"), "uploads were under way"
        self.server.start()
        assert not glob.glob(f"{self.main}/tmp/depot-*")
        enemy = self.enemy()
        used = said(enemy.ask("main", "describe"), "OK").body[10][4][0]
        assert stored * 2 * MIB < used < (stored + 1) * 2 * MIB, used
        said(enemy.put("main", "fill/more", os.urandom(2 * MIB)), "NO_SPACE", "quota")

    def run(self):
        self.server.start()
        try:
            self.prepare()
            for each in (self.overwrite, self.false_content, self.append, self.hide, self.remove, self.paths,
                         self.others, self.uploads, self.nonsense, self.strangers, self.flood):
                print(each.__name__, flush=True)
                each()
                self.check_past()
            print("quota", flush=True)
            stored = self.quota()
            self.check_past()
            print("restart", flush=True)
            self.restart(stored)
            self.check_past()
        except BaseException:
            print(self.server.text()[-4000:], flush=True)
            raise
        finally:
            self.server.stop()


def check_attacker(folder):
    Attack(folder).run()


# ---- the normal life ----------------------------------------------------------------------------------

class Life:
    def __init__(self, folder, server, secrets):
        self.folder, self.server = folder, server
        self.environment = secrets.environment("db1")
        self.words = ["--repo", server.url("main"), "--key-file", f"{folder}/key"]
        self.rng = seed()
        self.data = f"{folder}/data"
        os.makedirs(f"{self.data}/deep/er")
        for number in range(30):
            self.write(f"file-{number}", 1_500_000)
        self.write("deep/er/large", 30_000_000)

    def write(self, name, size_bytes):
        with open(f"{self.data}/{name}", "wb") as out:
            out.write(self.rng.randbytes(size_bytes))

    def agent(self, *words, status=0):
        return run(AGENT, *words, *self.words, status=status, env=self.environment)

    def backup(self, status=0):
        return self.agent("backup", "files", self.data, "--name", "data", "--json", status=status)

    def check_restore(self):
        target = f"{self.folder}/back-{time.monotonic_ns()}"
        self.agent("restore", "latest", "--target", target)
        for path in glob.glob(f"{self.data}/**", recursive=True):
            if os.path.isfile(path):
                found = glob.glob(f"{target}/**/{os.path.basename(path)}", recursive=True)
                assert len(found) == 1 and filecmp.cmp(path, found[0], shallow=False), path

    def backup_with_kill(self):
        """The depot is killed in the middle and started again: the backup goes on."""
        packs = f"{self.folder}/main/packs"
        before = len(glob.glob(f"{packs}/*/*"))
        with subprocess.Popen([AGENT, "backup", "files", self.data, "--name", "data", "--json", *self.words],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                              env=self.environment) as backup:
            wait_until("packs are stored", lambda: len(glob.glob(f"{packs}/*/*")) > before + 1, 60, 0.002)
            self.server.kill()
            running = backup.poll() is None
            self.server.start()
            out, _ = backup.communicate(timeout=150)
        print(f"   killed while the backup was running: {running}", flush=True)
        assert backup.returncode == 0, out.decode()


def check_life(folder):
    secrets = Secrets(f"{folder}/pki", [DEPOT, "db1"])
    hosts = [{"name": "db1", "quota_bytes": 400 * MIB}]
    with depot(folder, secrets, {"main": (f"{folder}/main", hosts)}) as server:
        life = Life(folder, server, secrets)
        print("init, backup, verify, restore", flush=True)
        life.agent("repo", "init")
        life.backup()
        life.agent("verify", "--read-data")
        life.check_restore()
        print("what a stolen host would do with our own program", flush=True)
        assert life.agent("forget", "--keep-last", "0", status=None).returncode != 0
        snapshot = os.path.basename(glob.glob(f"{folder}/main/snapshots/*")[0])
        for words in (["forget", snapshot], ["hold", "release", snapshot, "--reason", "theft"]):
            assert "collect" in life.agent(*words, status=7).err, words
        assert not glob.glob(f"{folder}/main/forgotten/*") and not glob.glob(f"{folder}/main/holds/*")
        assert life.agent("collect", status=None).returncode != 0
        life.check_restore()
        for round_number in range(3):
            print(f"kill -9 in the middle, {round_number + 1}", flush=True)
            for number in range(25):
                life.write(f"file-{number}", 1_500_000)
            life.backup_with_kill()
            life.check_restore()
        life.agent("verify", "--read-data")
        print("a quota that is used up", flush=True)
        for number in range(10):
            life.write(f"huge-{number}", 40_000_000)
        done = life.backup(status=None)
        assert done.returncode == 8, f"{done.returncode}\n{done.out}{done.err}"
        assert "quota" in done.out + done.err, done.out + done.err
        life.agent("verify")
    check_full_disk(folder, secrets)


def check_full_disk(folder, secrets):
    if os.geteuid() != 0:
        print("a full disk: left out, not root", flush=True)
        return
    print("a full disk", flush=True)
    small = f"{folder}/small"
    os.makedirs(small)
    if run("mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", small, status=None).returncode != 0:
        print("   left out: no tmpfs can be mounted here", flush=True)
        return
    try:
        with depot(folder, secrets, {"small": (f"{small}/repo", [{"name": "db1"}])}) as server:
            environment, url = secrets.environment("db1"), server.url("small")
            expect(call(environment, url, "fill", "a", 8_000_000), "^OK")
            expect(call(environment, url, "fill", "b", 8_000_000), "^OK")
            expect(call(environment, url, "fill", "c", 16_000_000), "^NO_SPACE PERMANENT")
            expect(call(environment, url, "stat", "c"), "^NOT_FOUND")
            assert not os.listdir(f"{small}/repo/tmp"), "nothing is left of what did not fit"
            expect(call(environment, url, "fill", "d", 1_000_000), "^OK")
    finally:
        run("umount", small)


def main():
    parts = {"attacker": check_attacker, "conformance": check_conformance, "life": check_life}
    for part in sys.argv[1:] or parts:
        with scratch() as folder:
            parts[part](folder)


if __name__ == "__main__":
    main()
