/* Whether a server's WAL went another way than its upstream's. Pure. */
#pragma once

#include "common/base/err.h"
#include "common/base/lsn.h"

/* Somewhere a server has been: the end of a record, or the beginning of one. */
typedef struct fx_fork_position {
    uint32_t timeline; /* 0: nowhere */
    fx_lsn lsn;
    bool is_begin;
} fx_fork_position;

/*
 * `history` is the text of the upstream's newest timeline history file, "" for timeline 1: a line
 * for each earlier timeline with the position at which it was left. Diverged is who has been past
 * that position, or on a timeline that the upstream never was on. errors: INVALID
 */
FX_MUST_USE fx_code fx_fork_check(
    const char *history,
    uint32_t upstream_timeline,
    const fx_fork_position *position,
    bool *out_diverged,
    fx_err *err);
