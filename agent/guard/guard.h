/*
 * The guard: a small single-threaded process that is the parent of one managed PostgreSQL, starts
 * it as primary only under a live lease and fences it one margin before the lease ends, whatever
 * becomes of the agent. Protocol: docs/architecture.md, "Agent and guard".
 */
#pragma once

#include "common/base/log.h"

typedef struct fx_guard_options {
    const char *service;
    const char *state_dir; /* of the service; made if it is not there */
    const char *data_dir;
    const char *bin_dir;
    const char *run_as;  /* NULL: as the guard itself */
    const char *options; /* further words for the server's command line; NULL: none */
    bool no_cgroup;
    const fx_log *log;
} fx_guard_options;

/*
 * Kills what an earlier life left, then serves until SIGTERM, on which it fences first.
 * errors: BUSY (another guard holds guard.lock), NOT_FOUND, DENIED, DAMAGED (guard_state), IO
 */
FX_MUST_USE fx_code fx_guard_run(const fx_guard_options *options, fx_err *err);
