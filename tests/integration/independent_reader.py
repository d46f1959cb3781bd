"""Runs tests/reader/fortress_reader.py, and holds it to what it promises of its ends."""

import os

import support

READER = os.path.join(support.SOURCE, "tests", "reader", "fortress_reader.py")


def read(snapshot, target, folder, *words, key=None, status=0, prefix=()):
    done = support.run(
        *prefix, "/usr/bin/python3", "-B", READER, "restore", "--repo", f"{folder}/repo", "--key-file",
        key or f"{folder}/key", *words, snapshot, "--target", target, status=status)
    lines = done.err.splitlines()
    assert done.returncode in (0, 1, 3), f"ended with {done.returncode}: {done.err}"
    last = "fortress_reader: " if done.returncode == 1 else "warning: "
    good = all(line.startswith("warning: ") for line in lines[:-1]) and all(line.startswith(last) for line in lines[-1:])
    assert good and bool(lines) == (done.returncode != 0), f"{done.returncode}: not one clear line: {done.err}"
    return done
