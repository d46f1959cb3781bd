"""Collecting in a depot: who may not, what a ticket of two coordinators lets go and nothing else, and what a host
may put by its access."""

import base64
import glob
import json
import os
import time

from depot_server import COORDINATORS, DEPOT, Secrets, depot
from depot_wire import Enemy, field
from support import AGENT, flip, run, scratch, seed
from test_depot import Tickets, tree_of

HOSTS = ["db1", "keeper", "copier"]


class Scene:
    def __init__(self, folder, server, secrets):
        self.folder, self.server, self.secrets = folder, server, secrets
        self.tickets = Tickets(folder, secrets)
        self.rng = seed()
        self.data, self.main = f"{folder}/data", f"{folder}/main"
        self.words = ["--repo", server.url("main"), "--key-file", f"{folder}/key"]
        self.kept = {}  # snapshot id: contents
        os.makedirs(self.data)

    def agent(self, host, *words, status=0, **more):
        return run(AGENT, *words, *self.words, status=status, env=self.secrets.environment(host, **more))

    def back_up(self):
        """A file that is new each time, and one that stays."""
        for name, size_bytes in (("changes", 9_000_000), ("stays", 100_000)):
            if name == "changes" or not os.path.exists(f"{self.data}/{name}"):
                with open(f"{self.data}/{name}", "wb") as out:
                    out.write(self.rng.randbytes(size_bytes))
        before = {os.path.basename(path) for path in glob.glob(f"{self.main}/snapshots/*")}
        self.agent("db1", "backup", "files", self.data, "--name", "data")
        (new,) = {os.path.basename(path) for path in glob.glob(f"{self.main}/snapshots/*")} - before
        self.kept[new] = {name: self.read(f"{self.data}/{name}") for name in ("changes", "stays")}
        return new

    @staticmethod
    def read(path):
        with open(path, "rb") as file:
            return file.read()

    def check_all(self):
        for number, (snapshot, contents) in enumerate(self.kept.items()):
            target = f"{self.folder}/back-{time.monotonic_ns()}-{number}"
            self.agent("db1", "restore", snapshot, "--target", target)
            for name, content in contents.items():
                (found,) = glob.glob(f"{target}/**/{name}", recursive=True)
                assert self.read(found) == content, name
        self.agent("db1", "verify", "--read-data")

    def collect(self, ticket, status=0, host="keeper"):
        more = {} if ticket is None else {"FORTRESS_DEPOT_TICKETS": self.tickets.file(ticket)}
        return self.agent(host, "collect", status=status, **more)

    def list_removals(self):
        path = f"{self.folder}/keys-{time.monotonic_ns()}"
        self.agent("keeper", "collect", "--dry-run", "--out", path)
        return self.read(path).decode().splitlines()

    def objects(self):
        return {os.path.relpath(path, self.main) for path in tree_of(self.main)}


def expired(scene, keys):
    """Our own program makes none that has expired."""
    now = time.time_ns()
    ticket = field(1, "x") + field(2, "depot-test") + field(3, DEPOT) + field(4, "main")
    ticket += b"".join(field(5, key) for key in keys) + field(6, now - 7200 * 10**9) + field(7, now - 1)
    signed, whole = f"{scene.folder}/signed", field(1, ticket)
    with open(signed, "wb") as out:
        out.write(b"fortress depot ticket 1\0" + ticket)
    for name in ("coord1", "coord2"):
        run("openssl", "pkeyutl", "-sign", "-rawin", "-inkey", scene.secrets.path(f"{name}.endorse.key"),
            "-in", signed, "-out", signed + ".sig")
        whole += field(2, field(1, name) + field(2, COORDINATORS[name]) + field(3, scene.read(signed + ".sig")))
    return base64.b64encode(whole).decode() + "\n"


def check_refusals(scene, keys):
    """None of these removes anything that was there."""
    before = tree_of(scene.main)
    make, sign = scene.tickets.make, scene.tickets.sign
    one = sign(make("main", keys), "coord1")
    others = [key for key in scene.objects() if key.startswith("packs/") and key not in keys]
    forged = sign(sign(make("main", keys), "coord1"), "coord2", key_of="coord1")
    for what, ticket, words in (
            ("no ticket", None, "two coordinators"),
            ("one signature", one, "signatures of two regions"),
            ("two of one region", sign(make("main", keys), "coord2", "coord3"), "signatures of two regions"),
            ("expired", expired(scene, keys), "expired"),
            ("another depot", sign(make("main", keys, depot_name="depot2"), "coord1", "coord2"), "another depot"),
            ("other objects", scene.tickets.good("main", others), "no ticket names it"),
            ("not all that names the packs", scene.tickets.good("main", [k for k in keys if k.startswith("packs/")]),
             "no ticket names it"),
            ("forged", forged, "fewer than two regions")):
        done = scene.collect(ticket, status=7)
        said = " ".join((done.out + done.err).split())
        print(f"   {what}: {said[-330:]}", flush=True)
        assert words in said and (what == "forged" or "collect --dry-run --out" in said), said
        now = tree_of(scene.main)
        assert not [path for path, digest in before.items() if now.get(path) != digest], what
        assert not glob.glob(f"{scene.main}/marks/*"), "its marks are gone"


def check_collect(folder, server, secrets):
    scene = Scene(folder, server, secrets)
    print("backups; a policy forgets", flush=True)
    scene.agent("db1", "repo", "init")
    snapshots = [scene.back_up() for _ in range(4)]
    done = scene.agent("db1", "forget", "--keep-last", "2", status=7)
    assert "collect" in done.out + done.err
    scene.agent("keeper", "forget", "--keep-last", "2")
    listed = scene.agent("db1", "snapshots").out
    forgotten = [snapshot for snapshot in snapshots if snapshot[:8] not in listed]
    assert forgotten == snapshots[1:2], listed  # the first of its hour and the last two stay
    scene.agent("keeper", "forget", snapshots[0])
    forgotten = snapshots[:2]
    for snapshot in forgotten:
        del scene.kept[snapshot]
    keys = scene.list_removals()
    assert {f"snapshots/{snapshot}" for snapshot in forgotten} <= set(keys), keys
    print(f"{len(keys)} objects would go", flush=True)
    check_refusals(scene, keys)
    scene.check_all()
    print("with a ticket", flush=True)
    keys = scene.list_removals()
    before = scene.objects()
    done = scene.collect(scene.tickets.good("main", keys))
    print("  ", done.out.strip().splitlines()[-1], flush=True)
    gone = before - scene.objects()
    passing = ("leases", "leases-over", "marks", "verified")  # a voucher made anew can be the same
    assert gone <= set(keys), gone - set(keys)
    left = {key for key in set(keys) - gone if key.split("/", maxsplit=1)[0] not in passing}
    assert not left, left
    assert [key for key in gone if key.startswith("packs/")]
    scene.check_all()
    scene.back_up()
    scene.check_all()
    check_scrub(scene)
    check_access(scene)


def check_scrub(scene):
    """Without a key the depot itself reads what is named by its digest, and its log tells of damage."""
    print("scrub", flush=True)
    words = [AGENT, "repair", "--dry-run", "--repo", scene.server.url("main")]
    environment = scene.secrets.environment("db1")
    run(*words, env=environment)
    pack = max(glob.glob(f"{scene.main}/packs/*/*"), key=os.path.getsize)
    at, mask = scene.rng.randrange(os.path.getsize(pack)), 1 << scene.rng.randrange(8)
    flip(pack, at, mask)
    damaged = pack.rsplit("/", maxsplit=1)[1]
    done = run(*words, env=environment, status=4)
    assert damaged in done.out + done.err, (at, done.out, done.err)
    assert scene.server.logged("object.damaged"), "the depot did not read it itself"
    flip(pack, at, mask)
    run(*words, env=environment)


def check_access(scene):
    """The table of docs/reference/depot.md, as attackers with each host's own certificate."""
    print("prefixes", flush=True)
    enemies = {host: Enemy(scene.server.port, scene.secrets.path(f"{host}.pem"), scene.secrets.path(f"{host}.key"))
               for host in HOSTS}
    hexes = "ab" * 32
    table = {"packs/ab/x": "dkc", "indexes/x": "dkc", "snapshots/x": "dkc", "keys/s/1": "dkc", "verified/s/x": "dkc",
             "streams/wal/x": "dkc", "config2": "dkc", "leases/x": "dkc", f"holds/{hexes}-00000001": "k",
             f"forgotten/{hexes}": "k", "repairs/x": "k", "marks/x": "k", "settled/none": "kc", "revocations/none": "kc",
             "arriving/x": "kc", "erasures/s/1": "kc"}
    for key, who in table.items():
        for number, (host, enemy) in enumerate(enemies.items()):
            reply = enemy.put("main", f"{key}{number}", b"x")
            assert reply.code == ("OK" if host[0] in who else "DENIED"), f"{host} {key}: {reply}"
    keeper, copier = enemies["keeper"], enemies["copier"]
    assert enemies["db1"].put("main", "leases/direct", b"x").code == "OK"
    for key in ("settled/direct", "revocations/direct", "leases-over/direct"):
        assert copier.put("main", key, b"x").code == "DENIED", key
    print("what a host takes away again without a ticket", flush=True)
    for enemy, key, code in ((enemies["db1"], "leases/direct", "DENIED"), (keeper, "leases/direct", "DENIED"),
                             (copier, "marks/x1", "DENIED"), (keeper, "marks/x1", "OK"),
                             (keeper, "arriving/x2", "DENIED"), (copier, "arriving/x2", "OK"),
                             (copier, "snapshots/x2", "DENIED"), (keeper, f"forgotten/{hexes}1", "DENIED")):
        assert enemy.remove("main", [key]).code == code, key
    assert keeper.put("main", "marks/y", b"x").code == "OK"
    assert keeper.remove("main", ["marks/y", "snapshots/x1"]).code == "DENIED"
    assert {"marks/y", "snapshots/x1"} <= scene.objects()


def check_replicate(folder, server, secrets):
    """A depot as the second tier of three: filled by a host that may replicate, and copied from."""
    print("a tier", flush=True)
    first, third, rng = f"{folder}/first", f"{folder}/third", seed()
    second, key = server.url("tier"), ["--key-file", f"{folder}/tiers-key"]

    def agent(*words, host="copier", status=0):
        return run(AGENT, *words, status=status, env=secrets.environment(host))

    def behind(source, target):
        done = agent("tiers", "status", "--repo", source, "--to", target, "--json", status=None)
        return next(event for event in map(json.loads, done.out.splitlines()) if event["event"] == "tier")

    def back_up(name):
        with open(f"{folder}/tiers-data/{name}", "wb") as out:
            out.write(rng.randbytes(5_000_000))
        agent("backup", "files", f"{folder}/tiers-data", "--repo", first, *key)

    os.makedirs(f"{folder}/tiers-data")
    agent("repo", "init", "--repo", first, *key)
    for name in ("one", "two"):
        back_up(name)
    agent("replicate", "--repo", first, "--to", second, host="db1", status=7)
    agent("replicate", "--repo", first, "--to", second)
    found = behind(first, second)
    assert found["behind_count"] == found["behind_bytes"] == found["behind_s"] == 0, found
    assert found["snapshot_count"] == 2, found
    back_up("three")
    found = behind(first, second)
    assert found["behind_snapshot_count"] == 1 and found["behind_bytes"] > 5_000_000, found
    agent("replicate", "--repo", first, "--to", second)
    agent("replicate", "--repo", second, "--to", third)
    for tier in (second, third):
        agent("verify", "--read-data", "--repo", tier, *key)
        target = f"{folder}/tier-back-{os.path.basename(tier.split('?')[0])}"
        agent("restore", "latest", "--target", target, "--repo", tier, *key)
        run("diff", "-r", f"{folder}/tiers-data", f"{target}{folder}/tiers-data")
    print("what the depot forgot stays forgotten there", flush=True)
    (oldest, *_) = sorted(glob.glob(f"{folder}/tier/snapshots/*"), key=os.path.getmtime)
    agent("forget", os.path.basename(oldest), "--repo", second, *key, host="keeper")
    agent("replicate", "--repo", first, "--to", second)
    assert not os.path.exists(oldest) or os.path.basename(oldest)[:12] not in agent(
        "snapshots", "--repo", second, *key).out
    assert behind(first, second)["behind_count"] == 0


def main():
    with scratch() as folder:
        secrets = Secrets(f"{folder}/pki", [DEPOT] + HOSTS)
        hosts = [{"name": "db1"}, {"name": "keeper", "access": "collect"}, {"name": "copier", "access": "replicate"}]
        with depot(folder, secrets, {name: (f"{folder}/{name}", hosts) for name in ("main", "tier")}) as server:
            check_collect(folder, server, secrets)
            check_replicate(folder, server, secrets)


if __name__ == "__main__":
    main()
