"""One changed byte anywhere in a repository: verify names it, and restore gives the right bytes or none."""

import filecmp
import os
import shutil

import support
from support import agent, flip

PLACES = 40


def same(left, right):
    """Whether two folders hold the same files with the same content."""
    found = filecmp.dircmp(left, right)
    if found.left_only or found.right_only or found.funny_files:
        return False
    for name in found.common_files:
        if not filecmp.cmp(f"{left}/{name}", f"{right}/{name}", shallow=False):
            return False
    return all(same(f"{left}/{name}", f"{right}/{name}") for name in found.common_dirs)


def stored_files(url):
    """Every file of the repository with its size; none is left out."""
    files = []
    for folder, _, names in sorted(os.walk(url)):
        for name in sorted(names):
            path = os.path.join(folder, name)
            if os.path.getsize(path) > 0:
                files.append(path)
    assert files
    return files


def check(folder, words, rng, path):
    size = os.path.getsize(path)
    # Both ends and anywhere: frames are at the ends, data in the middle.
    at = rng.choice([0, size - 1, rng.randrange(size), rng.randrange(size)])
    mask = 1 << rng.randrange(8)
    mode = os.stat(path).st_mode
    os.chmod(path, 0o600)
    flip(path, at, mask)
    place = f"{os.path.relpath(path, folder)} byte {at} of {size}"
    try:
        verified = agent("verify", "--read-data", *words, status=None)
        assert verified.returncode != 0, f"verify did not see {place}"
        name = os.path.basename(path)
        assert name[:12] in verified.out + verified.err, (
            f"verify does not name {place}: {verified.out}{verified.err}"
        )
        back = f"{folder}/back"
        restored = agent("restore", "latest", "--target", back, *words, status=None)
        if restored.returncode == 0:
            assert same(f"{folder}/data", f"{back}{folder}/data"), f"wrong content after {place}"
            shutil.rmtree(back)
        else:
            assert restored.err.strip(), f"restore failed silently after {place}"
            assert not os.path.exists(back), f"something was left after {place}"
        print(
            f"ok {place}: verify {verified.returncode}, restore {restored.returncode}", flush=True
        )
    finally:
        flip(path, at, mask)
        os.chmod(path, mode)


def main():
    rng = support.seed()
    with support.scratch() as folder:
        folder = os.path.realpath(folder)
        words = ["--repo", f"{folder}/repo", "--key-file", f"{folder}/key"]
        os.makedirs(f"{folder}/data/sub")
        for name, size in (("a", 3_000_000), ("sub/b", 100), ("sub/c", 200_000)):
            with open(f"{folder}/data/{name}", "wb") as file:
                file.write(rng.randbytes(size // 2) + bytes(size - size // 2) + b"end")
        agent("repo", "init", *words)
        agent("backup", "files", f"{folder}/data", *words)
        with open(f"{folder}/data/sub/d", "wb") as file:
            file.write(rng.randbytes(50_000))
        agent("backup", "files", f"{folder}/data", *words)
        files = stored_files(f"{folder}/repo")
        # Each stored file once, then at random.
        chosen = (files + [rng.choice(files) for _ in range(PLACES)])[: max(PLACES, len(files))]
        for path in chosen:
            check(folder, words, rng, path)
        agent("verify", "--read-data", *words)
        agent("restore", "latest", "--target", f"{folder}/back", *words)
        assert same(f"{folder}/data", f"{folder}/back{folder}/data")


main()
