"""What is not to be compressed is not, also after a collection; higher levels take less room."""

import json
import os
import random

import support


def agent(*words):
    return support.run(support.AGENT, *words)


class Repository:
    def __init__(self, folder, name):
        self.url = f"{folder}/{name}"
        self.words = ["--repo", self.url, "--key-file", f"{folder}/{name}.key"]
        agent("repo", "init", *self.words)

    def backup(self, path, *words):
        lines = agent("backup", "files", path, "--json", *words, *self.words).out.splitlines()
        return json.loads(lines[-1])["snapshot"]["id"]

    def pack_bytes(self):
        return sum(os.path.getsize(os.path.join(path, name))
                   for path, _, names in os.walk(f"{self.url}/packs") for name in names)


def main():
    rng = random.Random(7)
    words = [b"%08x" % rng.getrandbits(32) for _ in range(500)]
    first = b" ".join(rng.choices(words, k=150000))
    second = b" ".join(rng.choices(words, k=400000))
    with support.scratch() as folder:
        data = f"{folder}/data"
        os.mkdir(data)
        for name, content in (("first", first), ("second", second)):
            with open(f"{data}/{name}", "wb") as file:
                file.write(content)
        sizes = {}
        for level in ("none", "1", "19"):
            repository = Repository(folder, f"repo-{level}")
            repository.backup(data, "--compression", level)
            sizes[level] = repository.pack_bytes()
        print("packs of", len(first) + len(second), "bytes:", sizes)
        assert sizes["none"] >= len(first) + len(second), sizes
        assert sizes["19"] < sizes["1"] < sizes["none"] * 0.6, sizes

        # One file goes, the other is written anew: it is still not compressed.
        repository = Repository(folder, "collected")
        old = repository.backup(data, "--compression", "none", "--force")
        os.unlink(f"{data}/second")
        repository.backup(data, "--compression", "none")
        agent("forget", old, *repository.words)
        agent("collect", "--live-percent", "100", *repository.words)
        left = repository.pack_bytes()
        assert len(first) <= left < len(first) + len(second) / 2, left
        agent("restore", "latest", "--target", f"{folder}/back", *repository.words)
        with open(f"{folder}/back{data}/first", "rb") as file:
            assert file.read() == first
        support.run(support.AGENT, "backup", "files", data, "--compression", "20",
                    *repository.words, status=2)
        refused = support.run(support.AGENT, "collect", "--compression", "none",
                              *repository.words, status=14)
        assert refused.returncode != 0 and "stays so" in refused.err, refused


main()
