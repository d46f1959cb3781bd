#include "coordinator/core/renewal.h"

#include "coordinator/core/observe.h"

static fx_renewal
refuse(const char *reason)
{
    return (fx_renewal){.act = FX_RENEWAL_REFUSE, .reason = reason};
}

/* A failover that has not found its successor yet waits for this lease to end. */
static bool
is_being_replaced(const fx_ledger *ledger, const fx_name *host)
{
    for (size_t i = 0; i < ledger->plan_count; i++) {
        const fx_plan *plan = &ledger->plans[i];
        const fx_step *step = fx_plan_step(plan);
        if (plan->kind == FX_PLAN_FAILOVER && fx_same(&plan->from_host, host) && step != NULL &&
            step->kind <= FX_STEP_TAKE_OVER) {
            return true;
        }
    }
    return false;
}

/* Does the record cover all that the host runs as primary, and anything that it has on disk? */
static const char *
mismatch(const fx_lease *lease, const fx_host_view *report)
{
    bool any = false;
    for (size_t i = 0; i < report->service_count; i++) {
        const fx_service_state *state = &report->services[i];
        bool held = fx_lease_holds(lease, &state->service, state->epoch_seen);
        if (state->role == FX_ROLE_PRIMARY && !held) {
            return "the host runs a primary whose epoch the ledger does not give to it";
        }
        any = any || held;
    }
    return any ? NULL : "the host has no epoch on disk that the ledger gives to it";
}

fx_renewal
fx_renewal_decide(
    const fx_ledger *ledger,
    const fx_host_view *report,
    const fx_name *self,
    const fx_policy *policy,
    fx_mono granted_at,
    fx_mono now)
{
    if (!report->wants_lease) {
        return (fx_renewal){.act = FX_RENEWAL_NONE};
    }
    const fx_lease *lease = fx_ledger_lease(ledger, &report->host);
    if (lease == NULL || !lease->open) {
        return refuse("the ledger gives no service to this host");
    }
    if (is_being_replaced(ledger, &report->host)) {
        return refuse("a failover away from this host is under way");
    }
    const char *reason = mismatch(lease, report);
    if (reason != NULL) {
        return refuse(reason);
    }
    /* A quarter early: a report that comes a little before its time must not cost a whole round. */
    fx_dur least = {.ns = policy->renewal.ns / 4 * 3};
    if (granted_at.ns != 0 && fx_mono_since(now, granted_at).ns < least.ns) {
        return (fx_renewal){.act = FX_RENEWAL_NONE};
    }
    fx_renewal renewal = {.act = FX_RENEWAL_RENEW, .lease = *lease};
    renewal.lease.renewal++;
    renewal.lease.renewed_by = *self;
    return renewal;
}

fx_fence_proof
fx_fence_proved(
    const fx_ledger *ledger,
    const fx_view *view,
    const fx_policy *policy,
    const fx_plan *plan,
    fx_mono now)
{
    const fx_lease *lease = fx_ledger_lease(ledger, &plan->from_host);
    if (lease == NULL || !fx_lease_holds(lease, &plan->service, plan->from_epoch)) {
        return FX_FENCE_NOT_HELD;
    }
    const fx_host_view *host = fx_view_host(view, &plan->from_host);
    const fx_service_state *state = fx_host_service(host, &plan->service);
    if (state != NULL && state->role != FX_ROLE_PRIMARY &&
        state->fenced_epoch.value >= plan->from_epoch.value) {
        return FX_FENCE_BY_HOST;
    }
    fx_dur wait = {.ns = policy->lease.ns + policy->margin.ns};
    if (fx_dur_over(fx_mono_since(now, lease->seen_since), wait)) {
        return FX_FENCE_BY_TIME;
    }
    return FX_FENCE_NOT_YET;
}
