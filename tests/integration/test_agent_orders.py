"""Orders to an agent: backups and restores end to end, refused and repeated ones, and one whose agent is
killed half-way."""

import filecmp
import json
import os
import ssl
import sys
import time
import urllib.request

from three_regions import expect, running_lab, wait_for


def say(lab, *arguments):
    done = lab.fortress(*arguments, check=False)
    print(f"fortress {' '.join(arguments)}: {done.returncode} {done.stdout.strip()[-300:]} "
          f"{done.stderr.strip()[-300:]}", flush=True)
    return done


def request_state(lab, region, request):
    """What a coordinator says of a request, whether the host still tells of it or not."""
    trust = ssl.create_default_context(cafile=os.path.join(lab.folder, "secrets", "ca.pem"))
    asked = urllib.request.Request(
        f"https://{region.address}:{lab.ports['api']}/v1/requests/{request}",
        headers={"Authorization": f"Bearer {lab.token}"})
    with urllib.request.urlopen(asked, context=trust, timeout=5) as answer:
        return json.load(answer)


def log_of(region):
    with open(region.path("agent.log"), encoding="utf-8", errors="replace") as source:
        return source.read()


def backups_and_restore(lab, west):
    for job, kind in (("app-data", "files"), ("orders-db", "postgres")):
        done = say(lab, "backup", west.host, job, "--wait")
        expect(f"the {kind} job {job} runs when it is ordered", done.returncode == 0)
    snapshots = wait_for("the catalog has both", lambda: [
        s for s in lab.query("snapshots")["snapshots"] if s["host"] == west.host
        and s["source"] in ("files:app-data", "postgres:orders-db")][:2], 20)
    files = next(s for s in snapshots if s["kind"] == "files")
    target = west.path("restored")
    done = say(lab, "restore", west.host, files["id"], "--target", target, "--wait")
    expect("a restore that is ordered works", done.returncode == 0)
    copy = next(folder for folder, names, _ in os.walk(target) if "mail" in names)
    compared = filecmp.dircmp(os.path.join(copy, "mail"), west.path("app", "mail"))
    expect("and gives back what was saved", not compared.left_only and not compared.right_only)
    done = say(lab, "restore", west.host, files["id"], "--target", "relative", "--wait")
    expect("a relative target is refused", done.returncode != 0 and "absolute" in
           done.stdout + done.stderr)


def unknown_job(lab, west):
    done = say(lab, "backup", west.host, "no-such-job", "--wait")
    expect("an unknown job fails", done.returncode != 0)
    expect("and says so", 'has no job "no-such-job"' in done.stdout + done.stderr)


def each_once(lab, west):
    text = log_of(west)
    begun = [line.split("order=", 1)[1].split()[0] for line in text.splitlines()
             if "event=order.begun" in line]
    expect(f"each of {len(begun)} orders was begun once", len(begun) == len(set(begun)))


def kill_agent(lab, region):
    process = lab.processes[(region.name, "agent")]
    process.kill()
    process.wait()


def killed_half_way(lab, west):
    big = west.path("app", "big")
    os.makedirs(big, exist_ok=True)
    for index in range(60):
        with open(os.path.join(big, f"{index}.bin"), "wb") as out:
            out.write(os.urandom(4_000_000))
    before = log_of(west).count("event=order.begun")
    done = say(lab, "backup", west.host, "app-data")
    expect("the order is taken", done.returncode == 0)
    wait_for("the backup begins", lambda: log_of(west).count("event=order.begun") > before, 20, 0.02)
    order = [line for line in log_of(west).splitlines() if "event=order.begun" in line][-1]
    order = order.split("order=", 1)[1].split()[0].strip('"')
    kill_agent(lab, west)
    ended = [line for line in log_of(west).splitlines() if "event=order.ended" in line and order in line]
    expect("it was killed before the end", not ended)
    lab.start_agent(west)
    result = wait_for("the coordinators hear of it", lambda: [
        r for r in (request_state(lab, west, order),) if r["state"] == "unknown"], 30)[0]
    expect(f"its end is unknown: {result['detail']}", "look before" in result["detail"])
    time.sleep(3)  # as long as it would take to begin again
    text = log_of(west)
    expect("it is not carried out a second time", text.count(f"event=order.begun order={order}") +
           text.count(f'event=order.begun order="{order}"') == 1)
    done = say(lab, "backup", west.host, "app-data", "--wait")
    expect("a new order works", done.returncode == 0)


def main():
    with running_lab() as lab:
        west = lab.regions["us-west-2"]
        backups_and_restore(lab, west)
        unknown_job(lab, west)
        each_once(lab, west)
        killed_half_way(lab, west)
    return 0


if __name__ == "__main__":
    sys.exit(main())
