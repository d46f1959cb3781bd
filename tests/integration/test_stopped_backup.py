"""A backup is stopped, its right to commit is revoked by a collection, and it goes on: it fails, and no damage is told."""

import json
import os
import signal
import subprocess
import time

import support

MET = 4  # backups at work
ROUNDS_MAX = 60


def packs(url):
    return sum(len(names) for _, _, names in os.walk(f"{url}/packs"))


def summary(done):
    return [each for each in map(json.loads, done.out.splitlines()) if each["event"] == "summary"][-1]


class Stopped:
    def __init__(self, folder, rng):
        self.rng = rng
        self.url = f"{folder}/repo"
        self.tree = f"{folder}/tree"
        self.words = ["--repo", self.url, "--key-file", f"{folder}/key"]
        os.mkdir(self.tree)
        support.agent("repo", "init", *self.words)
        self.write("kept", 300_000)
        self.backup()

    def write(self, name, size_bytes):
        with open(f"{self.tree}/{name}", "wb") as file:
            file.write(self.rng.randbytes(size_bytes))

    def backup(self):
        support.agent("backup", "files", self.tree, "--name", "tree", *self.words)

    def stopped(self):
        """A backup that has stored packs and is stopped at some instant after that; None: it had ended."""
        before = packs(self.url)
        process = subprocess.Popen([support.AGENT, "backup", "files", self.tree, "--name", "tree", *self.words],
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        while packs(self.url) < before + 2 and process.poll() is None:
            time.sleep(0.001)  # polls
        time.sleep(self.rng.random() * 0.06)  # not to wait for something: to meet it at any instant
        if process.poll() is not None:
            process.communicate()
            return None
        process.send_signal(signal.SIGSTOP)
        return process

    def verify(self, *statuses):
        done = support.agent("verify", "--read-data", "--json", *self.words, status=None)
        assert done.returncode in statuses, f"{done.returncode}: {done.out}{done.err}"
        assert summary(done)["damage_count"] == 0
        return summary(done)["remnant_count"]


def one_round(case, number):
    """What became of the backup that was stopped, and how many packs it named late."""
    for name in range(12):
        case.write(f"file-{name}", 3_000_000)
    process = case.stopped()
    if process is None:
        return "ended before", 0
    try:
        support.agent("collect", "--revoke", *case.words)
    finally:
        process.send_signal(signal.SIGCONT)
        out, _ = process.communicate(timeout=120)
    committed = process.returncode == 0
    assert committed or b"took its right to commit" in out, f"round {number}: {process.returncode} {out}"
    remnants = case.verify(0, 3)
    looked = summary(support.agent("repair", "--dry-run", "--json", *case.words))
    assert looked["damaged_count"] == 0, "what was named late is no damage"
    support.agent("collect", *case.words)
    assert case.verify(0) == 0, "the next collection leaves remnants"
    case.backup()
    case.verify(0)
    return "committed before" if committed else "failed", remnants


def main():
    rng = support.seed()
    with support.scratch() as folder:
        case = Stopped(folder, rng)
        told = []
        while sum(outcome == "failed" for outcome, _ in told) < MET:
            assert len(told) < ROUNDS_MAX, f"too few backups were met at work: {told}"
            told.append(one_round(case, len(told)))
    print(told)


if __name__ == "__main__":
    main()
