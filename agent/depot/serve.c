#include "agent/depot/serve.h"

#include <string.h>

#include "common/base/clock.h"

enum { WORKERS_MAX = 32, QUEUE_SPARE = 16 };

typedef struct job {
    fx_depot *depot;
    fx_wire_request *request;
    fx_depot_guest *guest;
} job;

/* ---- requests
 * -------------------------------------------------------------------------------------- */

void
fx_depot_log_refused(fx_depot *depot, const fx_wire_peer *peer, const fx_err *reason)
{
    uint64_t suppressed = 0;
    fx_monitor_lock(&depot->monitor);
    bool log = fx_rate_take(&depot->log_rate, fx_clock_mono(), &suppressed);
    fx_monitor_unlock(&depot->monitor);
    if (log) {
        FX_LOG(
            depot->log,
            WARN,
            "request.refused",
            FX_STR("peer", peer->name.text),
            FX_STR("role", peer->role.text),
            FX_STR("code", fx_code_name(reason->code)),
            FX_ERR_FIELD(reason),
            FX_INT("suppressed", suppressed));
    }
}

/* Answers at once: on a thread of the wire. */
static void
refuse(fx_wire_request *request, const fx_err *reason)
{
    FX_BUF_AUTO reply;
    fx_buf_init(&reply, FX_DEPOT_MESSAGE_MAX_BYTES);
    fx_depot_refusal(reason, &reply);
    fx_wire_reply(request, fx_buf_bytes(&reply));
}

/* On a thread of the pool. */
static void
run_job(void *ctx)
{
    job *self = ctx;
    fx_depot *depot = self->depot;
    FX_BUF_AUTO reply;
    fx_buf_init(&reply, FX_DEPOT_MESSAGE_MAX_BYTES);
    fx_bytes bytes = fx_wire_request_bytes(self->request);
    bool is_good = fx_depot_answer(depot, &self->guest->name, bytes, &reply);
    fx_monitor_lock(&depot->monitor);
    self->guest->busy_count--;
    fx_monitor_unlock(&depot->monitor);
    if (is_good) {
        fx_wire_reply(self->request, fx_buf_bytes(&reply));
    } else {
        fx_wire_drop(self->request);
    }
    free(self);
}

static fx_depot_guest *
find_guest(fx_depot *depot, const fx_wire_peer *peer)
{
    if (strcmp(peer->role.text, "agent") != 0) {
        return NULL;
    }
    for (size_t i = 0; i < depot->guest_count; i++) {
        if (fx_name_is(&depot->guests[i].name, &peer->name)) {
            return &depot->guests[i];
        }
    }
    return NULL;
}

static fx_code
let_in(fx_depot *depot, fx_depot_guest *guest, fx_err *err)
{
    uint64_t ignored = 0;
    fx_monitor_lock(&depot->monitor);
    bool has_room = guest->busy_count < depot->request_max / FX_DEPOT_HOST_SHARE + 1;
    bool is_slow = has_room && fx_rate_take(&guest->rate, fx_clock_mono(), &ignored);
    if (is_slow) {
        guest->busy_count++;
    }
    fx_monitor_unlock(&depot->monitor);
    return is_slow ? FX_OK
                   : fx_fail(
                         err,
                         FX_ERR_BUSY,
                         "could not do this now: %s asks %s",
                         guest->name.text,
                         has_room ? "too often" : "too much at a time");
}

/* On a thread of the wire: must not block. */
static void
receive(void *ctx, fx_wire_request *request)
{
    fx_depot *depot = ctx;
    fx_err err;
    const fx_wire_peer *peer = fx_wire_request_peer(request);
    fx_depot_guest *guest = find_guest(depot, peer);
    if (guest == NULL) {
        fx_code code = fx_fail(
            &err,
            FX_ERR_DENIED,
            "could not do this: the depot's configuration has no host %s",
            peer->name.text);
        FX_ASSERT(code != FX_OK);
        fx_depot_log_refused(depot, peer, &err);
        refuse(request, &err);
        return;
    }
    if (let_in(depot, guest, &err) != FX_OK) {
        refuse(request, &err);
        return;
    }
    job *self = calloc(1, sizeof *self);
    FX_ASSERT(self != NULL);
    *self = (job){.depot = depot, .request = request, .guest = guest};
    fx_pool_submit(depot->pool, run_job, self); /* its queue has room for all that the wire hands */
}

/* ---- opening
 * --------------------------------------------------------------------------------------- */

static void
add_guest(fx_depot *depot, const fx_name *name, unsigned requests_second)
{
    for (size_t i = 0; i < depot->guest_count; i++) {
        if (fx_name_is(&depot->guests[i].name, name)) {
            return;
        }
    }
    fx_depot_guest *grown =
        realloc(depot->guests, (depot->guest_count + 1) * sizeof *depot->guests);
    FX_ASSERT(grown != NULL);
    depot->guests = grown;
    grown[depot->guest_count++] = (fx_depot_guest){
        .name = *name,
        .rate = {
            .burst = requests_second, .refill = {.ns = 1000 * FX_NS_PER_MS / requests_second}}};
}

static void
count_object(void *ctx, const fx_name *owner, uint64_t size_bytes)
{
    fx_depot_room *room = ctx;
    for (size_t i = 0; i < room->share_count; i++) {
        if (fx_name_is(&room->shares[i].host, owner)) {
            room->shares[i].used_bytes += size_bytes;
            return;
        }
    }
}

static fx_code
open_room(fx_depot *depot, const fx_depot_repository *from, unsigned requests_second, fx_err *err)
{
    fx_depot_room *room = &depot->rooms[depot->room_count++];
    room->name = fx_name_of(from->name);
    room->shares = calloc(from->hosts_count, sizeof *room->shares);
    FX_ASSERT(room->shares != NULL);
    room->share_count = from->hosts_count;
    for (size_t i = 0; i < room->share_count; i++) {
        room->shares[i].host = fx_name_of(from->hosts[i].name);
        room->shares[i].access = from->hosts[i].access;
        room->shares[i].quota_bytes = from->hosts[i].quota_bytes;
        add_guest(depot, &room->shares[i].host, requests_second);
    }
    if (fx_shelf_open(from->path, &room->shelf, err) != FX_OK ||
        fx_shelf_count(room->shelf, count_object, room, err) != FX_OK) {
        return fx_err_wrap(err, "opening the depot \"%s\"", from->name);
    }
    for (size_t i = 0; i < room->share_count; i++) {
        FX_LOG(
            depot->log,
            INFO,
            "share.counted",
            FX_STR("depot", room->name.text),
            FX_STR("host", room->shares[i].host.text),
            FX_INT("used_bytes", room->shares[i].used_bytes),
            FX_INT("quota_bytes", room->shares[i].quota_bytes));
    }
    return FX_OK;
}

static fx_code
open_parts(fx_depot *depot, const fx_depot_config *config, fx_err *err)
{
    for (unsigned i = 0; i < config->coordinators_count; i++) {
        const fx_depot_coordinator *each = &config->coordinators[i];
        fx_name name = fx_name_of(each->name);
        fx_name region = fx_name_of(each->region);
        if (fx_endorsers_add(&depot->endorsers, &name, &region, each->endorsement_key, err) !=
            FX_OK) {
            return err->code;
        }
    }
    for (unsigned i = 0; i < config->depots_count; i++) {
        if (open_room(depot, &config->depots[i], config->host_requests_second, err) != FX_OK) {
            return err->code;
        }
    }
    unsigned workers = config->request_max < WORKERS_MAX ? config->request_max : WORKERS_MAX;
    depot->pool = fx_pool_new(workers, config->request_max + QUEUE_SPARE);
    fx_wire_server_options wire = {
        .url = config->listen,
        .tls =
            {.ca_file = config->tls->ca,
             .certificate_file = config->tls->certificate,
             .key_file = config->tls->key},
        .message_max_bytes = FX_DEPOT_MESSAGE_MAX_BYTES,
        .connection_max = config->connection_max,
        .request_max = config->request_max,
        .handler = receive,
        .ctx = depot,
        .log = depot->log,
    };
    return fx_wire_server_open(&wire, &depot->server, err);
}

fx_code
fx_depot_open(const fx_depot_config *config, const fx_log *log, fx_depot **out_depot, fx_err *err)
{
    fx_depot *made = calloc(1, sizeof *made);
    FX_ASSERT(made != NULL);
    made->log = log;
    made->cluster = fx_name_of(config->cluster);
    made->host = fx_name_of(config->host);
    made->request_max = config->request_max;
    made->log_rate = (fx_rate){.burst = 20, .refill = {.ns = 1000 * FX_NS_PER_MS}};
    fx_monitor_init(&made->monitor);
    made->rooms = calloc(config->depots_count, sizeof *made->rooms);
    FX_ASSERT(made->rooms != NULL);
    FX_AUTO(fx_depot) depot = made;
    if (open_parts(depot, config, err) != FX_OK) {
        return err->code;
    }
    FX_LOG(log, INFO, "depot.ready", FX_INT("port", fx_wire_server_port(depot->server)));
    *out_depot = FX_TAKE(depot);
    return FX_OK;
}

static void
free_upload(fx_depot_upload *upload)
{
    fx_stage_free(upload->stage);
    free(upload);
}

void
fx_depot_sweep(fx_depot *depot)
{
    fx_depot_upload *old = NULL;
    fx_mono now = fx_clock_mono();
    fx_monitor_lock(&depot->monitor);
    for (fx_depot_upload **at = &depot->uploads; *at != NULL;) {
        fx_depot_upload *upload = *at;
        fx_dur idle = fx_mono_since(now, upload->last);
        if (upload->is_busy || !fx_dur_over(idle, FX_DUR_MS(FX_DEPOT_UPLOAD_IDLE_MS))) {
            at = &upload->next;
            continue;
        }
        *at = upload->next;
        upload->share->reserved_bytes -= fx_stage_size_bytes(upload->stage);
        upload->next = old;
        old = upload;
    }
    fx_monitor_unlock(&depot->monitor);
    while (old != NULL) {
        fx_depot_upload *next = old->next;
        free_upload(old);
        old = next;
    }
}

void
fx_depot_free(fx_depot *depot)
{
    if (depot == NULL) {
        return;
    }
    fx_wire_server_free(depot->server);
    if (depot->pool != NULL) {
        fx_pool_free(depot->pool); /* its replies go nowhere any more */
    }
    while (depot->uploads != NULL) {
        fx_depot_upload *next = depot->uploads->next;
        free_upload(depot->uploads);
        depot->uploads = next;
    }
    for (size_t i = 0; i < depot->room_count; i++) {
        fx_shelf_free(depot->rooms[i].shelf);
        free(depot->rooms[i].shares);
    }
    free(depot->rooms);
    free(depot->guests);
    fx_endorsers_deinit(&depot->endorsers);
    fx_monitor_deinit(&depot->monitor);
    free(depot);
}
