"""Kills the backup at random instants: the repository stays consistent and every snapshot restores."""

import filecmp
import json
import os
import shutil
import subprocess
import time

import support

KILLS = 20


def agent(*words, status=0):
    return support.run(support.AGENT, *words, status=status)


def change(data, number, rng):
    """Another state of the data, and a copy of it for later."""
    for _ in range(3):
        with open(f"{data}/file-{rng.randrange(12)}", "wb") as file:
            file.write(rng.randbytes(rng.randrange(2_000_000)))
    with open(f"{data}/number", "w", encoding="ascii") as file:
        file.write(str(number))


def snapshots(words):
    lines = agent("snapshots", "--json", *words).out.splitlines()
    return {each["id"] for each in map(json.loads, lines) if each["event"] == "snapshot"}


def backup_and_kill(words, data, after_s):
    """Gives the snapshot's id if the backup acknowledged it before it was killed."""
    with subprocess.Popen(
        [support.AGENT, "backup", "files", data, "--name", "data", "--json", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        stdin=subprocess.DEVNULL,
    ) as process:
        try:
            out, _ = process.communicate(timeout=after_s)
        except subprocess.TimeoutExpired:
            process.kill()
            out, _ = process.communicate()
    for line in out.decode().splitlines():
        event = json.loads(line)
        if event["event"] == "summary" and event["result"] != "failed":
            return event["snapshot"]["id"]
    return None


def restored_number(words, folder, identity):
    """Restores a snapshot and checks it against the copy made when it was taken."""
    back = f"{folder}/back"
    agent("restore", identity, "--target", back, "--path", f"{folder}/data", *words)
    with open(f"{back}/number", encoding="ascii") as file:
        number = file.read()
    found = filecmp.dircmp(back, f"{folder}/copy-{number}")
    assert not found.left_only and not found.right_only, found.report()
    for name in found.common_files:
        assert filecmp.cmp(f"{back}/{name}", f"{folder}/copy-{number}/{name}", shallow=False), name
    shutil.rmtree(back)
    return number


def main():
    rng = support.seed()
    with support.scratch() as folder:
        folder = os.path.realpath(folder)
        words = ["--repo", f"{folder}/repo", "--key-file", f"{folder}/key"]
        data = f"{folder}/data"
        os.makedirs(data)
        agent("repo", "init", *words)
        change(data, "first", rng)
        shutil.copytree(data, f"{folder}/copy-first")
        began = time.monotonic()
        agent("backup", "files", data, "--name", "data", *words)
        whole_s = time.monotonic() - began
        acknowledged = set(snapshots(words))
        killed = 0
        for number in range(KILLS):
            change(data, number, rng)
            shutil.copytree(data, f"{folder}/copy-{number}")
            identity = backup_and_kill(words, data, rng.uniform(0, whole_s * 2))
            killed += identity is None
            if identity:
                acknowledged.add(identity)
            agent("verify", *words)
        listed = snapshots(words)
        assert acknowledged <= listed, f"lost: {acknowledged - listed}"
        for identity in listed:
            restored_number(words, folder, identity)
        agent("verify", "--read-data", *words)
        change(data, "last", rng)
        shutil.copytree(data, f"{folder}/copy-last")
        agent("backup", "files", data, "--name", "data", *words)
        assert restored_number(words, folder, "latest") == "last"
        print(f"killed {killed} of {KILLS}; {len(listed)} snapshots, all restored")


main()
