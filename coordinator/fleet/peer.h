/*
 * The line to one other coordinator: a thread that sends it the newest digest and asks it for
 * endorsements. Bounded: an unsent digest is replaced, requests beyond FX_PEER_REQUEST_MAX refused.
 *
 * thread: the loop's
 */
#pragma once

#include "common/loop/loop.h"
#include "common/wire/wire.h"
#include "coordinator/core/model.h"
#include "proto/link_sender.h"

typedef struct fx_peer fx_peer;

enum { FX_PEER_REQUEST_MAX = 32, FX_PEER_DIGEST_MS = 1500, FX_PEER_ENDORSE_MS = 3000 };

typedef struct fx_peer_options {
    fx_loop *loop;
    fx_link_sender *sender; /* of this coordinator; borrowed */
    const char *url;
    fx_wire_tls tls;
    fx_name name; /* of the other; its certificate must say so */
    fx_name region;
    const fx_log *log;
} fx_peer_options;

FX_MUST_USE fx_code fx_peer_open(const fx_peer_options *options, fx_peer **out_peer, fx_err *err);

/*
 * Ends what is under way; `done` of every request that still has to be told runs here. The loop has
 * to run once more before it is freed: posted calls hold what is left of the peer.
 */
void fx_peer_free(fx_peer *peer);
FX_DEFINE_AUTO(fx_peer);

const fx_name *fx_peer_name(const fx_peer *peer);
const fx_name *fx_peer_region(const fx_peer *peer);

/* True while the last call to it succeeded. */
bool fx_peer_is_reachable(fx_peer *peer);

/* `digest`: a packed fortress.link.Digest, copied. Sent soon; the newest replaces older ones. */
void fx_peer_send_digest(fx_peer *peer, fx_bytes digest);

/*
 * On the loop's thread, once. `endorsement` is NULL on failure: DENIED (the other refuses; the
 * message says why), or what the wire says. Its signature has not been verified yet.
 */
typedef void (*fx_peer_endorsed)(void *ctx, const fx_endorsement *endorsement, const fx_err *err);

/* Asks for an endorsement of a packed Order, copied. errors: BUSY, LIMIT */
FX_MUST_USE fx_code
fx_peer_endorse(fx_peer *peer, fx_bytes order, fx_peer_endorsed done, void *ctx, fx_err *err);
