/* The exit statuses of fortress-agent: one for each class of failure
 * (docs/reference/exit-codes.md). */
#pragma once

#include "common/base/err.h"

typedef enum fx_exit {
    FX_EXIT_OK = 0,
    FX_EXIT_FAILED = 1,   /* a failure without a class */
    FX_EXIT_USAGE = 2,    /* nothing was tried */
    FX_EXIT_WARNINGS = 3, /* done, but for what the warnings name */
    FX_EXIT_DAMAGED = 4,
    FX_EXIT_WRONG_KEY = 5,
    FX_EXIT_NOT_FOUND = 6,
    FX_EXIT_DENIED = 7,
    FX_EXIT_NO_SPACE = 8,
    FX_EXIT_EXISTS = 9,
    FX_EXIT_UNREACHABLE = 10, /* trying again later may help */
    FX_EXIT_CANCELLED = 11,
    FX_EXIT_HELD = 13, /* a hold forbids it; 12 is the operator's program's */
    FX_EXIT_INVALID = 14,
    FX_EXIT_LIMIT = 15,
    FX_EXIT_IO = 16,
    FX_EXIT_CONFLICT = 17,
    FX_EXIT_STALE = 18,
    FX_EXIT_UNSUPPORTED = 19,
    FX_EXIT_BUSY = 20,
    FX_EXIT_REFUSED = 21, /* the other side reported a failure */
    /*
     * Of wal-get. PostgreSQL takes an exit status up to 125 of restore_command for "not there", and
     * would end recovery early on any other failure; above it, recovery stops and can be tried
     * again.
     */
    FX_EXIT_RECOVERY_STOPS = 200,
} fx_exit;

fx_exit fx_exit_of(fx_code code);

/* What to do where the reason alone does not say it; NULL: it does. */
const char *fx_exit_advice(const fx_err *err);

/* Prints the failure to standard error and gives the status for it. */
int fx_exit_print(const fx_err *err);
