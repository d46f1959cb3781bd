"""The guard with a real PostgreSQL: whatever is killed or stopped during statements that take four seconds, no
commit is acknowledged after the lease; no start as primary without a lease or of an older epoch."""

import os
import signal
import sys
import time

from guarded import (NS, Guard, Renewer, boottime_ns, make_cluster, processes_of, writers)
from support import scratch, wait_until

LEASE_S, MARGIN_S = 2.0, 0.6


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


def kill_renewer(guard, renewer):
    renewer.kill()


def stop_renewer(guard, renewer):
    renewer.process.send_signal(signal.SIGSTOP)


def kill_guard(guard, renewer):
    guard.kill()


def kill_both(guard, renewer):
    renewer.process.kill()
    guard.kill()


def stop_guard(guard, renewer):
    """Nobody is left to fence but the warden."""
    renewer.kill()
    guard.kill(signal.SIGSTOP)


def stop_guard_after_its_warden_was_killed(guard, renewer):
    first = guard.warden()
    os.kill(first, signal.SIGKILL)
    wait_until("another warden", lambda: guard.warden() not in (None, first), 1)
    stop_guard(guard, renewer)


def stop_warden(guard, renewer):
    """The guard alone fences."""
    renewer.kill()
    os.kill(guard.warden(), signal.SIGSTOP)


def kill_guard_of_a_stopped_server(guard, renewer):
    """A server that is stopped does not take its parent-death signal: its backends write on."""
    os.kill(int(guard.status()["pid"]), signal.SIGSTOP)
    kill_both(guard, renewer)


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


def start_for_strike(guard, lease_s=LEASE_S):
    guard.start_primary(1, lease_s, MARGIN_S)
    return guard.warden()


def is_alive(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as source:
            return source.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


def no_commit_after_the_lease(guard, strike):
    first_end_ns = guard.start_primary(1, LEASE_S + 1, MARGIN_S)
    renewer = Renewer(guard, 1, LEASE_S, MARGIN_S)
    running = writers(guard)
    time.sleep(0.7)
    struck_at = boottime_ns()
    strike(guard, renewer)
    wait_until("nothing of the server is left", guard.is_gone, LEASE_S + 3)
    gone_at = boottime_ns()
    time.sleep(4.2 - (gone_at - struck_at) / NS)  # past the end of the statements
    renewer.kill()
    for writer in running:
        writer.stopping = True
        writer.join(3)
    last_ack = max(max(w.acked_ns, default=0) for w in running)
    end_ns = max(renewer.last_end_ns, first_end_ns)
    assert running[2].acked_ns, "the quick writer wrote before the strike"
    assert not running[0].acked_ns and not running[1].acked_ns, "a four second statement was acknowledged"
    assert last_ack < end_ns and gone_at < end_ns, (last_ack, gone_at, end_ns)
    print(f"  gone {(gone_at - struck_at) / NS:.2f} s after the strike, "
          f"{(end_ns - gone_at) / NS:.2f} s before the lease's end", flush=True)


def main():
    with scratch() as folder:
        template = make_cluster(folder)
        for no_cgroup in (False, True):
            checks = [(check.__name__, check) for check in (
                refuses_without_right, fence_is_a_promise, restarts_what_crashes, natural_reboot,
                second_guard_is_refused, stopped_guard_makes_room,
                stopped_warden_is_replaced, stopped_guard_is_woken)]
            checks += [(strike.__name__, lambda g, s=strike: no_commit_after_the_lease(g, s))
                       for strike in (kill_renewer, stop_renewer, kill_guard, kill_both, stop_guard,
                                      stop_guard_after_its_warden_was_killed, stop_warden,
                                      kill_guard_of_a_stopped_server)]
            for name, check in checks:
                if sys.argv[1:] and name not in sys.argv[1:]:
                    continue
                print(f"{name} {'without' if no_cgroup else 'with'} cgroup", flush=True)
                guard = Guard(folder, template, name, no_cgroup)
                guard.start()
                try:
                    check(guard)
                except BaseException:
                    with open(os.path.join(guard.folder, "guard.log"), encoding="utf-8") as log:
                        print(log.read()[-4000:], flush=True)
                    raise
                finally:
                    guard.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
