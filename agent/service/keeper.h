/* Keeps a guard alive: finds, starts, and, when it must, kills it with everything below it. */
#pragma once

#include <stdatomic.h>
#include <sys/types.h>

#include "agent/guard/client.h"
#include "agent/guard/confine.h"
#include "common/base/buf.h"
#include "common/base/log.h"
#include "common/config/agent_config.h"

typedef struct fx_keeper {
    const fx_config_managed *config;
    const char *folder; /* the service's state folder */
    bool no_cgroup;
    const fx_log *log;
    const atomic_bool *cancel; /* ends programs that run; NULL: nothing does */
    pid_t child;               /* a guard that this process started and has not reaped, 0 none */
} fx_keeper;

/*
 * Makes sure that a guard runs: one that answers or holds its lock is left alone; else kills what a
 * dead one left and starts another, which answers a little later.
 */
FX_MUST_USE fx_code fx_keeper_ensure(fx_keeper *keeper, fx_err *err);

/* Kills the guard (its server leaves with it) and then every process of the server. */
FX_MUST_USE fx_code fx_keeper_kill_all(const fx_keeper *keeper, fx_mono deadline, fx_err *err);

/*
 * Runs a program of PostgreSQL's as the server's user to its end; its output goes to `out` (the
 * first 64 KiB). It ends with this process. errors: IO, FAILED (another status than 0; the message
 * has its last line), TIMEOUT, CANCELLED
 */
FX_MUST_USE fx_code fx_keeper_run(
    const fx_keeper *keeper, const char *const *argv, fx_mono deadline, fx_buf *out, fx_err *err);
