"""Three tiers: replication killed at random instants, retention per tier, limits, damage healed."""

import filecmp
import glob
import json
import os
import shutil
import subprocess
import threading
import time

import support

ROUNDS = int(os.environ.get("FORTRESS_TEST_ROUNDS") or 8)
STALE, BUSY = 18, 20  # a collector did not wait, or is at work


def agent(*words, status=0):
    return support.run(support.AGENT, *words, status=status)


def start(*words):
    return subprocess.Popen([support.AGENT, *words, "--json"], stdout=subprocess.PIPE,
                            stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)


def events(out):
    return [json.loads(line) for line in out.splitlines()]


def summary(done):
    return events(done.out)[-1]


class Tiers:
    def __init__(self, folder, rng):
        self.folder = folder
        self.rng = rng
        self.key = ["--key-file", f"{folder}/key"]
        self.tier = [f"{folder}/t{number}" for number in (1, 2, 3)]
        self.data = f"{folder}/data"
        self.states = {}  # snapshot -> number of the data's state
        os.makedirs(self.data)
        agent("repo", "init", "--repo", self.tier[0], *self.key)

    def change(self):
        for _ in range(3):
            with open(f"{self.data}/file-{self.rng.randrange(6)}", "wb") as file:
                file.write(self.rng.randbytes(self.rng.randrange(1_500_000)))

    def backup(self):
        self.change()
        number = len(self.states)
        shutil.copytree(self.data, f"{self.folder}/copy-{number}")
        done = agent("backup", "files", self.data, "--name", "data", "--json", "--repo",
                     self.tier[0], *self.key)
        identity = summary(done)["snapshot"]["id"]
        self.states[identity] = number
        return identity

    def replicate(self, source, target, *more, status=0):
        return agent("replicate", "--repo", self.tier[source], "--to", self.tier[target], "--json",
                     *more, status=status)

    def listed(self, tier):
        if not os.path.exists(f"{self.tier[tier]}/config"):
            return set()
        done = agent("snapshots", "--json", "--repo", self.tier[tier], *self.key)
        return {each["id"] for each in events(done.out) if each["event"] == "snapshot"}

    def check_restore(self, tier, identity):
        back = f"{self.folder}/back"
        agent("restore", identity, "--target", back, "--path", self.data, "--repo",
              self.tier[tier], *self.key)
        copy = f"{self.folder}/copy-{self.states[identity]}"
        found = filecmp.dircmp(back, copy)
        assert not found.left_only and not found.right_only, found.report()
        _, differ, failed = filecmp.cmpfiles(back, copy, found.common_files, shallow=False)
        assert not differ and not failed, (differ, failed)
        shutil.rmtree(back)

    def verify(self, tier, status=0):
        return agent("verify", "--read-data", "--repo", self.tier[tier], *self.key, status=status)

    def objects(self, tier, folder):
        return sorted(os.path.join(path, name)
                      for path, _, names in os.walk(f"{self.tier[tier]}/{folder}")
                      for name in names)

    def flip(self, path):
        os.chmod(path, 0o600)
        with open(path, "r+b") as file:
            size = os.path.getsize(path)
            place = self.rng.randrange(size)
            file.seek(place)
            byte = file.read(1)[0]
            file.seek(place)
            file.write(bytes([byte ^ (1 << self.rng.randrange(8))]))


def chain(tiers):
    """T1 to T2 to T3, and how far each is behind."""
    for _ in range(3):
        tiers.backup()
    status = events(agent("tiers", "status", "--repo", tiers.tier[0], "--to", tiers.tier[1],
                          "--to", tiers.tier[2], "--json").out)
    assert [each["behind_snapshot_count"] for each in status[:2]] == [3, 3], status
    assert not status[0]["is_there"] and status[0]["behind_bytes"] > 0, status
    tiers.replicate(0, 1)
    tiers.replicate(1, 2)
    for tier in (1, 2):
        assert tiers.listed(tier) == set(tiers.states)
        tiers.verify(tier)
        for identity in tiers.states:
            tiers.check_restore(tier, identity)
    newest = tiers.backup()

    def behind():
        first, second, _ = events(agent("tiers", "status", "--repo", tiers.tier[0], "--to",
                                        tiers.tier[1], "--to", tiers.tier[2], "--json").out)
        return (first, second) if first["behind_s"] >= 1 else None
    first, second = support.wait_until("it is a second behind", behind)
    assert first["behind_snapshot_count"] == second["behind_snapshot_count"] == 1
    assert 1 <= first["behind_s"] < 60, first
    done = summary(tiers.replicate(0, 1))
    assert done["copied_count"] == first["behind_count"], (done, first)
    assert done["copied_bytes"] == first["behind_bytes"], (done, first)
    table = agent("tiers", "status", "--repo", tiers.tier[0], "--to", tiers.tier[1]).out
    assert tiers.tier[1] in table, table
    assert newest in tiers.listed(1)


def limit(tiers):
    """Bandwidth is bounded from above."""
    with open(f"{tiers.data}/large", "wb") as file:
        file.write(tiers.rng.randbytes(6_000_000))
    tiers.backup()
    began = time.monotonic()
    done = summary(tiers.replicate(0, 1, "--bandwidth", "2M", "--jobs", "8"))
    took = time.monotonic() - began
    least = done["copied_bytes"] / (2 << 20)
    assert took >= 0.95 * least > 2, (took, least)
    tiers.replicate(1, 2)


def retention(tiers):
    """A tier forgets for itself; it does not come back."""
    oldest = agent("snapshots", "--json", "--repo", tiers.tier[1], *tiers.key).out
    kept = [each["id"] for each in events(oldest) if each["event"] == "snapshot"][-1:]
    agent("forget", "--keep-last", "1", "--repo", tiers.tier[1], *tiers.key)
    agent("collect", "--repo", tiers.tier[1], *tiers.key)
    tiers.replicate(0, 1)
    assert tiers.listed(1) == set(kept)
    fresh = tiers.backup()
    tiers.replicate(0, 1)
    tiers.replicate(1, 2)
    assert tiers.listed(1) == {*kept, fresh}
    assert tiers.listed(0) == tiers.listed(2) == set(tiers.states)
    for tier in (0, 1, 2):
        tiers.verify(tier)
    tiers.check_restore(1, fresh)


def damage(tiers):
    """Flipped bits at T1 are healed from T2 and T3; what cannot be is named."""
    paths = [path for folder in ("packs", "indexes", "snapshots", "keys")
             for path in tiers.objects(0, folder)]
    for path in tiers.rng.sample(paths, 4):
        tiers.flip(path)
    done = agent("repair", "--repo", tiers.tier[0], "--from", tiers.tier[1], "--from",
                 tiers.tier[2], "--json", "--dry-run", status=4)
    assert summary(done)["healed_count"] == summary(done)["damaged_count"] == 4, done.out
    done = agent("repair", "--repo", tiers.tier[0], "--from", tiers.tier[1], "--from",
                 tiers.tier[2], "--json")
    assert summary(done)["healed_count"] == 4, done.out
    tiers.verify(0)

    pack = tiers.rng.choice(tiers.objects(0, "packs"))
    name = os.path.basename(pack)
    for tier in (1, 2):
        other = pack.replace(tiers.tier[0], tiers.tier[tier])
        if os.path.exists(other):
            os.unlink(other)
    kept = f"{tiers.folder}/kept"
    shutil.copy(pack, kept)
    tiers.flip(pack)
    done = agent("repair", "--repo", tiers.tier[0], "--from", tiers.tier[1], *tiers.key, status=4)
    assert name in done.out, done.out
    named = {identity for identity in tiers.states if f"snapshot {identity}" in done.out}
    assert named, done.out
    for identity in tiers.states:
        if identity in named:
            agent("restore", identity, "--target", f"{tiers.folder}/not", "--repo", tiers.tier[0],
                  *tiers.key, status=None)
            found = tiers.verify(0, status=4).out
            assert f"snapshot {identity}: cannot be restored whole" in found, found
            shutil.rmtree(f"{tiers.folder}/not", ignore_errors=True)
        else:
            tiers.check_restore(0, identity)
    blind = agent("repair", "--repo", tiers.tier[0], "--from", tiers.tier[1], status=4)
    assert "key" in blind.err, blind.err
    # A damaged source object is not copied, and no snapshot that may need it.
    before = tiers.listed(1)
    shown = tiers.replicate(0, 1, status=None)
    assert name not in {os.path.basename(path) for path in tiers.objects(1, "packs")}
    assert tiers.listed(1) == before, shown.out
    # The good one comes back: both tiers lack it, so that the key must tell.
    os.chmod(pack, 0o600)
    shutil.copy(kept, pack)
    for tier in (1, 2):
        agent("repair", "--repo", tiers.tier[tier], "--from", tiers.tier[0], *tiers.key)
        tiers.verify(tier)
    tiers.verify(0)


def index(tiers):
    """A lost index and a damaged one are made anew."""
    paths = tiers.objects(0, "indexes")
    os.unlink(paths[0])
    tiers.flip(paths[-1])
    tiers.verify(0, status=4)
    done = agent("repair", "index", "--repo", tiers.tier[0], "--json", *tiers.key)
    assert summary(done)["pack_count"] > 0 and summary(done)["removed_count"] == 1, done.out
    tiers.verify(0)
    for identity in sorted(tiers.listed(0))[:2]:
        tiers.check_restore(0, identity)


def end(process):
    """What it said last; None where it was killed."""
    out, _ = process.communicate(timeout=60)
    return events(out.decode())[-1] if process.returncode >= 0 else None


def kill_after(process, after_s):
    timer = threading.Timer(after_s, process.kill)
    timer.start()
    return timer


def killed(tiers):
    """Replication killed at random instants, beside backups and collectors on both sides."""
    rng = tiers.rng
    tiers.backup()
    began = time.monotonic()
    tiers.replicate(0, 1)
    whole_s = time.monotonic() - began
    told = {"replicated": 0, "gave up": 0, "killed": 0}
    for _ in range(ROUNDS):
        tiers.change()
        number = len(tiers.states)
        shutil.copytree(tiers.data, f"{tiers.folder}/copy-{number}")
        backup = start("backup", "files", tiers.data, "--name", "data", "--repo", tiers.tier[0],
                       *tiers.key)
        both = [start("replicate", "--repo", tiers.tier[tier], "--to", tiers.tier[tier + 1])
                for tier in (0, 1)]
        tier = rng.randrange(3)
        collector = start("collect", "--live-percent", "80", "--revoke", "--repo",
                          tiers.tier[tier], *tiers.key)
        timers = [kill_after(each, rng.random() * whole_s) for each in (*both, collector)
                  if rng.random() < 0.6]
        listed = sorted(tiers.listed(tier))
        if len(listed) > 4:
            agent("forget", rng.choice(listed), "--repo", tiers.tier[tier], *tiers.key,
                  status=None)
        for process in both:
            done = end(process)
            assert done is None or done["exit_code"] in (0, STALE, BUSY), done
            kind = "killed" if done is None else "gave up" if done["exit_code"] else "replicated"
            told[kind] += 1
        end(collector)
        for timer in timers:
            timer.join()
        saved = end(backup)
        if saved["result"] != "failed":
            tiers.states[saved["snapshot"]["id"]] = number
        else:
            shutil.rmtree(f"{tiers.folder}/copy-{number}")
        for each in (0, 1, 2):
            known = sorted(tiers.listed(each) & set(tiers.states))
            for identity in rng.sample(known, min(2, len(known))):
                tiers.check_restore(each, identity)
            # The last index object of one that was revoked may name packs that are gone.
            found = tiers.verify(each, status=None).out
            assert "snapshot" not in found.replace(" snapshots", ""), found
    print(told, flush=True)
    for tier in tiers.tier:
        agent("collect", "--revoke", "--repo", tier, *tiers.key)
    for source, target in ((0, 1), (1, 2)):
        tiers.replicate(source, target)
        tiers.verify(target)
        forgotten = {os.path.basename(path)  # no folder of them: nothing was forgotten there
                     for path in glob.glob(f"{tiers.tier[target]}/forgotten/*")}
        assert tiers.listed(source) - forgotten <= tiers.listed(target)
        for identity in tiers.listed(target) & set(tiers.states):
            tiers.check_restore(target, identity)


def main():
    rng = support.seed()
    with support.scratch() as folder:
        tiers = Tiers(os.path.realpath(folder), rng)
        for step in (chain, limit, retention, damage, index, killed):
            began = time.monotonic()
            step(tiers)
            print(f"{step.__name__}: {time.monotonic() - began:.1f} s", flush=True)


if __name__ == "__main__":
    main()
