#include "coordinator/run/link.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/monitor.h"
#include "common/base/rate.h"
#include "proto/link_check.h"

enum {
    MESSAGE_MAX_BYTES = FX_LINK_MESSAGE_MAX_BYTES,
    CONNECTION_MAX = 512,
    REQUEST_MAX = 512,
    DIGEST_MS = 1500,
};

typedef struct peer {
    fx_link *link;
    fx_name name;
    fx_wire_client *digests;
    fx_wire_client *endorsements;
    fx_monitor monitor; /* one endorsement at a time */
    bool asking;
    bool sending; /* the loop's */
    fx_buf message;
    fx_err sent_err;
    bool failed_before;
} peer;

struct fx_link {
    fx_link_options options;
    fx_wire_server *server;
    peer peers[FX_COORDINATOR_MAX];
    size_t peer_count;
    _Atomic uint64_t sequence;
    fx_monitor monitor; /* of `complaints` */
    fx_rate complaints;
};

/* ---- envelopes
 * -------------------------------------------------------------------------------------- */

static void
fill_envelope(fx_link *link, Fortress__Link__Envelope *envelope, uint64_t sequence)
{
    envelope->version = FORTRESS__LINK__VERSION__VERSION_CURRENT;
    envelope->cluster = fx_link_text(link->options.cluster.text);
    envelope->sender = fx_link_text(link->options.self.text);
    envelope->incarnation.data = link->options.incarnation;
    envelope->incarnation.len = FX_INCARNATION_BYTES;
    envelope->started_wall_ns = link->options.started.ns;
    envelope->sequence = sequence;
}

static fx_code
pack(const Fortress__Link__Envelope *envelope, fx_buf *out, fx_err *err)
{
    fx_buf_clear(out);
    return fx_link_pack(envelope, out, err);
}

static void
free_message(fx_link_message *message)
{
    if (message->envelope != NULL) {
        fx_link_envelope_free(message->envelope);
    }
    free(message);
}

void
fx_link_reply(fx_link_message *message, Fortress__Link__Envelope *reply)
{
    fx_link *link = message->link;
    fill_envelope(link, reply, message->envelope->sequence);
    FX_BUF_AUTO bytes;
    fx_buf_init(&bytes, MESSAGE_MAX_BYTES);
    fx_err err = {0};
    if (pack(reply, &bytes, &err) == FX_OK) {
        fx_wire_reply(message->request, fx_buf_bytes(&bytes));
    } else {
        FX_LOG(link->options.log, ERROR, "reply.failed", FX_ERR_FIELD(&err));
        fx_wire_drop(message->request);
    }
    free_message(message);
}

void
fx_link_refuse(fx_link_message *message, const fx_err *why)
{
    Fortress__Link__Refusal refusal;
    fortress__link__refusal__init(&refusal);
    refusal.code = (uint32_t)why->code;
    refusal.message = fx_link_text(why->message);
    Fortress__Link__Envelope reply;
    fortress__link__envelope__init(&reply);
    reply.body_case = FORTRESS__LINK__ENVELOPE__BODY_REFUSAL;
    reply.refusal = &refusal;
    fx_link_reply(message, &reply);
}

/* ---- what comes in
 * ------------------------------------------------------------------------------------ */

static fx_code
check_sender(
    const fx_link *link,
    const fx_wire_peer *from,
    const Fortress__Link__Envelope *envelope,
    fx_err *err)
{
    if (strcmp(envelope->cluster, link->options.cluster.text) != 0) {
        return fx_fail(
            err, FX_ERR_DENIED, "could not use a message of cluster \"%.63s\"", envelope->cluster);
    }
    if (strcmp(envelope->sender, from->name.text) != 0) {
        return fx_fail(
            err,
            FX_ERR_DENIED,
            "could not believe a message of \"%.63s\": it came with the certificate of %s",
            envelope->sender,
            from->name.text);
    }
    return FX_OK;
}

static fx_code
check_body(const fx_wire_peer *from, const Fortress__Link__Envelope *envelope, fx_err *err)
{
    bool is_agent = strcmp(from->role.text, "agent") == 0;
    bool is_coordinator = strcmp(from->role.text, "coordinator") == 0;
    switch (envelope->body_case) {
    case FORTRESS__LINK__ENVELOPE__BODY_REPORT:
        if (!is_agent || strcmp(envelope->report->host, from->name.text) != 0) {
            return fx_fail(
                err,
                FX_ERR_DENIED,
                "could not believe a report of host \"%.63s\": it came with the certificate of %s",
                envelope->report->host,
                from->name.text);
        }
        return FX_OK;
    case FORTRESS__LINK__ENVELOPE__BODY_DIGEST:
    case FORTRESS__LINK__ENVELOPE__BODY_ENDORSE_REQUEST:
        if (!is_coordinator) {
            return fx_fail(
                err,
                FX_ERR_DENIED,
                "could not take from %s what only coordinators send",
                from->name.text);
        }
        return FX_OK;
    default:
        return fx_fail(err, FX_ERR_UNSUPPORTED, "could not use a message of this kind");
    }
}

/* Others can provoke these lines: only so many. */
static void
complain(fx_link *link, const char *who, const fx_err *err)
{
    uint64_t suppressed = 0;
    fx_monitor_lock(&link->monitor);
    bool may = fx_rate_take(&link->complaints, fx_clock_mono(), &suppressed);
    fx_monitor_unlock(&link->monitor);
    if (may) {
        FX_LOG(
            link->options.log,
            WARN,
            "message.refused",
            FX_STR("from", who),
            FX_INT("suppressed", suppressed),
            FX_ERR_FIELD(err));
    }
}

static void
deliver(void *ctx)
{
    fx_link_message *message = ctx;
    message->link->options.on_message(message->link->options.ctx, message);
}

static void
take_request(void *ctx, fx_wire_request *request)
{
    fx_link *link = ctx;
    fx_bytes bytes = fx_wire_request_bytes(request);
    const fx_wire_peer *from = fx_wire_request_peer(request);
    fx_err err = {0};
    fx_link_message *message = calloc(1, sizeof *message);
    FX_ASSERT(message != NULL);
    *message = (fx_link_message){.link = link, .request = request, .arrived = fx_clock_mono()};
    if (fx_link_unpack(bytes, &message->envelope, &err) != FX_OK) {
        complain(link, from->name.text, &err);
        fx_wire_drop(request);
        free_message(message);
        return;
    }
    if (check_sender(link, from, message->envelope, &err) != FX_OK ||
        check_body(from, message->envelope, &err) != FX_OK) {
        complain(link, from->name.text, &err);
        fx_link_refuse(message, &err);
        return;
    }
    fx_loop_post(link->options.loop, deliver, message);
}

/* ---- what goes out
 * -------------------------------------------------------------------------------------- */

static fx_code
open_client(
    const fx_link_options *options,
    const fx_link_peer *to,
    fx_wire_client **out_client,
    fx_err *err)
{
    fx_wire_client_options client = {
        .url = to->url,
        .tls = options->tls,
        .peer_name = to->name,
        .peer_role = fx_name_of("coordinator"),
        .message_max_bytes = MESSAGE_MAX_BYTES,
        .redial_min = FX_DUR_MS(100),
        .redial_max = FX_DUR_MS(1000),
        .log = options->log,
    };
    return fx_wire_client_open(&client, out_client, err);
}

static fx_code
open_peer(fx_link *link, const fx_link_peer *to, fx_err *err)
{
    peer *added = &link->peers[link->peer_count++];
    added->link = link;
    added->name = to->name;
    fx_monitor_init(&added->monitor);
    fx_buf_init(&added->message, MESSAGE_MAX_BYTES);
    if (open_client(&link->options, to, &added->digests, err) != FX_OK ||
        open_client(&link->options, to, &added->endorsements, err) != FX_OK) {
        return fx_err_wrap(err, "peer %s", to->name.text);
    }
    return FX_OK;
}

fx_code
fx_link_open(const fx_link_options *options, fx_link **out_link, fx_err *err)
{
    FX_ASSERT(options->peer_count <= FX_COORDINATOR_MAX);
    fx_link *link = calloc(1, sizeof *link);
    FX_ASSERT(link != NULL);
    link->options = *options;
    link->complaints = (fx_rate){.burst = 10, .refill = FX_DUR_MS(1000)};
    fx_monitor_init(&link->monitor);
    fx_wire_server_options server = {
        .url = options->url,
        .tls = options->tls,
        .message_max_bytes = MESSAGE_MAX_BYTES,
        .connection_max = CONNECTION_MAX,
        .request_max = REQUEST_MAX,
        .handler = take_request,
        .ctx = link,
        .log = options->log,
    };
    for (size_t i = 0; i < options->peer_count; i++) {
        if (open_peer(link, &options->peers[i], err) != FX_OK) {
            fx_link_free(link);
            return err->code;
        }
    }
    if (fx_wire_server_open(&server, &link->server, err) != FX_OK) {
        fx_link_free(link);
        return fx_err_wrap(err, "listening for agents and coordinators");
    }
    link->options.peers = NULL; /* the caller's */
    *out_link = link;
    return FX_OK;
}

void
fx_link_close(fx_link *link)
{
    fx_wire_server_free(link->server);
    link->server = NULL;
    for (size_t i = 0; i < link->peer_count; i++) {
        fx_wire_client_cancel(link->peers[i].digests);
        fx_wire_client_cancel(link->peers[i].endorsements);
    }
}

void
fx_link_free(fx_link *link)
{
    if (link == NULL) {
        return;
    }
    fx_wire_server_free(link->server);
    for (size_t i = 0; i < link->peer_count; i++) {
        peer *gone = &link->peers[i];
        fx_wire_client_free(gone->digests);
        fx_wire_client_free(gone->endorsements);
        fx_monitor_deinit(&gone->monitor);
        fx_buf_free(&gone->message);
    }
    fx_monitor_deinit(&link->monitor);
    free(link);
}

static void
send_digest(void *ctx)
{
    peer *to = ctx;
    FX_BUF_AUTO reply;
    fx_buf_init(&reply, MESSAGE_MAX_BYTES);
    to->sent_err = (fx_err){0};
    fx_mono deadline = fx_mono_after(fx_clock_mono(), FX_DUR_MS(DIGEST_MS));
    fx_ignore(
        fx_wire_client_call(
            to->digests, fx_buf_bytes(&to->message), deadline, &reply, &to->sent_err),
        "told by sent_err on the loop");
}

static void
digest_sent(void *ctx)
{
    peer *to = ctx;
    to->sending = false;
    bool failed = to->sent_err.code != FX_OK;
    if (failed && !to->failed_before) {
        FX_LOG(
            to->link->options.log,
            WARN,
            "peer.lost",
            FX_STR("peer", to->name.text),
            FX_ERR_FIELD(&to->sent_err));
    } else if (!failed && to->failed_before) {
        FX_LOG(to->link->options.log, INFO, "peer.found", FX_STR("peer", to->name.text));
    }
    to->failed_before = failed;
}

void
fx_link_send_digest(fx_link *link, size_t index, fx_bytes digest)
{
    FX_ASSERT(index < link->peer_count);
    peer *to = &link->peers[index];
    if (to->sending) {
        return;
    }
    Fortress__Link__Digest *message =
        fortress__link__digest__unpack(NULL, digest.size_bytes, digest.data);
    FX_ASSERT(message != NULL);
    Fortress__Link__Envelope envelope;
    fortress__link__envelope__init(&envelope);
    envelope.body_case = FORTRESS__LINK__ENVELOPE__BODY_DIGEST;
    envelope.digest = message;
    fill_envelope(link, &envelope, ++link->sequence);
    fx_err err = {0};
    if (pack(&envelope, &to->message, &err) == FX_OK) {
        to->sending = true;
        fx_loop_work(link->options.loop, send_digest, digest_sent, to);
    } else {
        FX_LOG(link->options.log, ERROR, "digest.failed", FX_ERR_FIELD(&err));
    }
    fortress__link__digest__free_unpacked(message, NULL);
}

static fx_code
read_endorsement(
    const peer *to, fx_bytes bytes, unsigned char out_signature[FX_SIGNATURE_BYTES], fx_err *err)
{
    FX_AUTO(fx_link_envelope) reply = NULL;
    if (fx_link_unpack(bytes, &reply, err) != FX_OK) {
        return fx_err_wrap(err, "reading the answer of %s", to->name.text);
    }
    fx_code code = FX_OK;
    if (reply->body_case == FORTRESS__LINK__ENVELOPE__BODY_REFUSAL) {
        code = fx_fail(
            err, FX_ERR_DENIED, "%s refused: %.150s", to->name.text, reply->refusal->message);
    } else if (reply->body_case != FORTRESS__LINK__ENVELOPE__BODY_ENDORSE_REPLY) {
        code = fx_fail(err, FX_ERR_DAMAGED, "%s gave an answer of another kind", to->name.text);
    } else if (
        reply->endorse_reply->endorsement == NULL ||
        reply->endorse_reply->endorsement->signature.len != FX_SIGNATURE_BYTES) {
        code = fx_fail(
            err,
            FX_ERR_DENIED,
            "%s did not sign: %.150s",
            to->name.text,
            reply->endorse_reply->refused_reason);
    } else {
        memcpy(
            out_signature, reply->endorse_reply->endorsement->signature.data, FX_SIGNATURE_BYTES);
    }
    return code;
}

fx_code
fx_link_endorse(
    fx_link *link,
    size_t index,
    fx_bytes order,
    fx_mono deadline,
    unsigned char out_signature[FX_SIGNATURE_BYTES],
    fx_err *err)
{
    FX_ASSERT(index < link->peer_count);
    peer *to = &link->peers[index];
    Fortress__Link__EndorseRequest request;
    fortress__link__endorse_request__init(&request);
    union {
        const void *in;
        unsigned char *out;
    } cast = {.in = order.data};
    request.order.data = cast.out;
    request.order.len = order.size_bytes;
    Fortress__Link__Envelope envelope;
    fortress__link__envelope__init(&envelope);
    envelope.body_case = FORTRESS__LINK__ENVELOPE__BODY_ENDORSE_REQUEST;
    envelope.endorse_request = &request;
    fill_envelope(link, &envelope, ++link->sequence);
    FX_BUF_AUTO message;
    FX_BUF_AUTO reply;
    fx_buf_init(&message, MESSAGE_MAX_BYTES);
    fx_buf_init(&reply, MESSAGE_MAX_BYTES);
    if (pack(&envelope, &message, err) != FX_OK) {
        return err->code;
    }
    bool mine = true;
    fx_monitor_lock(&to->monitor);
    while (to->asking && mine) {
        mine = fx_monitor_wait_until(&to->monitor, deadline);
    }
    mine = !to->asking;
    to->asking = true;
    fx_monitor_unlock(&to->monitor);
    if (!mine) {
        return fx_fail(err, FX_ERR_BUSY, "%s is still being asked for another", to->name.text);
    }
    fx_code code =
        fx_wire_client_call(to->endorsements, fx_buf_bytes(&message), deadline, &reply, err);
    fx_monitor_lock(&to->monitor);
    to->asking = false;
    fx_monitor_wake(&to->monitor);
    fx_monitor_unlock(&to->monitor);
    return code == FX_OK ? read_endorsement(to, fx_buf_bytes(&reply), out_signature, err) : code;
}
