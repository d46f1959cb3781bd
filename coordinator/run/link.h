/*
 * The coordinator's side of the wire: checks what comes in and hands it to the loop; sends digests
 * and asks for endorsements.
 */
#pragma once

#include "common/loop/loop.h"
#include "common/wire/wire.h"
#include "coordinator/core/model.h"
#include "proto/link.pb-c.h"

typedef struct fx_link fx_link;

/* One request, on the loop's thread; ends with exactly one fx_link_reply() or fx_link_refuse(). */
typedef struct fx_link_message {
    fx_link *link;
    fx_wire_request *request;
    Fortress__Link__Envelope *envelope;
    fx_mono arrived;
} fx_link_message;

typedef struct fx_link_peer {
    fx_name name;
    const char *url;
} fx_link_peer;

typedef struct fx_link_options {
    fx_loop *loop;
    const char *url;
    fx_wire_tls tls;
    fx_name cluster;
    fx_name self;
    unsigned char incarnation[FX_INCARNATION_BYTES];
    fx_wall started;
    const fx_link_peer *peers;
    size_t peer_count;
    void (*on_message)(void *ctx, fx_link_message *message); /* REPORT, DIGEST or ENDORSE_REQUEST */
    void *ctx;
    const fx_log *log;
} fx_link_options;

FX_MUST_USE fx_code fx_link_open(const fx_link_options *options, fx_link **out_link, fx_err *err);

/* Before the loop is freed; what is parked is dropped by the caller first. */
void fx_link_close(fx_link *link);
void fx_link_free(fx_link *link);

/* Fills in the envelope around `reply`'s body, sends it and frees the message. thread: any */
void fx_link_reply(fx_link_message *message, Fortress__Link__Envelope *reply);
void fx_link_refuse(fx_link_message *message, const fx_err *why);

/* On a worker thread; nothing if the last one to this peer is still under way. thread: the loop's
 */
void fx_link_send_digest(fx_link *link, size_t peer, fx_bytes digest);

/* Blocks. thread: any. errors: DENIED (with its reason), UNREACHABLE, TIMEOUT, BUSY */
FX_MUST_USE fx_code fx_link_endorse(
    fx_link *link,
    size_t peer,
    fx_bytes order,
    fx_mono deadline,
    unsigned char out_signature[FX_SIGNATURE_BYTES],
    fx_err *err);
