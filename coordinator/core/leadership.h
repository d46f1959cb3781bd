/* Who leads: decided by each coordinator alone, settled by the compare of the transaction. */
#pragma once

#include "coordinator/core/model.h"

typedef enum fx_leadership_act {
    FX_LEADERSHIP_FOLLOW,
    FX_LEADERSHIP_TAKE, /* compare leader and beat, put both */
    FX_LEADERSHIP_BEAT, /* compare leader, put beat */
} fx_leadership_act;

typedef struct fx_leadership {
    fx_leadership_act act;
    fx_leader leader; /* to put; `revision` is what must be found */
    fx_beat beat;     /* likewise */
    const char *reason;
} fx_leadership;

typedef struct fx_candidate {
    fx_name name;
    fx_name region;
    unsigned char incarnation[FX_INCARNATION_BYTES];
    size_t rank; /* among the configured coordinators: they try one after the other, not at once */
} fx_candidate;

bool fx_leads(const fx_ledger *ledger, const fx_candidate *self);

/* `beat_at`: when this process last committed a beat or takeover. */
fx_leadership fx_leadership_decide(
    const fx_ledger *ledger,
    const fx_candidate *self,
    const fx_policy *policy,
    fx_mono beat_at,
    fx_mono now);
