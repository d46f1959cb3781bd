#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "coordinator/api/render.h"

typedef struct problems {
    fx_json *critical;
    fx_json *warning;
} problems;

FX_PRINTF(3, 4)
static void
add(fx_json *list, const char *subject, const char *format, ...)
{
    char text[FX_REASON_BYTES * 2];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    fx_json *json = fx_json_object();
    fx_json_set_text(json, "subject", subject);
    fx_json_set_text(json, "text", text);
    fx_json_append(list, json);
}

static void
look_at_coordinators(const fx_api_state *state, problems *found)
{
    if (!fx_api_has_quorum(state)) {
        add(found->critical,
            "ledger",
            "no quorum: the ledger was last read %" PRId64 " s ago; nothing can be decided",
            state->ledger->read_at.ns == 0
                ? INT64_C(-1)
                : fx_dur_ms(fx_mono_since(state->now, state->ledger->read_at)) / 1000);
    }
    if (fx_name_is_none(&state->ledger->leader.coordinator)) {
        add(found->critical, "leader", "no coordinator leads");
    }
    for (size_t i = 0; i < state->view->coordinator_count; i++) {
        const fx_coordinator_view *one = &state->view->coordinators[i];
        if (!one->heard) {
            add(found->warning, one->coordinator.text, "this coordinator was never heard");
        } else if (fx_dur_over(
                       fx_mono_since(state->now, one->heard_at), FX_DUR_MS(FX_QUORUM_AGE_MAX_MS))) {
            add(found->warning,
                one->coordinator.text,
                "this coordinator was last heard %" PRId64 " s ago",
                fx_dur_ms(fx_mono_since(state->now, one->heard_at)) / 1000);
        }
    }
}

bool
fx_api_knows_store(const fx_api_state *state)
{
    return state->store != NULL && state->store->looked_at.ns != 0;
}

static void
look_at_space(const fx_store_health *store, problems *found)
{
    const fx_store_member *largest = fx_store_largest(store);
    int64_t size_mib = largest == NULL ? 0 : largest->size_bytes >> 20;
    int64_t quota_mib = store->quota_bytes >> 20;
    switch (fx_store_judge(store)) {
    case FX_STORE_CORRUPT:
        add(found->critical,
            "ledger",
            "etcd raised the alarm CORRUPT: its members disagree; replace the member that differs "
            "by an empty one before anything else");
        break;
    case FX_STORE_NO_SPACE:
        add(found->critical,
            "ledger",
            "etcd raised the alarm NOSPACE: nothing can be written, so leases end and primaries "
            "fence (database %" PRId64 " of %" PRId64
            " MiB); the leader compacts, defragments and ends the alarm while every member "
            "answers; if it stays, raise etcd.quota_bytes and restart the members one by one",
            size_mib,
            quota_mib);
        break;
    case FX_STORE_FILLING:
        add(found->warning,
            "ledger",
            "etcd's database at %s is %" PRId64 " of %" PRId64
            " MiB; when it is full no lease is renewed: find what fills it (keys outside of "
            "/fortress?), lower etcd.history_decisions or raise etcd.quota_bytes",
            largest == NULL ? "" : largest->endpoint,
            size_mib,
            quota_mib);
        break;
    case FX_STORE_WELL:
        break;
    }
}

static void
look_at_store(const fx_api_state *state, problems *found)
{
    if (!fx_api_knows_store(state)) {
        return;
    }
    look_at_space(state->store, found);
    for (size_t i = 0; i < state->store->member_count; i++) {
        const fx_store_member *member = &state->store->members[i];
        if (!member->answers) {
            add(found->warning, "ledger", "etcd at %s does not answer", member->endpoint);
        }
    }
}

static void
look_at_primary(const fx_api_state *state, const fx_service *service, problems *found)
{
    const char *name = service->name.text;
    const fx_service_state *primary =
        fx_api_find_replica(state->view, &service->primary, &service->name);
    if (fx_name_is_none(&service->primary)) {
        add(found->critical, name, "no primary is named yet");
    } else if (fx_api_is_silent(state, &service->primary)) {
        add(found->critical, name, "the primary's host %s is silent", service->primary.text);
    } else if (primary == NULL) {
        add(found->critical, name, "%s does not report its primary", service->primary.text);
    } else if (primary->role != FX_ROLE_PRIMARY) {
        add(found->critical,
            name,
            "%s should be primary and is %s: %s",
            service->primary.text,
            fx_api_role_name(primary->role),
            primary->detail);
    } else if (!primary->healthy) {
        add(found->critical, name, "the primary %s: %s", service->primary.text, primary->detail);
    } else if (fx_api_lease_left(state, &service->primary).ns <= 0) {
        add(found->warning, name, "no live lease of %s is seen", service->primary.text);
    }
    if (service->dns_epoch.value < service->epoch.value &&
        fx_api_find_running(state->ledger, &service->name) == NULL) {
        add(found->warning,
            name,
            "DNS speaks of epoch %" PRIu64 ", the service is at %" PRIu64,
            service->dns_epoch.value,
            service->epoch.value);
    }
}

static void
look_at_standby(
    const fx_api_state *state, const fx_service *service, const fx_name *host, problems *found)
{
    const fx_service_state *replica = fx_api_find_replica(state->view, host, &service->name);
    if (fx_api_is_silent(state, host)) {
        add(found->warning, service->name.text, "the host %s of a standby is silent", host->text);
    } else if (replica == NULL) {
        add(found->warning, service->name.text, "%s does not report its standby", host->text);
    } else if (replica->role == FX_ROLE_PRIMARY) {
        add(found->critical,
            service->name.text,
            "%s runs as primary and should not: two primaries",
            host->text);
    } else if (replica->role != FX_ROLE_STANDBY || !replica->healthy) {
        add(found->warning,
            service->name.text,
            "%s is no working standby (%s): %s",
            host->text,
            fx_api_role_name(replica->role),
            replica->detail);
    } else if (!replica->streaming) {
        add(found->warning, service->name.text, "the standby on %s does not stream", host->text);
    }
}

static void
look_at_services(const fx_api_state *state, problems *found)
{
    for (size_t i = 0; i < state->ledger->service_count; i++) {
        const fx_service *service = &state->ledger->services[i];
        look_at_primary(state, service, found);
        for (size_t j = 0; j < service->member_count; j++) {
            if (!fx_name_is(&service->members[j].host, &service->primary)) {
                look_at_standby(state, service, &service->members[j].host, found);
            }
        }
    }
    for (size_t i = 0; i < state->ledger->plan_count; i++) {
        const fx_plan *plan = &state->ledger->plans[i];
        if (plan->state == FX_PLAN_STATE_FAILED) {
            add(found->critical,
                plan->service.text,
                "plan %s failed and waits for a person: %s",
                plan->id.text,
                plan->outcome);
        }
    }
}

static void
look_at_gaps(const fx_api_state *state, problems *found)
{
    for (size_t i = 0; i < state->view->host_count; i++) {
        const fx_host_view *host = &state->view->hosts[i];
        if (host->hole_total == 0) {
            continue;
        }
        const fx_wal_hole *newest = &host->holes[host->hole_count - 1];
        add(found->warning,
            newest->service.text,
            "%" PRIu64 " gaps (%" PRIu64
            " bytes) in the WAL that %s keeps, the newest from %" PRIX32 "/%" PRIX32 " to %" PRIX32
            "/%" PRIX32 ": %s; no restore passes it: take a base backup",
            host->hole_total,
            host->hole_bytes,
            host->host.text,
            (uint32_t)(newest->from.value >> 32),
            (uint32_t)newest->from.value,
            (uint32_t)(newest->to.value >> 32),
            (uint32_t)newest->to.value,
            newest->reason);
    }
}

static void
look_at_repositories(const fx_catalog_source *sources, size_t count, problems *found)
{
    for (size_t i = 0; i < count; i++) {
        if (!sources[i].reachable && sources[i].error[0] != '\0') {
            add(found->warning, sources[i].name.text, "repository: %s", sources[i].error);
        }
        if (sources[i].unreadable_count > 0) {
            add(found->warning,
                sources[i].name.text,
                "repository: %" PRIu64 " snapshot objects cannot be read",
                sources[i].unreadable_count);
        }
    }
}

static void
move_into(fx_json *all, fx_json *list, const char *severity)
{
    for (size_t i = 0; i < fx_json_count(list); i++) {
        const fx_json *from = fx_json_at(list, i);
        fx_json *json = fx_json_object();
        fx_json_set_text(json, "severity", severity);
        fx_json_set_text(json, "subject", fx_json_as_text(fx_json_get(from, "subject"), ""));
        fx_json_set_text(json, "text", fx_json_as_text(fx_json_get(from, "text"), ""));
        fx_json_append(all, json);
    }
    fx_json_free(list);
}

fx_json *
fx_render_problems(const fx_api_state *state, const fx_catalog_source *sources, size_t source_count)
{
    problems found = {.critical = fx_json_array(), .warning = fx_json_array()};
    look_at_coordinators(state, &found);
    look_at_store(state, &found);
    look_at_services(state, &found);
    look_at_gaps(state, &found);
    look_at_repositories(sources, source_count, &found);
    fx_json *all = fx_json_array();
    move_into(all, found.critical, "critical");
    move_into(all, found.warning, "warning");
    return all;
}

static fx_json *
render_coordinators(const fx_api_state *state)
{
    fx_json *list = fx_json_array();
    for (size_t i = 0; i < state->view->coordinator_count; i++) {
        const fx_coordinator_view *one = &state->view->coordinators[i];
        fx_json *json = fx_json_object();
        fx_json_set_text(json, "name", one->coordinator.text);
        fx_json_set_text(json, "region", one->region.text);
        if (one->heard) {
            fx_json_set_int(
                json, "heard_age_ms", fx_dur_ms(fx_mono_since(state->now, one->heard_at)));
        } else {
            fx_json_set(json, "heard_age_ms", fx_json_null_new());
        }
        fx_json_append(list, json);
    }
    return list;
}

static fx_json *
render_quorum(const fx_api_state *state)
{
    fx_json *json = fx_json_object();
    fx_json_set_bool(json, "ok", fx_api_has_quorum(state));
    if (state->ledger->read_at.ns == 0) {
        fx_json_set(json, "read_age_ms", fx_json_null_new());
    } else {
        fx_json_set_int(
            json, "read_age_ms", fx_dur_ms(fx_mono_since(state->now, state->ledger->read_at)));
    }
    fx_json_set_int(json, "revision", state->ledger->revision.value);
    return json;
}

static fx_json *
render_store(const fx_api_state *state)
{
    if (!fx_api_knows_store(state)) {
        return fx_json_null_new();
    }
    const fx_store_health *store = state->store;
    fx_json *json = fx_json_object();
    fx_json *members = fx_json_array();
    fx_json_set_int(json, "age_ms", fx_dur_ms(fx_mono_since(state->now, store->looked_at)));
    fx_json_set_int(json, "quota_bytes", store->quota_bytes);
    fx_json_set_bool(json, "no_space", store->no_space);
    fx_json_set_bool(json, "corrupt", store->corrupt);
    for (size_t i = 0; i < store->member_count; i++) {
        const fx_store_member *member = &store->members[i];
        fx_json *one = fx_json_object();
        fx_json_set_text(one, "endpoint", member->endpoint);
        fx_json_set_bool(one, "answers", member->answers);
        fx_json_set_bool(one, "leads", member->leads);
        fx_json_set_int(one, "size_bytes", member->size_bytes);
        fx_json_set_int(one, "in_use_bytes", member->in_use_bytes);
        fx_json_append(members, one);
    }
    fx_json_set(json, "members", members);
    return json;
}

fx_json *
fx_render_status(const fx_api_state *state, const fx_catalog_source *sources, size_t source_count)
{
    const fx_leader *leader = &state->ledger->leader;
    fx_json *json = fx_json_object();
    fx_json_set_text(json, "cluster", state->cluster);
    fx_json_set_text(json, "version", FX_VERSION);
    fx_json_set_text(json, "coordinator", state->view->self.text);
    fx_json_set_text(json, "region", state->view->self_region.text);
    fx_render_time(json, "now", state->wall);
    if (fx_name_is_none(&leader->coordinator)) {
        fx_json_set(json, "leader", fx_json_null_new());
        fx_json_set(json, "leader_region", fx_json_null_new());
    } else {
        fx_json_set_text(json, "leader", leader->coordinator.text);
        fx_json_set_text(json, "leader_region", leader->region.text);
    }
    fx_json_set_int(json, "term", (int64_t)leader->term);
    fx_json_set(json, "quorum", render_quorum(state));
    fx_json_set(json, "etcd", render_store(state));
    fx_json_set(json, "coordinators", render_coordinators(state));
    fx_json_set(json, "problems", fx_render_problems(state, sources, source_count));
    fx_json_set(json, "services", fx_render_services(state));
    fx_json *plans = fx_json_array();
    for (size_t i = 0; i < state->ledger->plan_count; i++) {
        fx_json_append(plans, fx_render_plan(&state->ledger->plans[i]));
    }
    fx_json_set(json, "plans", plans);
    fx_json *repositories = fx_json_array();
    for (size_t i = 0; i < source_count; i++) {
        fx_json_append(repositories, fx_render_source(&sources[i]));
    }
    fx_json_set(json, "repositories", repositories);
    return json;
}
