"""Backups, forgetting and collecting at once, killed at random instants: what counts restores."""

import filecmp
import json
import os
import shutil
import subprocess
import time

import support

ROUNDS = int(os.environ.get("FORTRESS_TEST_ROUNDS") or 20)


def agent(*words, status=0):
    return support.run(support.AGENT, *words, status=status)


def start(*words):
    return subprocess.Popen([support.AGENT, *words], stdout=subprocess.PIPE,
                            stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)


def summary_of(out):
    for line in out.decode().splitlines():
        event = json.loads(line)
        if event["event"] == "summary":
            return event
    return None


class Repository:
    def __init__(self, folder, rng):
        self.folder = folder
        self.rng = rng
        self.words = ["--repo", f"{folder}/repo", "--key-file", f"{folder}/key"]
        self.data = f"{folder}/data"
        self.counted = {}  # acknowledged and not forgotten: id -> number of the data's state
        self.state = 0
        os.makedirs(self.data)
        agent("repo", "init", *self.words)

    def change(self):
        self.state += 1
        for _ in range(3):
            with open(f"{self.data}/file-{self.rng.randrange(8)}", "wb") as file:
                file.write(self.rng.randbytes(self.rng.randrange(1_500_000)))
        with open(f"{self.data}/number", "w", encoding="ascii") as file:
            file.write(str(self.state))
        shutil.copytree(self.data, f"{self.folder}/copy-{self.state}")

    def backup(self):
        return start("backup", "files", self.data, "--name", "data", "--json", *self.words)

    def collect(self, *more):
        return start("collect", "--live-percent", "80", "--json", *more, *self.words)

    def listed(self):
        lines = agent("snapshots", "--json", *self.words).out.splitlines()
        return {each["id"] for each in map(json.loads, lines) if each["event"] == "snapshot"}

    def forget_one(self):
        if len(self.counted) > 3:
            identity = self.rng.choice(sorted(self.counted))
            del self.counted[identity]
            agent("forget", identity, *self.words)

    def check_restore(self, identity):
        back = f"{self.folder}/back"
        agent("restore", identity, "--target", back, "--path", self.data, *self.words)
        copy = f"{self.folder}/copy-{self.counted[identity]}"
        found = filecmp.dircmp(back, copy)
        assert not found.left_only and not found.right_only, found.report()
        _, differ, failed = filecmp.cmpfiles(back, copy, found.common_files, shallow=False)
        assert not differ and not failed, (differ, failed)
        shutil.rmtree(back)


def end(process, after_s):
    """Lets it run for a while, then kills it. Gives what it said last, or None."""
    try:
        out, _ = process.communicate(timeout=after_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return None
    return summary_of(out)


def one_round(repository, whole_s):
    rng = repository.rng
    repository.change()
    more = ["--wait", "1s", "--revoke"] if rng.random() < 0.5 else ["--revoke"]
    backup = repository.backup()
    time.sleep(rng.random() * whole_s)  # not to wait for something: to meet it at any instant
    collector = repository.collect(*more)
    time.sleep(rng.random() * whole_s)
    repository.forget_one()
    saved = end(backup, 60 if rng.random() < 0.6 else rng.random() * whole_s)
    collected = end(collector, 60 if rng.random() < 0.6 else rng.random() * whole_s)
    if saved is not None and saved["result"] != "failed":
        repository.counted[saved["snapshot"]["id"]] = repository.state
    listed = repository.listed()
    assert set(repository.counted) <= listed, "an acknowledged snapshot is not listed"
    agent("verify", "--read-data", *repository.words, status=None)
    for identity in rng.sample(sorted(repository.counted), min(2, len(repository.counted))):
        repository.check_restore(identity)
    return saved, collected


def main():
    rng = support.seed()
    with support.scratch() as folder:
        repository = Repository(os.path.realpath(folder), rng)
        repository.change()
        began = time.monotonic()
        out, _ = repository.backup().communicate()
        whole_s = time.monotonic() - began
        repository.counted[summary_of(out)["snapshot"]["id"]] = repository.state
        told = {"saved": 0, "revoked": 0, "backup killed": 0, "collected": 0, "collector killed": 0}
        for _ in range(ROUNDS):
            saved, collected = one_round(repository, whole_s)
            if saved is None:
                told["backup killed"] += 1
            else:
                told["saved" if saved["result"] != "failed" else "revoked"] += 1
            told["collected" if collected is not None else "collector killed"] += 1
        print(told, flush=True)
        assert told["saved"] > 0 and told["collected"] > 0, told

        done = summary_of(repository.collect("--wait", "10s").communicate()[0])
        assert done["result"] != "failed", done
        agent("verify", "--read-data", *repository.words)
        for identity in repository.counted:
            repository.check_restore(identity)
        for left in ("marks", "leases"):
            assert not os.listdir(f"{folder}/repo/{left}"), left
        plan = agent("forget", "--keep-last", "1", "--dry-run", *repository.words).out
        assert plan.count("would forget  ") == len(repository.listed()) - 1, plan
        agent("forget", "--keep-last", "1", *repository.words)
        assert len(repository.listed()) == 1
        before = support.run("du", "-sk", f"{folder}/repo").out
        agent("collect", *repository.words)
        agent("verify", "--read-data", *repository.words)
        print("before:", before.split()[0], "KiB, after:",
              support.run("du", "-sk", f"{folder}/repo").out.split()[0], "KiB")
        assert agent("forget", *repository.words, status=None).returncode != 0
        assert agent("forget", "12345678", *repository.words, status=None).returncode != 0


if __name__ == "__main__":
    main()
