"""WAL receive loses nothing when it is killed or the server restarts, and tells what it could not get: in the
repository, too, so that who restores where the host is lost learns of it."""

import datetime
import json
import os
import re
import threading
import time

from pg_server import Agent, Receiver, Server, open_to_postgres, shown_on_failure
from support import scratch, seed, wait_until

SEGMENT = 16 * 1024 * 1024


def number(name):
    return int(name[8:16], 16) * (1 << 32) // SEGMENT + int(name[16:24], 16)


def name_of(segment):
    return f"00000001{segment * SEGMENT >> 32:08X}{segment % ((1 << 32) // SEGMENT):08X}"


def check_no_hole(server, receiver, since=0):
    numbers = sorted({number(name) for name in receiver.segments()})
    numbers = [each for each in numbers if each >= since]
    assert numbers, "no segment was stored"
    missing = [each for each in range(numbers[0], numbers[-1] + 1)
               if each not in numbers and not receiver.has(server, name_of(each))]
    assert not missing, f"segments {missing} are missing of {numbers[0]} to {numbers[-1]}"
    return numbers


def make_wal(server, segments):
    """Fills and closes segments; gives the end of the last one."""
    for _ in range(segments):
        server.sql("INSERT INTO bulk SELECT repeat('x', 1000) FROM generate_series(1, 2000)")
        end = server.value("SELECT pg_switch_wal()")
    return end


def killed_again_and_again(server, receiver, random):
    receiver.start()
    wait_until("the slot", lambda: server.sql("SELECT 1 FROM pg_replication_slots"))
    writing = threading.Thread(target=make_wal, args=(server, 12))
    writing.start()
    for _ in range(5):
        time.sleep(random.uniform(0.05, 0.6))
        receiver.kill()
        receiver.start()
    writing.join()
    receiver.wait_stored(server, make_wal(server, 1))
    print("killed five times:", len(check_no_hole(server, receiver)), "segments, no hole", flush=True)


def server_restarted(server, receiver):
    make_wal(server, 1)
    server.sql("INSERT INTO bulk VALUES ('in the open segment')")
    began = time.monotonic()
    done = server.stop("fast", timeout=30)
    assert done.returncode == 0, "the server did not shut down while WAL is received"
    print(f"shut down in {time.monotonic() - began:.1f} s", flush=True)
    assert re.search(r'segment="[0-9A-F]{24}\.[0-9A-F]{8}\.partial"', receiver.text())
    server.start()
    receiver.wait_stored(server, make_wal(server, 2))
    check_no_hole(server, receiver)
    print("server restarted: no hole", flush=True)


def slot_lost(server, receiver):
    receiver.stop()
    last = check_no_hole(server, receiver)[-1]
    server.sql("SELECT pg_drop_replication_slot('fortress_test')")
    for _ in range(3):
        make_wal(server, 4)
        server.sql("CHECKPOINT")
    oldest = server.value("SELECT min(name) FROM pg_ls_waldir() WHERE name ~ '^[0-9A-F]{24}$'")
    assert number(oldest) > last + 1, "the server has kept all WAL: nothing to test"
    assert "event=wal.gap" not in receiver.text()
    receiver.start()
    wait_until("the gap to be told", lambda: "event=wal.gap" in receiver.text())
    found = re.search(r'event=wal.gap .*from_lsn="0/([0-9A-F]+)" to_lsn="0/([0-9A-F]+)"',
                      receiver.text())
    begin, end = (int(text, 16) // SEGMENT for text in found.groups())
    assert begin == last + 1, f"the gap begins at segment {begin}, stored is up to {last}"
    receiver.wait_stored(server, make_wal(server, 2))
    assert check_no_hole(server, receiver, since=last + 1)[0] == end, "the gap is told as another than it is"
    assert receiver.text().count("event=wal.gap") == 1
    print(f"slot dropped: segments {begin} to {end - 1} told as a gap", flush=True)
    receiver.stop()
    return begin, end


def back_up(agent, server):
    done = agent.run("backup", "postgres", server.conninfo, "--name", "orders", "--json")
    return json.loads(done.out.splitlines()[-1])["snapshot"]


def now():
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def gaps_of(agent, status):
    """What a host learns that has nothing but the repository."""
    done = agent.run("snapshots", "--json", status=status)
    events = [json.loads(line) for line in done.out.splitlines()]
    return [event for event in events if event["event"] == "gap"]


def try_restore(agent, snapshot, *words, status):
    target = os.path.join(agent.folder, "refused")
    done = agent.run("restore", snapshot, "--target", target, *words, status=status)
    assert not os.path.exists(target), "something was restored"
    return done.err


def gap_in_repository(agent, server, old, before_gap, bounds):
    """`old` is a base backup from before the gap."""
    begin, end = (f"0/{segment * SEGMENT:X}" for segment in bounds)
    found = gaps_of(agent, status=3)
    assert len(found) == 1, found
    gap = found[0]
    assert (gap["state"], gap["from_lsn"], gap["to_lsn"]) == ("open", begin, end), gap
    told = agent.run("snapshots", status=3).err
    assert f"WAL {begin} to {end}" in told and "already been removed" in told, told

    told = try_restore(agent, old, "--time", now(), status=6)
    assert f"WAL {begin} to {end}" in told and "choose a backup from behind this gap" in told, told
    told = try_restore(agent, "latest", "--time", now(), status=6)
    assert "--ignore-gaps" in told, told
    told = try_restore(agent, old, "--time", now(), "--ignore-gaps", "--dry-run", status=3)
    assert f"WAL {begin} to {end}" in told, told
    told = try_restore(agent, old, "--dry-run", status=3)
    assert f"WAL {begin} to {end}" in told, told
    told = try_restore(agent, old, "--time", before_gap, "--dry-run", status=0)
    print("the gap is in the repository; a restore across it is refused, one to before it is not", flush=True)

    tier = os.path.join(agent.folder, "tier")
    agent.run("replicate", "--to", tier)
    copied = agent.run("snapshots", "--repo", tier, status=3).err
    assert f"WAL {begin} to {end}" in copied, copied

    new = back_up(agent, server)["id"]
    gap = gaps_of(agent, status=0)[0]
    assert (gap["state"], gap["covered_by"]) == ("covered", new), gap
    try_restore(agent, "latest", "--time", now(), "--dry-run", status=0)
    try_restore(agent, old, "--time", now(), status=6)
    agent.run("verify")
    agent.run("forget", new)
    assert gaps_of(agent, status=3)[0]["state"] == "open", "without the later backup it is open again"
    agent.run("verify", "--read-data")
    print("a later base backup covers it, as long as it is there", flush=True)


def main():
    random = seed()
    with scratch() as folder:
        open_to_postgres(folder)
        agent = Agent(folder)
        server = Server(folder, "server")
        receiver = Receiver(agent, server.conninfo)
        with shown_on_failure(server, receiver):
            server.init().start()
            server.sql("CREATE TABLE bulk (text text)")
            killed_again_and_again(server, receiver, random)
            server_restarted(server, receiver)
            old = back_up(agent, server)["id"]
            receiver.wait_stored(server, make_wal(server, 1))
            before_gap = now()
            receiver.wait_stored(server, make_wal(server, 1))
            bounds = slot_lost(server, receiver)
            gap_in_repository(agent, server, old, before_gap, bounds)


main()
