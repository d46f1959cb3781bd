"""A running agent records WAL that it could not keep in the repository, as soon as that takes it: who restores where
that agent and its state are lost learns of it, and is refused a restore across it."""

import datetime
import json
import os
import subprocess
import time

from three_regions import BINARIES, expect, running_lab, wait_for


def keep_no_wal(lab):
    """What no slot holds goes with the next checkpoint."""
    for region in lab.regions.values():
        with open(region.path("pg", "postgresql.conf"), "a", encoding="utf-8") as conf:
            conf.write("wal_keep_size = 0\nmin_wal_size = 32MB\nmax_wal_size = 64MB\n")


def agent(lab, *words):
    return subprocess.run(
        [os.path.join(BINARIES, "fortress-agent"), *words, "--repo", lab.repository, "--key-file", lab.key_file],
        capture_output=True, text=True, check=False, timeout=60)


def log_of(region):
    with open(region.path("agent.log"), encoding="utf-8", errors="replace") as source:
        return source.read()


def kill_agent(lab, region):
    process = lab.processes[(region.name, "agent")]
    process.kill()
    process.wait()


def segment_is_gone(lab, east, name):
    return not lab.sql(east, "SELECT count(*) FROM pg_ls_waldir() WHERE name = %s", (name,))[0][0]


def lose_wal(lab, west, east):
    """While the agent that receives it is gone."""
    kill_agent(lab, east)
    wait_for("nobody receives", lambda: not lab.sql(
        east, "SELECT active FROM pg_replication_slots WHERE slot_name = 'fortress_wal'")[0][0], 30)
    first = lab.sql(west, "SELECT pg_walfile_name(pg_current_wal_lsn())")[0][0]
    lab.sql(east, "SELECT pg_drop_replication_slot('fortress_wal')")

    def is_gone():
        with lab.connect(west, user="fortress", database="postgres") as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                for _ in range(3):
                    cursor.execute("SELECT pg_logical_emit_message(false, 'test', repeat('x', 1000000))")
                    cursor.execute("SELECT pg_switch_wal()")
                cursor.execute("CHECKPOINT")
        connection.close()
        end = lab.sql(west, "SELECT pg_current_wal_lsn()")[0][0]
        wait_for("the standby has it", lambda: lab.sql(
            east, "SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", (end,))[0][0], 30)
        lab.sql(east, "CHECKPOINT")
        return segment_is_gone(lab, east, first)
    wait_for("the standby lets go of WAL that was not received", is_gone, 60, 0.1)


def gaps_of(lab):
    done = agent(lab, "snapshots", "--json")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    return done.returncode, [event for event in events if event["event"] == "gap"]


def recorded_once_it_can_be(lab, east):
    folder = os.path.join(lab.repository, "gaps")
    with open(folder, "w", encoding="utf-8"):
        pass  # where gaps are to be put: that fails
    lab.start_agent(east)
    wait_for("the gap is found", lambda: "event=wal.gap " in log_of(east), 60)
    wait_for("it cannot be recorded", lambda: "event=wal.gap_not_stored" in log_of(east), 60)
    expect("it is not in the repository", gaps_of(lab)[1] == [])
    kill_agent(lab, east)
    os.unlink(folder)
    lab.start_agent(east)
    wait_for("a later process records it", lambda: "event=wal.gap_stored" in log_of(east), 60)
    kill_agent(lab, east)
    os.unlink(east.path("agent", "gaps"))  # the host is lost, and what it knew


def main():
    with running_lab(before_start=keep_no_wal) as lab:
        west, east, _ = lab.regions.values()
        done = lab.fortress("backup", west.host, "orders-db", "--wait")
        expect("a base backup is there", done.returncode == 0)
        wait_for("WAL is received", lambda: "event=wal.stored" in log_of(east), 60)
        lose_wal(lab, west, east)
        recorded_once_it_can_be(lab, east)

        status, found = gaps_of(lab)
        expect("the repository alone tells one gap", status == 3 and len(found) == 1)
        gap = found[0]
        expect(f"with host, service and bounds: {gap}", gap["host"] == east.host and gap["state"] == "open"
               and gap["service"] == "orders-db" and gap["from_lsn"] != gap["to_lsn"])
        now = datetime.datetime.fromtimestamp(time.time(), datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        target = os.path.join(lab.folder, "restored")
        done = agent(lab, "restore", "latest", "--source", "postgres:orders-db", "--host", west.host, "--time", now,
                     "--target", target)
        expect(f"a restore across it is refused: {done.stderr}", done.returncode == 6
               and f"WAL {gap['from_lsn']} to {gap['to_lsn']}" in done.stderr and not os.path.exists(target))


main()
