#!/usr/bin/python3
"""make.py FOLDER: makes a golden repository with the programs of build/asan: objects of every kind, its key file, and
what restores must give. Done once for each version of the format; what it made then is never made again, since every
later program has to read it as it is (tests/integration/test_golden.py). Its key is everybody's."""

import hashlib
import json
import os
import shutil
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "integration"))

import every_kind  # noqa: E402
import support  # noqa: E402


class Small(every_kind.Repository):
    begins_wal_anew = True

    def write(self, name, size):
        super().write(name, size // 20 + 10)

    def make_snapshots(self):
        """With files of other kinds besides."""
        os.makedirs(f"{self.data}/kinds")
        with open(f"{self.data}/kinds/sparse", "wb") as file:
            file.write(b"before the hole")
            file.seek(2_000_000)
            file.write(b"behind it")
        with open(f"{self.data}/kinds/twice", "wb") as file:
            file.write(b"of two names")
        os.chmod(f"{self.data}/kinds/twice", 0o640)
        os.setxattr(f"{self.data}/kinds/twice", "user.colour", b"blue")
        os.link(f"{self.data}/kinds/twice", f"{self.data}/kinds/again")
        os.symlink("kinds/twice", f"{self.data}/link")
        os.utime(f"{self.data}/kinds/sparse", ns=(0, 1_000_000_000_123_456_789))
        super().make_snapshots()


def facts(folder):
    """Of each file below it, by its path there: what every restore gives back."""
    found = {}
    for path, _, names in os.walk(folder):
        for name in names:
            whole = os.path.join(path, name)
            about = os.stat(whole)
            with open(whole, "rb") as file:
                found[os.path.relpath(whole, folder)] = {
                    "sha256": hashlib.sha256(file.read()).hexdigest(), "mode": oct(about.st_mode),
                    "mtime_ns": about.st_mtime_ns}
    return found


def main():
    (target,) = sys.argv[1:]
    with support.scratch() as folder:
        made = Small(folder, support.seed())
        system, segment, content = made.segment
        told = {
            "data": made.data,
            "snapshots": {identity: facts(state) for identity, state in made.states.items()},
            "wal": {"system": system, "segment": segment, "sha256": hashlib.sha256(content).hexdigest()},
        }
        os.makedirs(target)
        shutil.rmtree(f"{made.pristine}/tmp", ignore_errors=True)
        shutil.copytree(made.pristine, f"{target}/repository")
        shutil.copyfile(f"{made.folder}/repo.key", f"{target}/key")
        with open(f"{target}/contents.json", "w", encoding="utf-8") as out:
            json.dump(told, out, indent=1, sort_keys=True)
            out.write("\n")


if __name__ == "__main__":
    main()
