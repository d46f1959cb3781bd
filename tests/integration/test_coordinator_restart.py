"""Each coordinator in turn is killed together with its etcd member and started again: nobody is fenced."""

import os
import signal
import sys
import time

from three_regions import (Writer, etcd_pids, expect, postmaster_pid, running_lab, service, wait_for)


def restart(lab, region):
    """kill -9 of the coordinator and of its etcd member; two members are left."""
    process = lab.processes[(region.name, "coordinator")]
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    members = etcd_pids(lab, region)
    expect(f"{region.name} has one etcd member", len(members) == 1)
    os.kill(members[0], signal.SIGKILL)
    time.sleep(3)  # the state under test: three seconds without them
    lab.start_coordinator(region)


def main():
    with running_lab() as lab:
        west = lab.regions["us-west-2"]
        writer = Writer(lab, os.path.join(lab.folder, "acked.jsonl"), address=west.address)
        writer.start()
        wait_for("commits", lambda: len(writer.acked) > 20, 30)
        pids = {r.name: postmaster_pid(r) for r in lab.regions.values()}
        for region in lab.regions.values():
            restart(lab, region)
            wait_for(f"the coordinator of {region.name} serves again",
                     lambda: lab.query("status", regions=[region])["leader"], 40)
            time.sleep(9)  # longer than a lease: a lost renewal would show now
            expect(f"{region.name} restarted: every PostgreSQL is the same process",
                   pids == {r.name: postmaster_pid(r) for r in lab.regions.values()})
        writer.stop()
        gaps = [b[2] - a[2] for a, b in zip(writer.acked, writer.acked[1:])]
        expect(f"the writer never failed ({len(writer.failures)} failures, longest gap "
               f"{max(gaps):.2f} s)", not writer.failures)
        expect("the epoch is still 1", service(lab)["epoch"] == 1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
