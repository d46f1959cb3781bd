#include <string.h>

#include "agent/run/agent.h"

typedef Fortress__Link__ServiceState state_message;
typedef Fortress__Link__ProbeResult probe_message;
typedef Fortress__Link__OrderResult result_message;
typedef Fortress__Link__SnapshotNote snapshot_message;
typedef Fortress__Link__Gap gap_message;

/* What the messages point to while they are packed; large, so on the heap. */
typedef struct room {
    fx_service_report reports[FX_CONFIG_SERVICE_MAX];
    state_message states[FX_CONFIG_SERVICE_MAX];
    state_message *state_list[FX_CONFIG_SERVICE_MAX];
    fx_probe_view views[FX_CONFIG_PROBE_MAX];
    probe_message probes[FX_CONFIG_PROBE_MAX];
    probe_message *probe_list[FX_CONFIG_PROBE_MAX];
    const fx_order_record *records[FX_LINK_RESULT_MAX];
    result_message results[FX_LINK_RESULT_MAX];
    result_message *result_list[FX_LINK_RESULT_MAX];
    fx_snapshot snapshots[FX_CONFIG_JOB_MAX];
    snapshot_message notes[FX_CONFIG_JOB_MAX];
    snapshot_message *note_list[FX_CONFIG_JOB_MAX];
    char *jobs[FX_CONFIG_JOB_MAX];
    fx_gap gaps[FX_GAP_MAX];
    gap_message gap_messages[FX_GAP_MAX];
    gap_message *gap_list[FX_GAP_MAX];
} room;

static_assert((int)FX_GAP_MAX <= (int)FX_LINK_GAP_MAX, "a report takes all gaps");

static Fortress__Link__Role
role_of(fx_service_role role)
{
    switch (role) {
    case FX_SERVICE_ROLE_PRIMARY:
        return FORTRESS__LINK__ROLE__ROLE_PRIMARY;
    case FX_SERVICE_ROLE_STANDBY:
        return FORTRESS__LINK__ROLE__ROLE_STANDBY;
    case FX_SERVICE_ROLE_HELD:
        return FORTRESS__LINK__ROLE__ROLE_HELD;
    case FX_SERVICE_ROLE_NONE:
        break;
    }
    return FORTRESS__LINK__ROLE__ROLE_NONE;
}

static void
add_services(fx_agent *agent, room *all, Fortress__Link__Report *message)
{
    for (size_t i = 0; i < agent->service_count; i++) {
        fx_service_report *report = &all->reports[i];
        fx_service_get_report(agent->services[i], report);
        fx_wal_status wal;
        bool kept = fx_receivers_status(agent->receivers, report->service.text, &wal);
        state_message *state = &all->states[i];
        fortress__link__service_state__init(state);
        state->service = report->service.text;
        state->role = role_of(report->role);
        state->epoch_seen = report->epoch_seen;
        state->fenced_epoch = report->fenced_epoch;
        state->write_lsn = report->write_lsn.value;
        state->replay_lsn = report->replay_lsn.value;
        state->timeline = report->timeline;
        state->replay_lag_ns = report->replay_lag.ns;
        state->healthy = report->healthy;
        state->detail = report->detail;
        state->upstream = report->upstream.text;
        state->streaming = report->streaming;
        state->stopped_lsn = report->stopped_lsn.value;
        state->wal_stored_lsn = kept ? wal.stored.value : 0;
        all->state_list[i] = state;
        message->wants_lease = message->wants_lease || report->lease_epoch > 0;
    }
    message->n_services = agent->service_count;
    message->services = all->state_list;
}

static void
add_probes(const fx_agent *agent, room *all, Fortress__Link__Report *message)
{
    size_t count = 0;
    for (size_t i = 0; i < fx_probes_count(agent->probes); i++) {
        fx_probe_view *view = &all->views[count];
        fx_probes_get(agent->probes, i, view);
        if (!view->seen) {
            continue;
        }
        probe_message *probe = &all->probes[count];
        fortress__link__probe_result__init(probe);
        probe->name = view->config->name;
        probe->kind = view->config->kind;
        probe->target = view->config->target;
        probe->service = fx_link_text(view->config->service == NULL ? "" : view->config->service);
        probe->subject = fx_link_text(view->config->subject == NULL ? "" : view->config->subject);
        probe->ok = view->result.ok;
        probe->took_ns = view->result.took.ns;
        probe->age_ns = view->age.ns;
        probe->detail = view->result.detail;
        all->probe_list[count++] = probe;
    }
    message->n_probes = count;
    message->probes = all->probe_list;
}

static void
add_results(const fx_agent *agent, room *all, Fortress__Link__Report *message)
{
    size_t count = fx_journal_pending(agent->journal, all->records, FX_LINK_RESULT_MAX);
    for (size_t i = 0; i < count; i++) {
        all->results[i] = *all->records[i]; /* borrows its texts; only packed */
        all->result_list[i] = &all->results[i];
    }
    message->n_results = count;
    message->results = all->result_list;
}

static void
add_jobs(const fx_agent *agent, room *all, Fortress__Link__Report *message)
{
    size_t count = 0;
    for (size_t i = 0; i < fx_jobs_count(agent->jobs); i++) {
        all->jobs[i] = fx_link_text(fx_jobs_name(agent->jobs, i));
        fx_snapshot *snapshot = &all->snapshots[count];
        if (!fx_jobs_newest(agent->jobs, i, snapshot)) {
            continue;
        }
        snapshot_message *note = &all->notes[count];
        fortress__link__snapshot_note__init(note);
        note->id = snapshot->id;
        note->source = snapshot->source;
        note->kind = snapshot->kind;
        note->taken_wall_ns = snapshot->began.ns;
        note->size_bytes = snapshot->size_bytes;
        note->warnings = snapshot->warning_count;
        all->note_list[count++] = note;
    }
    message->n_jobs = fx_jobs_count(agent->jobs);
    message->jobs = all->jobs;
    message->n_snapshots = count;
    message->snapshots = all->note_list;
}

static void
add_gaps(const fx_agent *agent, room *all, Fortress__Link__Report *message)
{
    size_t count = fx_gaps_list(agent->gaps, all->gaps);
    for (size_t i = 0; i < count; i++) {
        const fx_gap *gap = &all->gaps[i];
        gap_message *one = &all->gap_messages[i];
        fortress__link__gap__init(one);
        one->service = fx_link_text(gap->service.text);
        one->from_lsn = gap->from.value;
        one->to_lsn = gap->to.value;
        one->reason = fx_link_text(gap->reason);
        one->since_wall_ns = gap->since.ns;
        all->gap_list[i] = one;
    }
    message->n_gaps = count;
    message->gaps = all->gap_list;
}

fx_code
fx_agent_report(fx_agent *agent, fx_buf *out, fx_err *err)
{
    room *all = calloc(1, sizeof *all);
    FX_ASSERT(all != NULL);
    Fortress__Link__Report message;
    fortress__link__report__init(&message);
    message.host = agent->host.text;
    message.region = agent->region.text;
    add_services(agent, all, &message);
    add_probes(agent, all, &message);
    add_results(agent, all, &message);
    add_jobs(agent, all, &message);
    add_gaps(agent, all, &message);
    unsigned char *bytes = NULL;
    size_t size_bytes = fortress__link__report__get_packed_size(&message);
    fx_code code = fx_buf_extend(out, size_bytes, &bytes, err);
    if (code == FX_OK) {
        (void)fortress__link__report__pack(&message, bytes);
    }
    free(all);
    return code;
}
