/* Leases: whose may be renewed, and when one must have ended. */
#pragma once

#include "coordinator/core/model.h"

typedef enum fx_renewal_act {
    FX_RENEWAL_NONE,   /* the host wants no lease, or has one that is young */
    FX_RENEWAL_RENEW,  /* put `lease` if its revision is still the one found */
    FX_RENEWAL_REFUSE, /* tell the reason */
} fx_renewal_act;

typedef struct fx_renewal {
    fx_renewal_act act;
    fx_lease lease;
    const char *reason;
} fx_renewal;

/*
 * `report` is the one that asks. `granted_at`: when this coordinator last granted this host's
 * lease, 0 for never (what another coordinator committed may never have reached the host).
 */
fx_renewal fx_renewal_decide(
    const fx_ledger *ledger,
    const fx_host_view *report,
    const fx_name *self,
    const fx_policy *policy,
    fx_mono granted_at,
    fx_mono now);

/*
 * Must every right of `host` to write `service` in `epoch` have ended? Yes if the lease record does
 * not hold it (records lose it only on proof), if the host has fenced that epoch for good, or if
 * this coordinator has seen the record unchanged for lease and margin.
 */
typedef enum fx_fence_proof {
    FX_FENCE_NOT_YET,
    FX_FENCE_NOT_HELD,
    FX_FENCE_BY_HOST,
    FX_FENCE_BY_TIME,
} fx_fence_proof;

fx_fence_proof fx_fence_proved(
    const fx_ledger *ledger,
    const fx_view *view,
    const fx_policy *policy,
    const fx_plan *plan,
    fx_mono now);
