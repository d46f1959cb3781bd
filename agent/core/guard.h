/*
 * What the guard of a managed server may do and must do next. Pure: the process around it kills,
 * starts, writes to disk and reads the clock (CLOCK_BOOTTIME).
 *
 * A request gives the next model or a refusal; what changed in `epoch` or `fenced_epoch` must be on
 * disk before the next model takes effect.
 */
#pragma once

#include "agent/core/lease.h"

typedef enum fx_guard_role { FX_GUARD_NONE, FX_GUARD_STANDBY, FX_GUARD_PRIMARY } fx_guard_role;

typedef enum fx_guard_stop {
    FX_GUARD_STOP_NONE,
    FX_GUARD_STOP_ORDERLY, /* asked to shut down, standbys receive everything */
    FX_GUARD_STOP_QUIT,    /* told to leave at once */
    FX_GUARD_STOP_KILL,    /* every process is being killed */
} fx_guard_stop;

typedef struct fx_guard_model {
    uint64_t epoch;        /* highest seen */
    uint64_t fenced_epoch; /* never again primary in an epoch up to this one */
    uint64_t lease_epoch;
    fx_lease_end lease;
    fx_guard_role wanted;  /* what is started, also again after it exits */
    fx_guard_role running; /* what was started; NONE once no process is left */
    uint64_t running_epoch;
    bool held; /* fenced by request and not started since */

    fx_guard_stop stop;
    bool stop_sent; /* the signal of this stage */
    fx_mono stop_since;
    uint64_t fence_epoch; /* becomes fenced_epoch when no process is left; 0: no such request */

    fx_mono start_at;
    fx_mono started_at;
    fx_dur back_off;
} fx_guard_model;

typedef enum fx_guard_request_kind {
    FX_GUARD_LEASE,
    FX_GUARD_START_PRIMARY,
    FX_GUARD_START_STANDBY,
    FX_GUARD_PROMOTED,
    FX_GUARD_FENCE,
    FX_GUARD_STATUS,
} fx_guard_request_kind;

typedef struct fx_guard_request {
    fx_guard_request_kind kind;
    uint64_t epoch;
    fx_mono lease_end;
    fx_dur lease_margin;
    bool orderly;
} fx_guard_request;

typedef enum fx_guard_verdict {
    FX_GUARD_ALLOWED,
    FX_GUARD_STALE,    /* below the highest epoch seen */
    FX_GUARD_FENCED,   /* this host gave its word not to be primary in that epoch */
    FX_GUARD_NO_LEASE, /* no live lease of that epoch */
    FX_GUARD_BUSY,     /* is stopping, or something else runs that must be fenced first */
    FX_GUARD_BAD,      /* makes no sense */
} fx_guard_verdict;

/* `out_next` is set when ALLOWED. */
fx_guard_verdict fx_guard_decide(
    const fx_guard_model *model,
    const fx_guard_request *request,
    fx_mono now,
    fx_guard_model *out_next);

typedef enum fx_guard_act {
    FX_GUARD_WAIT,      /* until `wake` or an event */
    FX_GUARD_SEND_FAST, /* fast shutdown to the server */
    FX_GUARD_SEND_QUIT, /* immediate shutdown to the server */
    FX_GUARD_SWEEP,     /* kill whatever is left; then fx_guard_on_empty() or wait until `wake` */
    FX_GUARD_START,     /* start `wanted`, then fx_guard_on_started() */
} fx_guard_act;

typedef struct fx_guard_next {
    fx_guard_act act;
    fx_mono wake; /* 0: no time, events only */
} fx_guard_next;

/* The one thing to do now; call again after doing it. A lapsed lease goes before everything. */
fx_guard_next fx_guard_step(fx_guard_model *model, fx_mono now);

void fx_guard_on_started(fx_guard_model *model, fx_mono now);
/* The start failed, or the server process has exited. */
void fx_guard_on_exit(fx_guard_model *model, fx_mono now);
/* Nothing of the server is left. */
void fx_guard_on_empty(fx_guard_model *model, fx_mono now);

/*
 * When whoever watches the guard must take it that it does not fence, and kill; 0: nothing runs
 * under the lease. Leaves a guard that works the time it needs, and half a margin or more to kill.
 */
fx_mono fx_guard_kill_at(const fx_guard_model *model);

bool fx_guard_has_lease(const fx_guard_model *model, uint64_t epoch, fx_mono now);
