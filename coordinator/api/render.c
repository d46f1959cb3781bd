#include "coordinator/api/render.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/base/clock.h"

/* ---- looking up
 * ---------------------------------------------------------------------------------- */

bool
fx_api_has_quorum(const fx_api_state *state)
{
    fx_dur age = fx_mono_since(state->now, state->ledger->read_at);
    return state->ledger->read_at.ns != 0 && !fx_dur_over(age, FX_DUR_MS(FX_QUORUM_AGE_MAX_MS));
}

const fx_lease *
fx_api_find_lease(const fx_ledger *ledger, const fx_name *host)
{
    for (size_t i = 0; i < ledger->lease_count; i++) {
        if (fx_name_is(&ledger->leases[i].host, host)) {
            return &ledger->leases[i];
        }
    }
    return NULL;
}

fx_dur
fx_api_lease_left(const fx_api_state *state, const fx_name *host)
{
    const fx_lease *lease = fx_api_find_lease(state->ledger, host);
    if (lease == NULL || lease->renewal == 0) {
        return (fx_dur){0};
    }
    fx_mono end = fx_mono_after(lease->seen_since, state->policy->lease);
    return (fx_dur){.ns = end.ns - state->now.ns};
}

const fx_host_view *
fx_api_find_host(const fx_view *view, const fx_name *host)
{
    for (size_t i = 0; i < view->host_count; i++) {
        if (fx_name_is(&view->hosts[i].host, host)) {
            return &view->hosts[i];
        }
    }
    return NULL;
}

const fx_service_state *
fx_api_find_replica(const fx_view *view, const fx_name *host, const fx_name *service)
{
    const fx_host_view *seen = fx_api_find_host(view, host);
    for (size_t i = 0; seen != NULL && i < seen->service_count; i++) {
        if (fx_name_is(&seen->services[i].service, service)) {
            return &seen->services[i];
        }
    }
    return NULL;
}

const fx_service *
fx_api_find_service(const fx_ledger *ledger, const char *name)
{
    for (size_t i = 0; i < ledger->service_count; i++) {
        if (strcmp(ledger->services[i].name.text, name) == 0) {
            return &ledger->services[i];
        }
    }
    return NULL;
}

const fx_plan *
fx_api_find_running(const fx_ledger *ledger, const fx_name *service)
{
    for (size_t i = 0; i < ledger->plan_count; i++) {
        const fx_plan *plan = &ledger->plans[i];
        if (plan->state == FX_PLAN_STATE_RUNNING && fx_name_is(&plan->service, service)) {
            return plan;
        }
    }
    return NULL;
}

bool
fx_api_is_silent(const fx_api_state *state, const fx_name *host)
{
    const fx_host_view *seen = fx_api_find_host(state->view, host);
    if (seen == NULL) {
        return true;
    }
    /* A host without a lease reports every five seconds only. */
    fx_dur limit = state->policy->silence_max;
    if (!seen->wants_lease) {
        limit.ns += 5000 * FX_NS_PER_MS;
    }
    return fx_dur_over(fx_mono_since(state->now, seen->reported_at), limit);
}

static uint64_t
position(const fx_service_state *replica)
{
    return replica->write_lsn.value > replica->replay_lsn.value ? replica->write_lsn.value
                                                                : replica->replay_lsn.value;
}

uint64_t
fx_api_lag_bytes(const fx_api_state *state, const fx_service *service, const fx_name *host)
{
    const fx_service_state *primary =
        fx_api_find_replica(state->view, &service->primary, &service->name);
    const fx_service_state *replica = fx_api_find_replica(state->view, host, &service->name);
    if (primary == NULL || replica == NULL || position(replica) == 0) {
        return 0;
    }
    uint64_t ahead = position(primary);
    uint64_t behind = position(replica);
    return ahead > behind ? ahead - behind : 0;
}

static bool
could_replace(const fx_api_state *state, const fx_service *service, const fx_name *host)
{
    const fx_service_state *replica = fx_api_find_replica(state->view, host, &service->name);
    return replica != NULL && !fx_api_is_silent(state, host) && replica->role == FX_ROLE_STANDBY &&
           replica->healthy && replica->streaming;
}

fx_health
fx_api_health(const fx_api_state *state, const fx_service *service)
{
    const fx_service_state *primary =
        fx_api_find_replica(state->view, &service->primary, &service->name);
    if (primary == NULL || primary->role != FX_ROLE_PRIMARY || !primary->healthy ||
        fx_api_is_silent(state, &service->primary)) {
        return FX_HEALTH_DOWN;
    }
    for (size_t i = 0; i < service->member_count; i++) {
        if (could_replace(state, service, &service->members[i].host)) {
            return FX_HEALTH_OK;
        }
    }
    return service->member_count > 1 ? FX_HEALTH_DEGRADED : FX_HEALTH_OK;
}

/* ---- names
 * --------------------------------------------------------------------------------------- */

const char *
fx_api_health_name(fx_health health)
{
    switch (health) {
    case FX_HEALTH_OK:
        return "ok";
    case FX_HEALTH_DEGRADED:
        return "degraded";
    case FX_HEALTH_DOWN:
        return "down";
    }
    return "down";
}

const char *
fx_api_plan_kind_name(fx_plan_kind kind)
{
    switch (kind) {
    case FX_PLAN_FAILOVER:
        return "failover";
    case FX_PLAN_SWITCHOVER:
        return "switchover";
    case FX_PLAN_KIND_NONE:
        break;
    }
    return "none";
}

const char *
fx_api_plan_state_name(fx_plan_state state)
{
    switch (state) {
    case FX_PLAN_STATE_RUNNING:
        return "running";
    case FX_PLAN_STATE_DONE:
        return "done";
    case FX_PLAN_STATE_FAILED:
        return "failed";
    case FX_PLAN_STATE_ABANDONED:
        return "abandoned";
    case FX_PLAN_STATE_NONE:
        break;
    }
    return "none";
}

const char *
fx_api_step_kind_name(fx_step_kind kind)
{
    switch (kind) {
    case FX_STEP_FENCE:
        return "fence";
    case FX_STEP_TAKE_OVER:
        return "take_over";
    case FX_STEP_PROMOTE:
        return "promote";
    case FX_STEP_DNS:
        return "dns";
    case FX_STEP_VALIDATE:
        return "validate";
    case FX_STEP_RECORD:
        return "record";
    case FX_STEP_NONE:
        break;
    }
    return "none";
}

const char *
fx_api_step_state_name(fx_step_state state)
{
    switch (state) {
    case FX_STEP_WAITING:
        return "waiting";
    case FX_STEP_RUNNING:
        return "running";
    case FX_STEP_DONE:
        return "done";
    case FX_STEP_FAILED:
        return "failed";
    case FX_STEP_UNKNOWN:
        break;
    }
    return "unknown";
}

const char *
fx_api_role_name(fx_role role)
{
    switch (role) {
    case FX_ROLE_PRIMARY:
        return "primary";
    case FX_ROLE_STANDBY:
        return "standby";
    case FX_ROLE_HELD:
        return "held";
    case FX_ROLE_NONE:
        break;
    }
    return "none";
}

const char *
fx_api_order_state_name(fx_order_state state)
{
    switch (state) {
    case FX_ORDER_NONE:
        return "waiting";
    case FX_ORDER_RUNNING:
        return "running";
    case FX_ORDER_DONE:
        return "done";
    case FX_ORDER_FAILED:
        return "failed";
    case FX_ORDER_REFUSED:
        return "refused";
    case FX_ORDER_UNKNOWN:
        break;
    }
    return "unknown";
}

/* ---- values
 * -------------------------------------------------------------------------------------- */

void
fx_render_time(fx_json *object, const char *key, fx_wall when)
{
    if (when.ns == 0) {
        fx_json_set(object, key, fx_json_null_new());
        return;
    }
    char text[FX_WALL_TEXT_BYTES];
    fx_wall_format(when, text);
    fx_json_set_text(object, key, text);
}

static void
set_name(fx_json *object, const char *key, const fx_name *name)
{
    if (fx_name_is_none(name)) {
        fx_json_set(object, key, fx_json_null_new());
    } else {
        fx_json_set_text(object, key, name->text);
    }
}

static void
set_id(fx_json *object, const char *key, const fx_id *id)
{
    if (id->text[0] == '\0') {
        fx_json_set(object, key, fx_json_null_new());
    } else {
        fx_json_set_text(object, key, id->text);
    }
}

/* As PostgreSQL writes it: 0/16B3748. */
static void
set_lsn(fx_json *object, const char *key, fx_lsn lsn)
{
    if (lsn.value == 0) {
        fx_json_set(object, key, fx_json_null_new());
        return;
    }
    char text[32];
    (void)snprintf(
        text,
        sizeof text,
        "%" PRIX32 "/%" PRIX32,
        (uint32_t)(lsn.value >> 32),
        (uint32_t)(lsn.value & UINT32_MAX));
    fx_json_set_text(object, key, text);
}

static void
set_report_age(fx_json *object, const fx_api_state *state, const fx_host_view *seen)
{
    if (seen == NULL) {
        fx_json_set(object, "report_age_ms", fx_json_null_new());
        return;
    }
    fx_json_set_int(
        object, "report_age_ms", fx_dur_ms(fx_mono_since(state->now, seen->reported_at)));
}

static fx_json *
render_lease(const fx_api_state *state, const fx_name *host)
{
    const fx_lease *lease = fx_api_find_lease(state->ledger, host);
    if (lease == NULL) {
        return fx_json_null_new();
    }
    fx_json *json = fx_json_object();
    fx_json_set_bool(json, "open", lease->open);
    fx_json_set_int(json, "left_ms", fx_dur_ms(fx_api_lease_left(state, host)));
    fx_json_set_int(json, "renewal", (int64_t)lease->renewal);
    set_name(json, "renewed_by", &lease->renewed_by);
    fx_json *held = fx_json_array();
    for (size_t i = 0; i < lease->held_count; i++) {
        fx_json *one = fx_json_object();
        fx_json_set_text(one, "service", lease->held[i].service.text);
        fx_json_set_int(one, "epoch", (int64_t)lease->held[i].epoch.value);
        fx_json_append(held, one);
    }
    fx_json_set(json, "held", held);
    return json;
}

static void
set_replica(fx_json *json, const fx_service_state *replica)
{
    static const fx_service_state unheard = {.role = FX_ROLE_NONE};
    const fx_service_state *from = replica == NULL ? &unheard : replica;
    fx_json_set_text(json, "role", replica == NULL ? "unknown" : fx_api_role_name(from->role));
    fx_json_set_bool(json, "healthy", from->healthy);
    fx_json_set_bool(json, "streaming", from->streaming);
    set_name(json, "upstream", &from->upstream);
    fx_json_set_int(json, "lag_ms", fx_dur_ms(from->replay_lag));
    fx_json_set_int(json, "timeline", from->timeline);
    fx_json_set_int(json, "epoch_seen", (int64_t)from->epoch_seen.value);
    fx_json_set_int(json, "fenced_epoch", (int64_t)from->fenced_epoch.value);
    set_lsn(json, "write_lsn", from->write_lsn);
    set_lsn(json, "replay_lsn", from->replay_lsn);
    set_lsn(json, "wal_stored_lsn", from->wal_stored_lsn);
    fx_json_set_text(json, "detail", from->detail);
}

/* ---- services and hosts
 * -------------------------------------------------------------------------- */

static fx_json *
render_member(const fx_api_state *state, const fx_service *service, const fx_member *member)
{
    fx_json *json = fx_json_object();
    fx_json_set_text(json, "host", member->host.text);
    fx_json_set_text(json, "region", member->region.text);
    fx_json_set_text(json, "address", member->address);
    fx_json_set_int(json, "port", member->port);
    set_replica(json, fx_api_find_replica(state->view, &member->host, &service->name));
    fx_json_set_int(json, "lag_bytes", (int64_t)fx_api_lag_bytes(state, service, &member->host));
    set_report_age(json, state, fx_api_find_host(state->view, &member->host));
    fx_json_set_bool(json, "silent", fx_api_is_silent(state, &member->host));
    return json;
}

fx_json *
fx_render_service(const fx_api_state *state, const fx_service *service)
{
    fx_json *json = fx_json_object();
    fx_json_set_text(json, "name", service->name.text);
    fx_json_set_text(json, "health", fx_api_health_name(fx_api_health(state, service)));
    fx_json_set_int(json, "epoch", (int64_t)service->epoch.value);
    set_name(json, "primary", &service->primary);
    fx_json_set(json, "lease", render_lease(state, &service->primary));
    fx_render_time(json, "changed_at", service->changed_at);
    fx_json_set_int(json, "dns_epoch", (int64_t)service->dns_epoch.value);
    set_id(json, "last_plan", &service->last_plan);
    const fx_plan *running = fx_api_find_running(state->ledger, &service->name);
    static const fx_id no_plan;
    set_id(json, "running_plan", running == NULL ? &no_plan : &running->id);
    fx_json *members = fx_json_array();
    for (size_t i = 0; i < service->member_count; i++) {
        fx_json_append(members, render_member(state, service, &service->members[i]));
    }
    fx_json_set(json, "members", members);
    return json;
}

fx_json *
fx_render_services(const fx_api_state *state)
{
    fx_json *services = fx_json_array();
    for (size_t i = 0; i < state->ledger->service_count; i++) {
        fx_json_append(services, fx_render_service(state, &state->ledger->services[i]));
    }
    return services;
}

fx_json *
fx_render_order_result(const fx_order_result *result)
{
    fx_json *json = fx_json_object();
    fx_json_set_text(json, "id", result->order.text);
    fx_json_set_text(json, "state", fx_api_order_state_name(result->state));
    fx_json_set_text(json, "code", result->code == 0 ? "OK" : fx_code_name((fx_code)result->code));
    fx_json_set_text(json, "detail", result->detail);
    fx_json_set_text(json, "output", result->output);
    fx_render_time(json, "started_at", result->started);
    fx_render_time(json, "finished_at", result->finished);
    return json;
}

static fx_json *
render_holes(const fx_host_view *seen)
{
    fx_json *list = fx_json_array();
    for (size_t i = 0; seen != NULL && i < seen->hole_count; i++) {
        const fx_wal_hole *hole = &seen->holes[i];
        fx_json *json = fx_json_object();
        fx_json_set_text(json, "service", hole->service.text);
        set_lsn(json, "from_lsn", hole->from);
        set_lsn(json, "to_lsn", hole->to);
        fx_json_set_int(json, "size_bytes", (int64_t)(hole->to.value - hole->from.value));
        fx_render_time(json, "since", hole->since);
        fx_json_set_text(json, "reason", hole->reason);
        fx_json_append(list, json);
    }
    return list;
}

static fx_json *
render_host(const fx_api_state *state, const fx_name *host, const fx_name *region)
{
    const fx_host_view *seen = fx_api_find_host(state->view, host);
    fx_json *json = fx_json_object();
    fx_json_set_text(json, "name", host->text);
    set_name(json, "region", region);
    set_report_age(json, state, seen);
    fx_json_set_bool(json, "silent", fx_api_is_silent(state, host));
    static const fx_name nobody;
    set_name(json, "heard_by", seen == NULL ? &nobody : &seen->heard_by);
    fx_json_set_bool(json, "wants_lease", seen != NULL && seen->wants_lease);
    fx_json_set(json, "lease", render_lease(state, host));
    fx_json *services = fx_json_array();
    fx_json *orders = fx_json_array();
    for (size_t i = 0; seen != NULL && i < seen->service_count; i++) {
        fx_json *one = fx_json_object();
        fx_json_set_text(one, "name", seen->services[i].service.text);
        set_replica(one, &seen->services[i]);
        fx_json_append(services, one);
    }
    for (size_t i = 0; seen != NULL && i < seen->result_count; i++) {
        fx_json_append(orders, fx_render_order_result(&seen->results[i]));
    }
    fx_json_set(json, "services", services);
    fx_json_set(json, "orders", orders);
    fx_json_set(json, "gaps", render_holes(seen));
    fx_json_set_int(json, "gap_count", seen == NULL ? 0 : (int64_t)seen->hole_total);
    return json;
}

/* Was this member shown already, by an earlier service? */
static bool
is_first_mention(const fx_ledger *ledger, size_t service_index, const fx_name *host)
{
    for (size_t i = 0; i < service_index; i++) {
        const fx_service *service = &ledger->services[i];
        for (size_t j = 0; j < service->member_count; j++) {
            if (fx_name_is(&service->members[j].host, host)) {
                return false;
            }
        }
    }
    return true;
}

/* First who reported, then members of services that never did. */
fx_json *
fx_render_hosts(const fx_api_state *state)
{
    fx_json *hosts = fx_json_array();
    for (size_t i = 0; i < state->view->host_count; i++) {
        const fx_host_view *seen = &state->view->hosts[i];
        fx_json_append(hosts, render_host(state, &seen->host, &seen->region));
    }
    for (size_t i = 0; i < state->ledger->service_count; i++) {
        const fx_service *service = &state->ledger->services[i];
        for (size_t j = 0; j < service->member_count; j++) {
            const fx_member *member = &service->members[j];
            if (fx_api_find_host(state->view, &member->host) == NULL &&
                is_first_mention(state->ledger, i, &member->host)) {
                fx_json_append(hosts, render_host(state, &member->host, &member->region));
            }
        }
    }
    return hosts;
}

/* ---- plans and decisions
 * ------------------------------------------------------------------------- */

static fx_json *
render_step(const fx_step *step)
{
    fx_json *json = fx_json_object();
    fx_json_set_text(json, "kind", fx_api_step_kind_name(step->kind));
    fx_json_set_text(json, "state", fx_api_step_state_name(step->state));
    fx_render_time(json, "started_at", step->started);
    fx_render_time(json, "finished_at", step->finished);
    fx_json_set_int(json, "deadline_ms", fx_dur_ms(step->deadline));
    fx_json_set_int(json, "attempts", step->attempts);
    fx_json_set_text(json, "detail", step->detail);
    set_name(json, "by", &step->by);
    return json;
}

fx_json *
fx_render_plan(const fx_plan *plan)
{
    fx_json *json = fx_json_object();
    set_id(json, "id", &plan->id);
    fx_json_set_text(json, "kind", fx_api_plan_kind_name(plan->kind));
    fx_json_set_text(json, "state", fx_api_plan_state_name(plan->state));
    fx_json_set_text(json, "service", plan->service.text);
    set_name(json, "from_host", &plan->from_host);
    set_name(json, "to_host", &plan->to_host);
    fx_json_set_int(json, "from_epoch", (int64_t)plan->from_epoch.value);
    fx_json_set_int(json, "to_epoch", (int64_t)plan->to_epoch.value);
    set_id(json, "decision", &plan->decision);
    set_name(json, "requested_by", &plan->requested_by);
    fx_render_time(json, "started_at", plan->started);
    fx_render_time(json, "finished_at", plan->finished);
    fx_render_time(json, "lost_since", plan->lost_since);
    fx_json *steps = fx_json_array();
    for (size_t i = 0; i < plan->step_count; i++) {
        fx_json_append(steps, render_step(&plan->steps[i]));
    }
    fx_json_set(json, "steps", steps);
    fx_json_set_text(json, "outcome", plan->outcome);
    return json;
}

fx_json *
fx_render_decision(const fx_decision_record *decision)
{
    fx_json *json = fx_json_object();
    set_id(json, "id", &decision->id);
    fx_render_time(json, "decided_at", decision->decided);
    fx_json_set_text(json, "coordinator", decision->coordinator.text);
    fx_json_set_int(json, "term", (int64_t)decision->term);
    fx_json_set_int(json, "ledger_revision", decision->ledger_revision.value);
    fx_json_set_text(json, "service", decision->service.text);
    fx_json_set_text(json, "verdict", decision->verdict);
    fx_json_set_text(json, "reason", decision->reason);
    set_id(json, "plan", &decision->plan);
    fx_json *evidence = fx_json_array();
    for (size_t i = 0; i < decision->evidence_count; i++) {
        const fx_evidence *from = &decision->evidence[i];
        fx_json *one = fx_json_object();
        fx_json_set_text(one, "observer_region", from->observer_region.text);
        fx_json_set_text(one, "observer", from->observer.text);
        fx_json_set_text(one, "subject", from->subject.text);
        fx_json_set_text(one, "fact", from->fact);
        fx_json_append(evidence, one);
    }
    fx_json_set(json, "evidence", evidence);
    return json;
}

/* ---- snapshots
 * ----------------------------------------------------------------------------------- */

fx_json *
fx_render_snapshot(const fx_catalog_snapshot *entry, fx_wall now)
{
    const fx_snapshot *snapshot = &entry->snapshot;
    fx_json *json = fx_json_object();
    fx_json_set_text(json, "id", snapshot->id);
    set_name(json, "repository", &entry->repository);
    fx_json_set_text(json, "host", snapshot->host.text);
    fx_json_set_text(json, "source", snapshot->source);
    fx_json_set_text(json, "kind", snapshot->kind);
    fx_render_time(json, "taken_at", snapshot->began);
    fx_render_time(json, "ended_at", snapshot->ended);
    fx_json_set_int(
        json,
        "age_s",
        now.ns > snapshot->began.ns ? (now.ns - snapshot->began.ns) / INT64_C(1000000000) : 0);
    fx_json_set_int(json, "file_count", (int64_t)snapshot->file_count);
    fx_json_set_int(json, "size_bytes", (int64_t)snapshot->size_bytes);
    fx_json_set_int(json, "added_bytes", (int64_t)snapshot->added_bytes);
    fx_json_set_int(json, "warning_count", snapshot->warning_count);
    return json;
}

fx_json *
fx_render_source(const fx_catalog_source *source)
{
    fx_json *json = fx_json_object();
    fx_json_set_text(json, "name", source->name.text);
    fx_json_set_bool(json, "reachable", source->reachable);
    fx_render_time(json, "read_at", source->read_at);
    fx_json_set_int(json, "snapshot_count", (int64_t)source->snapshot_count);
    fx_json_set_int(json, "unreadable_count", (int64_t)source->unreadable_count);
    fx_json_set_int(json, "added_bytes", (int64_t)source->added_bytes);
    fx_json_set_text(json, "error", source->error);
    return json;
}
