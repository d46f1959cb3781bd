"""The quickstart's story: a platform over three regions, backups, a region lost, the service moved by
Fortress, the past restored, and a report with measured times. See quickstart.sh."""

import argparse
import filecmp
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time

import lab as lab_module
from lab import Lab, LabError, ProcessEnded, wait_for
from report import Report, clock
from writer import Writer

RTO_TARGET_S = 25.0


def say(text):
    print(f"{clock(time.time())}  {text}", flush=True)


class NameWatch(threading.Thread):
    """Notes when the authoritative answer and the cached one change."""

    def __init__(self, lab):
        super().__init__(daemon=True)
        self.lab = lab
        self.ending = threading.Event()
        self.changes = []  # (time, which, address)

    def run(self):
        last = {}
        while not self.ending.wait(0.1):
            for which in ("dns", "resolver"):
                answer = self.lab.resolve(self.lab.ports[which])
                if answer and last.get(which) != answer:
                    if which in last:
                        self.changes.append((time.time(), which, answer[0]))
                    last[which] = answer

    def first(self, which, after):
        return next((when for when, kind, _ in self.changes if kind == which and when > after), None)


class Story:
    """One run. Each method is a chapter."""

    def __init__(self, folder, binaries):
        self.report = Report()
        self.lab = Lab(folder, binaries)
        self.west = self.lab.regions["us-west-2"]
        self.east = self.lab.regions["us-east-1"]
        self.writer = Writer(self.lab, os.path.join(folder, "acknowledged.jsonl"))
        self.names = NameWatch(self.lab)
        self.past = None
        self.killed_at = None
        self.scratch = None

    def build_platform(self):
        say("making keys, certificates, three PostgreSQL servers, a name server and a resolver")
        began = time.time()
        self.lab.prepare()
        say("starting a coordinator (with its etcd member) and an agent in each region")
        self.lab.start_fortress()
        self.lab.wait_ready()
        say(f"the platform runs: primary in us-west-2, standbys in us-east-1 and eu-west-1 "
            f"({time.time() - began:.1f} s)")
        self.writer.start()
        self.names.start()
        wait_for("first acknowledged commit", lambda: self.writer.acked, 20)
        say(f"a writer commits through {lab_module.NAME}: first commit acknowledged")

    def take_backups(self):
        for host, job in ((self.west.host, "app-data"), (self.east.host, lab_module.SERVICE)):
            began = time.time()
            say(f"ordering the backup of {job} on {host}")
            self.lab.fortress("backup", host, job, "--wait")
            self.report.measure(f"backup of {job}", time.time() - began, "s")
            self.report.event(time.time(), f"backup of {job} done on {host}")
        print(self.lab.fortress("snapshots").stdout, flush=True)

    def let_history_grow(self):
        """Some seconds of commits; the chosen past lies in their middle, in WAL that is stored."""
        say("letting the writer work for a while; this is the history that we will come back to")
        began = len(self.writer.acked)
        wait_for("200 further commits", lambda: len(self.writer.acked) > began + 200, 60)
        self.past = self.writer.acked[-1][2]
        self.report.event(self.past, "the past that will be restored")
        say(f"remembering this moment: {clock(self.past)}")
        wait_for("200 commits after it", lambda: len(self.writer.acked) > began + 450, 60)
        print(self.lab.fortress("status").stdout, flush=True)

    def lose_region(self):
        say("DISASTER: kill -9 of every process of us-west-2")
        self.killed_at = self.lab.kill_region(self.west)
        self.report.zero = self.killed_at
        self.report.event(self.killed_at, "every process of us-west-2 killed (SIGKILL)")

    def watch_failover(self):
        survivors = [self.east, self.lab.regions["eu-west-1"]]
        shown = {}

        def finished():
            plans = self.lab.query("plans", regions=survivors).get("plans", [])
            plan = next((p for p in plans if p["kind"] == "failover"), None)
            if plan is None:
                return None
            for step in plan["steps"]:
                if step["state"] == "done" and step["kind"] not in shown:
                    shown[step["kind"]] = step
                    say(f"  {step['kind']}: {step.get('detail') or 'done'}")
            if plan["state"] == "failed":
                raise LabError(f"the plan failed: {plan.get('outcome')}")
            return plan if plan["state"] == "done" else None

        first = wait_for("first acknowledged commit after the disaster",
                         lambda: finished() is not None and self.writer.first_after(
                             self.killed_at + 0.5) or self.writer.first_after(self.killed_at + 0.5),
                         90, 0.25)
        plan = wait_for("the plan is done", finished, 60, 0.25)
        say(f"first commit acknowledged through the name again, by {first[3]}")
        self.record_failover(plan, first)

    def record_failover(self, plan, first):
        zero = self.killed_at
        report = self.report
        steps = {step["kind"]: step for step in plan["steps"]}

        def ended(kind):
            when = steps.get(kind, {}).get("finished_at")
            return lab_time(when) if when else None
        decision = next(d for d in self.lab.query("decisions", regions=[self.east])["decisions"]
                        if d["id"] == plan["decision"])
        say(f"the decision's reason: {decision['reason']}")
        report.event(lab_time(decision["decided_at"]), "detected: " + decision["reason"])
        decided = lab_time(plan["steps"][0]["started_at"])
        report.event(decided, "decision: failover of " + lab_module.SERVICE)
        for kind, text in (("fence", "old primary fenced: its lease is over for certain"),
                           ("promote", f"{plan['to_host']} promoted, epoch {plan['to_epoch']}"),
                           ("dns", "name moved at the name server"),
                           ("validate", "validated through the name")):
            if ended(kind):
                report.event(ended(kind), text)
        report.event(first[2], f"first acknowledged commit through the name ({first[3]})")
        report.measure("detection", lab_time(decision["decided_at"]) - zero, "s")
        report.measure("decision", decided - zero, "s")
        for kind, name in (("fence", "fencing (lease waited out)"), ("promote", "promotion"),
                           ("dns", "DNS change")):
            report.measure(name, ended(kind) - zero if ended(kind) else None, "s")
        cached = self.names.first("resolver", zero)
        if cached:
            report.event(cached, "the caching resolver gives the new address")
        report.measure("first write through the name (RTO)", first[2] - zero, "s", RTO_TARGET_S)
        report.check("the new primary is us-east-1", plan["to_host"] == self.east.host,
                     plan["to_host"])

    def count_losses(self):
        """Which acknowledged commits does the new primary not have?"""
        acked = [row for row in self.writer.acked if row[2] < self.killed_at + 0.5]
        present = {row[0] for row in self.lab.sql(self.east, "SELECT seq FROM orders", user="app",
                                                  database="app")}
        lost = [row for row in acked if row[0] not in present]
        seconds = self.killed_at - min(row[2] for row in lost) if lost else 0.0
        self.report.measure("acknowledged commits lost (RPO)", float(len(lost)), "commits", decimals=0)
        self.report.measure("age of the oldest lost commit (RPO)", max(seconds, 0.0), "s", 1.0, 2)
        say(f"acknowledged commits lost: {len(lost)} of {len(acked)}")
        strangers = [row for row in self.writer.acked
                     if row[2] > self.killed_at + 0.5 and row[3] == self.west.address]
        self.report.check("no commit was acknowledged by the dead region", not strangers)

    def restore_database(self):
        """A scratch server at the remembered moment, compared with the writer's own record."""
        say(f"restoring the database to {clock(self.past)} into a scratch server")
        target = os.path.join(self.lab.folder, "scratch", "pg")
        os.makedirs(os.path.dirname(target))
        began = time.time()
        when = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(self.past)) + \
            f".{int(self.past % 1 * 1e6):06}Z"
        self.lab.agent(["restore", "latest", "--source", f"postgres:{lab_module.SERVICE}",
                        "--target", target, "--time", when])
        restored = time.time()
        port = lab_module.free_offset(["127.0.0.1"], [5800]) + 5800
        self.start_scratch(target, port)
        rows = wait_for("the scratch server reaches the chosen second",
                        lambda: self.scratch_rows(port), 60)
        self.report.measure("restore of the database", time.time() - began, "s")
        self.report.measure("of that, copying from the repository", restored - began, "s")
        self.report.event(time.time(), f"database restored to {clock(self.past)}")
        record = {row[0]: row for row in self.writer.acked}
        missing = [seq for seq, row in record.items() if row[2] <= self.past and seq not in rows]
        later = [seq for seq in rows if seq in record and record[seq][1] > self.past]
        self.report.check("every commit acknowledged until then is there", not missing,
                          f"{len(rows)} rows, {len(missing)} missing")
        self.report.check("nothing sent after it is there", not later, f"{len(later)} too many")

    def start_scratch(self, target, port):
        self.lab.run(["chown", "-R", "postgres:postgres", os.path.dirname(target)]
                     if self.lab.as_root else ["true"])
        if self.lab.as_root:  # restore_command runs as PostgreSQL's user and needs the key
            os.chmod(os.path.dirname(self.lab.key_file), 0o755)
            shutil.chown(self.lab.key_file, "postgres", "postgres")
            self.lab.run(["chown", "-R", "postgres:postgres", self.lab.repository])
        self.scratch = self.lab.start(None, "scratch-postgres", [
            f"{lab_module.PG_BIN}/postgres", "-D", target, "-c", "listen_addresses=127.0.0.1",
            "-c", f"port={port}", "-c", f"unix_socket_directories={os.path.dirname(target)}"],
            as_postgres=True)

    def scratch_rows(self, port):
        if self.scratch.poll() is not None:
            raise LabError("the scratch server ended; see scratch-postgres.log")
        where = {"address": "127.0.0.1", "port": port, "user": "app", "database": "app"}
        if self.lab.sql(self.east, "SELECT pg_is_in_recovery()", **where)[0][0]:
            return None
        return {row[0] for row in self.lab.sql(self.east, "SELECT seq FROM orders", **where)}

    def restore_files(self):
        say("restoring the files of us-west-2 and comparing them with the original")
        target = os.path.join(self.lab.folder, "scratch", "files")
        began = time.time()
        original = self.west.path("app")
        self.lab.agent(["restore", "latest", "--source", "files:app-data", "--path", original,
                        "--target", target])
        self.report.measure("restore of the files", time.time() - began, "s")
        differences = compare_trees(original, target)
        self.report.check("the restored files equal the original", not differences,
                          "; ".join(differences[:3]))
        self.report.event(time.time(), "files restored and compared")

    def tell(self):
        self.build_platform()
        self.take_backups()
        self.let_history_grow()
        self.lose_region()
        self.watch_failover()
        self.count_losses()
        print(self.lab.fortress("status", regions=[self.east]).stdout, flush=True)
        self.restore_database()
        self.restore_files()


def lab_time(text):
    """Seconds since 1970 of an RFC 3339 time in UTC."""
    import datetime
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def compare_trees(left, right):
    """Differences of names, kinds, modes, owners, times, links and content."""
    found = []
    for folder, folders, files in os.walk(left):
        other = os.path.join(right, os.path.relpath(folder, left))
        names = set(folders + files)
        if names != set(os.listdir(other)):
            found.append(f"{folder}: other names")
            continue
        for name in sorted(names):
            one, two = os.path.join(folder, name), os.path.join(other, name)
            a, b = os.lstat(one), os.lstat(two)
            if (a.st_mode, a.st_uid, a.st_gid, a.st_mtime_ns, a.st_nlink) != (
                    b.st_mode, b.st_uid, b.st_gid, b.st_mtime_ns, b.st_nlink):
                found.append(f"{one}: other mode, owner, time or links")
            elif os.path.islink(one):
                if os.readlink(one) != os.readlink(two):
                    found.append(f"{one}: other link")
            elif os.path.isfile(one) and not filecmp.cmp(one, two, shallow=False):
                found.append(f"{one}: other content")
    return found


def explain_kept(story):
    lab = story.lab
    api = ",".join(f"https://{r.address}:{lab.ports['api']}" for r in lab.regions.values())
    print(f"""
Kept running in {lab.folder}. To look around:
  export FORTRESS_API={api}
  export FORTRESS_CA={lab.folder}/secrets/ca.pem FORTRESS_TOKEN_FILE={lab.folder}/secrets/token
  {lab.binary("fortress")} status
  ls {lab.folder}/*/*.log
To stop and remove it:
  /usr/bin/python3 {lab_module.__file__} stop {lab.folder}""")


def run_story(story, keep):
    """Tells the story and always leaves a clean machine, unless it is to be kept."""
    failed = None
    try:
        story.tell()
    except (LabError, ProcessEnded, subprocess.SubprocessError, OSError) as failure:
        failed = failure
    finally:
        story.writer.ending.set()
        story.names.ending.set()
    if failed is not None:
        story.report.check("the story came to its end", False, str(failed)[:600])
    if story.report.measures:
        story.report.print()
    else:
        print(f"failed: {failed}", file=sys.stderr)
    path = os.path.abspath("report.html")
    with open(path, "w", encoding="utf-8") as out:
        out.write(story.report.html())
    print(f"\nThe same with a picture: {path}")
    passed = story.report.passed
    print("Every check passed." if passed else "A check FAILED.")
    if keep:
        explain_kept(story)
    elif passed:
        story.lab.stop()
        shutil.rmtree(story.lab.folder)
    else:
        story.lab.stop()
        print(f"Logs are kept in {story.lab.folder}; remove it when you have read them.")
    return 0 if passed else 1


def main():
    arguments = argparse.ArgumentParser(prog="quickstart.sh", description=__doc__)
    arguments.add_argument("--keep", action="store_true", help="leave the platform running at the end")
    arguments.add_argument("--dir", help="an empty or new folder for the platform")
    arguments.add_argument("--binaries", required=True, help=argparse.SUPPRESS)
    options = arguments.parse_args()
    if options.dir and os.path.exists(options.dir) and os.listdir(options.dir):
        print(f"could not use {options.dir}: it is not empty", file=sys.stderr)
        return 2
    folder = os.path.abspath(options.dir or tempfile.mkdtemp(prefix="fortress-quickstart-"))
    return run_story(Story(folder, options.binaries), options.keep)


if __name__ == "__main__":
    sys.exit(main())
