"""A primary that wrote what no standby got is lost and comes back: it is rewound and streams from the new
primary, without those rows, and its configuration is still its own."""

import sys

from three_regions import expect, is_primary, plans, rows, running_lab, service, wait_for

LOST = range(9_000_001, 9_000_201)
LOST_YOUNG = range(9_100_001, 9_100_201)


def read(region, name):
    with open(region.path("pg", name), encoding="utf-8") as source:
        return source.read()


def diverge(lab, west, others, lost):
    """Cuts replication off on the primary alone, and commits rows that stay there."""
    hba = read(west, "pg_hba.conf").replace("host replication replicator", "# host replication replicator")
    lab.write(west.path("pg", "pg_hba.conf"), hba + "# its own\n", 0o600)
    lab.sql(west, "SELECT pg_reload_conf()")
    wait_for("nobody streams", lambda: lab.sql(
        west, "SELECT count(pg_terminate_backend(pid)) = 0 FROM pg_stat_replication")[0][0], 20)
    with lab.connect(west) as connection, connection.cursor() as cursor:
        for seq in lost:
            cursor.execute("INSERT INTO orders (seq, sent_at) VALUES (%s, now())", (seq,))
    connection.close()
    for region in others:
        expect(f"{region.host} has none of the new rows", not rows(lab, region) & set(lost))


def streams_to(lab, primary, host):
    return lab.sql(primary, "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming' "
                   "AND application_name = %s", (host,))[0][0] == 1


def rejoin(lab, west, east):
    lab.start_coordinator(west)
    lab.start_agent(west)

    def log():
        with open(west.path("agent.log"), encoding="utf-8") as source:
            return source.read()
    # Before it is rewound it connects for moments too, up to where the timelines part.
    wait_for("it is rewound", lambda: "event=standby.rewound" in log(), 90)
    wait_for("the old primary streams from the new one",
             lambda: not is_primary(lab, west) and streams_to(lab, east, west.host), 60)
    text = log()
    expect("it was seen to have diverged", "event=standby.diverged" in text)
    expect("it was rewound once", text.count("event=standby.rewound") == 1)
    expect("it is no primary", not is_primary(lab, west))


def failover(lab, dead):
    """Kills a region; the one that is primary then."""
    left = [region for region in lab.regions.values() if region is not dead]
    known = {plan["id"] for plan in plans(lab, "failover", left)}
    lab.kill_region(dead)
    plan = wait_for("the failover is done", lambda: [
        p for p in plans(lab, "failover", left) if p["state"] == "done" and p["id"] not in known], 90)[0]
    return next(region for region in left if region.host == plan["to_host"])


def young(lab, old, new):
    """The primary dies so soon after its promotion that its last checkpoint is of the timeline before."""
    config = new.path("pg", "postgresql.auto.conf")
    lab.write(config, read(new, "postgresql.auto.conf") + "checkpoint_timeout = '1h'\n", 0o600)
    lab.sql(new, "SELECT pg_reload_conf()")
    # Its checkpoint after the promotion is spread: it writes ten of these pages a second.
    lab.sql(old, "CREATE TABLE many AS SELECT generate_series(1, 300000)")
    lab.fortress("switchover", "orders-db", "--to", new.host, "--reason", "test", "--yes", "--wait")
    others = [region for region in lab.regions.values() if region is not new]
    diverge(lab, new, others, LOST_YOUNG)
    last, now = lab.sql(new, "SELECT timeline_id, ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))"
                        "::bit(32)::int FROM pg_control_checkpoint()")[0]
    expect(f"its last checkpoint is of timeline {last}, not of {now}", last < now)
    primary = failover(lab, new)
    rejoin(lab, new, primary)
    expect("it has none of the lost rows", not rows(lab, new) & set(LOST_YOUNG))


def main():
    with running_lab(policy={"cool_down_ms": 1000}) as lab:
        west, east, europe = lab.regions.values()
        lab.sql(west, "INSERT INTO orders (seq, sent_at) VALUES (1, now())", user="app", database="app")
        wait_for("the row is everywhere",
                 lambda: all(1 in rows(lab, r) for r in (east, europe)), 20)
        diverge(lab, west, (east, europe), LOST)
        own = {name: read(west, name) for name in ("postgresql.conf", "pg_hba.conf")}
        primary = failover(lab, west)
        lab.sql(primary, "INSERT INTO orders (seq, sent_at) VALUES (2, now())", user="app", database="app")
        rejoin(lab, west, primary)
        wait_for("it has the row written since", lambda: 2 in rows(lab, west), 20)
        expect("it has none of the lost rows", not rows(lab, west) & set(LOST))
        for name, text in own.items():
            expect(f"{name} is its own", read(west, name) == text)
        member = wait_for("it is reported healthy", lambda: next(
            (m for m in service(lab)["members"] if m["host"] == west.host
             and m["role"] == "standby" and m["healthy"] and m["streaming"]), None), 20)
        expect("its timeline is the new primary's", member["timeline"] == next(
            m["timeline"] for m in service(lab)["members"] if m["host"] == primary.host))
        hba = own["pg_hba.conf"].replace("# host replication", "host replication")
        lab.write(west.path("pg", "pg_hba.conf"), hba, 0o600)  # it may become primary again
        lab.sql(west, "SELECT pg_reload_conf()")
        young(lab, primary, next(r for r in (east, europe) if r is not primary))
    return 0


if __name__ == "__main__":
    sys.exit(main())
