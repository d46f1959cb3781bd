"""Agent and guard killed or stopped on the primary's host, on a whole platform, during statements that take four
seconds: no commit is acknowledged outside the lease, never two primaries, and the service comes back each time.
Words of the command line: names of PARTS or of single cases; all without."""

import os
import signal
import subprocess
import sys
import threading
import time

import psycopg2

from guarded import HOLDS_THE_LOCK, NS, ask, boottime_ns, is_alive, warden_of
from three_regions import SERVICE, expect, is_primary, plans, running_lab, service, wait_for

STATEMENT_S = 4
SLEEPS = f"INSERT INTO orders (seq, sent_at) SELECT %s, now() FROM pg_sleep({STATEMENT_S})"
BUSY = f"""DO $$DECLARE until timestamptz := clock_timestamp() + interval '{STATEMENT_S} s'; BEGIN
 WHILE clock_timestamp() < until LOOP END LOOP; INSERT INTO orders (seq, sent_at) VALUES (%s, now()); END$$"""
QUICK = "INSERT INTO orders (seq, sent_at) VALUES (%s, now())"


class Numbers:
    """Numbers of rows, each once."""

    def __init__(self):
        self.lock = threading.Lock()
        self.last = 0

    def next(self):
        with self.lock:
            self.last += 1
            return self.last


NUMBERS = Numbers()


def connect(lab, region):
    connection = psycopg2.connect(host=region.address, port=lab.ports["postgres"], user="app", dbname="app",
                                  password=lab.passwords["app"], connect_timeout=2, tcp_user_timeout=20000)
    connection.autocommit = True
    return connection


class Straight(threading.Thread):
    """Writes past the name at one region's server, again and again; notes each acknowledged commit."""

    def __init__(self, lab, region):
        super().__init__(daemon=True)
        self.lab = lab
        self.region = region
        self.acked_ns = []
        self.ending = threading.Event()
        self.start()

    def run(self):
        while not self.ending.wait(0.05):
            try:
                connection = connect(self.lab, self.region)
            except psycopg2.Error:
                continue
            try:
                with connection.cursor() as cursor:
                    while not self.ending.wait(0.01):
                        cursor.execute(QUICK, (NUMBERS.next(),))
                        self.acked_ns.append(boottime_ns())
            except psycopg2.Error:
                pass  # what is under test: read only, or gone
            finally:
                connection.close()

    def stop(self):
        self.ending.set()
        self.join(25)
        expect_quietly(not self.is_alive(), "the writer ended")


class Slow(threading.Thread):
    """One statement of four seconds, begun now."""

    def __init__(self, lab, region, statement):
        super().__init__(daemon=True)
        self.connection = connect(lab, region)
        self.statement = statement
        self.began_ns = boottime_ns()
        self.acked_ns = None
        self.ended_ns = None
        self.start()

    def run(self):
        try:
            with self.connection.cursor() as cursor:
                cursor.execute(self.statement, (NUMBERS.next(),))
                self.acked_ns = boottime_ns()
        except psycopg2.Error:
            pass  # what is under test
        finally:
            self.ended_ns = boottime_ns()
            self.connection.close()


class Leases(threading.Thread):
    """What the guard of a host says about its lease, sampled: [(when asked, when told, end)]."""

    def __init__(self, region):
        super().__init__(daemon=True)
        self.state = region.path("agent", SERVICE)
        self.samples = []
        self.ending = threading.Event()
        self.start()

    def sample(self):
        asked_ns = boottime_ns()
        words = dict(word.split("=", 1) for word in ask(self.state, "status", 0.5).split(" detail=")[0].split()[1:])
        self.samples.append((asked_ns, boottime_ns(), int(words["lease_end_ns"])))

    def run(self):
        while not self.ending.wait(0.02):
            try:
                self.sample()
            except (OSError, KeyError, ValueError):
                pass  # killed or stopped

    def end_known_at(self, when_ns):
        """The latest end that the guard had told, or was about to tell, at a time."""
        known = [end for asked, _, end in self.samples if asked <= when_ns]
        following = next((end for asked, _, end in self.samples if asked > when_ns), 0)
        return max([*known, following])

    def end_before(self, when_ns):
        return max(end for _, told, end in self.samples if told <= when_ns)

    def stop(self):
        self.ending.set()
        self.join(5)


def expect_quietly(condition, what):
    if not condition:
        expect(what, False)


# ---- blows ----------------------------------------------------------------------------------------------

def name_of(pid):
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8") as source:
            return source.read().strip()
    except OSError:
        return ""


def guard_pid(region):
    """The guard of a region, by its command line."""
    found = []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{entry}/cmdline", "rb") as source:
                words = source.read().decode(errors="replace").split("\0")
        except OSError:
            continue
        if (words[1:2] == ["guard"] and any(word.startswith(region.path("agent")) for word in words)
                and name_of(entry) != "fx-warden"):
            found.append(int(entry))
    expect_quietly(len(found) == 1, f"one guard of {region.host}: {found}")
    return found[0]


def agent_of(lab, region):
    return lab.processes[(region.name, "agent")]


def start_agent_again(lab, region):
    agent_of(lab, region).wait(10)
    lab.start_agent(region)


def wake(lab, region):
    agent_of(lab, region).send_signal(signal.SIGCONT)


def kill_agent(lab, region):
    agent_of(lab, region).kill()
    return start_agent_again


def stop_agent(lab, region):
    agent_of(lab, region).send_signal(signal.SIGSTOP)
    return wake


def kill_guard(lab, region):
    os.kill(guard_pid(region), signal.SIGKILL)


def kill_both(lab, region):
    guard = guard_pid(region)
    agent_of(lab, region).kill()
    os.kill(guard, signal.SIGKILL)
    return start_agent_again


def stop_guard(lab, region):
    os.kill(guard_pid(region), signal.SIGSTOP)


def kill_agent_and_stop_guard(lab, region):
    """The warden alone is left to fence."""
    guard = guard_pid(region)
    agent_of(lab, region).kill()
    os.kill(guard, signal.SIGSTOP)
    return start_agent_again


def kill_agent_and_stop_warden(lab, region):
    warden = warden_of(guard_pid(region))
    agent_of(lab, region).kill()
    os.kill(warden, signal.SIGSTOP)
    return start_agent_again


# ---- one scenario -----------------------------------------------------------------------------------------

def settled_primary(lab):
    """The region of the primary, once two standbys stream from it and no plan runs."""
    def find():
        lab.expect_running()
        primaries = [r for r in lab.regions.values() if is_primary(lab, r)]
        if len(primaries) != 1 or not lab.is_known():
            return None
        streaming = lab.sql(primaries[0], "SELECT count(*) FROM pg_stat_replication WHERE "
                            "state = 'streaming' AND usename = 'replicator'")[0][0]
        idle = all(plan["state"] != "running" for plan in plans(lab))
        return primaries[0] if streaming >= 2 and idle else None
    return wait_for("one primary, two standbys, no plan", find, 60, 0.25)


def begin_slow(lab, region):
    return [Slow(lab, region, statement) for statement in (SLEEPS, BUSY)]


def sleep_until(when_ns):
    time.sleep(max(0.0, (when_ns - boottime_ns()) / NS))


def check_lease(old, others, slow, leases, struck_ns):
    """Every acknowledged commit of the old primary lies within a lease of its guard; whatever took over was
    acknowledged later than all of them."""
    acked = sorted(old.acked_ns + [s.acked_ns for s in slow if s.acked_ns is not None])
    late = [(when - leases.end_known_at(when)) / NS for when in acked if when >= leases.end_known_at(when)]
    expect(f"{len(acked)} commits acknowledged, none after the lease's end {late[:3]}", not late)
    end_ns = leases.end_before(struck_ns)
    if any(s.began_ns > struck_ns for s in slow):
        through = [s for s in slow if s.began_ns < end_ns < s.began_ns + STATEMENT_S * NS]
        expect("two statements ran towards the lease's end", len(through) == 2)
    else:  # nobody was there any more to begin one
        through = slow
        expect("the statements under way ended with the blow",
               all(s.ended_ns - struck_ns < NS for s in through))
    renewed = any(end > end_ns for _, _, end in leases.samples)
    expect("without a renewal none of them was acknowledged",
           renewed or all(s.acked_ns is None for s in through))
    for other in others:
        if other.acked_ns:
            before = [when for when in acked if when > other.acked_ns[0]]
            expect(f"{other.region.host} accepted its first write {(other.acked_ns[0] - struck_ns) / NS:.1f} s "
                   "after the blow, when the old primary accepted none any more", not before)
    taken_over = [other for other in others if other.acked_ns]
    expect("at most one took over", len(taken_over) <= 1)


def scenario(lab, blow):
    region = settled_primary(lab)
    epoch = service(lab)["epoch"]
    print(f"{blow.__name__} on {region.host}, epoch {epoch}", flush=True)
    leases = Leases(region)
    old = Straight(lab, region)
    others = [Straight(lab, r) for r in lab.regions.values() if r is not region]
    wait_for("commits", lambda: len(old.acked_ns) > 20 and leases.samples, 20)
    slow = begin_slow(lab, region)
    time.sleep(1)
    leases.sample()
    mend = blow(lab, region)
    struck_ns = boottime_ns()
    end_ns = leases.end_before(struck_ns)
    sleep_until(end_ns - int(2.5 * NS))
    try:
        slow += begin_slow(lab, region)
    except psycopg2.Error:
        print("  the server left with the blow", flush=True)
    writers = [old, *others]
    back = wait_for("the service is back", lambda: [
        w for w in writers if w.acked_ns and w.acked_ns[-1] > max(end_ns, boottime_ns() - NS // 2)], 60)[0]
    first = next(when for when in back.acked_ns if when > struck_ns)
    print(f"  {back.region.host} writes; the lease ended {(end_ns - struck_ns) / NS:.1f} s after the blow, its "
          f"first commit came {(first - struck_ns) / NS:.1f} s after it", flush=True)
    if mend is not None:
        mend(lab, region)
    settled_primary(lab)
    for thread in (*writers, leases):
        thread.stop()
    for statement in slow:
        statement.join(10)
    check_lease(old, others, slow, leases, struck_ns)


def hung_standby(lab):
    """A guard that hangs over a standby: no lease ends there, yet its agent ends it and starts another."""
    primary = settled_primary(lab)
    region = next(r for r in lab.regions.values() if r is not primary)
    print(f"stop_guard of the standby on {region.host}", flush=True)
    guard = guard_pid(region)
    os.kill(guard, signal.SIGSTOP)
    struck_ns = boottime_ns()
    wait_for("the guard that hangs is dead", lambda: not os.path.exists(f"/proc/{guard}"), 25)
    print(f"  ended {(boottime_ns() - struck_ns) / NS:.1f} s after the blow", flush=True)
    expect("the primary is the same, and both standbys stream", settled_primary(lab) is primary)
    expect("another guard runs", guard_pid(region) != guard)
    expect("the standby is one still", not is_primary(lab, region))


def stopped_warden_of_a_standby(lab):
    """The guard dies, and what has its lock then is a warden that is stopped: the agent makes room."""
    primary = settled_primary(lab)
    region = next(r for r in lab.regions.values() if r is not primary)
    print(f"stopped warden of a dead guard on {region.host}", flush=True)
    guard = guard_pid(region)
    warden = warden_of(guard)
    os.kill(warden, signal.SIGSTOP)
    lock = os.path.join(region.path("agent", SERVICE), "guard.lock")
    holder = subprocess.Popen([sys.executable, "-c", HOLDS_THE_LOCK, lock])  # waits for it
    try:
        wait_for("the one that takes the lock is there", lambda: name_of(holder.pid) == "fx-warden", 10)
        os.kill(guard, signal.SIGKILL)
        struck_ns = boottime_ns()
        expect("who had the lock is killed", holder.wait(20) == -signal.SIGKILL)
        wait_for("the stopped warden is dead", lambda: not is_alive(warden), 20)
        print(f"  both ended {(boottime_ns() - struck_ns) / NS:.1f} s after the blow", flush=True)
    finally:
        holder.kill()
        holder.wait()
    expect("the primary is the same, and both standbys stream", settled_primary(lab) is primary)
    expect("another guard runs", guard_pid(region) != guard)


PARTS = {
    "agent": (kill_agent, stop_agent, kill_both, kill_agent_and_stop_guard),
    "guard": (kill_guard, stop_guard, kill_agent_and_stop_warden, hung_standby, stopped_warden_of_a_standby),
}
WITHOUT_BLOW = (hung_standby, stopped_warden_of_a_standby)


def main():
    wanted = sys.argv[1:] or list(PARTS)
    cases = [case for part, cases in PARTS.items() for case in cases if {part, case.__name__} & set(wanted)]
    with running_lab(policy={"cool_down_ms": 1000}) as lab:
        for case in cases:
            began_ns = boottime_ns()
            if case in WITHOUT_BLOW:
                case(lab)
            else:
                scenario(lab, case)
            print(f"  took {(boottime_ns() - began_ns) / NS:.1f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
