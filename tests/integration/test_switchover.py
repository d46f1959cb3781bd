"""A planned switchover loses nothing, the old primary becomes a standby, and failback works the same way."""

import os
import sys

from three_regions import (Writer, expect, is_primary, rows, running_lab, service, wait_for)


def switch(lab, writer, target, source):
    before = len(writer.acked)
    lab.fortress("switchover", "orders-db", "--to", target.host, "--reason", "test", "--yes", "--wait")
    wait_for("commits go on", lambda: len(writer.acked) > before + 20, 60)
    expect(f"{target.host} is primary", is_primary(lab, target))

    def rejoined():
        members = {m["host"]: m for m in service(lab)["members"]}
        return members[source.host]["role"] == "standby" and members[source.host]["streaming"]
    wait_for("the old primary streams as a standby", rejoined, 60)


def main():
    with running_lab() as lab:
        west, east, _ = lab.regions.values()
        writer = Writer(lab, os.path.join(lab.folder, "acked.jsonl"))
        writer.start()
        wait_for("commits", lambda: len(writer.acked) > 20, 30)
        switch(lab, writer, east, west)
        expect("the epoch is 2", service(lab)["epoch"] == 2)
        switch(lab, writer, west, east)
        expect("the epoch is 3", service(lab)["epoch"] == 3)
        writer.stop()
        lost = [r for r in writer.acked if r[0] not in rows(lab, west)]
        expect(f"none of {len(writer.acked)} acknowledged commits is lost", not lost)
    return 0


if __name__ == "__main__":
    sys.exit(main())
