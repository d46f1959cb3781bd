#include "coordinator/core/observe.h"

#include <string.h>

const fx_service *
fx_ledger_service(const fx_ledger *ledger, const fx_name *service)
{
    for (size_t i = 0; i < ledger->service_count; i++) {
        if (fx_same(&ledger->services[i].name, service)) {
            return &ledger->services[i];
        }
    }
    return NULL;
}

const fx_lease *
fx_ledger_lease(const fx_ledger *ledger, const fx_name *host)
{
    for (size_t i = 0; i < ledger->lease_count; i++) {
        if (fx_same(&ledger->leases[i].host, host)) {
            return &ledger->leases[i];
        }
    }
    return NULL;
}

const fx_plan *
fx_ledger_plan(const fx_ledger *ledger, const fx_name *service)
{
    for (size_t i = 0; i < ledger->plan_count; i++) {
        if (fx_same(&ledger->plans[i].service, service)) {
            return &ledger->plans[i];
        }
    }
    return NULL;
}

const fx_host_view *
fx_view_host(const fx_view *view, const fx_name *host)
{
    for (size_t i = 0; i < view->host_count; i++) {
        if (fx_same(&view->hosts[i].host, host)) {
            return &view->hosts[i];
        }
    }
    return NULL;
}

const fx_service_state *
fx_host_service(const fx_host_view *host, const fx_name *service)
{
    for (size_t i = 0; host != NULL && i < host->service_count; i++) {
        if (fx_same(&host->services[i].service, service)) {
            return &host->services[i];
        }
    }
    return NULL;
}

const fx_order_result *
fx_host_result(const fx_host_view *host, const fx_id *order)
{
    for (size_t i = 0; host != NULL && i < host->result_count; i++) {
        if (fx_same_id(&host->results[i].order, order)) {
            return &host->results[i];
        }
    }
    return NULL;
}

const fx_member *
fx_service_member(const fx_service *service, const fx_name *host)
{
    for (size_t i = 0; i < service->member_count; i++) {
        if (fx_same(&service->members[i].host, host)) {
            return &service->members[i];
        }
    }
    return NULL;
}

const fx_step *
fx_plan_step(const fx_plan *plan)
{
    for (size_t i = 0; i < plan->step_count; i++) {
        if (plan->steps[i].state != FX_STEP_DONE) {
            return &plan->steps[i];
        }
    }
    return NULL;
}

bool
fx_lease_holds(const fx_lease *lease, const fx_name *service, fx_epoch epoch)
{
    for (size_t i = 0; i < lease->held_count; i++) {
        if (fx_same(&lease->held[i].service, service) &&
            lease->held[i].epoch.value == epoch.value) {
            return true;
        }
    }
    return false;
}

static fx_step_kind
step_kind(const fx_plan *plan)
{
    const fx_step *step = fx_plan_step(plan);
    return step == NULL ? FX_STEP_NONE : step->kind;
}

static void
observe_plan(fx_plan *plan, const fx_plan *known, fx_mono read_at)
{
    bool same = known != NULL && fx_same_id(&known->id, &plan->id);
    plan->seen_since = same ? known->seen_since : read_at;
    plan->step_since = same && step_kind(known) == step_kind(plan) && known->kind == plan->kind
                           ? known->step_since
                           : read_at;
}

void
fx_ledger_observe(fx_ledger *fresh, const fx_ledger *before, const fx_policy *policy)
{
    static const fx_ledger nothing; /* no records: all in `fresh` is new */
    bool gap = before == NULL ||
               fx_dur_over(fx_mono_since(fresh->read_at, before->read_at), policy->view_max_age);
    const fx_ledger *known = before == NULL ? &nothing : before;
    fresh->steady_since = gap ? fresh->read_at : known->steady_since;
    bool same_beat = before != NULL && known->beat.revision.value == fresh->beat.revision.value;
    fresh->beat_seen_since = same_beat ? known->beat_seen_since : fresh->read_at;
    for (size_t i = 0; i < fresh->lease_count; i++) {
        fx_lease *lease = &fresh->leases[i];
        const fx_lease *old = fx_ledger_lease(known, &lease->host);
        bool same = old != NULL && old->revision.value == lease->revision.value;
        lease->seen_since = same ? old->seen_since : fresh->read_at;
    }
    for (size_t i = 0; i < fresh->plan_count; i++) {
        fx_plan *plan = &fresh->plans[i];
        observe_plan(plan, fx_ledger_plan(known, &plan->service), fresh->read_at);
    }
}
