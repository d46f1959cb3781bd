#include "coordinator/api/metrics.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* One metric family after another; the first failure ends all writing. */
enum { PUT_MAX_BYTES = 512 }; /* of one piece; texts of any length go another way */

typedef struct writer {
    fx_buf *out;
    fx_err *err;
    fx_code code;
    const char *name;
} writer;

FX_PRINTF(2, 3)
static void
put(writer *to, const char *format, ...)
{
    char text[PUT_MAX_BYTES];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (to->code == FX_OK) {
        to->code = fx_buf_append_text(to->out, text, to->err);
    }
}

static void
family(writer *to, const char *name, const char *type, const char *help)
{
    to->name = name;
    put(to, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

/* Label values may hold any text; backslash, quote and newline are escaped. */
static void
put_label(writer *to, const char *name, const char *value, char before)
{
    put(to, "%c%s=\"", before, name);
    for (const char *at = value; *at != '\0' && to->code == FX_OK; at++) {
        if (*at == '\\' || *at == '"') {
            put(to, "\\%c", *at);
        } else if (*at == '\n') {
            put(to, "\\n");
        } else {
            put(to, "%c", *at);
        }
    }
    put(to, "\"");
}

typedef struct label {
    const char *name;
    const char *value;
} label;

enum { LABEL_MAX = 3 };

static void
put_labels(writer *to, const label labels[LABEL_MAX])
{
    put(to, "%s", to->name);
    for (size_t i = 0; i < LABEL_MAX && labels[i].name != NULL; i++) {
        put_label(to, labels[i].name, labels[i].value, i == 0 ? '{' : ',');
    }
    put(to, "%s ", labels[0].name == NULL ? "" : "}");
}

static void
put_int(writer *to, const label labels[LABEL_MAX], int64_t value)
{
    put_labels(to, labels);
    put(to, "%" PRId64 "\n", value);
}

/* Milliseconds suffice, and no locale can write a comma. */
static void
put_seconds(writer *to, const label labels[LABEL_MAX], fx_dur value)
{
    int64_t ms = fx_dur_ms(value);
    put_labels(to, labels);
    put(to,
        "%s%" PRId64 ".%03d\n",
        ms < 0 ? "-" : "",
        ms < 0 ? -(ms / 1000) : ms / 1000,
        (int)(ms < 0 ? -(ms % 1000) : ms % 1000));
}

#define LABELS(...) ((const label[LABEL_MAX]){__VA_ARGS__})
#define NO_LABELS   ((const label[LABEL_MAX]){{NULL, NULL}})

static fx_dur
wall_between(fx_wall from, fx_wall to)
{
    return (fx_dur){.ns = to.ns > from.ns ? to.ns - from.ns : 0};
}

static void
put_coordinator(writer *to, const fx_api_state *state)
{
    const fx_ledger *ledger = state->ledger;
    family(to, "fortress_build_info", "gauge", "Version of this coordinator; always 1.");
    put_int(to, LABELS({"version", FX_VERSION}, {"cluster", state->cluster}), 1);
    family(to, "fortress_leader", "gauge", "1 when this coordinator leads, else 0.");
    put_int(
        to,
        LABELS({"coordinator", state->view->self.text}),
        fx_name_is(&ledger->leader.coordinator, &state->view->self) &&
            !fx_name_is_none(&state->view->self));
    family(to, "fortress_leader_term", "gauge", "Term of the leadership that the ledger names.");
    put_int(to, NO_LABELS, (int64_t)ledger->leader.term);
    family(to, "fortress_quorum", "gauge", "1 when the ledger answered a short time ago, else 0.");
    put_int(to, NO_LABELS, fx_api_has_quorum(state));
    if (ledger->read_at.ns != 0) {
        family(
            to,
            "fortress_ledger_read_age_seconds",
            "gauge",
            "Age of the newest read of the ledger.");
        put_seconds(to, NO_LABELS, fx_mono_since(state->now, ledger->read_at));
    }
    family(
        to,
        "fortress_coordinator_heard_seconds",
        "gauge",
        "Time since a coordinator's last digest arrived here.");
    for (size_t i = 0; i < state->view->coordinator_count; i++) {
        const fx_coordinator_view *one = &state->view->coordinators[i];
        if (one->heard) {
            put_seconds(
                to,
                LABELS({"coordinator", one->coordinator.text}, {"region", one->region.text}),
                fx_mono_since(state->now, one->heard_at));
        }
    }
}

typedef enum store_metric { STORE_UP, STORE_SIZE, STORE_IN_USE } store_metric;

static void
put_store_members(writer *to, const fx_store_health *store, store_metric metric)
{
    for (size_t i = 0; i < store->member_count; i++) {
        const fx_store_member *member = &store->members[i];
        const label labels[LABEL_MAX] = {{"endpoint", member->endpoint}, {NULL, NULL}};
        if (metric == STORE_UP) {
            put_int(to, labels, member->answers);
        } else if (member->answers) {
            put_int(to, labels, metric == STORE_SIZE ? member->size_bytes : member->in_use_bytes);
        }
    }
}

static void
put_store(writer *to, const fx_api_state *state)
{
    if (!fx_api_knows_store(state)) {
        return;
    }
    const fx_store_health *store = state->store;
    family(to, "fortress_etcd_up", "gauge", "1 when the member answered when last asked, else 0.");
    put_store_members(to, store, STORE_UP);
    family(
        to,
        "fortress_etcd_db_size_bytes",
        "gauge",
        "Size of the member's database file, which the quota bounds.");
    put_store_members(to, store, STORE_SIZE);
    family(
        to,
        "fortress_etcd_db_in_use_bytes",
        "gauge",
        "What of the member's database file is in use.");
    put_store_members(to, store, STORE_IN_USE);
    family(
        to,
        "fortress_etcd_quota_bytes",
        "gauge",
        "Size of a database at which nothing can be written any more.");
    put_int(to, NO_LABELS, store->quota_bytes);
    family(to, "fortress_etcd_alarm", "gauge", "1 while etcd has raised the alarm, else 0.");
    put_int(to, LABELS({"alarm", "NOSPACE"}), store->no_space);
    put_int(to, LABELS({"alarm", "CORRUPT"}), store->corrupt);
}

/* 2 healthy, 1 degraded, 0 down: alerts compare with <. */
static int64_t
health_value(fx_health health)
{
    switch (health) {
    case FX_HEALTH_OK:
        return 2;
    case FX_HEALTH_DEGRADED:
        return 1;
    case FX_HEALTH_DOWN:
        break;
    }
    return 0;
}

static void
put_services(writer *to, const fx_api_state *state)
{
    const fx_ledger *ledger = state->ledger;
    family(
        to,
        "fortress_service_health_status",
        "gauge",
        "2: healthy, 1: works but no standby could replace the primary, 0: down.");
    for (size_t i = 0; i < ledger->service_count; i++) {
        const fx_service *service = &ledger->services[i];
        put_int(
            to,
            LABELS({"service", service->name.text}),
            health_value(fx_api_health(state, service)));
    }
    family(to, "fortress_service_epoch", "gauge", "Rises with every change of the primary.");
    for (size_t i = 0; i < ledger->service_count; i++) {
        const fx_service *service = &ledger->services[i];
        put_int(to, LABELS({"service", service->name.text}), (int64_t)service->epoch.value);
    }
    family(to, "fortress_service_dns_epoch", "gauge", "Epoch that DNS was last made to say.");
    for (size_t i = 0; i < ledger->service_count; i++) {
        const fx_service *service = &ledger->services[i];
        put_int(to, LABELS({"service", service->name.text}), (int64_t)service->dns_epoch.value);
    }
    family(
        to, "fortress_service_primary", "gauge", "1 for the host that the ledger names primary.");
    for (size_t i = 0; i < ledger->service_count; i++) {
        const fx_service *service = &ledger->services[i];
        for (size_t j = 0; j < service->member_count; j++) {
            const fx_member *member = &service->members[j];
            put_int(
                to,
                LABELS(
                    {"service", service->name.text},
                    {"host", member->host.text},
                    {"region", member->region.text}),
                fx_name_is(&member->host, &service->primary));
        }
    }
    family(to, "fortress_plan_running", "gauge", "1 while a plan for the service is in flight.");
    for (size_t i = 0; i < ledger->service_count; i++) {
        const fx_service *service = &ledger->services[i];
        put_int(
            to,
            LABELS({"service", service->name.text}),
            fx_api_find_running(ledger, &service->name) != NULL);
    }
}

typedef enum standby_metric { LAG_SECONDS, LAG_BYTES, STREAMING } standby_metric;

static void
put_standbys(writer *to, const fx_api_state *state, standby_metric metric)
{
    for (size_t i = 0; i < state->ledger->service_count; i++) {
        const fx_service *service = &state->ledger->services[i];
        for (size_t j = 0; j < service->member_count; j++) {
            const fx_name *host = &service->members[j].host;
            const fx_service_state *replica =
                fx_api_find_replica(state->view, host, &service->name);
            if (replica == NULL || replica->role != FX_ROLE_STANDBY) {
                continue;
            }
            const label labels[LABEL_MAX] = {
                {"service", service->name.text}, {"host", host->text}, {NULL, NULL}};
            switch (metric) {
            case LAG_SECONDS:
                put_seconds(to, labels, replica->replay_lag);
                break;
            case LAG_BYTES:
                put_int(to, labels, (int64_t)fx_api_lag_bytes(state, service, host));
                break;
            case STREAMING:
                put_int(to, labels, replica->streaming);
                break;
            }
        }
    }
}

static void
put_replication(writer *to, const fx_api_state *state)
{
    family(
        to,
        "fortress_replication_lag_seconds",
        "gauge",
        "How far a standby's replay is behind, as it says itself.");
    put_standbys(to, state, LAG_SECONDS);
    family(
        to,
        "fortress_replication_lag_bytes",
        "gauge",
        "WAL that a standby lacks of the primary's newest reported position.");
    put_standbys(to, state, LAG_BYTES);
    family(to, "fortress_replication_streaming", "gauge", "1 while a standby streams, else 0.");
    put_standbys(to, state, STREAMING);
}

/* What would be lost now: the smallest lag among the standbys that stream. */
static void
put_recovery_point(writer *to, const fx_api_state *state)
{
    family(
        to,
        "fortress_recovery_point_lag_seconds",
        "gauge",
        "Replay lag of the best standby: what losing the primary now would cost.");
    for (size_t i = 0; i < state->ledger->service_count; i++) {
        const fx_service *service = &state->ledger->services[i];
        const fx_service_state *best = NULL;
        for (size_t j = 0; j < service->member_count; j++) {
            const fx_service_state *replica =
                fx_api_find_replica(state->view, &service->members[j].host, &service->name);
            if (replica != NULL && replica->role == FX_ROLE_STANDBY && replica->streaming &&
                (best == NULL || replica->replay_lag.ns < best->replay_lag.ns)) {
                best = replica;
            }
        }
        if (best != NULL) {
            put_seconds(to, LABELS({"service", service->name.text}), best->replay_lag);
        }
    }
}

static void
put_gaps(writer *to, const fx_view *view)
{
    family(
        to,
        "fortress_wal_gaps",
        "gauge",
        "Ranges of WAL that a host could not keep and that no restore passes.");
    for (size_t i = 0; i < view->host_count; i++) {
        put_int(
            to,
            LABELS({"host", view->hosts[i].host.text}, {"region", view->hosts[i].region.text}),
            (int64_t)view->hosts[i].hole_total);
    }
    family(to, "fortress_wal_gap_bytes", "gauge", "Size of those ranges in all.");
    for (size_t i = 0; i < view->host_count; i++) {
        put_int(
            to,
            LABELS({"host", view->hosts[i].host.text}, {"region", view->hosts[i].region.text}),
            (int64_t)view->hosts[i].hole_bytes);
    }
}

static void
put_hosts(writer *to, const fx_api_state *state)
{
    const fx_view *view = state->view;
    family(
        to,
        "fortress_host_last_report_seconds",
        "gauge",
        "Time since any coordinator heard the host.");
    for (size_t i = 0; i < view->host_count; i++) {
        put_seconds(
            to,
            LABELS({"host", view->hosts[i].host.text}, {"region", view->hosts[i].region.text}),
            fx_mono_since(state->now, view->hosts[i].reported_at));
    }
    family(to, "fortress_host_silent", "gauge", "1 when the host was not heard for too long.");
    for (size_t i = 0; i < view->host_count; i++) {
        put_int(
            to,
            LABELS({"host", view->hosts[i].host.text}, {"region", view->hosts[i].region.text}),
            fx_api_is_silent(state, &view->hosts[i].host));
    }
    put_gaps(to, view);
    family(
        to,
        "fortress_lease_seconds_left",
        "gauge",
        "What is left of a host's lease as seen here; 0 when it is over.");
    for (size_t i = 0; i < state->ledger->lease_count; i++) {
        const fx_lease *lease = &state->ledger->leases[i];
        fx_dur left = fx_api_lease_left(state, &lease->host);
        put_seconds(to, LABELS({"host", lease->host.text}), left.ns > 0 ? left : (fx_dur){0});
    }
    family(to, "fortress_lease_open", "gauge", "1 when the host's lease can be renewed, else 0.");
    for (size_t i = 0; i < state->ledger->lease_count; i++) {
        const fx_lease *lease = &state->ledger->leases[i];
        put_int(to, LABELS({"host", lease->host.text}), lease->open);
    }
}

/* Newest first: was one of this service and kind seen before `index`? */
static bool
is_newest(const fx_metrics_input *input, size_t index)
{
    for (size_t i = 0; i < index; i++) {
        if (input->plans[i].kind == input->plans[index].kind &&
            input->plans[i].state == FX_PLAN_STATE_DONE &&
            fx_name_is(&input->plans[i].service, &input->plans[index].service)) {
            return false;
        }
    }
    return true;
}

static void
put_plan_durations(writer *to, const fx_metrics_input *input, bool from_loss)
{
    for (size_t i = 0; i < input->plan_count; i++) {
        const fx_plan *plan = &input->plans[i];
        if (plan->state != FX_PLAN_STATE_DONE || !is_newest(input, i)) {
            continue;
        }
        fx_wall from = from_loss && plan->lost_since.ns != 0 ? plan->lost_since : plan->started;
        put_seconds(
            to,
            LABELS({"service", plan->service.text}, {"kind", fx_api_plan_kind_name(plan->kind)}),
            wall_between(from, plan->finished));
    }
}

static void
put_plans(writer *to, const fx_metrics_input *input)
{
    static const fx_plan_state states[] = {
        FX_PLAN_STATE_DONE, FX_PLAN_STATE_FAILED, FX_PLAN_STATE_ABANDONED};
    family(
        to,
        "fortress_failover_duration_seconds",
        "gauge",
        "From the start to the end of the newest finished plan of its kind.");
    put_plan_durations(to, input, false);
    family(
        to,
        "fortress_recovery_time_seconds",
        "gauge",
        "From the moment that the primary was last heard to the end of the newest finished plan.");
    put_plan_durations(to, input, true);
    family(to, "fortress_plans_finished", "gauge", "Plans in the newest history, by outcome.");
    for (size_t i = 0; i < sizeof states / sizeof states[0]; i++) {
        int64_t count = 0;
        for (size_t j = 0; j < input->plan_count; j++) {
            count += input->plans[j].state == states[i];
        }
        put_int(to, LABELS({"state", fx_api_plan_state_name(states[i])}), count);
    }
}

typedef enum snapshot_metric { AGE, DURATION, SIZE, WARNINGS } snapshot_metric;

static void
put_snapshot(writer *to, const fx_metrics_input *input, snapshot_metric metric)
{
    for (size_t i = 0; input->newest != NULL && i < input->newest->count; i++) {
        const fx_snapshot *one = &input->newest->items[i].snapshot;
        const label labels[LABEL_MAX] = {
            {"host", one->host.text}, {"source", one->source}, {NULL, NULL}};
        switch (metric) {
        case AGE:
            put_seconds(to, labels, wall_between(one->began, input->state->wall));
            break;
        case DURATION:
            if (one->ended.ns != 0) {
                put_seconds(to, labels, wall_between(one->began, one->ended));
            }
            break;
        case SIZE:
            put_int(to, labels, (int64_t)one->size_bytes);
            break;
        case WARNINGS:
            put_int(to, labels, one->warning_count);
            break;
        }
    }
}

static void
put_backups(writer *to, const fx_metrics_input *input)
{
    family(to, "fortress_backup_age_seconds", "gauge", "Age of a source's newest snapshot.");
    put_snapshot(to, input, AGE);
    family(to, "fortress_backup_duration_seconds", "gauge", "Time that the newest snapshot took.");
    put_snapshot(to, input, DURATION);
    family(to, "fortress_backup_size_bytes", "gauge", "Size of what the newest snapshot saved.");
    put_snapshot(to, input, SIZE);
    family(to, "fortress_backup_warnings", "gauge", "Warnings of the newest snapshot.");
    put_snapshot(to, input, WARNINGS);
    family(
        to,
        "fortress_backup_storage_usage",
        "gauge",
        "Bytes that the snapshots of a repository added to its store.");
    for (size_t i = 0; i < input->source_count; i++) {
        const fx_catalog_source *one = &input->sources[i];
        put_int(to, LABELS({"repository", one->name.text}), (int64_t)one->added_bytes);
    }
    family(to, "fortress_repository_snapshots", "gauge", "Snapshots that a repository holds.");
    for (size_t i = 0; i < input->source_count; i++) {
        const fx_catalog_source *one = &input->sources[i];
        put_int(to, LABELS({"repository", one->name.text}), (int64_t)one->snapshot_count);
    }
    family(to, "fortress_repository_reachable", "gauge", "1 when its last reading succeeded.");
    for (size_t i = 0; i < input->source_count; i++) {
        const fx_catalog_source *one = &input->sources[i];
        put_int(to, LABELS({"repository", one->name.text}), one->reachable);
    }
}

static void
put_api(writer *to, const fx_metrics_input *input)
{
    static const char *const classes[] = {"0xx", "1xx", "2xx", "3xx", "4xx", "5xx"};
    family(to, "fortress_api_requests_total", "counter", "Answers of this API by class of status.");
    for (size_t i = 2; i < sizeof classes / sizeof classes[0]; i++) {
        put_int(to, LABELS({"class", classes[i]}), (int64_t)input->answers[i]);
    }
}

fx_code
fx_metrics_print(const fx_metrics_input *input, fx_buf *out, fx_err *err)
{
    writer to = {.out = out, .err = err, .code = FX_OK};
    put_coordinator(&to, input->state);
    put_store(&to, input->state);
    put_services(&to, input->state);
    put_replication(&to, input->state);
    put_recovery_point(&to, input->state);
    put_hosts(&to, input->state);
    put_plans(&to, input);
    put_backups(&to, input);
    put_api(&to, input);
    return to.code;
}
