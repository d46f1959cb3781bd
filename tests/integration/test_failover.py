"""A region lost and come back: the service moves, nothing acknowledged a second before is lost, and the old
primary, started again in the natural order, comes up as a standby or not at all."""

import os
import sys
import time

from three_regions import (Writer, expect, is_primary, plans, rows, running_lab, service, wait_for)


def lose_and_recover(lab):
    west, east, europe = lab.regions.values()
    survivors = [east, europe]
    writer = Writer(lab, os.path.join(lab.folder, "acked.jsonl"))
    writer.start()
    wait_for("commits", lambda: len(writer.acked) > 50, 30)
    killed_at = lab.kill_region(west)
    first = wait_for("first commit after the disaster",
                     lambda: writer.first_after(killed_at + 0.5), 90)
    expect(f"first write through the name after {first[2] - killed_at:.1f} s (at most 25)",
           first[2] - killed_at <= 25)
    plan = wait_for("the plan is done", lambda: [
        p for p in plans(lab, "failover", survivors) if p["state"] == "done"], 60)[0]
    expect("the first choice was promoted", plan["to_host"] == east.host)
    expect("the epoch rose to 2", service(lab, survivors)["epoch"] == 2)
    present = rows(lab, east)
    lost = [r for r in writer.acked if r[2] < killed_at + 0.5 and r[0] not in present]
    expect(f"{len(lost)} commits lost, none from before the last second",
           all(killed_at - r[2] <= 1.0 for r in lost))
    wait_for("the other standby follows the new primary", lambda: follows(lab, east), 60)
    return writer, killed_at


def follows(lab, primary):
    return lab.sql(primary, "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming' "
                   "AND usename = 'replicator'")[0][0] >= 1


def reboot_old_primary(lab, writer):
    west, east, _ = lab.regions.values()
    before = len(writer.acked)
    direct = Writer(lab, os.path.join(lab.folder, "direct.jsonl"), address=west.address)
    direct.seq = 10_000_000  # rows of its own, should any be taken
    direct.start()
    lab.start_coordinator(west)
    lab.start_agent(west)
    deadline = time.monotonic() + 40
    rejoined = False
    while time.monotonic() < deadline and not rejoined:
        state = [m for m in service(lab, [east])["members"] if m["host"] == west.host][0]
        rejoined = state["role"] == "standby"
        time.sleep(0.2)
    print(f"the old primary {'is a standby again' if rejoined else 'stays down'}", flush=True)
    wait_for("the writer goes on", lambda: len(writer.acked) > before + 20, 20)
    direct.stop()
    expect(f"the old primary took no write ({len(direct.failures)} were tried)",
           direct.failures and not direct.acked)
    expect("the new primary is still primary", is_primary(lab, east))
    expect("the epoch is still 2", service(lab, [east])["epoch"] == 2)


def main():
    with running_lab() as lab:
        writer, _ = lose_and_recover(lab)
        reboot_old_primary(lab, writer)
        writer.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
