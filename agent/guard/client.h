/* Asks a guard, from the agent's side. Each call is a connection of its own and has a deadline. */
#pragma once

#include <sys/types.h>

#include "agent/guard/request.h"

/*
 * Sends one request and takes its answer. `out_status` is set for STATUS, and may be NULL
 * otherwise.
 *
 * errors: NOT_FOUND and UNREACHABLE (no guard), TIMEOUT (UNKNOWN), and what the guard says: STALE,
 *         DENIED, BUSY, INVALID
 * thread: any
 */
FX_MUST_USE fx_code fx_guard_ask(
    const char *state_dir,
    const fx_guard_request *request,
    fx_mono deadline,
    fx_guard_status *out_status,
    fx_err *err);

/*
 * A pidfd of the guard that listens in `state_dir`, by the socket's credentials, or of the holder
 * of guard.lock where the socket takes no more connections: works for one that is stopped, too.
 * errors: NOT_FOUND, UNREACHABLE
 */
FX_MUST_USE fx_code fx_guard_find(const char *state_dir, int *out_pidfd, fx_err *err);
