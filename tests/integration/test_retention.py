"""A stolen host writes snapshots that claim what they like: the policy keeps the good ones. Holds,
tags, and what forget says of each."""

import datetime
import json
import os

import support

DAY = 24 * 3600
CLOCK_SHIFT = os.path.join(os.path.dirname(support.BIN), "tests", "clock_shift.so")
GOOD = 20
FAKES = 24  # of each kind


def agent(*words, status=0, **options):
    return support.run(support.AGENT, *words, status=status, **options)


def events(*words, name, status=0):
    lines = agent(*words, "--json", status=status).out.splitlines()
    return [each for each in map(json.loads, lines) if each["event"] == name]


class Repository:
    def __init__(self, folder):
        self.folder = folder
        self.words = ["--repo", f"{folder}/repo", "--key-file", f"{folder}/key"]
        self.data = f"{folder}/data"
        os.makedirs(self.data)
        agent("repo", "init", *self.words)

    def backup(self, content, *more, shift_s=0):
        """`shift_s`: how far the host's clock is off, or what it claims."""
        with open(f"{self.data}/file", "w", encoding="ascii") as file:
            file.write(content)
        words = ["backup", "files", self.data, "--name", "data", "--force", "--json", *more,
                 *self.words]
        environment = dict(os.environ)
        if shift_s:
            environment["FORTRESS_TEST_CLOCK_SHIFT_S"] = str(shift_s)
            environment["LD_PRELOAD"] = CLOCK_SHIFT
            environment["ASAN_OPTIONS"] = "verify_asan_link_order=0"
        done = agent(*words, env=environment)
        return json.loads(done.out.splitlines()[-1])["snapshot"]["id"]

    def age(self, identity, stored):
        """As if the store had got it then: what happens by itself in the months of a real one."""
        os.utime(f"{self.folder}/repo/snapshots/{identity}", (stored, stored))

    def listed(self):
        return {each["id"]: each for each in events("snapshots", *self.words, name="snapshot")}

    def forget(self, *more):
        return {each["id"]: each for each in events("forget", *more, *self.words, name="verdict")}

    def restored(self, identity):
        target = f"{self.folder}/back-{identity[:12]}"
        agent("restore", identity, "--target", target, "--path", self.data, *self.words)
        with open(f"{target}/file", encoding="ascii") as file:
            return file.read()


def check_attack(folder):
    repository = Repository(folder)
    now = datetime.datetime.now(datetime.timezone.utc).timestamp()
    good = {}
    for days in range(GOOD, 0, -1):
        # The host claims the truth: it was stored that many days ago.
        identity = repository.backup(f"good {days}", shift_s=-days * DAY)
        repository.age(identity, now - days * DAY)
        good[identity] = f"good {days}"
    policy = ["--keep-last", "4", "--keep-daily", "7", "--keep-weekly", "4", "--keep-within", "60h"]
    before = repository.forget(*policy, "--dry-run")
    kept = {each for each in good if before[each]["verdict"] == "keep"}
    assert len(kept) >= 8, before
    assert all(each["claim"] == "believed" for each in before.values()), before

    fakes = []
    for number in range(FAKES):
        fakes.append(repository.backup(f"future {number}", shift_s=(number + 1) * DAY))
        fakes.append(repository.backup(f"past {number}", shift_s=-(number + 1) * DAY - 600))
        fakes.append(repository.backup(f"now {number}"))
    honest = repository.backup("honest again")
    agent("restore", "latest", "--target", f"{folder}/latest", "--path", repository.data,
          *repository.words)
    with open(f"{folder}/latest/file", encoding="ascii") as file:
        assert file.read() == "honest again", honest
    after = repository.forget(*policy, "--dry-run")
    claims = {each["claim"] for each in after.values()}
    assert claims == {"believed", "later", "earlier"}, claims
    lost = {each for each in kept if after[each]["verdict"] != "keep"}
    # One period of each rule began after the theft: the oldest of each rule goes, as it would with
    # one honest backup more.
    assert len(lost) <= 2, [(good[each], before[each]["reasons"]) for each in lost]
    newest = list(good)[-6:]
    assert not lost & set(newest), lost

    summary = events("forget", *policy, *repository.words, name="summary")[0]
    assert summary["forgotten_count"] > FAKES and summary["clamped_count"] >= 2 * FAKES, summary
    agent("collect", *repository.words)
    agent("verify", "--read-data", *repository.words)
    for identity in newest:
        assert repository.restored(identity) == good[identity]
    text = agent("forget", *policy, "--dry-run", *repository.words).out
    assert "claims to be of after it was stored" in text, text
    assert "claims to be of long before it was stored" in text, text
    print(f"{len(good)} good, {len(fakes)} fakes: kept {len(kept)}, then {len(kept - lost)}")


def check_holds_and_tags(folder):
    repository = Repository(folder)
    first = repository.backup("first", "--tag", "before-upgrade", "--tag", "monthly")
    second = repository.backup("second")
    third = repository.backup("third", "--tag", "monthly")
    fourth = repository.backup("fourth")
    tags = {each: found["tags"] for each, found in repository.listed().items()}
    assert tags == {first: ["before-upgrade", "monthly"], second: [], third: ["monthly"],
                    fourth: []}, tags
    shown = events("snapshots", "--tag", "monthly", *repository.words, name="snapshot")
    assert {each["id"] for each in shown} == {first, third}
    keyless = ["--repo", f"{folder}/repo"]
    agent("hold", "add", second[:12], "--kind", "legal", "--reason", "case 17", *keyless)
    refused = agent("forget", second, *keyless, status=13)
    assert "legal hold 1" in refused.err and "case 17" in refused.err, refused.err
    verdicts = repository.forget("--keep-last", "1")
    assert verdicts[second]["verdict"] == "keep" and verdicts[second]["hold"]["kind"] == "legal"
    assert set(repository.listed()) == {first, second, third, fourth}  # two sets more by their tags
    agent("hold", "release", second, "--kind", "anomaly", "--reason", "none", *keyless)
    agent("forget", second, *keyless, status=13)
    agent("hold", "release", second, "--reason", "closed", *keyless)
    history = events("hold", "list", second, *keyless, name="hold")
    assert [each["state"] for each in history] == ["released", "release", "release"], history
    verdicts = repository.forget("--keep-last", "1", "--tag", "monthly")
    assert set(verdicts) == {first, third}, verdicts
    verdicts = repository.forget("--keep-last", "1")
    assert verdicts[second]["verdict"] == "forget", verdicts
    assert set(repository.listed()) == {first, third, fourth}
    agent("hold", "add", second, "--kind", "legal", "--reason", "late", *keyless, status=6)
    agent("hold", "add", first, "--kind", "whim", "--reason", "none", *keyless, status=14)

    agent("hold", "add", first, "--kind", "anomaly", "--reason", "look", *keyless)
    path = f"{folder}/repo/holds/{first}-00000001"
    os.chmod(path, 0o600)
    with open(path, "r+b") as file:
        file.write(b"damaged")
    agent("forget", first, *keyless, status=13)
    agent("verify", *repository.words, status=4)
    agent("hold", "release", first, "--reason", "it was damaged", *keyless)
    agent("forget", first, *keyless)


def check_erased(folder):
    """What is left of an erased scope goes; all else restores, and a hold stops it."""
    repository = Repository(folder)
    stays = repository.backup("stays")
    agent("scope", "create", "tenant", *repository.words)
    held = repository.backup("goes 1", "--scope", "tenant")
    repository.backup("goes 2", "--scope", "tenant")
    agent("collect", "--erased", *repository.words, status=6)
    agent("hold", "add", held, "--kind", "legal", "--reason", "case 18", *repository.words[:2])
    before = {each: set(os.listdir(f"{folder}/repo/{each}")) for each in ("indexes", "snapshots")}
    agent("scope", "erase", "tenant", "--yes", *repository.words)
    assert "case 18" in agent("collect", "--erased", *repository.words, status=13).err
    assert before == {each: set(os.listdir(f"{folder}/repo/{each}")) for each in before}
    agent("hold", "release", held, "--reason", "closed", *repository.words[:2])
    would = events("collect", "--erased", "--dry-run", *repository.words, name="summary")[0]
    done = events("collect", "--erased", *repository.words, name="summary")[0]
    for each in ("removed_snapshot_count", "removed_pack_count", "removed_bytes", "scope_count"):
        assert would[each] == done[each] > 0, (would, done)
    assert set(repository.listed()) == {stays}
    assert repository.restored(stays) == "stays"
    agent("collect", *repository.words)
    agent("verify", "--read-data", *repository.words)
    again = events("collect", "--erased", *repository.words, name="summary")[0]
    assert again["removed_bytes"] == 0, again
    assert os.listdir(f"{folder}/repo/erasures"), "the proof stays"

    # A record that says so of a scope that is there proves nothing.
    other = Repository(f"{folder}-other")
    mine = other.backup("mine")
    scope = os.listdir(f"{folder}-other/repo/keys")[0]
    erased = os.listdir(f"{folder}/repo/erasures")[0]
    os.makedirs(f"{folder}-other/repo/erasures")
    os.rename(f"{folder}/repo/erasures/{erased}", f"{folder}-other/repo/erasures/{scope}")
    agent("collect", "--erased", *other.words, status=6)
    agent("collect", "--erased", *repository.words, status=6)
    assert other.restored(mine) == "mine"


def main():
    with support.scratch() as folder:
        check_holds_and_tags(f"{folder}/holds")
        check_erased(f"{folder}/erased")
        check_attack(f"{folder}/attack")


if __name__ == "__main__":
    main()
