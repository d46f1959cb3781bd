"""Exit statuses as docs/reference/exit-codes.md has them; the summary says the same."""

import glob
import json
import os
import re
import signal
import subprocess

import support
from support import AGENT, agent, scratch, wait_until

MIB = 1024 * 1024


def read_page():
    """The agent's table: status -> names of codes."""
    with open(f"{support.SOURCE}/docs/reference/exit-codes.md", encoding="utf-8") as file:
        table = file.read().split("# Exit codes of `fortress`\n")[0]
    rows = [line.split("|") for line in table.splitlines() if re.match(r"\| \d", line)]
    return {int(row[1]): set(re.findall(r"`([A-Z_]+)`", row[2])) for row in rows}


PAGE = read_page()


def ends(status, *words, **options):
    """Runs a verb that must end with this status, and say so in its summary, as the page does."""
    done = agent(*words, "--json", status=status, **options)
    check(status, done.out)
    return done


def check(status, out):
    summary = json.loads(out.splitlines()[-1])
    assert summary["event"] == "summary" and summary["exit_code"] == status, summary
    assert summary["result"] == {0: "done", 3: "warnings"}.get(status, "failed"), summary
    assert status in PAGE, f"{status} does not stand in the page"
    assert ("code" in summary) == bool(PAGE[status]), summary
    assert "code" not in summary or summary["code"] in PAGE[status], summary


class Repository:
    def __init__(self, folder, name, rng):
        self.url = f"{folder}/{name}"
        self.words = ["--repo", self.url, "--key-file", f"{folder}/{name}.key"]
        self.data = f"{folder}/{name}-data"
        os.makedirs(self.data)
        for number in range(48):
            with open(f"{self.data}/{number}", "wb") as file:
                file.write(rng.randbytes(2 * MIB))
        ends(0, "repo", "init", *self.words)

    def backup_words(self, *words):
        return ["backup", "files", self.data, "--name", "data", *words, *self.words]


def check_simple(folder, rng):
    one = Repository(folder, "one", rng)
    other = Repository(folder, "other", rng)
    ends(0, *one.backup_words())
    ends(0, *other.backup_words())
    assert agent("verify", "--no-such-option", status=2).out == ""
    ends(3, *one.backup_words(f"{folder}/absent"))
    ends(5, "verify", "--repo", one.url, "--key-file", f"{folder}/other.key")
    ends(6, "restore", "0123456789", "--target", f"{folder}/none", *one.words)
    ends(9, "restore", "latest", "--target", one.data, *one.words)
    ends(13, "forget", held(one), *one.words)
    ends(14, "restore", "latest", "--time", "2026-01-01T00:00:00Z", "--target", f"{folder}/none",
         "--repo", one.url)
    ends(17, "replicate", "--to", other.url, *one.words)
    pack = sorted(glob.glob(f"{one.url}/packs/*/*"))[0]
    support.flip(pack, os.path.getsize(pack) // 2, 1)
    ends(4, "verify", "--read-data", *one.words)


def held(repository):
    """A snapshot that nobody may forget."""
    shown = agent("snapshots", "--json", *repository.words).out.splitlines()
    identity = json.loads(shown[0])["id"]
    agent("hold", "add", identity, "--kind", "legal", "--reason", "a test", *repository.words)
    return identity


def check_collector(folder, rng):
    """A collector finds a writer at work; then it takes the writer's right to commit."""
    repository = Repository(folder, "busy", rng)
    ends(0, *repository.backup_words())
    with open(f"{repository.data}/0", "wb") as file:
        file.write(rng.randbytes(2 * MIB))
    ends(0, *repository.backup_words())
    ends(0, "forget", "--keep-last", "1", *repository.words)
    for number in range(1, 48):
        with open(f"{repository.data}/{number}", "wb") as file:
            file.write(rng.randbytes(2 * MIB))
    before = len(glob.glob(f"{repository.url}/packs/*/*"))
    with subprocess.Popen([AGENT, *repository.backup_words("--json")], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as writer:
        try:
            wait_until("a pack is stored", lambda: len(glob.glob(f"{repository.url}/packs/*/*")) > before,
                       pause=0.001)
            writer.send_signal(signal.SIGSTOP)
            assert writer.poll() is None, "the backup was too quick to be met"
            ends(20, "collect", "--live-percent", "100", *repository.words)
            ends(0, "collect", "--live-percent", "100", "--revoke", *repository.words)
            writer.send_signal(signal.SIGCONT)
            out, _ = writer.communicate(timeout=60)
        finally:
            if writer.poll() is None:
                writer.kill()
    assert writer.returncode == 18, (writer.returncode, out)
    check(18, out.decode())
    ends(0, *repository.backup_words())
    ends(0, "restore", "latest", "--target", f"{folder}/back", *repository.words)
    # What the revoked writer still put, an index object of a pack that is gone, the next collector removes.
    ends(0, "collect", *repository.words)
    ends(0, "verify", "--read-data", *repository.words)


def main():
    rng = support.seed()
    for test in (check_simple, check_collector):
        with scratch() as folder:
            test(folder, rng)
        print("ok", test.__name__, flush=True)


main()
