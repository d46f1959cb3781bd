#include "coordinator/fleet/peer.h"

#include <stdatomic.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/monitor.h"

typedef struct request {
    struct request *next;
    unsigned char order[FX_ORDER_MAX_BYTES];
    size_t size_bytes;
    fx_peer_endorsed done;
    void *ctx;
    fx_endorsement endorsement;
    fx_err err;
} request;

/* Counted: its owner and posted calls hold it. */
struct fx_peer {
    atomic_int references;
    fx_peer_options options;
    fx_wire_client *client;
    pthread_t thread;

    size_t request_count; /* of the loop's thread: not answered yet */

    fx_monitor monitor; /* of what follows */
    bool stopping;
    bool reachable;
    fx_buf digest; /* waits to be sent; empty: none */
    request *first;
    request *answered; /* the loop has to run their `done` */
};

/* ---- on its thread
 * --------------------------------------------------------------------------------- */

static void
note_result(fx_peer *peer, bool reached, const fx_err *err)
{
    fx_monitor_lock(&peer->monitor);
    bool changed = peer->reachable != reached;
    peer->reachable = reached;
    bool stopping = peer->stopping;
    fx_monitor_unlock(&peer->monitor);
    if (!changed || stopping) {
        return;
    }
    if (reached) {
        FX_LOG(peer->options.log, INFO, "peer.reached", FX_STR("peer", peer->options.name.text));
    } else {
        FX_LOG(
            peer->options.log,
            WARN,
            "peer.lost",
            FX_STR("peer", peer->options.name.text),
            FX_ERR_FIELD(err));
    }
}

/* Sends an envelope and gives the checked reply. */
static fx_code
call(
    fx_peer *peer,
    const fx_link_envelope *envelope,
    int64_t limit_ms,
    fx_link_envelope **out_reply,
    fx_err *err)
{
    FX_BUF_AUTO bytes;
    FX_BUF_AUTO answer;
    fx_buf_init(&bytes, FX_LINK_MESSAGE_MAX_BYTES);
    fx_buf_init(&answer, FX_LINK_MESSAGE_MAX_BYTES);
    FX_AUTO(fx_link_envelope) reply = NULL;
    if (fx_link_pack(envelope, &bytes, err) != FX_OK) {
        return err->code;
    }
    fx_mono deadline = fx_mono_after(fx_clock_mono(), FX_DUR_MS(limit_ms));
    if (fx_wire_client_call(peer->client, fx_buf_bytes(&bytes), deadline, &answer, err) != FX_OK ||
        fx_link_unpack(fx_buf_bytes(&answer), &reply, err) != FX_OK) {
        return err->code;
    }
    if (strcmp(reply->sender, peer->options.name.text) != 0 ||
        strcmp(reply->cluster, envelope->cluster) != 0 || reply->sequence != envelope->sequence) {
        return fx_fail(
            err,
            FX_ERR_INVALID,
            "could not use the reply of %s: it is not the answer to this request",
            peer->options.name.text);
    }
    if (reply->body_case == FORTRESS__LINK__ENVELOPE__BODY_REFUSAL) {
        return fx_fail(
            err, FX_ERR_FAILED, "%s refused: %s", peer->options.name.text, reply->refusal->message);
    }
    *out_reply = FX_TAKE(reply);
    return FX_OK;
}

static void
send_digest(fx_peer *peer, fx_bytes digest)
{
    fx_err err;
    Fortress__Link__Digest *body =
        fortress__link__digest__unpack(NULL, digest.size_bytes, digest.data);
    FX_ASSERT(body != NULL); /* our own */
    fx_link_envelope envelope;
    fx_link_sender_fill(peer->options.sender, &envelope);
    envelope.body_case = FORTRESS__LINK__ENVELOPE__BODY_DIGEST;
    envelope.digest = body;
    FX_AUTO(fx_link_envelope) reply = NULL;
    fx_code code = call(peer, &envelope, FX_PEER_DIGEST_MS, &reply, &err);
    note_result(peer, code == FX_OK, &err);
    fortress__link__digest__free_unpacked(body, NULL);
}

static fx_code
read_endorsement(
    const fx_peer *peer,
    const fx_link_envelope *reply,
    fx_endorsement *out_endorsement,
    fx_err *err)
{
    if (reply->body_case != FORTRESS__LINK__ENVELOPE__BODY_ENDORSE_REPLY) {
        return fx_fail(
            err,
            FX_ERR_INVALID,
            "could not use the reply of %s: it is no answer to a request for an endorsement",
            peer->options.name.text);
    }
    const Fortress__Link__Endorsement *given = reply->endorse_reply->endorsement;
    if (given == NULL) {
        return fx_fail(
            err,
            FX_ERR_DENIED,
            "%s does not endorse the order: %s",
            peer->options.name.text,
            reply->endorse_reply->refused_reason);
    }
    fx_endorsement endorsement = {0};
    if (fx_name_parse(given->coordinator, "coordinator", &endorsement.coordinator, err) != FX_OK ||
        fx_name_parse(given->region, "region", &endorsement.region, err) != FX_OK) {
        return err->code;
    }
    _Static_assert(
        sizeof(endorsement.signature) == FX_LINK_SIGNATURE_BYTES, "as long as on the wire");
    memcpy(endorsement.signature, given->signature.data, sizeof(endorsement.signature));
    *out_endorsement = endorsement;
    return FX_OK;
}

static void
ask(fx_peer *peer, request *self)
{
    Fortress__Link__EndorseRequest body;
    fortress__link__endorse_request__init(&body);
    body.order.data = self->order;
    body.order.len = self->size_bytes;
    fx_link_envelope envelope;
    fx_link_sender_fill(peer->options.sender, &envelope);
    envelope.body_case = FORTRESS__LINK__ENVELOPE__BODY_ENDORSE_REQUEST;
    envelope.endorse_request = &body;
    FX_AUTO(fx_link_envelope) reply = NULL;
    self->err.code = FX_OK;
    fx_code code = call(peer, &envelope, FX_PEER_ENDORSE_MS, &reply, &self->err);
    note_result(peer, code == FX_OK, &self->err);
    if (code == FX_OK) {
        FX_ASSERT(reply != NULL);
        fx_ignore(
            read_endorsement(peer, reply, &self->endorsement, &self->err),
            "it stays in the request");
    }
}

/* ---- on the loop's thread
 * -------------------------------------------------------------------------- */

static void
finish(fx_peer *peer, request *self)
{
    peer->request_count--;
    self->done(self->ctx, self->err.code == FX_OK ? &self->endorsement : NULL, &self->err);
    free(self);
}

/* With the monitor held: at the end of the list, in the order of asking. */
static void
append(request **list, request *self)
{
    self->next = NULL;
    while (*list != NULL) {
        list = &(*list)->next;
    }
    *list = self;
}

static request *
take_all(fx_peer *peer, request **list)
{
    fx_monitor_lock(&peer->monitor);
    request *all = *list;
    *list = NULL;
    fx_monitor_unlock(&peer->monitor);
    return all;
}

static void
drop_reference(fx_peer *peer)
{
    if (atomic_fetch_sub(&peer->references, 1) != 1) {
        return;
    }
    fx_monitor_deinit(&peer->monitor);
    fx_buf_free(&peer->digest);
    free(peer);
}

/* One posted call for each answer; the first runs all that are there. */
static void
deliver(void *ctx)
{
    fx_peer *peer = ctx;
    request *next = take_all(peer, &peer->answered);
    while (next != NULL) {
        request *self = next;
        next = self->next;
        finish(peer, self);
    }
    drop_reference(peer);
}

/* ---- the thread
 * ------------------------------------------------------------------------------------ */

static void
answer(fx_peer *peer, request *self)
{
    fx_monitor_lock(&peer->monitor);
    append(&peer->answered, self);
    fx_monitor_unlock(&peer->monitor);
    (void)atomic_fetch_add(&peer->references, 1);
    fx_loop_post(peer->options.loop, deliver, peer);
}

/* With the monitor held: the next request, or the digest moved to `out_digest`. */
static request *
next_task(fx_peer *peer, fx_buf *out_digest)
{
    while (!peer->stopping && peer->first == NULL && peer->digest.size_bytes == 0) {
        fx_monitor_wait(&peer->monitor);
    }
    request *self = peer->stopping ? NULL : peer->first;
    if (self != NULL) {
        peer->first = self->next;
        return self;
    }
    fx_buf swapped = *out_digest;
    *out_digest = peer->digest;
    peer->digest = swapped;
    fx_buf_clear(&peer->digest);
    return NULL;
}

static void *
serve(void *ctx)
{
    fx_peer *peer = ctx;
    FX_BUF_AUTO digest;
    fx_buf_init(&digest, FX_LINK_MESSAGE_MAX_BYTES);
    for (;;) {
        fx_monitor_lock(&peer->monitor);
        request *self = next_task(peer, &digest);
        bool stopping = peer->stopping;
        fx_monitor_unlock(&peer->monitor);
        if (self != NULL) {
            ask(peer, self);
            answer(peer, self);
        } else if (stopping) {
            return NULL;
        } else {
            send_digest(peer, fx_buf_bytes(&digest));
        }
    }
}

/* ---- what the loop calls
 * --------------------------------------------------------------------------- */

fx_code
fx_peer_open(const fx_peer_options *options, fx_peer **out_peer, fx_err *err)
{
    FX_ASSERT(options->loop != NULL && options->sender != NULL);
    fx_peer *peer = calloc(1, sizeof(*peer));
    FX_ASSERT(peer != NULL);
    atomic_init(&peer->references, 1);
    peer->options = *options;
    fx_monitor_init(&peer->monitor);
    fx_buf_init(&peer->digest, FX_LINK_MESSAGE_MAX_BYTES);
    fx_wire_client_options wire = {
        .url = options->url,
        .tls = options->tls,
        .peer_name = options->name,
        .peer_role = fx_name_of("coordinator"),
        .message_max_bytes = FX_LINK_MESSAGE_MAX_BYTES,
        .redial_min = FX_DUR_MS(100),
        .redial_max = FX_DUR_MS(2000),
        .log = options->log,
    };
    if (fx_wire_client_open(&wire, &peer->client, err) != FX_OK) {
        drop_reference(peer);
        return fx_err_wrap(err, "opening the line to coordinator %s", options->name.text);
    }
    int result = pthread_create(&peer->thread, NULL, serve, peer);
    FX_ASSERT(result == 0);
    *out_peer = peer;
    return FX_OK;
}

static void
cancel_all(fx_peer *peer, request *next)
{
    while (next != NULL) {
        request *self = next;
        next = self->next;
        fx_code code = fx_fail_as(
            &self->err,
            FX_CLASS_TRANSIENT,
            FX_ERR_CANCELLED,
            "could not ask %s for an endorsement: cancelled",
            peer->options.name.text);
        FX_ASSERT(code != FX_OK);
        finish(peer, self);
    }
}

void
fx_peer_free(fx_peer *peer)
{
    if (peer == NULL) {
        return;
    }
    fx_monitor_lock(&peer->monitor);
    peer->stopping = true;
    fx_monitor_wake(&peer->monitor);
    fx_monitor_unlock(&peer->monitor);
    fx_wire_client_cancel(peer->client);
    int result = pthread_join(peer->thread, NULL);
    FX_ASSERT(result == 0);
    fx_wire_client_free(peer->client);
    (void)atomic_fetch_add(&peer->references, 1);
    deliver(peer); /* answers that the loop has not seen yet */
    /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): counted, this reference is still held */
    cancel_all(peer, take_all(peer, &peer->first));
    FX_ASSERT(peer->request_count == 0);
    drop_reference(peer);
}

const fx_name *
fx_peer_name(const fx_peer *peer)
{
    return &peer->options.name;
}

const fx_name *
fx_peer_region(const fx_peer *peer)
{
    return &peer->options.region;
}

bool
fx_peer_is_reachable(fx_peer *peer)
{
    fx_monitor_lock(&peer->monitor);
    bool reachable = peer->reachable;
    fx_monitor_unlock(&peer->monitor);
    return reachable;
}

void
fx_peer_send_digest(fx_peer *peer, fx_bytes digest)
{
    FX_ASSERT(digest.size_bytes > 0);
    fx_err err;
    fx_monitor_lock(&peer->monitor);
    fx_buf_clear(&peer->digest);
    if (fx_buf_append(&peer->digest, digest.data, digest.size_bytes, &err) != FX_OK) {
        FX_LOG(peer->options.log, ERROR, "digest.failed", FX_ERR_FIELD(&err));
    }
    fx_monitor_wake(&peer->monitor);
    fx_monitor_unlock(&peer->monitor);
}

fx_code
fx_peer_endorse(fx_peer *peer, fx_bytes order, fx_peer_endorsed done, void *ctx, fx_err *err)
{
    if (order.size_bytes == 0 || order.size_bytes > FX_ORDER_MAX_BYTES) {
        return fx_fail(
            err, FX_ERR_LIMIT, "could not ask for an endorsement: the order is empty or too long");
    }
    if (peer->request_count >= FX_PEER_REQUEST_MAX) {
        return fx_fail(
            err,
            FX_ERR_BUSY,
            "could not ask %s for an endorsement: %d requests are waiting already",
            peer->options.name.text,
            FX_PEER_REQUEST_MAX);
    }
    request *self = calloc(1, sizeof(*self));
    FX_ASSERT(self != NULL);
    memcpy(self->order, order.data, order.size_bytes);
    self->size_bytes = order.size_bytes;
    self->done = done;
    self->ctx = ctx;
    peer->request_count++;
    fx_monitor_lock(&peer->monitor);
    append(&peer->first, self);
    fx_monitor_wake(&peer->monitor);
    fx_monitor_unlock(&peer->monitor);
    return FX_OK;
}
