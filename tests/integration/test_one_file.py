"""What a restore of one file out of many reads of the store: little more than what the file takes there."""

import json
import os
import shutil

import support

FILE_BYTES = 40_000_000
OTHER_FILES, OTHER_BYTES = 60, 5_000_000
LIMIT = 1.3


def write(path, content):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(content)


def make_content(rng, size):
    """Half of it compressible, in pieces of 64 KiB."""
    pieces = []
    for number in range(size // 131_072 + 1):
        pieces += [rng.randbytes(65_536), (b"line %08d of a text that is like others\n" % number * 1600)[:65_536]]
    return b"".join(pieces)[:size]


class Repository:
    def __init__(self, folder):
        self.folder = folder
        self.words = ["--repo", f"{folder}/repo", "--key-file", f"{folder}/key"]
        support.agent("repo", "init", *self.words)

    def backup(self, data):
        done = support.agent("backup", "files", data, "--name", "data", "--json", *self.words)
        return json.loads(done.out.splitlines()[-1])

    def stored(self):
        return sum(os.path.getsize(os.path.join(top, name))
                   for top, _, names in os.walk(f"{self.folder}/repo/packs") for name in names)

    def restore_one(self, path):
        """What that reads, beside what opening the repository and finding the snapshot takes anyway."""
        back = f"{self.folder}/back"
        words = ["restore", "latest", "--path", path, "--target", back]
        count = support.count_reads(support.AGENT, *words, *self.words)
        count -= support.count_reads(support.AGENT, "snapshots", *self.words)
        with open(path, "rb") as left, open(f"{back}/{os.path.basename(path)}", "rb") as right:
            assert left.read() == right.read(), path
        shutil.rmtree(back)
        return count


def stored_alone(folder, content):
    """How much the store takes for it where nothing else is."""
    repository = Repository(folder)
    write(f"{folder}/data/wanted", content)
    repository.backup(f"{folder}/data")
    stored = repository.stored()
    count = repository.restore_one(f"{folder}/data/wanted")
    shutil.rmtree(folder)
    return stored, count


def check(what, count, stored):
    print(f"{what}: {count:,} bytes read for {stored:,} stored, {count / stored:.3f}", flush=True)
    assert count <= LIMIT * stored, what


def main():
    rng = support.seed()
    with support.scratch() as folder:
        content = make_content(rng, FILE_BYTES)
        os.makedirs(f"{folder}/alone")
        stored, count = stored_alone(f"{folder}/alone", content)
        check("alone", count, stored)

        place = f"{folder}/many"
        data = f"{place}/data"
        os.makedirs(place)
        repository = Repository(place)
        for number in range(OTHER_FILES):
            write(f"{data}/sub{number % 7}/other{number}", rng.randbytes(OTHER_BYTES))
            write(f"{data}/sub{number % 7}/small{number}", rng.randbytes(20_000))
        write(f"{data}/sub3/wanted", content)
        repository.backup(data)
        check(f"among {OTHER_FILES} files of {OTHER_BYTES:,} bytes", repository.restore_one(f"{data}/sub3/wanted"), stored)

        # Changed in places, and longer each time: its chunks lie where several backups put them.
        for turn in range(3):
            changed = bytearray(content)
            for _ in range(4):
                at = rng.randrange(len(changed))
                changed[at : at + 1000] = rng.randbytes(1000)
            content = bytes(changed) + make_content(rng, 2_000_000)
            write(f"{data}/sub3/wanted", content)
            write(f"{data}/sub{turn}/new", rng.randbytes(OTHER_BYTES))
            repository.backup(data)
        os.makedirs(f"{folder}/last")
        stored, _ = stored_alone(f"{folder}/last", content)
        check("changed by three more backups", repository.restore_one(f"{data}/sub3/wanted"), stored)
        support.agent("verify", "--read-data", *repository.words)


main()
