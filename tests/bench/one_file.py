"""Restores one file of 100 MB out of many GB, and counts what that reads; started by one_file.sh."""

import argparse
import filecmp
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time

sys.path.append(os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "integration"))
from support import own_reads  # noqa: E402

WANTED_BYTES = 100_000_000
OTHER_BYTES = 50_000_000
BATCH_BYTES = 2_000_000_000  # so much lies beside the repository at a time
PIECE_BYTES = 65_536
TEXT = b"".join(b"line %08d of a text that is like others\n" % number for number in range(4000))


def write(path, rng, size):
    """Half compressible, in pieces of 64 KiB."""
    with open(path, "wb") as file:
        for number in range(0, size, 2 * PIECE_BYTES):
            at = rng.randrange(len(TEXT) - PIECE_BYTES)
            file.write((rng.randbytes(PIECE_BYTES) + TEXT[at : at + PIECE_BYTES])[: size - number])


def run(*words):
    """Bytes of all its reads, of files of any kind; seconds; peak of its memory in bytes."""
    before, began = own_reads(), time.monotonic()
    with subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as child:
        _, status, usage = os.wait4(child.pid, 0)
        took = time.monotonic() - began
        child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        sys.exit(f"one_file.sh: {' '.join(words)} ended with {child.returncode}")
    return own_reads() - before, took, usage.ru_maxrss * 1024


def measure(options, folder):
    rng = random.Random(7)
    agent = os.path.join(options.bin, "fortress-agent")
    os.environ["FORTRESS_CACHE_DIR"] = f"{folder}/cache"
    repos = {name: ["--repo", f"{folder}/{name}", "--key-file", f"{folder}/{name}.key"] for name in ("all", "alone")}
    for words in repos.values():
        run(agent, "repo", "init", *words)
    data, total, batches = f"{folder}/data", options.gb * 1_000_000_000, 0
    middle = total // BATCH_BYTES // 2
    while total > 0:
        os.makedirs(data)
        for number in range(min(total, BATCH_BYTES) // OTHER_BYTES):
            write(f"{data}/other{number:03}", rng, OTHER_BYTES)
        if batches == middle:
            write(f"{data}/wanted", rng, WANTED_BYTES)
        run(agent, "backup", "files", data, "--name", f"batch{batches}", *repos["all"])
        if batches == middle:
            os.rename(f"{data}/wanted", f"{folder}/wanted")
        shutil.rmtree(data)
        total -= BATCH_BYTES
        batches += 1
        print(f"saved {min(batches * BATCH_BYTES // 1_000_000_000, options.gb)} of {options.gb} GB", flush=True)
    run(agent, "backup", "files", f"{folder}/wanted", "--name", "wanted", *repos["alone"])
    stored = sum(os.path.getsize(os.path.join(top, name)) for top, _, names in os.walk(f"{folder}/alone/packs") for name in names)
    count, took, memory = run(agent, "restore", "latest", "--source", f"batch{middle}", "--path", f"{data}/wanted",
                              "--target", f"{folder}/back", *repos["all"])
    if not filecmp.cmp(f"{folder}/wanted", f"{folder}/back/wanted", shallow=False):
        sys.exit("one_file.sh: what was restored is another file")
    print(f"one file of {WANTED_BYTES:,} bytes out of {options.gb} GB: {count:,} bytes read for {stored:,} stored: "
          f"{count / stored:.3f} (wanted: at most 1.3); {took:.1f} s, {memory >> 20} MiB")
    return count <= 1.3 * stored


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bin", required=True)
    parser.add_argument("--dir")
    parser.add_argument("--gb", type=int, default=50)
    options = parser.parse_args()
    folder = tempfile.mkdtemp(prefix="one-file.", dir=options.dir or "/var/tmp")
    try:
        room = os.statvfs(folder)
        if room.f_bavail * room.f_frsize < options.gb * 800_000_000 + BATCH_BYTES:
            sys.exit(f"one_file.sh: {folder} has not the room for {options.gb} GB: --gb N takes 0.8 × N, --dir another place")
        is_good = measure(options, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    sys.exit(0 if is_good else 1)


if __name__ == "__main__":
    main()
