"""Reads a repository's data in parts and by shares: after all of them all was read, and what is damaged was found."""

import os

import support
from test_backup_files import Repository, agent, summary

MEGABYTE = 1 << 20


def verify(repository, *words, status=0):
    return summary(agent("verify", *words, "--json", *repository.words, status=status))


def packs_of(repository):
    found = []
    for folder, _, names in os.walk(f"{repository.url}/packs"):
        found += [os.path.join(folder, name) for name in names]
    return sorted(found)


def flip(path):
    support.flip(path, os.path.getsize(path) // 2, 4)  # a pack of lists is small


def test_parts_make_up_the_whole(repository):
    count = len(packs_of(repository))
    total = verify(repository)
    assert total["read_pack_count"] == 0 and total["pack_count"] == count
    parts = [verify(repository, f"--read-data={part}/3")["read_pack_count"] for part in (1, 2, 3)]
    assert sum(parts) == count and max(parts) < count, parts
    assert verify(repository, "--read-data")["read_pack_count"] == count
    for wrong in ("0/3", "4/3", "101%", "0%", "x", "3", "1/", "50"):
        agent("verify", f"--read-data={wrong}", *repository.words, status=2)


def test_shares_go_on_with_the_oldest(repository):
    count = len(packs_of(repository))
    victim = max(packs_of(repository), key=os.path.getsize)  # of data: lists are read every time
    flip(victim)
    found = 0
    read = 0
    for _ in range(8):
        status = 0 if found == 0 else 4
        done = agent("verify", "--read-data=20%", "--json", *repository.words, status=None)
        read += summary(done)["read_pack_count"]
        assert summary(done)["read_pack_count"] < count
        assert done.returncode >= status, "damage that was found is forgotten"
        if done.returncode != 0:
            assert done.returncode == 4 and os.path.basename(victim)[:12] in done.out
            found += 1
        if read >= count:
            break
    assert found > 0, "a share was never read"
    flip(victim)
    assert verify(repository, "--read-data=20%")["read_pack_count"] > 0
    assert verify(repository, "--read-data=100%")["read_pack_count"] == count


def main():
    rng = support.seed()
    with support.scratch() as folder:
        repository = Repository(folder)
        os.makedirs(f"{folder}/data")
        for index in range(12):
            with open(f"{folder}/data/{index}", "wb") as file:
                file.write(rng.randbytes(8 * MEGABYTE))
        repository.backup(f"{folder}/data")
        for test in (test_parts_make_up_the_whole, test_shares_go_on_with_the_oldest):
            test(repository)
            print("ok", test.__name__, flush=True)


if __name__ == "__main__":
    main()
