"""The leader is killed in the middle of a plan: another coordinator finishes it. The primary's region keeps its
coordinator, since the orders of the plan take the signatures of two regions."""

import os
import signal
import sys

from three_regions import (Writer, expect, is_primary, leader_region, plans, running_lab, wait_for)


def move_leadership_away(lab, region):
    """Restarts coordinators until the leader is not in `region`, which is about to be lost."""
    others = [r for r in lab.regions.values() if r is not region]
    if leader_region(lab) is region:
        process = lab.processes[(region.name, "coordinator")]
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        wait_for("another leads", lambda: leader_region(lab, others) in others, 30)
        lab.start_coordinator(region)
        wait_for("it is back", lambda: lab.query("status", regions=[region])["leader"], 30)
    return leader_region(lab, others)


def main():
    with running_lab() as lab:
        west, east, europe = lab.regions.values()
        writer = Writer(lab, os.path.join(lab.folder, "acked.jsonl"))
        writer.start()
        wait_for("commits", lambda: len(writer.acked) > 20, 30)
        leader = move_leadership_away(lab, west)
        other = europe if leader is east else east
        killed_at = lab.kill_host(west)
        plan = wait_for("a plan is running", lambda: [
            p for p in plans(lab, "failover", [other]) if p["state"] == "running"], 40, 0.05)[0]
        process = lab.processes[(leader.name, "coordinator")]
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        print(f"killed the leader ({leader.coordinator}) in the middle of plan {plan['id']}", flush=True)
        done = wait_for("the same plan is done", lambda: [
            p for p in plans(lab, "failover", [other])
            if p["id"] == plan["id"] and p["state"] == "done"], 90)[0]
        expect("another coordinator finished it", any(
            step["by"] in (other.coordinator, west.coordinator) for step in done["steps"]))
        target = east if done["to_host"] == east.host else europe
        expect("the standby is primary", is_primary(lab, target))
        first = wait_for("commits go on", lambda: writer.first_after(killed_at + 0.5), 60)
        expect(f"through the name, by {first[3]}", first[3] == target.address)
        expect("there was one plan only", len(plans(lab, "failover", [other])) == 1)
        writer.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
