#include "coordinator/core/target.h"

#include "coordinator/core/observe.h"
#include "coordinator/core/text.h"

/* Positions compare only on one timeline: what diverged may have the higher number. */
static bool
is_further(const fx_service_state *left, const fx_service_state *right)
{
    if (left->timeline != right->timeline) {
        return left->timeline > right->timeline;
    }
    return left->write_lsn.value > right->write_lsn.value;
}

/* What a standby that may be looked at at all reports, or NULL and why. */
static const fx_service_state *
usable_standby(
    const fx_view *view,
    const fx_policy *policy,
    const fx_service *service,
    const fx_member *member,
    fx_mono now,
    const char **out_why)
{
    const fx_host_view *host = fx_view_host(view, &member->host);
    if (host == NULL || fx_dur_over(fx_mono_since(now, host->reported_at), policy->silence_max)) {
        *out_why = "it is not heard";
        return NULL;
    }
    const fx_service_state *state = fx_host_service(host, &service->name);
    if (state == NULL || state->role != FX_ROLE_STANDBY) {
        *out_why = "it runs no standby";
        return NULL;
    }
    if (!state->healthy) {
        *out_why = "it is not healthy";
        return NULL;
    }
    return state;
}

static const fx_service_state *
most_advanced(
    const fx_view *view,
    const fx_policy *policy,
    const fx_service *service,
    const fx_name *from,
    fx_mono now,
    const fx_member **out_member)
{
    const fx_service_state *best = NULL;
    *out_member = NULL;
    for (size_t i = 0; i < service->member_count; i++) {
        const fx_member *member = &service->members[i];
        const char *why = NULL;
        const fx_service_state *state = usable_standby(view, policy, service, member, now, &why);
        if (!fx_same(&member->host, from) && state != NULL &&
            (best == NULL || is_further(state, best))) {
            best = state;
            *out_member = member;
        }
    }
    return best;
}

static bool
is_behind(const fx_service_state *state, const fx_service_state *other, const fx_policy *policy)
{
    if (other == NULL || !is_further(other, state)) {
        return false;
    }
    return other->timeline != state->timeline ||
           other->write_lsn.value - state->write_lsn.value > policy->lag_max_bytes;
}

const char *
fx_target_refused(
    const fx_view *view,
    const fx_policy *policy,
    const fx_service *service,
    const fx_name *from,
    const fx_member *member,
    fx_mono now)
{
    if (fx_same(&member->host, from)) {
        return "it is the primary";
    }
    const char *why = NULL;
    const fx_service_state *state = usable_standby(view, policy, service, member, now, &why);
    if (state == NULL) {
        return why;
    }
    const fx_member *ahead = NULL;
    if (is_behind(state, most_advanced(view, policy, service, from, now, &ahead), policy)) {
        return "it is too far behind the most advanced standby";
    }
    if (is_behind(state, fx_host_service(fx_view_host(view, from), &service->name), policy)) {
        return "it is too far behind what the primary was last heard to have written";
    }
    return NULL;
}

fx_target
fx_target_choose(
    const fx_view *view,
    const fx_policy *policy,
    const fx_service *service,
    const fx_name *from,
    bool hurry,
    fx_mono now)
{
    fx_target target = {0};
    const fx_member *ahead = NULL;
    const fx_service_state *best = most_advanced(view, policy, service, from, now, &ahead);
    for (size_t i = 0; i < service->member_count; i++) {
        const fx_member *member = &service->members[i];
        const char *refused = fx_target_refused(view, policy, service, from, member, now);
        if (refused != NULL) {
            if (target.reason[0] == '\0' && !fx_same(&member->host, from)) {
                FX_TEXT_SET(target.reason, member->host.text, " cannot take over: ", refused);
            }
            continue;
        }
        const fx_service_state *state =
            fx_host_service(fx_view_host(view, &member->host), &service->name);
        if (is_further(best, state)) {
            target.wait = true; /* it is preferred, but not as advanced yet */
            continue;
        }
        target.member = member;
        target.wait = target.wait && !hurry;
        FX_TEXT_SET(target.reason, member->host.text, " is the most advanced standby", NULL);
        return target;
    }
    if (target.reason[0] == '\0') {
        FX_TEXT_SET(target.reason, "no member but the primary is configured", NULL, NULL);
    }
    return target;
}

/* While a failover waits, standbys gather at the most advanced of them. */
static bool
is_gathering(const fx_plan *plan)
{
    const fx_step *step = plan == NULL ? NULL : fx_plan_step(plan);
    return step != NULL && plan->kind == FX_PLAN_FAILOVER && step->kind <= FX_STEP_TAKE_OVER;
}

const fx_member *
fx_upstream_for(
    const fx_ledger *ledger,
    const fx_view *view,
    const fx_policy *policy,
    const fx_service *service,
    const fx_name *host,
    fx_mono now)
{
    if (is_gathering(fx_ledger_plan(ledger, &service->name))) {
        const fx_member *ahead = NULL;
        if (most_advanced(view, policy, service, &service->primary, now, &ahead) != NULL &&
            !fx_same(&ahead->host, host)) {
            return ahead;
        }
    }
    return fx_service_member(service, &service->primary);
}
