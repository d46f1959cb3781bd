"""The guard with a real PostgreSQL: no start as primary without a lease or of an older epoch, promises that last,
and room for the next guard whatever became of the one before and of its warden."""

import os
import signal
import subprocess
import sys

from guarded import (HOLDS_THE_LOCK, LEASE_S, MARGIN_S, NS, Guard, Renewer, boottime_ns, is_alive, processes_of,
                     run_checks)
from support import wait_until


def refuses_without_right(guard):
    answer = guard.ask("start primary 3")
    assert answer.startswith("error DENIED"), answer
    assert guard.is_gone()
    assert guard.has_signal_file(), "standby.signal is there before anything was started"
    guard.lease(3, LEASE_S, MARGIN_S)
    assert guard.ask("start primary 4").startswith("error DENIED"), "the lease is of epoch 3"
    for request in (f"lease 2 {boottime_ns() + NS} 1000", "start primary 2", "start standby 2", "promoted 2",
                    "fence 2"):
        assert guard.ask(request).startswith("error STALE"), request
    for request in ("", "lease", "start primary x", "nonsense", "lease 3 9223372036854775807 1"):
        assert guard.ask(request).startswith("error INVALID"), request
    try:
        guard.ask("x" * 5000)
        raise AssertionError("a line without an end must end the connection")
    except OSError:
        pass
    guard.ask("start primary 3")
    wait_until("primary", lambda: guard.status()["state"] == "primary")
    assert not guard.has_signal_file()
    assert guard.ask("start standby 3").startswith("error BUSY")
    wait_until("fenced by the end of the lease", lambda: guard.status()["state"] == "down", 5)
    assert guard.is_gone() and guard.has_signal_file()
    assert guard.ask("start primary 3").startswith("error DENIED"), "the lease is over"
    guard.kill()
    guard.start()
    assert guard.status()["epoch"] == "3", "the highest epoch survives"
    assert guard.ask("start primary 2").startswith("error STALE")


def fence_is_a_promise(guard):
    guard.start_primary(5)
    guard.sql("CREATE TABLE IF NOT EXISTS t (n int)")
    assert guard.ask("fence 5 orderly", 40) == "ok"
    assert guard.is_gone() and guard.has_signal_file()
    state = guard.status()
    assert (state["state"], state["fenced_epoch"]) == ("held", "5"), state
    guard.kill()
    guard.start()
    guard.lease(5, 30, MARGIN_S)
    assert guard.ask("start primary 5").startswith("error DENIED"), "also after a restart of the guard"
    assert guard.ask("start standby 6") == "ok"
    wait_until("standby", lambda: guard.status()["state"] == "standby")
    assert guard.sql("SELECT pg_is_in_recovery()")[0][0]
    assert guard.ask("promoted 6").startswith("error DENIED"), "needs a lease of 6"
    guard.lease(6, LEASE_S, MARGIN_S)
    assert guard.ask("promoted 6") == "ok"
    guard.sql("SELECT pg_promote()")
    wait_until("a promoted standby falls under the lease", lambda: guard.status()["state"] == "down", 6)
    assert guard.is_gone() and guard.has_signal_file()


def restarts_what_crashes(guard):
    guard.start_primary(1)
    before = int(guard.status()["pid"])
    os.kill(before, signal.SIGKILL)

    def restarted():
        status = guard.status()  # one answer: between two the server may go
        return status["state"] == "primary" and int(status["pid"]) != before
    wait_until("restarted", restarted, 15)
    guard.sql("SELECT 1")


def natural_reboot(guard):
    """Everything killed -9 at once and started again: a standby or nothing."""
    guard.start_primary(2)
    pids = processes_of(guard.data)
    guard.kill()
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    assert not guard.has_signal_file()
    guard.start()
    assert guard.status()["state"] == "down" and guard.has_signal_file()
    assert guard.ask("start primary 2").startswith("error DENIED")
    assert guard.ask("start standby 2") == "ok"
    wait_until("standby", lambda: guard.status()["state"] == "standby", 20)
    assert guard.sql("SELECT pg_is_in_recovery()")[0][0]


def second_guard_is_refused(guard):
    twin = Guard.__new__(Guard)
    twin.__dict__.update(guard.__dict__)
    try:
        Guard.start(twin)
        # the first guard's socket answers; the twin itself must have ended
        twin.process.wait(10)
    except AssertionError:
        pass
    assert twin.process.wait(10) != 0
    assert guard.status()["state"] == "down"


def stopped_guard_makes_room(guard):
    """The warden ends a guard that hangs, too, and then itself; the next one begins at once."""
    warden = start_for_strike(guard)
    guard.kill(signal.SIGSTOP)
    wait_until("the server is gone", guard.is_gone, LEASE_S + 1)
    wait_until("the guard is gone", lambda: guard.process.poll() is not None, 3)
    guard.start()
    wait_until("the warden has left", lambda: not is_alive(warden), 3)
    assert guard.status()["state"] == "down" and guard.has_signal_file()


def stopped_warden_is_replaced(guard):
    first = start_for_strike(guard, 30)
    os.kill(first, signal.SIGSTOP)
    wait_until("another warden", lambda: guard.warden() not in (None, first), 6)
    assert not is_alive(first)
    assert guard.status()["state"] == "primary"


def stopped_guard_is_woken(guard):
    """Stopped past the moment to fence, woken with a renewal in its socket before the warden has lost its
    patience with it: fences, or is found fenced, before it listens."""
    start_for_strike(guard)
    guard.kill(signal.SIGSTOP)
    wait_until("the server is gone", guard.is_gone, LEASE_S + 1)
    late = Renewer(guard, 1, LEASE_S, MARGIN_S)
    guard.kill(signal.SIGCONT)
    try:
        wait_until("down", lambda: guard.status()["state"] == "down", 1.5)
    finally:
        late.kill()
    assert guard.is_gone() and guard.has_signal_file()


def stopped_warden_of_a_dead_guard(guard):
    """It is nobody's any more: the next guard ends it, so that it cannot act later."""
    warden = start_for_strike(guard, 30)
    os.kill(warden, signal.SIGSTOP)
    guard.kill()
    wait_until("the server has left with its guard", guard.is_gone, 5)
    assert is_alive(warden)
    guard.start()
    wait_until("the warden is dead", lambda: not is_alive(warden), 2)
    assert guard.status()["state"] == "down" and guard.has_signal_file()


def stopped_warden_that_holds_the_lock(guard):
    guard.kill()
    holder = subprocess.Popen([sys.executable, "-c", HOLDS_THE_LOCK, os.path.join(guard.state, "guard.lock")])
    try:
        os.waitid(os.P_PID, holder.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        began_ns = boottime_ns()
        guard.start()
        print(f"  answers {(boottime_ns() - began_ns) / NS:.2f} s after its start", flush=True)
        assert holder.wait(5) == -signal.SIGKILL
    finally:
        holder.kill()
        holder.wait()
    assert guard.status()["state"] == "down"


def start_for_strike(guard, lease_s=LEASE_S):
    guard.start_primary(1, lease_s, MARGIN_S)
    return guard.warden()


CHECKS = (refuses_without_right, fence_is_a_promise, restarts_what_crashes, natural_reboot, second_guard_is_refused,
          stopped_guard_makes_room, stopped_warden_is_replaced, stopped_guard_is_woken,
          stopped_warden_of_a_dead_guard, stopped_warden_that_holds_the_lock)

if __name__ == "__main__":
    sys.exit(run_checks([(check.__name__, check) for check in CHECKS]))
