/*
 * The warden: a second process, which watches the guard, as the guard watches it. A guard that
 * hangs while the agent is dead fences nobody; the warden then ends the server and the guard. It
 * survives both, owes nothing to either but one number in a shared page, and touches no disk
 * before it has killed.
 */
#pragma once

#include <sys/types.h>

#include "agent/guard/confine.h"
#include "common/base/log.h"

typedef struct fx_warden_page fx_warden_page;

typedef struct fx_warden {
    const fx_log *log;
    fx_warden_page *page; /* shared with the warden */
    pid_t pid;            /* 0: none lives */
} fx_warden;

/* errors: IO (no memory to share) */
FX_MUST_USE fx_code fx_warden_init(fx_warden *warden, const fx_log *log, fx_err *err);
void fx_warden_deinit(fx_warden *warden);

/*
 * Starts one if none lives, and notes it in `confine`, so that the guard's sweeps spare it. It
 * lives until the guard is dead and no process of the server is left. The working directory is the
 * guard's folder.
 *
 * errors: IO (no process can be made)
 * thread: the only one of this process, which it forks
 */
FX_MUST_USE fx_code fx_warden_ensure(fx_warden *warden, fx_confine *confine, fx_err *err);

/*
 * From `kill_at` (CLOCK_BOOTTIME) on the warden kills every process of the server, until it is told
 * another time; 0: never. In effect on return.
 */
void fx_warden_set(fx_warden *warden, fx_mono kill_at);

/* The child `pid` has ended; true if it was the warden. */
bool fx_warden_on_exit(fx_warden *warden, pid_t pid);

/* Kills one that has given no sign of life for seconds: its exit is told like any other. */
void fx_warden_check(const fx_warden *warden, fx_mono now);

/*
 * Lets the calling process, guard or warden, run before all ordinary ones where it may: what has to
 * fence within half a margin does not queue behind a busy server. Its children are ordinary again.
 * source: sched(7), SCHED_RR, SCHED_RESET_ON_FORK
 */
void fx_warden_hurry(void);
