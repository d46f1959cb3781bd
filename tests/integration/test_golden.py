"""What programs wrote before is read, added to and collected by this one, and read by the independent reader: a repository
of each version of the format, with objects of every kind, as tests/golden/make.py left it."""

import glob
import hashlib
import json
import os
import shutil
import sys

import support
from every_kind import KINDS
from independent_reader import read

GOLDEN = os.path.join(support.SOURCE, "tests", "golden")
sys.path.insert(0, GOLDEN)
from make import facts  # noqa: E402


RESTORED = (0,) if os.geteuid() == 0 else (0, 3)  # others cannot give files to their owners, and are told


class Golden:
    def __init__(self, origin, folder):
        self.folder = folder
        shutil.copytree(f"{origin}/repository", f"{folder}/repo")
        shutil.copyfile(f"{origin}/key", f"{folder}/key")
        os.chmod(f"{folder}/key", 0o600)
        with open(f"{origin}/contents.json", encoding="utf-8") as file:
            self.told = json.load(file)
        self.words = ["--repo", f"{folder}/repo", "--key-file", f"{folder}/key"]

    def agent(self, *words, status=0):
        return support.agent(*words, *self.words, status=status)

    def expect(self, identity, target):
        found = facts(f"{target}{self.told['data']}")
        assert found == self.told["snapshots"][identity], identity
        kinds = f"{target}{self.told['data']}/kinds"
        assert os.readlink(f"{kinds}/../link") == "kinds/twice"
        assert os.stat(f"{kinds}/twice").st_ino == os.stat(f"{kinds}/again").st_ino
        assert os.stat(f"{kinds}/sparse").st_blocks * 512 < 1_000_000, "the hole stays one"
        assert os.getxattr(f"{kinds}/twice", "user.colour") == b"blue"

    def check_all(self, when):
        for identity in self.told["snapshots"]:
            done = self.agent("restore", identity, "--target", f"{self.folder}/{when}-{identity[:8]}", status=None)
            assert done.returncode in RESTORED, done.err
            self.expect(identity, f"{self.folder}/{when}-{identity[:8]}")
        wal, got = self.told["wal"], f"{self.folder}/{when}.wal"
        self.agent("wal-get", wal["segment"], got, "--system", wal["system"])
        with open(got, "rb") as file:
            assert hashlib.sha256(file.read()).hexdigest() == wal["sha256"]

    def check_reader(self):
        for identity in self.told["snapshots"]:
            done = read(identity, f"{self.folder}/reader-{identity[:8]}", self.folder, status=None)
            assert done.returncode in RESTORED, done.err
            self.expect(identity, f"{self.folder}/reader-{identity[:8]}")


def check(origin, folder):
    golden = Golden(origin, folder)
    kinds = set(os.listdir(f"{folder}/repo"))
    assert set(KINDS) <= kinds, set(KINDS) - kinds
    golden.agent("verify", "--read-data")
    golden.check_all("first")
    golden.check_reader()
    listed = golden.agent("snapshots").out
    assert all(identity[:8] in listed for identity in golden.told["snapshots"]), listed
    print("  read", flush=True)
    golden.agent("backup", "files", f"{support.SOURCE}/proto", "--name", "more")
    golden.agent("key", "rotate")
    golden.agent("backup", "files", f"{support.SOURCE}/docs", "--name", "more")
    golden.agent("collect", "--revoke", "--take-over", "--live-percent", "100")
    golden.agent("verify", "--read-data")
    golden.check_all("later")
    print("  added to and collected", flush=True)


def main():
    origins = sorted(glob.glob(f"{GOLDEN}/version-*"))
    assert origins
    for origin in origins:
        print(os.path.basename(origin), flush=True)
        with support.scratch() as folder:
            check(origin, os.path.realpath(folder))


if __name__ == "__main__":
    main()
