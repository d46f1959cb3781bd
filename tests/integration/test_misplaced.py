"""Deleted, truncated, swapped, duplicated and stale objects: verify finds them or they hurt nobody; nothing wrong is restored."""

import collections
import os

import every_kind
import support
from test_damage import HARMLESS

# What is bound to its name, by its digest or by what it says: docs/format.md, "Names in the store".
BOUND = ("keys", "erasures", "packs", "indexes", "verified", "snapshots", "streams", "holds",
         "gaps", "arriving")
# Small readable objects say nothing of their name: an empty one is as good as another.
ALIKE = ("leases", "leases-over")


class Case:
    """A copy of the repository with something wrong in it."""

    def __init__(self, repository, what):
        self.repository = repository
        self.what = what
        self.url = repository.copy("damaged")
        repository.forget_cache()

    def put(self, key, content):
        self.repository.change(self.url, key, content)

    def remove(self, key):
        os.unlink(f"{self.url}/{key}")

    def verify(self):
        done = self.repository.agent("verify", "--read-data", url=self.url, status=None)
        return done.returncode, done.out + done.err

    def is_found(self, *keys, status=4):
        """Damage, and all of these objects are named."""
        code, told = self.verify()
        assert code == status, f"{self.what}: verify ended with {code}: {told}"
        for key in keys:
            named = key.replace("snapshots/", "snapshot ") if key.startswith("snapshots/") else key
            assert named in told, f"{self.what}: {key} is not named: {told}"

    def is_no_damage(self):
        code, told = self.verify()
        assert code == 0, f"{self.what}: verify ended with {code}: {told}"

    def restores(self):
        """Right or not at all; gives which were right."""
        repository = self.repository
        repository.gets_wal(self.url, self.what)
        return {identity for identity in repository.states
                if repository.restores(self.url, identity, self.what)}

    def restores_all(self, but=None):
        right = self.restores()
        assert right == set(self.repository.states) - {but}, f"{self.what}: only {right}"


def of_kind(repository, kind):
    return [key for key in repository.keys if key.split("/")[0] == kind]


def name_beside(repository, key):
    """Another name of the same kind and form that no object has."""
    rng = repository.rng
    folder, _, name = key.rpartition("/")
    while True:
        if key.startswith("packs/"):
            name = rng.randbytes(32).hex()
            other = f"packs/{name[:2]}/{name}"
        else:
            at = rng.choice([i for i, each in enumerate(name) if each in "0123456789"])
            other = f"{folder}/{name[:at]}{rng.randrange(10)}{name[at + 1:]}"
        if other not in repository.keys:
            return other


def deleted(repository):
    """What nobody can miss is not missed; what something rests on is named."""
    for kind in every_kind.KINDS:
        key = repository.rng.choice(of_kind(repository, kind))
        case = Case(repository, f"deleted: {key}")
        case.remove(key)
        if kind == "packs":
            case.is_found(key)
            case.restores()
        elif kind == "indexes":
            # Its name is lost with it; the snapshots that need it are named.
            code, told = case.verify()
            assert code == 4 and "an index of it is missing" in told, f"{case.what}: {told}"
            case.restores_all()
        elif kind == "config":
            case.is_found(status=6)
            assert not case.restores()
        elif kind == "snapshots":
            # It is the list: there is nothing else that tells of a snapshot.
            case.is_no_damage()
            case.restores_all(but=os.path.basename(key))
        else:
            case.is_no_damage()
            case.restores_all()
        yield kind


def truncated(repository):
    """Nothing, a part of the head, the head, the half, all but a byte; and bytes behind the end."""
    for kind in every_kind.KINDS:
        key = repository.rng.choice(of_kind(repository, kind))
        content = repository.read(key)
        size = len(content)
        lengths = [size - 1, size - 32, size // 2, 12, 11, 8, 1]
        shapes = [content[:length] for length in [0, *repository.rng.sample(lengths, 2)]]
        shapes.append(repository.rng.choice([content + b"\0", content + content]))
        for shape in shapes:
            case = Case(repository, f"{len(shape)} bytes instead of {size}: {key}")
            case.put(key, shape)
            # A config of another length can still be of another version.
            case.is_found(key)
            if kind in HARMLESS:
                identity = repository.rng.choice(sorted(repository.states))
                assert repository.restores(case.url, identity, case.what), case.what
            else:
                case.restores()
            yield kind


def swapped(repository):
    """Two of a kind with exchanged names."""
    for kind in BOUND:
        keys = of_kind(repository, kind)
        if len(keys) < 2:
            continue
        for _ in range(2):
            one, two = repository.rng.sample(keys, 2)
            case = Case(repository, f"swapped: {one} and {two}")
            case.put(one, repository.read(two))
            case.put(two, repository.read(one))
            case.is_found(one, two)
            if kind in HARMLESS:
                case.restores_all()
            else:
                case.restores()
            yield kind


def duplicated(repository):
    """An object once more under a name of its kind that is free."""
    for kind in BOUND:
        key = repository.rng.choice(of_kind(repository, kind))
        other = name_beside(repository, key)
        case = Case(repository, f"copied: {key} to {other}")
        case.put(other, repository.read(key))
        if kind == "packs":
            case.is_no_damage()  # no index names it
        else:
            case.is_found(other)
        case.restores_all()
        if kind == "streams":
            target = f"{repository.folder}/got.wal"
            system, segment = other.split("/")[2:]
            done = repository.agent("wal-get", segment, target, "--system", system, url=case.url,
                                    status=None)
            assert done.returncode != 0, f"{case.what}: was given as another segment"
        if kind == "packs":
            # Without indexes, packs themselves tell what they hold: none is believed blindly.
            for index in of_kind(repository, "indexes"):
                case.remove(index)
            repository.forget_cache()
            case.restores_all()
        yield kind


def of_another_kind(repository):
    """An object in the place of one of another kind."""
    for kind in every_kind.KINDS:
        others = [key for key in repository.keys if key.split("/")[0] != kind
                  and not (kind in ALIKE and key.split("/")[0] in ALIKE)]
        key = repository.rng.choice(of_kind(repository, kind))
        other = repository.rng.choice(others)
        case = Case(repository, f"{other} in the place of {key}")
        case.put(key, repository.read(other))
        case.is_found(key)
        if kind in HARMLESS:
            case.restores_all()
        else:
            case.restores()
        yield kind


def stale(repository):
    """What was there once and is put back."""
    for key, content in sorted(repository.old.items()):
        kind = key.split("/")[0]
        case = Case(repository, f"put back: {key}")
        case.put(key, content)
        if kind == "indexes":
            code, told = case.verify()
            assert code in (0, 3, 4), f"{case.what}: {told}"  # it may name packs that are gone
            other = told.replace(" snapshots", "").replace("no snapshot needs them", "")
            assert "snapshot" not in other, f"{case.what}: {told}"
        else:
            case.is_no_damage()
        case.restores_all()
        if kind == "snapshots":
            # What was forgotten stays forgotten.
            identity = os.path.basename(key)
            repository.agent("restore", identity, "--target", f"{repository.folder}/not",
                             url=case.url, status=6)
        yield kind


def old_in_place(repository):
    """An older object of the same thing in the place of the newest."""
    for kind in ("keys", "holds", "erasures", "verified", "indexes", "snapshots"):
        before = [key for key in of_kind(repository, kind)]
        newest = before[-1]
        older = [repository.old[key] for key in repository.old if key.split("/")[0] == kind]
        older = older or [repository.read(key) for key in before[:-1]]
        assert older, kind
        case = Case(repository, f"an older one in the place of {newest}")
        case.put(newest, older[-1])
        case.is_found(newest)
        if kind == "snapshots":
            case.restores_all(but=os.path.basename(newest))
        else:
            case.restores_all()
        yield kind


def main():
    rng = support.seed()
    with support.scratch(below=every_kind.memory_folder()) as folder:
        repository = every_kind.Repository(folder, rng)
        for part in (deleted, truncated, swapped, duplicated, of_another_kind, stale, old_in_place):
            count = collections.Counter(part(repository))
            print(f"{part.__name__}: {dict(count)}", flush=True)


if __name__ == "__main__":
    main()
