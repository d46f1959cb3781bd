"""Builds three corpora, two versions each, and has bench_chunking cut them; started by chunking.sh."""

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "integration"))
from pg_server import PG_BIN, Server, as_postgres, own  # noqa: E402

SOURCE = "/usr/lib/x86_64-linux-gnu"
SCALE = 12  # 1.2 million accounts: 180 MB


def copy_tree(source, target, limit_bytes, rng):
    """Regular files, picked by chance up to so many bytes."""
    files = [os.path.join(folder, name) for folder, _, names in os.walk(source) for name in names]
    files = sorted(path for path in files if os.path.isfile(path) and not os.path.islink(path))
    rng.shuffle(files)
    total = 0
    for path in files:
        total += os.path.getsize(path)
        if total > limit_bytes:
            break
        there = os.path.join(target, os.path.relpath(path, source))
        os.makedirs(os.path.dirname(there), exist_ok=True)
        shutil.copyfile(path, there)


def edit(content, rng):
    """A few places: bytes put in, taken out, changed."""
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(content) + 1)
        kind = rng.randrange(3)
        length = rng.randint(1, 400)
        put = b"" if kind == 1 else rng.randbytes(length)
        content = content[:at] + put + content[at + (0 if kind == 0 else length):]
    return content


def next_version(old, new, rng):
    """A tenth of the files edited, a twentieth renamed, a few gone, some new."""
    shutil.copytree(old, new)
    files = sorted(os.path.join(f, n) for f, _, names in os.walk(new) for n in names)
    for path in files:
        chance = rng.random()
        if chance < 0.10:
            with open(path, "rb") as file:
                content = file.read()
            with open(path, "wb") as file:
                file.write(edit(content, rng))
        elif chance < 0.15:
            os.rename(path, path + ".renamed")
        elif chance < 0.17:
            os.remove(path)
        elif chance < 0.18:
            with open(path + ".new", "wb") as file:
                file.write(rng.randbytes(rng.randint(100, 200000)))


def make_image(tree, image, limit_bytes):
    """An ext4 image, as a virtual machine has: files on pages, wherever there was room."""
    subprocess.run(
        ["mke2fs", "-q", "-t", "ext4", "-d", tree, "-U", "6e3d3e0c-4f5b-4b3a-9d84-000000000001",
         "-E", "hash_seed=6e3d3e0c-4f5b-4b3a-9d84-000000000002", image, f"{limit_bytes >> 20}M"],
        check=True, stdout=subprocess.DEVNULL)


def make_databases(folder):
    """The relation files of a database, before and after 3,000 transactions that touch accounts by
    chance, and a vacuum."""
    own(folder)
    os.chmod(folder, 0o755)
    server = Server(folder, "data").init()
    server.start()
    try:
        def bench(*words):
            subprocess.run(
                as_postgres(f"{PG_BIN}/pgbench", "-q", "-h", "127.0.0.1", "-p", str(server.port),
                            "-U", "postgres", *words, "postgres"),
                check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

        def keep(name):
            server.sql("CHECKPOINT")
            shutil.copytree(os.path.join(server.data, "base"), os.path.join(folder, name))

        bench("-i", "-s", str(SCALE))
        keep("old")
        subprocess.run(
            as_postgres(f"{PG_BIN}/pgbench", "-h", "127.0.0.1", "-p", str(server.port), "-U",
                        "postgres", "-n", "-t", "3000", "--random-seed=1", "postgres"),
            check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        keep("new")
    finally:
        server.stop()
    return os.path.join(folder, "old"), os.path.join(folder, "new")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bin", required=True)
    parser.add_argument("--mib", type=int, default=250, help="of each version")
    arguments = parser.parse_args()
    folder = tempfile.mkdtemp(prefix="chunking.", dir="/var/tmp")
    os.chmod(folder, 0o755)
    limit_bytes = arguments.mib << 20
    rng = random.Random(1)

    def show(title, old, new):
        print(f"\n{title}\n", flush=True)
        subprocess.run([arguments.bin, old, new], check=True)

    try:
        old, new = os.path.join(folder, "tree-old"), os.path.join(folder, "tree-new")
        copy_tree(SOURCE, old, limit_bytes, rng)
        next_version(old, new, rng)
        show("Files: two versions of a tree", old, new)
        images = [path + ".image" for path in (old, new)]
        for tree, image in zip((old, new), images):
            make_image(tree, image, limit_bytes * 5 // 4)
            shutil.rmtree(tree)
        show("Image: the same trees in ext4 file systems", *images)
        for image in images:
            os.remove(image)
        databases = os.path.join(folder, "postgres")
        os.mkdir(databases)
        show("PostgreSQL: relation files before and after updates", *make_databases(databases))
    finally:
        shutil.rmtree(folder)


main()
