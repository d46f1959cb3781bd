#include "coordinator/fleet/listener.h"

#include <stdatomic.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/rate.h"
#include "coordinator/fleet/replay.h"

/* Counted: its owner and every message hold it. */
struct fx_listener {
    atomic_int references;
    fx_listener_options options;
    fx_wire_server *server;
    bool closed; /* of the loop's thread, as all below */
    fx_replay replay;
    fx_rate log_rate;
    uint64_t refused_count;
};

typedef struct held_message {
    fx_listener_message message; /* first: users hold its address */
    fx_listener *listener;
    fx_wire_request *request;
    fx_link_envelope *envelope;
} held_message;

static void
drop_reference(fx_listener *listener)
{
    if (atomic_fetch_sub(&listener->references, 1) == 1) {
        free(listener);
    }
}

static void
free_message(held_message *held)
{
    fx_listener *listener = held->listener;
    fx_link_envelope_free(held->envelope);
    free(held);
    drop_reference(listener);
}

static void
log_refused(fx_listener *listener, const fx_wire_peer *peer, const fx_err *reason)
{
    uint64_t suppressed = 0;
    listener->refused_count++;
    if (fx_rate_take(&listener->log_rate, fx_clock_mono(), &suppressed)) {
        FX_LOG(
            listener->options.log,
            WARN,
            "message.refused",
            FX_STR("peer", peer->name.text),
            FX_STR("role", peer->role.text),
            FX_STR("code", fx_code_name(reason->code)),
            FX_ERR_FIELD(reason),
            FX_INT("suppressed", suppressed));
    }
}

/* ---- checks
 * ---------------------------------------------------------------------------------------- */

static fx_code
check_agent(const fx_wire_peer *peer, const fx_link_envelope *envelope, fx_err *err)
{
    if (envelope->body_case != FORTRESS__LINK__ENVELOPE__BODY_REPORT) {
        return fx_fail(
            err, FX_ERR_DENIED, "could not accept the message: an agent may send reports only");
    }
    if (strcmp(envelope->report->host, peer->name.text) != 0) {
        return fx_fail(
            err,
            FX_ERR_DENIED,
            "could not accept the message: %s reports for host %s",
            peer->name.text,
            envelope->report->host);
    }
    return FX_OK;
}

static fx_code
check_coordinator(const fx_wire_peer *peer, const fx_link_envelope *envelope, fx_err *err)
{
    if (envelope->body_case == FORTRESS__LINK__ENVELOPE__BODY_ENDORSE_REQUEST) {
        return FX_OK;
    }
    if (envelope->body_case != FORTRESS__LINK__ENVELOPE__BODY_DIGEST) {
        return fx_fail(
            err,
            FX_ERR_DENIED,
            "could not accept the message: a coordinator may send digests and requests for "
            "endorsements only");
    }
    if (strcmp(envelope->digest->coordinator, peer->name.text) != 0) {
        return fx_fail(
            err,
            FX_ERR_DENIED,
            "could not accept the message: %s sends the digest of %s",
            peer->name.text,
            envelope->digest->coordinator);
    }
    return FX_OK;
}

static fx_code
check_sender(
    const fx_listener *listener,
    const fx_wire_peer *peer,
    const fx_link_envelope *envelope,
    fx_err *err)
{
    if (strcmp(envelope->cluster, listener->options.sender->cluster.text) != 0) {
        return fx_fail(
            err,
            FX_ERR_DENIED,
            "could not accept the message: it is of cluster \"%s\", this is \"%s\"",
            envelope->cluster,
            listener->options.sender->cluster.text);
    }
    if (strcmp(envelope->sender, peer->name.text) != 0) {
        return fx_fail(
            err,
            FX_ERR_DENIED,
            "could not accept the message: it says it is of %s, the certificate is of %s",
            envelope->sender,
            peer->name.text);
    }
    if (strcmp(peer->role.text, "agent") == 0) {
        return check_agent(peer, envelope, err);
    }
    if (strcmp(peer->role.text, "coordinator") == 0) {
        return check_coordinator(peer, envelope, err);
    }
    return fx_fail(
        err,
        FX_ERR_DENIED,
        "could not accept the message: role \"%s\" may send nothing",
        peer->role.text);
}

static fx_code
check_replay(fx_listener *listener, const held_message *held, fx_err *err)
{
    const fx_link_envelope *envelope = held->envelope;
    fx_replay_mark mark = {
        .sender = held->message.peer.name,
        .started = {.ns = envelope->started_wall_ns},
        .sequence = envelope->sequence,
        .heard_at = held->message.arrived,
    };
    _Static_assert(sizeof(mark.incarnation) == FX_LINK_INCARNATION_BYTES, "as long as on the wire");
    memcpy(mark.incarnation, envelope->incarnation.data, sizeof(mark.incarnation));
    return fx_replay_accept(&listener->replay, &mark, err);
}

/* ---- messages
 * -------------------------------------------------------------------------------------- */

static void
send_reply(held_message *held, const fx_link_envelope *body)
{
    fx_listener *listener = held->listener;
    fx_link_envelope reply;
    fx_link_sender_fill(listener->options.sender, &reply);
    reply.sequence = held->envelope->sequence;
    reply.body_case = body->body_case;
    reply.report = body->report; /* any member of the union: all are pointers */
    FX_BUF_AUTO bytes;
    fx_buf_init(&bytes, FX_LINK_MESSAGE_MAX_BYTES);
    fx_err err;
    if (fx_link_pack(&reply, &bytes, &err) == FX_OK) {
        fx_wire_reply(held->request, fx_buf_bytes(&bytes));
    } else {
        FX_LOG(listener->options.log, ERROR, "reply.failed", FX_ERR_FIELD(&err));
        fx_wire_drop(held->request);
    }
    free_message(held);
}

void
fx_listener_reply(fx_listener_message *message, const fx_link_envelope *body)
{
    send_reply((held_message *)(void *)message, body);
}

void
fx_listener_refuse(fx_listener_message *message, const fx_err *reason)
{
    held_message *held = (held_message *)(void *)message;
    Fortress__Link__Refusal refusal;
    fortress__link__refusal__init(&refusal);
    refusal.code = (uint32_t)reason->code;
    refusal.message = fx_link_text(reason->message);
    fx_link_envelope body;
    fortress__link__envelope__init(&body);
    body.body_case = FORTRESS__LINK__ENVELOPE__BODY_REFUSAL;
    body.refusal = &refusal;
    log_refused(held->listener, &message->peer, reason);
    send_reply(held, &body);
}

static void
take_message(void *ctx)
{
    held_message *held = ctx;
    fx_listener *listener = held->listener;
    fx_err err;
    if (listener->closed) {
        fx_wire_drop(held->request);
        free_message(held);
        return;
    }
    fx_bytes bytes = fx_wire_request_bytes(held->request);
    if (fx_link_unpack(bytes, &held->envelope, &err) != FX_OK) {
        log_refused(listener, &held->message.peer, &err);
        fx_wire_drop(held->request);
        free_message(held);
        return;
    }
    held->message.envelope = held->envelope;
    if (check_sender(listener, &held->message.peer, held->envelope, &err) != FX_OK ||
        check_replay(listener, held, &err) != FX_OK) {
        fx_listener_refuse(&held->message, &err);
        return;
    }
    listener->options.handler(listener->options.ctx, &held->message);
}

/* On a thread of the wire. */
static void
receive(void *ctx, fx_wire_request *request)
{
    fx_listener *listener = ctx;
    held_message *held = calloc(1, sizeof(*held));
    FX_ASSERT(held != NULL);
    held->listener = listener;
    held->request = request;
    held->message.peer = *fx_wire_request_peer(request);
    held->message.arrived = fx_clock_mono();
    (void)atomic_fetch_add(&listener->references, 1);
    fx_loop_post(listener->options.loop, take_message, held);
}

fx_code
fx_listener_open(const fx_listener_options *options, fx_listener **out_listener, fx_err *err)
{
    FX_ASSERT(options->loop != NULL && options->sender != NULL);
    FX_ASSERT(options->handler != NULL);
    fx_listener *listener = calloc(1, sizeof(*listener));
    FX_ASSERT(listener != NULL);
    atomic_init(&listener->references, 1);
    listener->options = *options;
    listener->log_rate = (fx_rate){.burst = 20, .refill = {.ns = 1000 * FX_NS_PER_MS}};
    fx_wire_server_options wire = {
        .url = options->url,
        .tls = options->tls,
        .message_max_bytes = FX_LINK_MESSAGE_MAX_BYTES,
        .connection_max = FX_LISTENER_CONNECTION_MAX,
        .request_max = FX_LISTENER_REQUEST_MAX,
        .handler = receive,
        .ctx = listener,
        .log = options->log,
    };
    if (fx_wire_server_open(&wire, &listener->server, err) != FX_OK) {
        drop_reference(listener);
        return err->code;
    }
    *out_listener = listener;
    return FX_OK;
}

void
fx_listener_free(fx_listener *listener)
{
    if (listener == NULL) {
        return;
    }
    fx_wire_server_free(listener->server);
    listener->server = NULL;
    listener->closed = true;
    drop_reference(listener);
}

uint16_t
fx_listener_port(const fx_listener *listener)
{
    return fx_wire_server_port(listener->server);
}

uint64_t
fx_listener_refused_count(const fx_listener *listener)
{
    return listener->refused_count;
}
