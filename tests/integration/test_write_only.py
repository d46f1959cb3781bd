"""Hosts that can only write: what a stolen one cannot do to others, and what they remember."""

import json
import os

import support

TOOL = os.path.join(os.path.dirname(support.BIN), "tests", "poison_tool")


class Host:
    """A host with a key file and a cache of its own."""

    def __init__(self, repository, name, key):
        self.repository = repository
        self.name = name
        self.key = key
        self.cache = f"{repository.folder}/cache-{name}"

    def agent(self, *words, status=0, before=()):
        env = {name: value for name, value in os.environ.items()
               if not name.startswith("FORTRESS_")}
        env["FORTRESS_CACHE_DIR"] = self.cache
        return support.run(*before, support.AGENT, *words, "--repo", self.repository.url,
                           "--key-file", self.key, status=status, env=env)

    def summary(self, *words, **options):
        lines = self.agent(*words, "--json", **options).out.splitlines()
        return [each for each in map(json.loads, lines) if each["event"] == "summary"][0]

    def backup(self, path, *words, **options):
        """The snapshot's description."""
        words = ("backup", "files", path, "--host", self.name, *words)
        return self.summary(*words, **options)["snapshot"]

    def folder(self):
        """Where its cache for the repository is."""
        return os.path.join(self.cache, os.listdir(self.cache)[0])

    def cached(self):
        """All that its cache holds."""
        found = b""
        for folder, _, names in os.walk(self.cache):
            for name in names:
                path = os.path.join(folder, name)
                assert os.stat(path).st_mode & 0o077 == 0, path
                with open(path, "rb") as file:
                    found += file.read()
        return found


class Repository:
    """A repository with its key holder, and hosts that only write."""

    def __init__(self, folder):
        self.folder = os.path.realpath(folder)
        self.url = f"{self.folder}/repo"
        self.owner = Host(self, "owner", f"{self.folder}/key")
        self.owner.agent("repo", "init")

    def writer(self, name):
        key = f"{self.folder}/{name}.key"
        self.owner.agent("key", "export", "--write-only", "--name", name, "--out", key)
        return Host(self, name, key)

    def data(self, name, content):
        """A folder with one file, which is one chunk."""
        path = f"{self.folder}/{name}"
        os.makedirs(path, exist_ok=True)
        with open(f"{path}/file", "wb") as file:
            file.write(content)
        return path

    def objects(self, prefix):
        found = []
        for path, _, names in os.walk(f"{self.url}/{prefix}"):
            found += [os.path.join(path, name) for name in names]
        return sorted(found)

    def expect(self, snapshot, path, content):
        """What is restored of the snapshot's file."""
        back = f"{self.folder}/back-{snapshot['id']}"
        self.owner.agent("restore", snapshot["id"], "--target", back)
        with open(f"{back}{path}/file", "rb") as file:
            assert file.read() == content
        support.run("rm", "-rf", back)


def poison(repository, thief, path, *pack):
    support.run(TOOL, repository.url, thief.key, f"{path}/file", *pack)


def test_poisoned_pack(folder):
    """A stolen host put a pack that says it holds what others will store."""
    repository = Repository(folder)
    thief = repository.writer("thief")
    content = os.urandom(100000)
    path = repository.data("data", content)
    poison(repository, thief, path)
    for host in (repository.owner, repository.writer("web-1")):
        repository.expect(host.backup(path), path, content)
    done = repository.owner.agent("verify", "--read-data", status=4)
    assert "not its id" in done.out, done.out
    # Nor does a lie become the truth by verification, or by collection.
    repository.owner.agent("collect")
    repository.expect(repository.owner.backup(path, "--force"), path, content)
    repository.expect(repository.writer("web-2").backup(path), path, content)


def test_poisoned_index(folder):
    """A stolen host says of an honest pack that it holds what others will store."""
    repository = Repository(folder)
    thief = repository.writer("thief")
    first = os.urandom(100000)
    path = repository.data("data", first)
    before = repository.owner.backup(path)
    honest = repository.objects("packs")[0]
    second = os.urandom(100000)
    repository.data("data", second)
    poison(repository, thief, path, honest)
    for host in (repository.owner, repository.writer("web-1")):
        repository.expect(host.backup(path), path, second)
    for _ in range(2):
        repository.owner.agent("collect")
        repository.expect(before, path, first)
        repository.expect(repository.owner.backup(path, "--force"), path, second)


def test_memory(folder):
    """What a host stored it does not store again; what others stored, once it was verified."""
    repository = Repository(folder)
    one = repository.writer("web-1")
    two = repository.writer("web-2")
    content = os.urandom(200000)
    path = repository.data("data", content)
    assert one.backup(path)["added_bytes"] > 200000
    assert one.backup(path, "--force")["added_bytes"] < 20000
    assert two.backup(path)["added_bytes"] > 200000
    # A lost cache is a second copy, no more.
    support.run("rm", "-rf", one.cache)
    assert one.backup(path)["added_bytes"] > 200000
    verified = repository.owner.summary("verify", "--read-data")
    assert verified["vouched_pack_count"] > 0
    assert repository.owner.summary("verify", "--read-data")["vouched_pack_count"] == 0
    support.run("rm", "-rf", one.cache)
    last = one.backup(path)
    assert last["added_bytes"] < 20000
    assert repository.writer("web-3").backup(path)["added_bytes"] < 20000
    repository.expect(last, path, content)


def test_unchanged_files(folder):
    """They are not opened again: shown by a process that may not open them."""
    support.need_root()
    blind = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all"]
    repository = Repository(folder)
    content = os.urandom(50000)
    path = repository.data("data", content)
    os.makedirs(f"{path}/folder")
    for number in range(300):
        with open(f"{path}/folder/{number}", "wb") as file:
            file.write(b"of %d" % number)
        os.chown(f"{path}/folder/{number}", 65534, 65534)
        os.chmod(f"{path}/folder/{number}", 0o600)
    support.wait_until_settled(path)
    for host in (repository.writer("web-1"), repository.owner):
        first = host.backup(path)
        again = host.backup(path, before=blind)
        assert again["added_bytes"] < 2000 and again["snapshot_warning_count"] == 0, again
        # --force reads all, and cannot.
        forced = host.backup(path, "--force", before=blind, status=3)
        assert forced["snapshot_warning_count"] == 300, forced
    host = repository.writer("web-2")
    first = host.backup(path)
    cached = host.cached()
    assert b"folder" in cached and content[:16] not in cached and b"of 299" not in cached
    # A changed list is believed no more than a lost one: all is read.
    lists = [name for name in os.listdir(host.folder()) if name.startswith("parent-")]
    assert len(lists) == 1, lists
    with open(f"{host.folder()}/{lists[0]}", "r+b") as file:
        whole = file.read()
        file.seek(whole.index(b"folder"))
        file.write(b"FOLDER")
    lost = host.backup(path, before=blind, status=3)
    assert lost["snapshot_warning_count"] >= 300, lost
    support.run("rm", "-rf", host.cache)
    lost = host.backup(path, before=blind, status=3)
    assert lost["snapshot_warning_count"] == 300, lost
    repository.expect(first, path, content)


def test_forged_parent(folder):
    """A stolen host puts a snapshot in another's name: that one reads its files all the same."""
    support.need_root()
    blind = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all"]
    repository = Repository(folder)
    path = repository.data("data", os.urandom(50000))
    os.chown(f"{path}/file", 65534, 65534)
    os.chmod(f"{path}/file", 0o600)
    support.wait_until_settled(path)
    thief = repository.writer("web-1")
    thief.name = repository.owner.name
    forged = thief.backup(path)
    restored = repository.owner.summary("restore", forged["id"], "--target", f"{folder}/alone")
    assert restored["warning_count"] == 0, restored  # there is no other of this name
    unread = repository.owner.backup(path, before=blind, status=3)
    assert unread["snapshot_warning_count"] == 1, unread
    repository.owner.backup(path, "--force")
    again = repository.owner.backup(path, before=blind)
    assert again["snapshot_warning_count"] == 0, again
    forged = thief.backup(path)
    again = repository.owner.backup(path, before=blind)  # builds on the one before
    assert again["snapshot_warning_count"] == 0, again
    told = repository.owner.agent("restore", forged["id"], "--target", f"{folder}/told", status=3)
    assert "not signed" in told.err, told.err


def test_parts(folder):
    """A scrub by parts vouches for what it has read so far."""
    repository = Repository(folder)
    one = repository.writer("web-1")
    for number in range(6):
        one.backup(repository.data(f"data{number}", os.urandom(100000)))
    counts = [repository.owner.summary("verify", f"--read-data={part}/3")["vouched_pack_count"]
              for part in (1, 2, 3)]
    assert sum(counts) == len(repository.objects("packs")), counts
    # On a store that cannot be written to, it verifies all the same.
    one.backup(repository.data("more", os.urandom(100000)))
    support.need_root()
    read_only = f"{repository.folder}/read-only"
    os.mkdir(read_only)
    support.run("unshare", "-m", "sh", "-c",
                f"mount --bind {repository.url} {read_only} && "
                f"mount -o remount,bind,ro {read_only} && "
                f"exec {support.AGENT} verify --read-data --repo {read_only} "
                f"--key-file {repository.owner.key}", status=3)


def main():
    for name, test in list(globals().items()):
        if name.startswith("test_"):
            with support.scratch() as folder:
                test(folder)
            print("ok", name, flush=True)


main()
