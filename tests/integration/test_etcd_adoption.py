"""A coordinator that lost its etcd.pid, or finds a stale one, goes on with the etcd that already works on its
data folder, and does not start a second one."""

import os
import signal
import sys

from three_regions import etcd_pids, expect, running_lab, wait_for


def restart_coordinator(lab, region):
    process = lab.processes[(region.name, "coordinator")]
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    lab.start_coordinator(region)


def named_pid(path):
    try:
        with open(path, encoding="utf-8") as source:
            return int(source.read().split()[0])
    except (OSError, IndexError, ValueError):
        return None


def adopts(lab, region, pid_file, pids, how):
    restart_coordinator(lab, region)
    wait_for(f"etcd.pid names the running etcd again ({how})",
             lambda: [named_pid(pid_file)] == pids, 30)
    wait_for("the coordinator serves", lambda: lab.query("status", regions=[region])["leader"], 30)
    expect(f"the same etcd goes on, alone ({how})", etcd_pids(lab, region) == pids)


def main():
    with running_lab() as lab:
        region = lab.regions["us-east-1"]
        pid_file = region.path("coordinator", "etcd.pid")
        pids = etcd_pids(lab, region)
        expect("one etcd works on the folder, and its number is noted", [named_pid(pid_file)] == pids)
        os.unlink(pid_file)
        adopts(lab, region, pid_file, pids, "etcd.pid lost")
        with open(pid_file, "w", encoding="utf-8") as out:
            out.write(f"{os.getpid()} 1\n")
        adopts(lab, region, pid_file, pids, "etcd.pid of another process")
    return 0


if __name__ == "__main__":
    sys.exit(main())
