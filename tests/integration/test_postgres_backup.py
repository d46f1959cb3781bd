"""A base backup of a real server restores alone, with tablespaces, from a primary and from a standby."""

import os

from pg_server import Agent, Server, open_to_postgres, own, shown_on_failure
from support import scratch

CONTENT = "SELECT id, text FROM data ORDER BY id"


def fill(server, folder):
    space = os.path.join(folder, "fast")
    os.mkdir(space)
    own(space)
    server.sql(f"CREATE TABLESPACE fast LOCATION '{space}'")
    server.sql("CREATE TABLE data AS SELECT id, md5(id::text) AS text FROM generate_series(1, 30000) id")
    server.sql("CREATE TABLE spaced TABLESPACE fast AS SELECT generate_series(1, 1000) AS id")
    server.sql("CREATE DATABASE \"other = 'odd'\"")


def check(restored, rows):
    restored.start().wait_recovered()
    assert restored.sql(CONTENT) == rows, "rows differ"
    assert restored.value("SELECT count(*) FROM spaced") == 1000
    assert restored.value("SELECT count(*) FROM pg_database WHERE datname LIKE 'other%%'") == 1
    where = restored.value("SELECT pg_tablespace_location(oid) FROM pg_tablespace"
                           " WHERE spcname = 'fast'")
    assert where.startswith(restored.data + ".tablespaces/"), where
    assert restored.value("SELECT count(*) FROM pg_stat_wal_receiver") == 0
    restored.sql("INSERT INTO data VALUES (0, 'writable')")
    assert not os.path.exists(os.path.join(restored.data, "recovery.signal"))
    restored.stop()


def main():
    with scratch() as folder:
        open_to_postgres(folder)
        agent = Agent(folder)
        primary, standby = Server(folder, "primary"), Server(folder, "standby")
        first, second = Server(folder, "first"), Server(folder, "second")
        with shown_on_failure(primary, standby, first, second):
            primary.init(synchronous_commit="off").start()
            primary.sql("CREATE TABLE early AS SELECT 1 AS id")
            standby.follow(primary).start()
            standby.stop()
            fill(primary, folder)
            rows = primary.sql(CONTENT)
            agent.run("backup", "postgres", primary.conninfo, "--name", "orders")
            listed = agent.run("snapshots")
            assert "postgres:orders" in listed.out, listed.out

            # what comes after the backup is not in it
            primary.sql("DELETE FROM data")
            agent.run("restore", "latest", "--target", first.data)
            first.use()
            check(first, rows)
            refused = agent.run("restore", "latest", "--target", first.data, status=None)
            assert refused.returncode not in (0, 3), "restored over a data directory"
            too_early = agent.run("restore", "latest", "--target", os.path.join(folder, "early"),
                                  "--time", "2001-01-01T00:00:00Z", status=None)
            assert too_early.returncode not in (0, 3), "restored to a time before the backup"
            assert not os.path.exists(os.path.join(folder, "early"))
            print("from a primary: ok", flush=True)

        plain = Server(folder, "plain")
        copy = Server(folder, "copy")
        third = Server(folder, "third")
        with shown_on_failure(plain, copy, third):
            plain.init().start()
            plain.sql("CREATE TABLE data AS SELECT id, 'x' AS text FROM generate_series(1, 5000) id")
            copy.follow(plain).start()
            rows = plain.sql(CONTENT)
            agent.run("backup", "postgres", copy.conninfo, "--name", "from-standby")
            plain.stop()
            agent.run("restore", "latest", "--source", "postgres:from-standby", "--target", third.data)
            third.use().start().wait_recovered()
            assert third.sql(CONTENT) == rows, "rows differ"
            print("from a standby: ok", flush=True)

        refused = agent.run("backup", "postgres", "host=127.0.0.1 port=1 user=nobody", status=None)
        assert refused.returncode == 10 and "could not connect" in refused.err, refused.err


main()
