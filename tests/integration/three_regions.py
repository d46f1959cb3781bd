"""What tests of the whole platform share: a running lab, and facts about it."""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile

import psycopg2

SOURCE = os.environ.get("FORTRESS_SOURCE") or os.path.dirname(
    os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BINARIES = os.environ.get("FORTRESS_BIN") or os.path.join(SOURCE, "build", "asan", "bin")
sys.path.insert(0, os.path.join(SOURCE, "deploy", "quickstart"))

from lab import SERVICE, Lab, LabError, wait_for  # noqa: E402
from writer import Writer  # noqa: E402

SKIPPED = 77


def skip_unless_root(why):
    if os.geteuid() != 0:
        print(f"skipped: needs root, {why}")
        sys.exit(SKIPPED)


@contextlib.contextmanager
def running_lab(before_start=None, **options):
    """A lab whose platform is ready. Its folder is kept when the test fails, and named.
    `before_start(lab)` may change what was prepared."""
    folder = tempfile.mkdtemp(prefix="fortress-test-")
    lab = Lab(folder, BINARIES, **options)
    try:
        lab.prepare()
        if before_start:
            before_start(lab)
        lab.start_fortress()
        lab.wait_ready()
        yield lab
    except BaseException:
        lab.stop()
        show_logs(folder)
        print(f"the platform's folder is kept: {folder}", flush=True)
        raise
    lab.stop()
    shutil.rmtree(folder)


def show_logs(folder):
    """The end of each daemon's log: what a person would look at first."""
    for path, _, files in os.walk(folder):
        for name in sorted(files):
            if name in ("agent.log", "coordinator.log", "guard.log"):
                tail = subprocess.run(["tail", "-n", "25", os.path.join(path, name)],
                                      capture_output=True, text=True, check=False).stdout
                print(f"--- {os.path.relpath(os.path.join(path, name), folder)}\n{tail}", flush=True)


def is_primary(lab, region):
    """Whether a region's PostgreSQL accepts writes now; False if it does not answer."""
    try:
        return not lab.sql(region, "SELECT pg_is_in_recovery()", timeout_s=2)[0][0]
    except psycopg2.Error:
        return False


def postmaster_pid(region):
    with open(region.path("pg", "postmaster.pid"), encoding="utf-8") as source:
        return int(source.readline())


def etcd_pids(lab, region):
    """The region's etcd processes: its member, or worse, several."""
    return lab.pids_of(region.folder, sparing=lab.OWN_PROGRAMS - {"etcd"})


def leader_region(lab, regions=None):
    """The region whose coordinator leads."""
    name = lab.query("status", regions=regions)["leader"]
    return next((r for r in lab.regions.values() if r.coordinator == name), None)


def plans(lab, kind=None, regions=None):
    found = lab.query("plans", regions=regions)["plans"]
    return [p for p in found if kind is None or p["kind"] == kind]


def service(lab, regions=None):
    return next(s for s in lab.query("services", regions=regions)["services"] if s["name"] == SERVICE)


def expect(what, condition):
    if not condition:
        raise LabError(f"not so: {what}")
    print(f"ok: {what}", flush=True)


def rows(lab, region):
    return {row[0] for row in lab.sql(region, "SELECT seq FROM orders", user="app", database="app")}


def expect_no_double_writer(first, second):
    """`first` and `second` are writers past the name, each to its own side."""
    last = first.acked[-1][2] if first.acked else 0
    begin = second.acked[0][2] if second.acked else None
    expect(f"the old side's last acknowledged commit ({last:.3f}) is before the new side's first "
           f"({begin})", begin is not None and last < begin)


__all__ = ["Lab", "LabError", "Writer", "SERVICE", "wait_for", "running_lab", "is_primary", "postmaster_pid",
           "etcd_pids", "leader_region", "plans", "service", "expect", "rows", "expect_no_double_writer",
           "skip_unless_root", "show_logs"]
