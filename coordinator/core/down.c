#include "coordinator/core/down.h"

#include "coordinator/core/observe.h"
#include "coordinator/core/text.h"

/* 0: never. */
static fx_mono
heard_by(const fx_coordinator_view *coordinator, const fx_name *host)
{
    for (size_t i = 0; i < coordinator->host_count; i++) {
        if (fx_same(&coordinator->hosts[i].host, host)) {
            return coordinator->hosts[i].reported_at;
        }
    }
    return (fx_mono){0};
}

static bool
is_fresh(const fx_coordinator_view *coordinator, const fx_policy *policy, fx_mono now)
{
    return coordinator->heard &&
           !fx_dur_over(fx_mono_since(now, coordinator->heard_at), policy->view_max_age);
}

/* A coordinator that has itself listened for long enough to know. */
static bool
is_witness(
    const fx_view *view,
    const fx_coordinator_view *coordinator,
    const fx_policy *policy,
    fx_mono now)
{
    return !fx_same(&coordinator->region, &view->self_region) &&
           is_fresh(coordinator, policy, now) &&
           fx_dur_over(fx_mono_since(now, coordinator->listening_since), policy->silence_max);
}

/*
 * A host without a lease reports seldom, up to every FX_REPORT_SLOWEST_MS: three missed reports are
 * silence. One that holds or wants a lease reports every second.
 */
static fx_dur
silence_limit(const fx_view *view, const fx_policy *policy, const fx_name *host)
{
    const fx_host_view *known = fx_view_host(view, host);
    fx_dur seldom = FX_DUR_MS(INT64_C(3) * FX_REPORT_SLOWEST_MS);
    bool reports_seldom = known != NULL && !known->wants_lease;
    return reports_seldom && fx_dur_over(seldom, policy->silence_max) ? seldom
                                                                      : policy->silence_max;
}

fx_silence
fx_host_silence(const fx_view *view, const fx_policy *policy, const fx_name *host, fx_mono now)
{
    fx_silence silence = {.last_heard = view->began_at};
    for (size_t i = 0; i < view->coordinator_count; i++) {
        const fx_coordinator_view *coordinator = &view->coordinators[i];
        fx_mono heard = heard_by(coordinator, host);
        if (heard.ns > silence.last_heard.ns) {
            silence.last_heard = heard;
        }
        if (is_witness(view, coordinator, policy, now)) {
            silence.agreed_by = coordinator->coordinator;
        }
    }
    fx_dur limit = silence_limit(view, policy, host);
    silence.silent = fx_dur_over(fx_mono_since(now, silence.last_heard), limit) &&
                     !fx_name_is_none(&silence.agreed_by);
    return silence;
}

static const fx_sight *
sight_of(const fx_coordinator_view *coordinator, const fx_name *service, const fx_name *host)
{
    for (size_t i = 0; i < coordinator->sight_count; i++) {
        if (fx_same(&coordinator->sights[i].service, service) &&
            fx_same(&coordinator->sights[i].host, host)) {
            return &coordinator->sights[i];
        }
    }
    return NULL;
}

/* A coordinator of another region that has not reached the primary for half of the time, or NULL.
 */
static const fx_coordinator_view *
find_blind_witness(
    const fx_view *view, const fx_policy *policy, const fx_service *service, fx_mono now)
{
    for (size_t i = 0; i < view->coordinator_count; i++) {
        const fx_coordinator_view *coordinator = &view->coordinators[i];
        const fx_sight *sight = sight_of(coordinator, &service->name, &service->primary);
        if (is_witness(view, coordinator, policy, now) && sight != NULL && !sight->reachable &&
            sight->bad_for.ns > policy->unhealthy_max.ns / 2) {
            return coordinator;
        }
    }
    return NULL;
}

/* Since when the primary's host has not reported it in health; 0: it does. */
static fx_mono
bad_since(const fx_host_view *host, const fx_service *service)
{
    const fx_service_state *state = fx_host_service(host, &service->name);
    if (state == NULL) {
        return host->first_heard_at;
    }
    return state->bad_since;
}

static bool
is_unhealthy(
    const fx_ledger *ledger,
    const fx_policy *policy,
    const fx_service *service,
    const fx_host_view *host,
    fx_mono now)
{
    /* The first start of a new service takes its time and has nothing to lose. */
    bool worked = service->epoch.value > 1 || service->dns_epoch.value == service->epoch.value;
    fx_mono since = bad_since(host, service);
    /* After a loss of the quorum the primary first gets the chance to have its lease again. */
    return worked && since.ns != 0 &&
           fx_dur_over(fx_mono_since(now, since), policy->unhealthy_max) &&
           fx_dur_over(fx_mono_since(now, ledger->steady_since), policy->unhealthy_max);
}

fx_down
fx_service_down(
    const fx_ledger *ledger,
    const fx_view *view,
    const fx_policy *policy,
    const fx_service *service,
    fx_mono now)
{
    fx_down down = {.cause = FX_NOT_DOWN};
    fx_silence silence = fx_host_silence(view, policy, &service->primary, now);
    if (silence.silent) {
        down.cause = FX_DOWN_SILENT;
        down.since = silence.last_heard;
        fx_text text = fx_text_on(down.reason, sizeof down.reason);
        fx_text_add(&text, "nobody has heard ");
        fx_text_add(&text, service->primary.text);
        fx_text_add(&text, " for ");
        fx_text_add_ms(&text, fx_mono_since(now, silence.last_heard));
        fx_text_add(&text, "; ");
        fx_text_add(&text, silence.agreed_by.text);
        fx_text_add(&text, " agrees");
        return down;
    }
    const fx_host_view *host = fx_view_host(view, &service->primary);
    if (host == NULL || !is_unhealthy(ledger, policy, service, host, now)) {
        return down;
    }
    const fx_coordinator_view *witness = find_blind_witness(view, policy, service, now);
    if (witness != NULL) {
        down.cause = FX_DOWN_UNHEALTHY;
        down.since = bad_since(host, service);
        fx_text text = fx_text_on(down.reason, sizeof down.reason);
        fx_text_add(&text, service->primary.text);
        fx_text_add(&text, " has not served for ");
        fx_text_add_ms(&text, fx_mono_since(now, down.since));
        fx_text_add(&text, " and ");
        fx_text_add(&text, witness->coordinator.text);
        fx_text_add(&text, " does not reach it");
    }
    return down;
}

void
fx_evidence_add(
    fx_decision *decision,
    const fx_coordinator_view *observer,
    const fx_name *subject,
    const char *fact)
{
    if (decision->evidence_count == FX_EVIDENCE_MAX) {
        return;
    }
    fx_evidence *evidence = &decision->evidence[decision->evidence_count++];
    *evidence = (fx_evidence){.subject = *subject};
    if (observer != NULL) {
        evidence->observer = observer->coordinator;
        evidence->observer_region = observer->region;
    }
    FX_TEXT_SET(evidence->fact, fact, NULL, NULL);
}

void
fx_down_evidence(
    const fx_view *view,
    const fx_policy *policy,
    const fx_service *service,
    const fx_name *host,
    fx_mono now,
    fx_decision *decision)
{
    char fact[FX_REASON_BYTES];
    for (size_t i = 0; i < view->coordinator_count; i++) {
        const fx_coordinator_view *coordinator = &view->coordinators[i];
        fx_text text = fx_text_on(fact, sizeof fact);
        fx_mono heard = heard_by(coordinator, host);
        if (!is_fresh(coordinator, policy, now)) {
            fx_text_add(&text, "this coordinator itself is not heard");
        } else if (heard.ns == 0) {
            fx_text_add(&text, "never heard it");
        } else {
            fx_text_add(&text, "last heard it ");
            fx_text_add_ms(&text, fx_mono_since(now, heard));
            fx_text_add(&text, " ago");
        }
        const fx_sight *sight = sight_of(coordinator, &service->name, host);
        if (sight != NULL && sight->reachable) {
            fx_text_add(&text, "; reaches the service");
        } else if (sight != NULL) {
            fx_text_add(&text, "; has not reached the service for ");
            fx_text_add_ms(&text, sight->bad_for);
        }
        fx_evidence_add(decision, coordinator, host, fact);
    }
}
