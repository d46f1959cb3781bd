"""The guard with a real PostgreSQL: whatever is killed or stopped during statements that take four seconds, no
commit is acknowledged after the lease."""

import os
import signal
import sys
import time

from guarded import LEASE_S, MARGIN_S, NS, Renewer, boottime_ns, run_checks, writers
from support import wait_until


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


def look_first():
    """This thread sees that the server is gone when it is gone, also on a busy machine; not those it starts."""
    try:
        os.sched_setscheduler(0, os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(1))
    except PermissionError:
        pass  # an ordinary user's test sees it later


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


STRIKES = (kill_renewer, stop_renewer, kill_guard, kill_both, stop_guard, stop_guard_after_its_warden_was_killed,
           stop_warden, kill_guard_of_a_stopped_server)

if __name__ == "__main__":
    look_first()
    sys.exit(run_checks([(strike.__name__, lambda g, s=strike: no_commit_after_the_lease(g, s))
                         for strike in STRIKES]))
