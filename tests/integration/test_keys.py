"""Recipients of every kind, rotation, write-only hosts, scopes and their erasure, through the verbs."""

import json
import os
import shutil
import stat
import subprocess
import time

import support
import vault_transit_double

PASSPHRASE = "correct horse battery staple"
CLEARED = (
    "FORTRESS_",
    "VAULT_",
    "GNUPGHOME",
)


def environment(**variables):
    """This process's environment without anything that could open a key file, and `variables`."""
    clean = {name: value for name, value in os.environ.items()
             if name == "FORTRESS_CACHE_DIR" or not name.startswith(CLEARED)}
    clean["GNUPGHOME"] = "/dev/null"  # no home of GPG, and none can be made there
    clean.update({name: str(value) for name, value in variables.items()})
    return clean


def agent(*words, status=0, env=None, **options):
    return support.run(
        support.AGENT, *words, status=status, env=env or environment(), **options
    )


def events(done, name):
    return [each for each in map(json.loads, done.out.splitlines()) if each["event"] == name]


def write_secret(path, text):
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    return path


class Repository:
    """A repository with a key file, and one folder to save."""

    def __init__(self, folder):
        self.folder = folder
        self.url = f"{folder}/repo"
        self.key = f"{folder}/key"
        self.data = f"{folder}/data"
        self.serial = 0
        os.makedirs(self.data)
        self.write("first")
        agent("repo", "init", *self.words())

    def words(self, key=None):
        return ["--repo", self.url, "--key-file", key or self.key]

    def write(self, text):
        with open(f"{self.data}/file", "w", encoding="ascii") as file:
            file.write(text)

    def backup(self, *words, key=None, **options):
        done = agent("backup", "files", self.data, "--json", *words, *self.words(key), **options)
        return events(done, "summary")[0].get("snapshot", {}).get("id")

    def restored(self, snapshot, key=None, **options):
        """What the file was in a snapshot."""
        self.serial += 1
        back = f"{self.folder}/back{self.serial}"
        done = agent("restore", snapshot, "--target", back, *self.words(key), **options)
        if done.returncode not in (0, 3):
            assert not os.path.exists(back), "something was restored after all"
            return done.err
        with open(f"{back}{self.data}/file", encoding="ascii") as file:
            return file.read()

    def stored(self, prefix=""):
        """Names of the repository's objects."""
        found = []
        for path, _, names in os.walk(f"{self.url}/{prefix}"):
            found += [os.path.relpath(os.path.join(path, name), self.url) for name in names]
        return sorted(found)


def inode_content(path):
    with open(path, "rb") as file:
        return file.read()


def test_passphrase(folder):
    repository = Repository(folder)
    snapshot = repository.backup()
    plain = inode_content(repository.key)
    old = os.open(repository.key, os.O_RDONLY)  # the file as it was, whatever takes its name
    right = write_secret(f"{folder}/right", PASSPHRASE + "\nnot this line\n")
    wrong = write_secret(f"{folder}/wrong", PASSPHRASE + "!\n")
    short = write_secret(f"{folder}/short", "1234567\n")
    words = repository.words()
    done = agent(
        "key", "add", "ops", "--passphrase", *words, status=14,
        env=environment(FORTRESS_PASSPHRASE_FILE=short),
    )
    assert "8 are needed" in done.err, done.err
    assert inode_content(repository.key) == plain
    with_right = environment(FORTRESS_PASSPHRASE_FILE=right)
    agent("key", "add", "ops", "--passphrase", *words, env=with_right)
    assert stat.S_IMODE(os.stat(repository.key).st_mode) == 0o600
    assert repository.restored(snapshot) == "first"  # still plain, too
    agent("key", "add", "ops", "--x25519", "1" * 64, *words, status=9)
    agent("key", "remove", "nobody", *words, status=6)
    agent("key", "remove", "file", *words)
    assert not os.pread(old, 1 << 20, 0).strip(b"\0"), "the old key file was not overwritten"
    os.close(old)

    assert repository.restored(snapshot, env=with_right) == "first"
    assert "no recipient is available here" in repository.restored(snapshot, status=5)
    assert "ops (passphrase)" in repository.restored(snapshot, status=5)
    answer = repository.restored(
        snapshot, status=5, env=environment(FORTRESS_PASSPHRASE_FILE=wrong)
    )
    assert 'not that of recipient "ops"' in answer, answer
    with open(right, encoding="ascii") as file:
        descriptor = environment(FORTRESS_PASSPHRASE_FD=file.fileno())
        back = repository.restored(snapshot, env=descriptor, pass_fds=[file.fileno()])
        assert back == "first"
    # A new passphrase beside the one that opens.
    other = write_secret(f"{folder}/other", "another passphrase\n")
    both = environment(FORTRESS_PASSPHRASE_FILE=right, FORTRESS_NEW_PASSPHRASE_FILE=other)
    agent("key", "add", "spare", "--passphrase", *words, env=both)
    with_other = environment(FORTRESS_PASSPHRASE_FILE=other)
    assert repository.restored(snapshot, env=with_other) == "first"
    agent("key", "remove", "ops", *words, env=with_other)
    assert repository.restored(snapshot, env=with_other) == "first"
    done = agent("key", "remove", "spare", *words, status=17, env=with_other)
    assert "nobody else could open" in done.err, done.err
    os.chmod(right, 0o644)
    agent("verify", *words, status=7, env=with_right)
    listed = agent("key", "list", "--json", "--key-file", repository.key, env=with_other)
    assert [each["kind"] for each in events(listed, "recipient")] == ["passphrase"]
    assert PASSPHRASE not in listed.out


def test_x25519(folder):
    repository = Repository(folder)
    snapshot = repository.backup()
    public = agent("key", "identity", "--out", f"{folder}/anna").out.strip()
    agent("key", "identity", "--out", f"{folder}/anna", status=9)
    agent("key", "identity", "--out", f"{folder}/eve")
    agent("key", "add", "anna", "--x25519", public, *repository.words())
    agent("key", "add", "anna", "--x25519", public, *repository.words(), status=9)
    agent("key", "remove", "file", *repository.words())
    as_anna = environment(FORTRESS_IDENTITY_FILE=f"{folder}/anna")
    assert repository.restored(snapshot, env=as_anna) == "first"
    assert "anna (x25519)" in repository.restored(snapshot, status=5)
    answer = repository.restored(
        snapshot, status=5, env=environment(FORTRESS_IDENTITY_FILE=f"{folder}/eve")
    )
    assert 'not the identity of recipient "anna"' in answer, answer
    # Public keys are enough to rotate for somebody.
    repository.write("second")
    agent("key", "rotate", *repository.words(), env=as_anna)
    assert repository.restored(repository.backup(env=as_anna), env=as_anna) == "second"
    # A key file with a changed digit names the line.
    text = inode_content(repository.key).decode()
    lines = text.splitlines(keepends=True)
    wrap = next(number for number, line in enumerate(lines) if line.startswith("wrap "))
    middle = len(lines[wrap]) // 2
    changed = "A" if lines[wrap][middle] != "A" else "B"
    lines[wrap] = lines[wrap][:middle] + changed + lines[wrap][middle + 1 :]
    write_secret(f"{folder}/damaged", "".join(lines))
    answer = repository.restored(snapshot, key=f"{folder}/damaged", status=4, env=as_anna)
    assert f"line {wrap + 1} is damaged" in answer, answer
    write_secret(f"{folder}/cut", text[: len(text) // 2])
    answer = repository.restored(snapshot, key=f"{folder}/cut", status=4, env=as_anna)
    assert "line" in answer, answer


def test_gpg(folder):
    if shutil.which("gpg") is None:
        support.skip("needs gpg")
    repository = Repository(folder)
    snapshot = repository.backup()
    home = f"{folder}/gnupg"
    os.mkdir(home, 0o700)
    with_gpg = environment(GNUPGHOME=home)
    try:
        support.run(
            "gpg", "--batch", "--quiet", "--passphrase", "", "--quick-gen-key",
            "Bob <bob@example.org>", "future-default", "default", "never", env=with_gpg,
        )
        agent(
            "key", "add", "eve", "--gpg", "eve@example.org", *repository.words(), status=6,
            env=with_gpg,
        )
        agent("key", "add", "bob", "--gpg", "bob@example.org", *repository.words(), env=with_gpg)
        agent("key", "remove", "file", *repository.words(), env=with_gpg)
        assert repository.restored(snapshot, env=with_gpg) == "first"
        assert "bob (gpg)" in repository.restored(snapshot, status=5)
        agent("key", "rotate", *repository.words(), env=with_gpg)
        repository.write("second")
        assert repository.restored(repository.backup(env=with_gpg), env=with_gpg) == "second"
    finally:
        subprocess.run(["gpgconf", "--kill", "all"], env=with_gpg, check=False)


def test_vault(folder):
    repository = Repository(folder)
    snapshot = repository.backup()
    words = repository.words()
    with vault_transit_double.serve({"fortress"}, "s.token") as vault:
        right = environment(VAULT_ADDR=vault.url, VAULT_TOKEN="s.token")
        agent("key", "add", "v", "--vault", "../sys/seal", *words, status=14, env=right)
        assert not vault.requests
        agent("key", "add", "v", "--vault", "absent", *words, status=21, env=right)
        agent("key", "add", "v", "--vault", "fortress", *words, env=right)
        agent("key", "remove", "file", *words, env=right)
        assert repository.restored(snapshot, env=right) == "first"
        token = write_secret(f"{folder}/token", "s.token\n")
        from_file = environment(VAULT_ADDR=vault.url + "/", VAULT_TOKEN_FILE=token)
        assert repository.restored(snapshot, env=from_file) == "first"
        wrong = environment(VAULT_ADDR=vault.url, VAULT_TOKEN="s.other")
        assert "permission denied" in repository.restored(snapshot, status=7, env=wrong)
        assert "v (vault)" in repository.restored(snapshot, status=5)
        afar = environment(VAULT_ADDR="http://192.0.2.1:8200", VAULT_TOKEN="s.token")
        assert "https" in repository.restored(snapshot, status=14, env=afar)
        agent("key", "rotate", *words, env=right)
        vault.is_sealed = True
        assert "sealed" in repository.restored(snapshot, status=10, env=right)
        vault.is_sealed = False
        repository.write("second")
        assert repository.restored(repository.backup(env=right), env=right) == "second"
    assert "Vault" in repository.restored(snapshot, status=10, env=right)


def test_rotation(folder):
    repository = Repository(folder)
    with open(f"{repository.data}/large", "wb") as file:
        file.write(os.urandom(1_000_000))
    first = repository.backup()
    shutil.copy(repository.key, f"{folder}/old-key")
    packs = repository.stored("packs")
    agent("key", "rotate", *repository.words())
    assert repository.stored("packs") == packs, "a rotation uploaded data"
    assert len(repository.stored("keys")) == 2
    again = repository.backup("--force")  # the same content under the new version: deduplicated
    added = [f"{repository.url}/{each}" for each in set(repository.stored("packs")) - set(packs)]
    assert sum(map(os.path.getsize, added)) < 100_000, "the same content was stored again"
    repository.write("second")
    second = repository.backup()
    assert repository.restored(first) == "first"
    assert repository.restored(again) == "first"
    assert repository.restored(second) == "second"
    assert repository.restored(first, key=f"{folder}/old-key") == "first"
    answer = repository.restored(second, key=f"{folder}/old-key", status=5)
    assert "key version 2" in answer and "rotated" in answer, answer
    done = agent("key", "rotate", *repository.words(f"{folder}/old-key"), status=17)
    assert "another key" in done.err, done.err
    agent("verify", "--read-data", *repository.words())
    assert len(events(agent("scope", "list", "--json", *repository.words()), "scope")) == 1
    listed = events(agent("key", "list", "--json", "--key-file", repository.key), "scope")
    assert [each["version"] for each in listed[0]["versions"]] == [1, 2]


def test_killed_while_rotating(folder):
    """Whenever a rotation is killed, the key file is whole, and the next one goes on."""
    rng = support.seed()
    repository = Repository(folder)
    snapshot = repository.backup()
    for _ in range(15):
        words = [support.AGENT, "key", "rotate", *repository.words()]
        with subprocess.Popen(
            words, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            time.sleep(rng.uniform(0, 0.12))  # any instant of it will do
            process.kill()
        repository.write(f"{rng.random()}")
        with open(f"{repository.data}/file", encoding="ascii") as file:
            written = file.read()
        assert repository.restored(repository.backup()) == written
    agent("key", "publish", *repository.words())
    agent("key", "rotate", *repository.words())
    left = [name for name in os.listdir(folder) if name.startswith("key")]
    assert left == ["key"], left
    assert repository.restored(snapshot) == "first"
    agent("verify", "--read-data", *repository.words())
    listed = events(agent("scope", "list", "--json", *repository.words()), "scope")
    own = events(agent("key", "list", "--json", "--key-file", repository.key), "scope")
    assert listed[0]["version"] == len(own[0]["versions"])


def test_write_only(folder):
    repository = Repository(folder)
    first = repository.backup()
    writer = f"{folder}/writer"
    words = repository.words()
    agent("key", "export", "--out", writer, *words, status=14)
    agent("key", "export", "--write-only", "--out", writer, "--name", "web-1", *words)
    assert stat.S_IMODE(os.stat(writer).st_mode) == 0o600
    agent("key", "export", "--write-only", "--out", writer, *words, status=9)
    repository.write("second")
    second = repository.backup(key=writer)
    third = repository.backup(key=writer)
    for snapshot in (first, second):
        answer = repository.restored(snapshot, key=writer, status=5)
        assert "only write" in answer, answer
    done = agent("verify", *repository.words(writer), status=5)
    assert "only write" in done.err, done.err
    agent("snapshots", *repository.words(writer))
    agent("repo", "init", "--repo", f"{folder}/other", "--key-file", writer, status=5)
    done = agent("key", "rotate", *repository.words(writer), status=6)
    assert "no private keys" in done.err, done.err
    # Nobody has signed them: that is a warning.
    assert repository.restored(second, status=3) == "second"
    assert repository.restored(third, status=3) == "second"
    agent("verify", "--read-data", *words)
    # After a rotation it goes on with the version that it has.
    agent("key", "rotate", *words)
    repository.write("third")
    assert repository.restored(repository.backup(key=writer), status=3) == "third"
    assert "web-1" in agent("key", "list", "--key-file", repository.key).out


def test_scopes(folder):
    repository = Repository(folder)
    words = repository.words()
    first = repository.backup()
    agent("scope", "create", "carol", *words)
    agent("scope", "create", "carol", *words, status=9)
    secret = repository.backup("--scope", "carol", "--name", "carol")
    agent("backup", "files", repository.data, "--scope", "nobody", *words, status=6)
    # The same content, but nothing is shared between scopes.
    assert len(repository.stored("packs")) == 2
    listed = events(agent("scope", "list", "--json", *words), "scope")
    assert {each["label"] for each in listed} == {"default", "carol"}
    assert all(each["is_in_key_file"] for each in listed)
    assert repository.restored(first) == "first"
    assert repository.restored(secret) == "first"

    # A recipient of one scope has that one.
    public = agent("key", "identity", "--out", f"{folder}/anna").out.strip()
    agent("key", "add", "anna", "--x25519", public, "--scope", "carol", *words)
    shared = f"{folder}/shared"
    shutil.copy(repository.key, shared)
    agent("key", "remove", "file", *repository.words(shared), status=17)
    as_anna = environment(FORTRESS_IDENTITY_FILE=f"{folder}/anna")
    agent("key", "remove", "file", "--scope", "carol", *words)
    assert repository.restored(secret, env=as_anna) == "first"
    assert "anna (x25519)" in repository.restored(secret, status=5)
    assert repository.restored(first) == "first"
    done = agent("verify", "--read-data", *words, status=3)
    assert "not verified" in done.err, done.err
    agent("verify", "--read-data", *words, env=as_anna)
    done = agent("backup", "files", repository.data, "--scope", "carol", *words, status=5)
    assert "no recipient" in done.err, done.err


def test_erasure(folder):
    repository = Repository(folder)
    words = repository.words()
    first = repository.backup()
    agent("scope", "create", "carol", *words)
    public = agent("key", "identity", "--out", f"{folder}/anna").out.strip()
    agent("key", "add", "anna", "--x25519", public, *words)
    agent("key", "add", "gone", "--plain", "--scope", "carol", *words)
    agent("key", "remove", "gone", *words)
    writer = f"{folder}/writer"
    export = ["key", "export", "--write-only", "--scope", "carol", "--name", "web-1"]
    agent(*export, "--out", writer, *words)
    repository.write("of carol")
    secret = repository.backup("--scope", "carol", "--name", "carol")
    written = repository.backup("--name", "carol", key=writer)
    copy = f"{folder}/copy"
    shutil.copy(repository.key, copy)
    before = inode_content(repository.key)
    done = agent("scope", "erase", "carol", *words, status=14)
    assert "--yes" in done.err and "anna (x25519)" in done.out, done.out + done.err
    assert inode_content(repository.key) == before and not repository.stored("erasures")
    agent("scope", "erase", "nobody", "--yes", *words, status=6)

    old = os.open(repository.key, os.O_RDONLY)
    done = agent("scope", "erase", "carol", "--yes", "--json", *words)
    assert not os.pread(old, 1 << 20, 0).strip(b"\0"), "the old key file was not overwritten"
    os.close(old)
    proof = events(done, "summary")[0]
    states = {(each["label"], each["kind"]): each["state"] for each in proof["holders"]}
    assert states == {
        ("file", "plain"): "destroyed",
        ("anna", "x25519"): "destroyed",
        ("gone", "plain"): "unconfirmed",
        ("web-1", "export"): "unconfirmed",
    }, states
    assert proof["is_done"] and any("Object Lock" in each for each in proof["out_of_reach"])
    assert len(repository.stored("erasures")) == 2  # what will be done, what was
    text = inode_content(repository.key).decode()
    assert " carol erased " in text
    scope = text[text.index(" carol erased ") :]
    assert "wrap " not in scope, scope

    as_anna = environment(FORTRESS_IDENTITY_FILE=f"{folder}/anna")
    for env in (environment(), as_anna):
        for snapshot in (secret, written):
            assert "were erased" in repository.restored(snapshot, status=5, env=env)
    assert repository.restored(first) == "first"
    done = agent("verify", "--read-data", *words, status=3)
    assert "2 snapshots" in done.err, done.err
    repository.write("after")
    assert repository.restored(repository.backup()) == "after"
    agent("scope", "erase", "carol", "--yes", *words, status=5)
    agent("scope", "create", "carol", *words, status=9)

    # Another copy of the key file is one more holder, until it confirms.
    assert repository.restored(secret, key=copy) == "of carol"
    agent("scope", "erase", "carol", "--yes", *repository.words(copy))
    assert "were erased" in repository.restored(secret, key=copy, status=5)
    listed = events(agent("scope", "list", "--json", *words), "scope")
    assert {each["label"]: each["erasure_count"] for each in listed} == {"default": 0, "carol": 2}
    # A record that was changed is found.
    record = f"{repository.url}/{repository.stored('erasures')[1]}"
    os.chmod(record, 0o600)
    with open(record, "r+b") as file:
        file.seek(40)
        byte = file.read(1)[0]
        file.seek(40)
        file.write(bytes([byte ^ 1]))
    assert "erasure" in agent("verify", *words, status=4).out


def main():
    for name, test in list(globals().items()):
        if name.startswith("test_"):
            with support.scratch() as folder:
                test(os.path.realpath(folder))
            print("ok", name, flush=True)


main()
