/* What agents and other coordinators send: reports with their replies, digests, orders to be
 * endorsed. */
#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "coordinator/core/endorse.h"
#include "coordinator/core/goals.h"
#include "coordinator/core/observe.h"
#include "coordinator/core/renewal.h"
#include "coordinator/ledger/record.h"
#include "coordinator/run/daemon.h"
#include "proto/link_check.h"

/* protobuf-c takes unsigned char * where it only reads. */
static ProtobufCBinaryData
data_of(const unsigned char *bytes, size_t size_bytes)
{
    union {
        const unsigned char *in;
        unsigned char *out;
    } cast = {.in = bytes};
    return (ProtobufCBinaryData){.len = size_bytes, .data = cast.out};
}

/* ---- replies
 * ---------------------------------------------------------------------------------------- */

typedef struct reply_room {
    Fortress__Link__ReportReply reply;
    fx_goals goals_data;
    fx_orders orders_data;
    Fortress__Link__Goal goals[FX_SERVICE_MAX];
    Fortress__Link__Goal *goal_pointers[FX_SERVICE_MAX];
    Fortress__Link__SignedOrder orders[FX_ORDERS_MAX];
    Fortress__Link__SignedOrder *order_pointers[FX_ORDERS_MAX];
    Fortress__Link__Endorsement endorsements[FX_ORDERS_MAX][FX_ENDORSEMENT_MAX];
    Fortress__Link__Endorsement *endorsement_pointers[FX_ORDERS_MAX][FX_ENDORSEMENT_MAX];
    char *acknowledged[FX_RESULT_MAX];
} reply_room;

static Fortress__Link__Role
role_of(fx_role role)
{
    switch (role) {
    case FX_ROLE_PRIMARY:
        return FORTRESS__LINK__ROLE__ROLE_PRIMARY;
    case FX_ROLE_STANDBY:
        return FORTRESS__LINK__ROLE__ROLE_STANDBY;
    case FX_ROLE_HELD:
        return FORTRESS__LINK__ROLE__ROLE_HELD;
    case FX_ROLE_NONE:
        break;
    }
    return FORTRESS__LINK__ROLE__ROLE_NONE;
}

static void
fill_goals(reply_room *room)
{
    for (size_t i = 0; i < room->goals_data.count; i++) {
        const fx_goal *from = &room->goals_data.items[i];
        Fortress__Link__Goal *to = &room->goals[i];
        fortress__link__goal__init(to);
        to->service = fx_link_text(from->service.text);
        to->epoch = from->epoch.value;
        to->role = role_of(from->role);
        to->primary_host = fx_link_text(from->primary.text);
        to->upstream_host = fx_link_text(from->upstream.host.text);
        to->upstream_address = fx_link_text(from->upstream.address);
        to->upstream_port = from->upstream.port;
        room->goal_pointers[i] = to;
    }
    room->reply.n_goals = room->goals_data.count;
    room->reply.goals = room->goal_pointers;
}

static void
fill_orders(reply_room *room)
{
    for (size_t i = 0; i < room->orders_data.deliver_count; i++) {
        const fx_signed_order *from = room->orders_data.deliver[i];
        Fortress__Link__SignedOrder *to = &room->orders[i];
        fortress__link__signed_order__init(to);
        to->order = data_of(from->bytes, from->size_bytes);
        for (size_t k = 0; k < from->endorsement_count; k++) {
            const fx_endorsement *by = &from->endorsements[k];
            Fortress__Link__Endorsement *endorsement = &room->endorsements[i][k];
            fortress__link__endorsement__init(endorsement);
            endorsement->coordinator = fx_link_text(by->coordinator.text);
            endorsement->region = fx_link_text(by->region.text);
            endorsement->signature = data_of(by->signature, FX_SIGNATURE_BYTES);
            room->endorsement_pointers[i][k] = endorsement;
        }
        to->n_endorsements = from->endorsement_count;
        to->endorsements = room->endorsement_pointers[i];
        room->order_pointers[i] = to;
    }
    room->reply.n_orders = room->orders_data.deliver_count;
    room->reply.orders = room->order_pointers;
    for (size_t i = 0; i < room->orders_data.acknowledge_count; i++) {
        room->acknowledged[i] = room->orders_data.acknowledge[i].text;
    }
    room->reply.n_acknowledged_orders = room->orders_data.acknowledge_count;
    room->reply.acknowledged_orders = room->acknowledged;
}

/* `granted`: the lease record that was committed for this very request, or NULL. */
static void
answer(
    fx_daemon *daemon, fx_listener_message *message, const fx_lease *granted, const char *refused)
{
    fx_name name = fx_name_of(message->envelope->sender);
    fx_mono now = fx_clock_mono();
    const fx_view *view = fx_fleet_view(daemon->fleet, now);
    const fx_host_view *host = fx_view_host(view, &name);
    FX_ASSERT(host != NULL);
    reply_room *room = calloc(1, sizeof *room);
    FX_ASSERT(room != NULL);
    Fortress__Link__ReportReply *reply = &room->reply;
    fortress__link__report_reply__init(reply);
    room->goals_data = fx_goals_for(daemon->ledger, view, &daemon->policy, host, now);
    room->orders_data = fx_orders_for(daemon->ledger, host);
    reply->lease_granted = granted != NULL;
    reply->lease_ns = daemon->policy.lease.ns;
    reply->margin_ns = daemon->policy.margin.ns;
    reply->renewal = granted == NULL ? 0 : granted->renewal;
    reply->lease_refused_reason = fx_link_text(refused == NULL ? "" : refused);
    reply->next_report_ns = room->goals_data.next_report.ns;
    reply->leader = fx_link_text(daemon->ledger->leader.coordinator.text);
    fill_goals(room);
    fill_orders(room);
    Fortress__Link__Envelope envelope;
    fortress__link__envelope__init(&envelope);
    envelope.body_case = FORTRESS__LINK__ENVELOPE__BODY_REPORT_REPLY;
    envelope.report_reply = reply;
    fx_listener_reply(message, &envelope);
    free(room);
}

/* ---- renewals: what is there goes together, one transaction at a time
 * ---------------------------------- */

static fx_mono *
granted_at(fx_daemon *daemon, const fx_name *host)
{
    for (size_t i = 0; i < daemon->granted_count; i++) {
        if (fx_same(&daemon->granted[i].host, host)) {
            return &daemon->granted[i].at;
        }
    }
    if (daemon->granted_count == FX_HOST_MAX) {
        return NULL;
    }
    daemon->granted[daemon->granted_count].host = *host;
    return &daemon->granted[daemon->granted_count++].at;
}

static fx_renewal
decide_renewal(fx_daemon *daemon, const fx_name *host)
{
    fx_mono now = fx_clock_mono();
    const fx_host_view *report = fx_view_host(fx_fleet_view(daemon->fleet, now), host);
    FX_ASSERT(report != NULL);
    const fx_mono *granted = granted_at(daemon, host);
    return fx_renewal_decide(
        daemon->ledger,
        report,
        &daemon->self.name,
        &daemon->policy,
        granted == NULL ? (fx_mono){0} : *granted,
        now);
}

static void
renew(void *ctx)
{
    fx_run_batch *batch = ctx;
    batch->err = (fx_err){0};
    fx_mono deadline = fx_mono_after(fx_clock_mono(), FX_DUR_MS(FX_RUN_RENEW_MS));
    fx_ignore(
        fx_ledger_renew(
            &batch->daemon->ledger_door,
            batch->leases,
            batch->count,
            deadline,
            &batch->revision,
            &batch->err),
        "told by batch->err on the loop");
}

/* A later read may already show more than this commit: never goes back. */
static void
fold_renewal(fx_daemon *daemon, const fx_lease *renewed, fx_revision revision)
{
    for (size_t i = 0; i < daemon->ledger->lease_count; i++) {
        fx_lease *lease = &daemon->ledger->leases[i];
        if (fx_same(&lease->host, &renewed->host) && lease->revision.value < revision.value) {
            *lease = *renewed;
            lease->revision = revision;
            lease->seen_since = fx_clock_mono();
        }
    }
}

static void
renewed(void *ctx)
{
    fx_run_batch *batch = ctx;
    fx_daemon *daemon = batch->daemon;
    bool done = batch->err.code == FX_OK;
    fx_monitor_lock(&daemon->monitor);
    daemon->is_renewing = false;
    if (!done) {
        FX_LOG(
            &daemon->log,
            WARN,
            "lease.unrenewed",
            FX_INT("hosts", batch->count),
            FX_ERR_FIELD(&batch->err));
    }
    for (size_t i = 0; i < batch->count; i++) {
        const fx_lease *lease = &batch->leases[i];
        if (done) {
            fold_renewal(daemon, lease, batch->revision);
            fx_mono *at = granted_at(daemon, &lease->host);
            if (at != NULL) {
                *at = fx_clock_mono();
            }
        }
        answer(daemon, batch->messages[i], done ? lease : NULL, NULL);
    }
    fx_monitor_unlock(&daemon->monitor);
    if (!done) {
        fx_run_poll(daemon); /* somebody else changed a record, or the store is away */
    }
    fx_monitor_lock(&daemon->monitor);
    fx_run_renew(daemon);
    fx_monitor_unlock(&daemon->monitor);
}

void
fx_run_renew(fx_daemon *daemon)
{
    if (daemon->is_renewing || daemon->waiting_count == 0 || daemon->stopping) {
        return;
    }
    fx_run_batch *batch = &daemon->batch;
    batch->daemon = daemon;
    batch->count = 0;
    for (size_t i = 0; i < daemon->waiting_count; i++) {
        fx_listener_message *message = daemon->waiting[i];
        fx_name host = fx_name_of(message->envelope->sender);
        fx_renewal renewal = decide_renewal(daemon, &host);
        if (renewal.act == FX_RENEWAL_RENEW) {
            batch->messages[batch->count] = message;
            batch->leases[batch->count++] = renewal.lease;
        } else {
            answer(daemon, message, NULL, renewal.reason);
        }
    }
    daemon->waiting_count = 0;
    if (batch->count > 0) {
        daemon->is_renewing = true;
        fx_loop_work(daemon->loop, renew, renewed, batch);
    }
}

void
fx_run_drop_waiting(fx_daemon *daemon)
{
    for (size_t i = 0; i < daemon->waiting_count; i++) {
        answer(daemon, daemon->waiting[i], NULL, NULL);
    }
    daemon->waiting_count = 0;
}

/* ---- reports
 * ---------------------------------------------------------------------------------------- */

typedef struct note_job {
    fx_daemon *daemon;
    Fortress__Link__Report *report;
} note_job;

static void
add_notes(void *ctx)
{
    const note_job *job = ctx;
    for (size_t i = 0; i < job->report->n_snapshots; i++) {
        const Fortress__Link__SnapshotNote *from = job->report->snapshots[i];
        fx_catalog_note note = {
            .id = from->id,
            .host = job->report->host,
            .source = from->source,
            .kind = from->kind,
            .taken = {from->taken_wall_ns},
            .size_bytes = from->size_bytes,
            .warning_count = from->warnings,
        };
        fx_err err = {0};
        if (fx_catalog_add_note(job->daemon->catalog, &note, &err) != FX_OK) {
            FX_LOG(&job->daemon->log, WARN, "catalog.unnoted", FX_ERR_FIELD(&err));
        }
    }
}

static void
notes_added(void *ctx)
{
    note_job *job = ctx;
    fortress__link__report__free_unpacked(job->report, NULL);
    free(job);
}

/* FNV-1a over the ids: changes when a host tells of another snapshot. */
static uint64_t
hash_snapshots(const Fortress__Link__Report *report)
{
    uint64_t hash = UINT64_C(14695981039346656037);
    for (size_t i = 0; i < report->n_snapshots; i++) {
        for (const char *at = report->snapshots[i]->id; *at != '\0'; at++) {
            hash = (hash ^ (unsigned char)*at) * UINT64_C(1099511628211);
        }
    }
    return hash;
}

static bool
has_new_snapshots(fx_daemon *daemon, const fx_name *host, const Fortress__Link__Report *report)
{
    uint64_t hash = hash_snapshots(report);
    for (size_t i = 0; i < daemon->noted_count; i++) {
        if (fx_same(&daemon->noted[i].host, host)) {
            bool changed = daemon->noted[i].hash != hash;
            daemon->noted[i].hash = hash;
            return changed;
        }
    }
    if (daemon->noted_count < FX_HOST_MAX) {
        daemon->noted[daemon->noted_count].host = *host;
        daemon->noted[daemon->noted_count++].hash = hash;
    }
    return true;
}

static void
note_snapshots(fx_daemon *daemon, const fx_name *host, const Fortress__Link__Report *report)
{
    if (report->n_snapshots == 0 || !has_new_snapshots(daemon, host, report)) {
        return;
    }
    size_t size_bytes = fortress__link__report__get_packed_size(report);
    unsigned char *bytes = malloc(size_bytes);
    note_job *job = calloc(1, sizeof *job);
    FX_ASSERT(bytes != NULL);
    FX_ASSERT(job != NULL);
    (void)fortress__link__report__pack(report, bytes);
    job->daemon = daemon;
    job->report = fortress__link__report__unpack(NULL, size_bytes, bytes);
    free(bytes);
    FX_ASSERT(job->report != NULL);
    fx_loop_work(daemon->loop, add_notes, notes_added, job);
}

static void
take_report(fx_daemon *daemon, fx_listener_message *message)
{
    const fx_host_view *host = NULL;
    fx_err err = {0};
    if (!daemon->has_ledger) {
        fx_ignore(
            fx_fail(&err, FX_ERR_BUSY, "this coordinator has not read the ledger yet"), "sent");
        fx_listener_refuse(message, &err);
        return;
    }
    if (fx_fleet_hear_report(daemon->fleet, message->envelope, message->arrived, &host, &err) !=
        FX_OK) {
        FX_LOG(
            &daemon->log,
            WARN,
            "report.refused",
            FX_STR("host", message->envelope->sender),
            FX_ERR_FIELD(&err));
        fx_listener_refuse(message, &err);
        return;
    }
    note_snapshots(daemon, &host->host, message->envelope->report);
    fx_renewal renewal = decide_renewal(daemon, &host->host);
    if (renewal.act == FX_RENEWAL_RENEW && daemon->waiting_count < FX_LEDGER_RENEW_MAX) {
        daemon->waiting[daemon->waiting_count++] = message;
        fx_run_renew(daemon);
        return;
    }
    answer(daemon, message, NULL, renewal.reason);
}

static void
take_digest(fx_daemon *daemon, fx_listener_message *message)
{
    fx_err err = {0};
    if (fx_fleet_hear_digest(daemon->fleet, message->envelope, message->arrived, &err) != FX_OK) {
        FX_LOG(
            &daemon->log,
            WARN,
            "digest.refused",
            FX_STR("peer", message->envelope->sender),
            FX_ERR_FIELD(&err));
        fx_listener_refuse(message, &err);
        return;
    }
    Fortress__Link__DigestReply reply;
    fortress__link__digest_reply__init(&reply);
    reply.accepted = true;
    Fortress__Link__Envelope envelope;
    fortress__link__envelope__init(&envelope);
    envelope.body_case = FORTRESS__LINK__ENVELOPE__BODY_DIGEST_REPLY;
    envelope.digest_reply = &reply;
    fx_listener_reply(message, &envelope);
}

/* ---- endorsing
 * ---------------------------------------------------------------------------------------- */

typedef struct endorse_job {
    fx_daemon *daemon;
    fx_listener_message *message;
    bool is_signed;
    unsigned char signature[FX_SIGN_BYTES];
    fx_err err;
} endorse_job;

static fx_code
endorse_order(endorse_job *job, fx_ledger *ledger, fx_err *err)
{
    const fx_daemon *daemon = job->daemon;
    const Fortress__Link__Envelope *envelope = job->message->envelope;
    fx_bytes order = {
        .data = envelope->endorse_request->order.data,
        .size_bytes = envelope->endorse_request->order.len,
    };
    fx_order_spec spec = {0};
    fx_name cluster = {0};
    if (order.size_bytes == 0 || order.size_bytes > FX_ORDER_MAX_BYTES) {
        return fx_fail(err, FX_ERR_LIMIT, "an order has 1 to %d bytes", FX_ORDER_MAX_BYTES);
    }
    if (fx_record_decode_order(order, &spec, &cluster, err) != FX_OK) {
        return err->code;
    }
    if (strcmp(cluster.text, daemon->config->cluster) != 0) {
        return fx_fail(err, FX_ERR_DENIED, "the order is of cluster \"%s\"", cluster.text);
    }
    fx_mono deadline = fx_mono_after(fx_clock_mono(), FX_DUR_MS(FX_RUN_READ_MS));
    if (fx_ledger_read(&daemon->ledger_door, deadline, ledger, err) != FX_OK) {
        return err->code;
    }
    if (strcmp(ledger->leader.coordinator.text, envelope->sender) != 0) {
        return fx_fail(err, FX_ERR_DENIED, "%.63s does not lead", envelope->sender);
    }
    const char *refused = fx_endorse_refused(ledger, &spec);
    if (refused != NULL) {
        return fx_fail(err, FX_ERR_DENIED, "%s", refused);
    }
    FX_BUF_AUTO bytes;
    fx_buf_init(&bytes, (size_t)2 * FX_ORDER_MAX_BYTES);
    if (fx_order_signed_bytes(order, &bytes, err) != FX_OK) {
        return err->code;
    }
    fx_sign(daemon->key, fx_buf_bytes(&bytes), job->signature);
    return FX_OK;
}

static void
endorse(void *ctx)
{
    endorse_job *job = ctx;
    fx_ledger *ledger = calloc(1, sizeof *ledger);
    FX_ASSERT(ledger != NULL);
    job->is_signed = endorse_order(job, ledger, &job->err) == FX_OK;
    free(ledger);
}

static void
endorsed(void *ctx)
{
    endorse_job *job = ctx;
    fx_daemon *daemon = job->daemon;
    daemon->endorsing_count--;
    Fortress__Link__Endorsement endorsement;
    fortress__link__endorsement__init(&endorsement);
    endorsement.coordinator = fx_link_text(daemon->self.name.text);
    endorsement.region = fx_link_text(daemon->self.region.text);
    endorsement.signature = data_of(job->signature, sizeof job->signature);
    Fortress__Link__EndorseReply reply;
    fortress__link__endorse_reply__init(&reply);
    if (job->is_signed) {
        reply.endorsement = &endorsement;
        FX_LOG(&daemon->log, INFO, "order.endorsed", FX_STR("for", job->message->envelope->sender));
    } else {
        reply.refused_reason = fx_link_text(job->err.message);
        FX_LOG(
            &daemon->log,
            WARN,
            "endorsement.refused",
            FX_STR("to", job->message->envelope->sender),
            FX_ERR_FIELD(&job->err));
    }
    Fortress__Link__Envelope envelope;
    fortress__link__envelope__init(&envelope);
    envelope.body_case = FORTRESS__LINK__ENVELOPE__BODY_ENDORSE_REPLY;
    envelope.endorse_reply = &reply;
    fx_listener_reply(job->message, &envelope);
    free(job);
}

static void
take_endorse_request(fx_daemon *daemon, fx_listener_message *message)
{
    if (daemon->endorsing_count == FX_RUN_ENDORSE_MAX) {
        fx_err err = {0};
        fx_ignore(fx_fail(&err, FX_ERR_BUSY, "this coordinator signs enough already"), "sent");
        fx_listener_refuse(message, &err);
        return;
    }
    endorse_job *job = calloc(1, sizeof *job);
    FX_ASSERT(job != NULL);
    job->daemon = daemon;
    job->message = message;
    daemon->endorsing_count++;
    fx_loop_work(daemon->loop, endorse, endorsed, job);
}

void
fx_run_take_message(void *ctx, fx_listener_message *message)
{
    fx_daemon *daemon = ctx;
    fx_monitor_lock(&daemon->monitor);
    switch (message->envelope->body_case) {
    case FORTRESS__LINK__ENVELOPE__BODY_REPORT:
        take_report(daemon, message);
        break;
    case FORTRESS__LINK__ENVELOPE__BODY_DIGEST:
        take_digest(daemon, message);
        break;
    default:
        take_endorse_request(daemon, message);
        break;
    }
    fx_monitor_unlock(&daemon->monitor);
}
