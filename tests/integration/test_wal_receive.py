"""WAL receive loses nothing when it is killed or the server restarts, and tells what it could not get."""

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
            slot_lost(server, receiver)


main()
