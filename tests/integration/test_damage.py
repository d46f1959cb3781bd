"""One flipped bit at random places: verify finds each and names the object, and nothing wrong is restored."""

import collections
import os
import time

import every_kind
import support

FLIPS = int(os.environ.get("FORTRESS_TEST_FLIPS") or 200)
# Behind a magic of 8 bytes; another version's digest may stand elsewhere, so it is asked first.
VERSION_AT = 8
# Nothing that is restored rests on them ("Reading" in docs/format.md); of an index all stands in its packs,
# and what was settled here is of a writer without a snapshot.
HARMLESS = ("indexes", "erasures", "verified", "streams", "leases", "leases-over", "revocations", "settled",
            "forgotten", "arriving", "holds", "gaps", "repairs", "marks")


def choose(repository, rng):
    """Half of the places by kind, so that each is met; half anywhere, which is mostly in packs."""
    if rng.random() < 0.5:
        kind = rng.choice(every_kind.KINDS)
        key = rng.choice([key for key in repository.keys if key.split("/")[0] == kind])
        size = len(repository.read(key))
        at = rng.choice([0, VERSION_AT, size - 1, rng.randrange(size), rng.randrange(size)])
    else:
        sizes = [len(repository.read(key)) for key in repository.keys]
        key, size = rng.choices(list(zip(repository.keys, sizes)), sizes)[0]
        at = rng.randrange(size)
    return key, at, 1 << rng.randrange(8)


def check_verify(repository, url, key, at, where):
    """Damage has an exit status of its own, and the object's name is said."""
    done = repository.agent("verify", "--read-data", url=url, status=None)
    told = done.out + done.err
    # A config of another version is not damaged, as far as anybody can tell: its digest may stand
    # elsewhere. Nothing else of the repository can be read then.
    status = 19 if key == "config" and at == VERSION_AT else 4
    assert done.returncode == status, f"verify ended with {done.returncode} at {where}: {told}"
    named = key.replace("snapshots/", "snapshot ") if key.startswith("snapshots/") else key
    assert named in told, f"verify does not name {where}: {told}"


def flip(repository, rng, number):
    key, at, mask = choose(repository, rng)
    content = bytearray(repository.read(key))
    where = f"flip {number}: {key} byte {at} of {len(content)}, bit {mask:#x}"
    content[at] ^= mask
    url = repository.copy("damaged")
    repository.change(url, key, content)
    if rng.random() < 0.5:
        repository.forget_cache()
    check_verify(repository, url, key, at, where)
    kind = key.split("/")[0]
    identities = sorted(repository.states)
    if kind in HARMLESS:
        identities = [rng.choice(identities)]
    count = 0
    for identity in identities:
        restored = repository.restores(url, identity, where)
        count += restored
        if not restored and rng.random() < 0.2:
            repository.resumes(identity, where)
    if kind in ("streams", "config", "keys"):
        repository.gets_wal(url, where)
    if kind in HARMLESS:
        assert count == len(identities), f"{where}: {count} restored"
    return kind, count, len(identities)


def main():
    rng = support.seed()
    print(f"flips: FORTRESS_TEST_FLIPS={FLIPS}", flush=True)
    with support.scratch(below=every_kind.memory_folder()) as folder:
        began = time.monotonic()
        repository = every_kind.Repository(folder, rng)
        print(f"made in {time.monotonic() - began:.1f} s", flush=True)
        flips = collections.Counter()
        restores = collections.Counter()
        tries = collections.Counter()
        for number in range(FLIPS):
            kind, right, tried = flip(repository, rng, number)
            flips[kind] += 1
            restores[kind] += right
            tries[kind] += tried
        for kind in sorted(flips):
            print(f"{kind}: {flips[kind]} flips, all found; "
                  f"{restores[kind]} of {tries[kind]} restores possible, all right")
        print(f"{FLIPS} flips in {time.monotonic() - began:.1f} s")


if __name__ == "__main__":
    main()
