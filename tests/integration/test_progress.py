"""What the verbs show while they work: a line on a terminal, events as JSON, nothing elsewhere."""

import fcntl
import glob
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time

import support
from support import AGENT, agent, scratch

MIB = 1024 * 1024
ERASED = "\r\x1b[K"
COLUMNS = 72


def on_terminal(*words, columns=COLUMNS, deadline_s=60, signal_at=None, **environment):
    """Runs a verb on a terminal of its own; gives its status and all that it wrote there."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    shown = b""
    deadline = time.monotonic() + deadline_s
    environment = {**os.environ, "TERM": "xterm", **environment}
    with subprocess.Popen([AGENT, *words], stdin=theirs, stdout=theirs, stderr=theirs, env=environment) as process:
        os.close(theirs)
        try:
            while True:
                left_s = deadline - time.monotonic()
                if left_s <= 0 or not select.select([ours], [], [], left_s)[0]:
                    raise AssertionError(f"{words[0]} did not end in time; it wrote {shown[-2000:]!r}")
                try:
                    part = os.read(ours, 65536)
                except OSError:  # EIO: the other side is closed
                    break
                if not part:
                    break
                shown += part
                if signal_at is not None and signal_at in shown:
                    process.send_signal(signal.SIGINT)
                    signal_at = None
            status = process.wait(max(1, deadline - time.monotonic()))
        finally:
            if process.poll() is None:
                process.kill()
            os.close(ours)
    return status, shown.decode("utf-8", "replace").replace("\r\n", "\n")


def drawn_lines(shown):
    """The progress lines, each as it was drawn."""
    return re.findall(r"\r([^\r\n\x1b]+)\x1b\[K", shown)


def left_visible(shown):
    """What stands on the screen at the end, of output that uses \\r, \\n and ESC [ K only."""
    screen = [""]
    column = 0
    for part in re.findall(r"\x1b\[K|.|\n", shown.replace("\r", "\x00"), re.S):
        if part == "\x1b[K":
            screen[-1] = screen[-1][:column]
        elif part == "\x00":
            column = 0
        elif part == "\n":
            screen.append("")
            column = 0
        else:
            screen[-1] = screen[-1][:column] + part + screen[-1][column + 1 :]
            column += 1
    return [line for line in screen if line]


def events(out):
    return [json.loads(line) for line in out.splitlines()]


def check_events(done, steps):
    """The summary is the last line; counts never shrink within a step; gives the progress events."""
    all_events = events(done.out)
    assert all_events[-1]["event"] == "summary", done.out[-1000:]
    progress = [each for each in all_events if each["event"] == "progress"]
    assert progress, done.out[-1000:]
    for each in progress:
        assert each["step"] in steps, each
        for name in ("count", "done_bytes", "reused_bytes", "bytes_per_s", "took_ms"):
            assert isinstance(each[name], int) and each[name] >= 0, each
        assert each["reused_bytes"] <= each["done_bytes"], each
        assert "left_s" not in each or each["left_s"] >= 0, each
        if "total_bytes" in each and not each["total_is_estimate"]:
            assert each["done_bytes"] <= each["total_bytes"], each
    for before, after in zip(progress, progress[1:]):
        assert after["took_ms"] >= before["took_ms"], (before, after)
        if (after["step"], after["what"]) == (before["step"], before["what"]):
            for name in ("count", "done_bytes", "reused_bytes"):
                assert after[name] >= before[name], (before, after)
    for before, after in zip(progress[:-1], progress[1:-1]):
        assert after["took_ms"] - before["took_ms"] >= 990, (before, after)  # the last comes at the end
    return progress


class Repository:
    def __init__(self, folder, rng):
        self.folder = folder
        self.words = ["--repo", f"{folder}/repo", "--key-file", f"{folder}/key"]
        self.data = f"{folder}/data"
        os.makedirs(self.data)
        for number in range(300):
            with open(f"{self.data}/small-{number}", "wb") as file:
                file.write(rng.randbytes(1000 + number))
        with open(f"{self.data}/large", "wb") as file:
            for _ in range(160):
                file.write(rng.randbytes(MIB))
        self.size_bytes = 160 * MIB + sum(1000 + number for number in range(300))
        agent("repo", "init", *self.words)

    def backup_words(self, *words):
        return ["backup", "files", self.data, "--name", "data", *words, *self.words]


def check_line(shown, status, step, report):
    """A line was drawn, never wider than the terminal, and is gone at the end."""
    assert status == 0, shown
    lines = drawn_lines(shown)
    assert lines, shown
    for line in lines:
        assert len(line) < COLUMNS, line
        assert re.search(f"{step}: ", line), line
    assert ERASED in shown, shown
    # An ordinary user's restore says that /tmp was another's.
    visible = [line for line in left_visible(shown) if not line.startswith("Some of it had other owners")]
    assert len(visible) == 1 and visible[0].startswith(report), visible
    return lines


def check_backup(repository):
    status, shown = on_terminal(*repository.backup_words())
    lines = check_line(shown, status, "saving", "Snapshot ")
    assert not any(line.startswith("[") for line in lines), lines  # nobody knows how much it will be
    # The last snapshot tells how much that will be, about.
    status, shown = on_terminal(*repository.backup_words("--force"))
    lines = check_line(shown, status, "saving", "Snapshot ")
    assert any("about 160.3 MiB" in line for line in lines), lines
    progress = check_events(agent(*repository.backup_words("--force", "--json")), ["saving"])
    assert progress[-1]["count"] == 301, progress[-1]
    assert progress[-1]["done_bytes"] == repository.size_bytes, progress[-1]
    assert progress[-1]["total_bytes"] == repository.size_bytes, progress[-1]
    assert progress[-1]["total_is_estimate"] is True, progress[-1]
    # Reused is what was not read: of a snapshot that began when the files were no longer fresh.
    support.wait_until_settled(repository.data)
    agent(*repository.backup_words())
    progress = check_events(agent(*repository.backup_words("--json")), ["saving"])
    assert progress[-1]["reused_bytes"] > 0, progress[-1]


def check_restore(repository):
    target = f"{repository.folder}/back"
    status, shown = on_terminal("restore", "latest", "--target", f"{target}-1", *repository.words)
    lines = check_line(shown, status, "restoring", "Restored ")
    assert any(line.startswith("[") or " of " in line for line in lines), lines
    done = agent("restore", "latest", "--target", f"{target}-2", "--json", *repository.words)
    progress = check_events(done, ["restoring"])
    assert progress[-1]["count"] == progress[-1]["total_count"] == 301, progress[-1]
    assert progress[-1]["done_bytes"] == progress[-1]["total_bytes"] == repository.size_bytes, progress[-1]
    assert progress[-1]["total_is_estimate"] is False, progress[-1]
    one = f"{repository.data}/large"
    done = agent("restore", "latest", "--path", one, "--target", f"{target}-3", "--json", *repository.words)
    progress = check_events(done, ["restoring"])
    assert progress[-1]["count"] == progress[-1]["total_count"] == 1, progress[-1]
    assert progress[-1]["done_bytes"] == progress[-1]["total_bytes"] == 160 * MIB, progress[-1]


def check_silence(repository):
    """Where nobody looks, or who looks does not want it, nothing is shown."""
    done = agent(*repository.backup_words("--force"))
    assert done.err == "" and len(done.out.splitlines()) == 1, (done.out, done.err)
    for more, environment in ((["--no-progress"], {}), ([], {"TERM": "dumb"})):
        status, shown = on_terminal(*repository.backup_words("--force", *more), **environment)
        assert status == 0 and "\r" not in shown and "\x1b" not in shown, shown
    done = agent(*repository.backup_words("--force", "--no-progress", "--json"))
    assert [each["event"] for each in events(done.out)] == ["summary"], done.out


def check_warning(repository):
    """A warning does not stand in the middle of the line; the terminal may be narrow."""
    status, shown = on_terminal(*repository.backup_words(f"{repository.folder}/absent", "--force"), columns=20)
    assert status == 3, shown
    assert all(len(line) < 20 for line in drawn_lines(shown)), shown
    visible = left_visible(shown)
    assert len(visible) == 2 and visible[0].startswith("fortress-agent: warning: "), visible


def check_cancelled(repository):
    """Broken off, the line goes too, and the exit status tells."""
    status, shown = on_terminal(*repository.backup_words("--force"), signal_at=b"saving: ")
    assert status == 11, (status, shown)
    visible = left_visible(shown.replace("^C", ""))
    assert len(visible) == 1 and visible[0].startswith("fortress-agent: "), visible


def check_verify(repository):
    steps = ["reading", "checking", "following"]
    status, shown = on_terminal("verify", "--read-data", *repository.words)
    check_line(shown, status, "[a-z ]+", "No damage: ")
    progress = check_events(agent("verify", "--read-data", "--json", *repository.words), steps)
    assert progress[-1]["step"] in ("following", "reading"), progress[-1]
    check_events(agent("verify", "--json", *repository.words), steps)


def check_replicate(repository):
    """Slowed down, it takes seconds: one event each, and the time left is near what is left."""
    words = ["replicate", "--to", f"{repository.folder}/tier", *repository.words]
    done = agent(*words, "--bandwidth", "64M", "--json")
    progress = check_events(done, ["copying"])
    assert len(progress) >= 3, progress
    timed = [each for each in progress if "left_s" in each]
    assert timed and timed[0]["left_s"] >= timed[-1]["left_s"], progress
    assert progress[-1]["done_bytes"] <= progress[-1]["total_bytes"], progress[-1]
    summary = events(done.out)[-1]
    # Snapshots are put after all else and are no part of the copying.
    assert progress[-1]["done_bytes"] <= summary["copied_bytes"], (progress[-1], summary)


def check_repair(repository):
    """What is damaged is told on lines of its own, with the progress around."""
    packs = sorted(glob.glob(f"{repository.folder}/repo/packs/*/*"), key=os.path.getsize)
    support.flip(packs[-1], 1000, 1)
    tier = ["--from", f"{repository.folder}/tier"]
    status, shown = on_terminal("repair", "--dry-run", *tier, *repository.words)
    assert status == 4, shown
    assert drawn_lines(shown) and all(len(line) < COLUMNS for line in drawn_lines(shown)), shown
    visible = left_visible(shown)
    assert visible[0].startswith("damage: packs/") and not any("B/s" in line for line in visible), visible
    done = agent("repair", "--json", *tier, *repository.words)
    check_events(done, ["checking", "healing", "following"])
    for path in glob.glob(f"{repository.folder}/repo/indexes/*"):
        os.unlink(path)
    steps = ["reading directories"]
    status, shown = on_terminal("repair", "index", "--dry-run", *repository.words)
    assert status == 0, shown
    check_events(agent("repair", "index", "--json", *repository.words), steps)


def check_collect(repository):
    with open(f"{repository.data}/small-1", "ab") as file:
        file.write(b"one more")
    os.unlink(f"{repository.data}/large")
    agent(*repository.backup_words())
    agent("forget", "--keep-last", "1", *repository.words)
    status, shown = on_terminal("collect", "--dry-run", *repository.words)
    assert status == 0 and not any("left" in line for line in left_visible(shown)), shown
    progress = check_events(agent("collect", "--json", *repository.words),
                            ["reading directories", "following", "writing anew", "waiting for", "removing"])
    assert progress[-1]["step"] == "removing" and progress[-1]["done_bytes"] > 0, progress[-1]


def main():
    rng = support.seed()
    with scratch() as folder:
        repository = Repository(folder, rng)
        for check in (check_backup, check_restore, check_silence, check_warning, check_cancelled,
                      check_verify, check_replicate, check_repair, check_collect):
            began = time.monotonic()
            check(repository)
            print(f"{check.__name__}: {time.monotonic() - began:.1f} s", flush=True)


main()
