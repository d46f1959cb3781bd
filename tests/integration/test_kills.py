"""Two backups, a replication and a collection at once, killed at random instants: what was acknowledged is whole."""

import collections
import json
import os
import shutil
import subprocess
import time

import every_kind
import support

KILLS = int(os.environ.get("FORTRESS_TEST_KILLS") or 20)
KEPT = 8  # snapshots; more are forgotten
CLEAN_EVERY = 5


def events(out):
    return [json.loads(line) for line in out.decode().splitlines()]


def names(url, kind):
    """Of a repository's objects of a kind."""
    return os.listdir(f"{url}/{kind}") if os.path.exists(f"{url}/{kind}") else []


class Process:
    """A verb at work, that may be killed at an instant."""

    def __init__(self, *words):
        self.words = words
        self.began = time.monotonic()
        self.out = None
        self.took_s = None
        self.process = subprocess.Popen([support.AGENT, *words, "--json"], stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)

    def kill(self):
        """Whether it was still at work."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        return self.process.returncode == -9

    def end(self, statuses):
        """What it said last: a summary, unless it was killed before it could say it."""
        out, err = self.process.communicate(timeout=120)
        self.took_s = time.monotonic() - self.began
        status = self.process.returncode
        assert status in (*statuses, -9), f"{self.words} ended with {status}: {out} {err}"
        said = [each for each in events(out) if each["event"] == "summary"]
        assert said or status == -9, f"{self.words} ended with {status} without a summary: {err}"
        return said[-1] if said else None


class Tiers:
    def __init__(self, folder, rng):
        self.folder = os.path.realpath(folder)
        self.rng = rng
        self.key = ["--key-file", f"{self.folder}/key"]
        self.tier = [f"{self.folder}/t1", f"{self.folder}/t2"]
        self.trees = [f"{self.folder}/left", f"{self.folder}/right"]
        self.acknowledged = {}  # id -> (tree, folder with a copy of its state)
        self.state = 0
        for tree in self.trees:
            os.makedirs(f"{tree}/sub")
        support.agent("repo", "init", "--repo", self.tier[0], *self.key)
        support.agent("replicate", "--repo", self.tier[0], "--to", self.tier[1])

    def change(self, tree):
        """Another state of a tree, and a copy of it."""
        for _ in range(2):
            with open(f"{tree}/file-{self.rng.randrange(6)}", "wb") as file:
                file.write(self.rng.randbytes(self.rng.randrange(900_000)))
        with open(f"{tree}/sub/{self.rng.randrange(20)}", "wb") as file:
            file.write(self.rng.randbytes(self.rng.randrange(2_000)))
        self.state += 1
        with open(f"{tree}/state", "w", encoding="ascii") as file:
            file.write(str(self.state))
        copy = f"{self.folder}/copy-{self.state}"
        shutil.copytree(tree, copy)
        return copy

    def listed(self, tier):
        done = support.agent("snapshots", "--json", "--repo", self.tier[tier], *self.key)
        return {each["id"]: each for each in map(json.loads, done.out.splitlines())
                if each["event"] == "snapshot"}

    def start(self):
        """All four at once."""
        waits = self.rng.choice([["--wait", "5s"], ["--wait", "1s", "--revoke"], ["--revoke"]])
        where = self.rng.choice(self.tier)
        starts = [
            ("left", ["backup", "files", self.trees[0], "--name", "left"], self.tier[0]),
            ("right", ["backup", "files", self.trees[1], "--name", "right"], self.tier[0]),
            ("replicate", ["replicate", "--to", self.tier[1]], self.tier[0]),
            ("collect", ["collect", "--live-percent", "80", *waits], where),
        ]
        self.rng.shuffle(starts)
        return {name: Process(*words, "--repo", url, *self.key) for name, words, url in starts}

    def restores(self, tier, identity, copy, tree):
        back = f"{self.folder}/back"
        support.agent("restore", identity, "--target", back, "--path", tree, "--repo",
                      self.tier[tier], *self.key)
        assert every_kind.same(copy, back), f"{identity} in tier {tier + 1} has another content"
        shutil.rmtree(back)

    def check_verify(self, tier):
        """
        Nothing is damaged. There may be remnants: packs that are gone, of an index object that came
        late (docs/format.md, "What an index object promises").
        """
        done = support.agent("verify", "--read-data", "--json", "--repo", self.tier[tier], *self.key,
                             status=None)
        summary = [each for each in map(json.loads, done.out.splitlines())
                   if each["event"] == "summary"][-1]
        assert done.returncode == (3 if summary["remnant_count"] > 0 else 0), f"{done.out} {done.err}"
        return done.returncode

    def check(self):
        """After each kill."""
        known = [self.listed(0), self.listed(1)]
        lost = set(self.acknowledged) - set(known[0])
        assert not lost, f"acknowledged and lost: {lost}"
        for tier in (0, 1):
            self.check_verify(tier)
            here = sorted(set(known[tier]) & set(self.acknowledged))
            for identity in self.rng.sample(here, min(2, len(here))):
                self.restores(tier, identity, *self.acknowledged[identity])

    def forget(self):
        """Not to grow without an end; in either tier on its own."""
        while len(self.acknowledged) > KEPT:
            identity = self.rng.choice(sorted(self.acknowledged))
            support.agent("forget", identity, "--repo", self.tier[0])
            shutil.rmtree(self.acknowledged.pop(identity)[0])
        known = self.listed(1)
        for identity in sorted(known)[KEPT:]:
            support.agent("forget", identity, "--repo", self.tier[1])

    def check_unacknowledged(self, known):
        """Killed after its snapshot was put and before it said so: then it is whole as well."""
        for identity in set(known) - set(self.acknowledged):
            back = f"{self.folder}/back"
            tree = self.trees[known[identity]["source"].endswith("right")]
            support.agent("restore", identity, "--target", back, "--path", tree, "--repo",
                          self.tier[0], *self.key)
            with open(f"{back}/state", encoding="ascii") as file:
                copy = f"{self.folder}/copy-{file.read()}"
            shutil.rmtree(back)
            self.restores(0, identity, copy, tree)
            self.acknowledged[identity] = (copy, tree)

    def clean(self):
        """The next runs, left alone, clean up what all kills left; temporaries when they are a day old."""
        old = time.time() - 2 * 24 * 3600
        for url in self.tier:
            for name in names(url, "tmp"):
                os.utime(f"{url}/tmp/{name}", (old, old))
        for url in self.tier:
            support.agent("collect", "--revoke", "--repo", url, *self.key)
        support.agent("replicate", "--repo", self.tier[0], "--to", self.tier[1])
        support.agent("collect", "--revoke", "--repo", self.tier[1], *self.key)
        known = [self.listed(0), self.listed(1)]
        forgotten = set(names(self.tier[1], "forgotten"))
        assert set(known[0]) - forgotten <= set(known[1]), "the tier lacks snapshots"
        self.check_unacknowledged(known[0])
        for tier, url in enumerate(self.tier):
            assert self.check_verify(tier) == 0, "verify is not content when all was cleaned up"
            for left in ("leases", "marks", "tmp"):
                found = names(url, left)
                assert not found, f"{left} in tier {tier + 1}: {found}"
        # One that the source forgot before it was whole in the tier stays announced there.
        arriving = set(names(self.tier[1], "arriving"))
        assert arriving <= set(names(self.tier[0], "forgotten")) - set(known[1]), arriving
        kept = {os.path.basename(copy) for copy, _ in self.acknowledged.values()}
        for name in os.listdir(self.folder):
            if name.startswith("copy-") and name not in kept:
                shutil.rmtree(f"{self.folder}/{name}")


def one_round(tiers, whole_s, told):
    """Gives whether something was killed."""
    rng = tiers.rng
    copies = [tiers.change(tree) for tree in tiers.trees]
    after_s = rng.random() * whole_s
    processes = tiers.start()
    victims = sorted(processes) if rng.random() < 0.3 else [rng.choice(sorted(processes))]
    time.sleep(after_s)  # not to wait for something: to meet it at any instant
    killed = [name for name in victims if processes[name].kill()]
    # A backup or collection that another one revoked or that met another fails; what was forgotten
    # or collected meanwhile makes a replication give up.
    said = {name: process.end((0, 18, 20)) for name, process in processes.items()}
    for name, copy, tree in (("left", copies[0], tiers.trees[0]),
                             ("right", copies[1], tiers.trees[1])):
        if said[name] is not None and said[name]["exit_code"] == 0:
            tiers.acknowledged[said[name]["snapshot"]["id"]] = (copy, tree)
            told["backups acknowledged"] += 1
        elif said[name] is not None:
            told["backups revoked"] += 1
    for name in ("replicate", "collect"):
        if said[name] is not None:
            told[f"{name} {'done' if said[name]['exit_code'] == 0 else 'gave up'}"] += 1
    for name in killed:
        told[f"killed: {name}"] += 1
    tiers.check()
    tiers.forget()
    return bool(killed)


def how_long(tiers):
    """All four, left alone."""
    began = time.monotonic()
    for tree in tiers.trees:
        tiers.change(tree)
    for process in tiers.start().values():
        process.end((0, 18, 20))
    return time.monotonic() - began


def main():
    rng = support.seed()
    print(f"kills: FORTRESS_TEST_KILLS={KILLS}", flush=True)
    with support.scratch(below=every_kind.memory_folder()) as folder:
        tiers = Tiers(folder, rng)
        whole_s = min(how_long(tiers) for _ in range(3))
        told = collections.Counter()
        kills = 0
        rounds = 0
        while kills < KILLS:
            met = one_round(tiers, whole_s, told)
            whole_s *= 1.0 if met else 0.9  # all had ended: the machine is less busy than it was
            kills += met
            rounds += 1
            assert rounds < 10 * KILLS + 20, f"only {kills} of {rounds} rounds met a process at work"
            if rounds % CLEAN_EVERY == 0:
                tiers.clean()
        tiers.clean()
        for identity, (copy, tree) in tiers.acknowledged.items():
            tiers.restores(0, identity, copy, tree)
        print(f"{kills} kills in {rounds} rounds; {dict(sorted(told.items()))}")


if __name__ == "__main__":
    main()
