"""Restores to a chosen second, row by row, before and after a standby was promoted."""

import datetime
import os
import threading
import time

from pg_server import Agent, Receiver, Server, open_to_postgres, shown_on_failure
from support import scratch, wait_until


class Writer(threading.Thread):
    """Commits one row after another; knows between which instants each was committed."""

    def __init__(self, server, first):
        super().__init__()
        self.server = server
        self.next = first
        self.record = []  # (id, before the commit, after its acknowledgement)
        self.ending = threading.Event()
        self.failure = None

    def run(self):
        try:
            connection = self.server.connect()
            with connection.cursor() as cursor:
                while not self.ending.is_set():
                    before = time.time()
                    cursor.execute("INSERT INTO written VALUES (%s)", (self.next,))
                    self.record.append((self.next, before, time.time()))
                    self.next += 1
                    time.sleep(0.02)
            connection.close()
        except Exception as failure:  # told by finish()
            self.failure = failure

    def finish(self):
        self.ending.set()
        self.join(20)
        if self.failure:
            raise self.failure


def write_for(server, first, seconds):
    writer = Writer(server, first)
    writer.start()
    time.sleep(seconds)
    writer.finish()
    assert len(writer.record) > 10, "the writer is too slow for this test"
    return writer.record


def between(record, index):
    """An instant after the acknowledgement of a row and before the next one's statement."""
    return (record[index][2] + record[index + 1][1]) / 2


def rfc3339(seconds):
    when = datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc)
    return when.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def restore_and_compare(agent, folder, name, instant, records):
    restored = Server(folder, name)
    with shown_on_failure(restored):
        agent.run("restore", "latest", "--target", restored.data, "--time", rfc3339(instant))
        restored.use().start().wait_recovered()
        found = [row[0] for row in restored.sql("SELECT id FROM written ORDER BY id")]
        expected = [row for row, _, after in records if after <= instant]
        assert found == expected, (
            f"{name}: {len(found)} rows up to {found[-1:]}, expected {len(expected)} up to "
            f"{expected[-1:]}")
        print(f"{name}: {len(found)} rows, none missing, none too many", flush=True)


def main():
    with scratch() as folder:
        open_to_postgres(folder)
        agent = Agent(folder)
        primary, standby = Server(folder, "primary"), Server(folder, "standby")
        receiver = Receiver(agent, standby.conninfo, "--switch-after", "1",
                            "--primary", primary.conninfo)
        with shown_on_failure(primary, standby, receiver):
            primary.init().start()
            primary.sql("CREATE TABLE written (id int PRIMARY KEY)")
            standby.follow(primary).start()
            receiver.start()
            agent.run("backup", "postgres", primary.conninfo, "--name", "orders")

            record = write_for(primary, 1, 4)
            first = between(record, len(record) // 2)
            last_lsn = primary.value("SELECT pg_current_wal_lsn()")
            receiver.wait_stored(primary, last_lsn)
            wait_until("the standby to have all",
                       lambda: standby.value("SELECT count(*) FROM written") == len(record))
            restore_and_compare(agent, folder, "before", first, record)

            primary.stop("immediate")
            standby.sql("SELECT pg_promote()")
            standby.wait_recovered()
            second_record = write_for(standby, record[-1][0] + 1, 3)
            second = between(second_record, len(second_record) // 2)
            receiver.wait_stored(standby, standby.value("SELECT pg_current_wal_lsn()"))
            assert "event=timeline.followed" in receiver.text()
            restore_and_compare(agent, folder, "after-promotion", second, record + second_record)
            restore_and_compare(agent, folder, "on-old-timeline", first, record + second_record)
            assert not os.path.exists(os.path.join(folder, "before.tablespaces"))
            receiver.stop()


main()
