/* Which standby is to take over, and whom standbys follow. */
#pragma once

#include "coordinator/core/model.h"

typedef struct fx_target {
    const fx_member *member; /* NULL: none yet */
    bool wait;               /* the preferred one is still catching up with the most advanced */
    char reason[FX_REASON_BYTES];
} fx_target;

/*
 * NULL: `member` may take over from `from`; else why not. Behind counts from what the old primary
 * was last heard to have written, and from the most advanced member.
 */
const char *fx_target_refused(
    const fx_view *view,
    const fx_policy *policy,
    const fx_service *service,
    const fx_name *from,
    const fx_member *member,
    fx_mono now);

/* The first in order of preference that is as advanced as any; with `hurry` the most advanced. */
fx_target fx_target_choose(
    const fx_view *view,
    const fx_policy *policy,
    const fx_service *service,
    const fx_name *from,
    bool hurry,
    fx_mono now);

/* Whom `host` is to stream from: the primary; while a failover waits, the most advanced standby. */
const fx_member *fx_upstream_for(
    const fx_ledger *ledger,
    const fx_view *view,
    const fx_policy *policy,
    const fx_service *service,
    const fx_name *host,
    fx_mono now);
