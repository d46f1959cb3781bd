/* The exit statuses of fortress-agent: one for each class of failure
 * (docs/reference/exit-codes.md). */
#pragma once

#include "common/base/err.h"

typedef enum fx_exit {
    FX_EXIT_OK = 0,
    FX_EXIT_FAILED = 1,   /* none of the classes below */
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
} fx_exit;

fx_exit fx_exit_of(fx_code code);

/* Prints the failure to standard error and gives the status for it. */
int fx_exit_print(const fx_err *err);
