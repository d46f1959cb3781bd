/*
 * TLS 1.3 for nng on OpenSSL: an engine in place of the stock one, which speaks 1.2 and cannot tell
 * whom it speaks with. Inside common/wire only.
 */
#pragma once

#include "common/base/log.h"
#include "common/base/time.h"
#include "common/wire/wire.h"

/* Files read once, and who is expected at the other end. Counted: connections keep it alive. */
typedef struct fx_tls fx_tls;

typedef struct fx_tls_options {
    fx_wire_tls files;
    bool server;
    fx_name peer_name; /* client: the CN that the server must show */
    fx_name peer_role; /* client: its OU */
} fx_tls_options;

/* errors: INVALID (a file cannot be used), NOT_FOUND, DENIED */
FX_MUST_USE fx_code fx_tls_new(const fx_tls_options *options, fx_tls **out_tls, fx_err *err);
void fx_tls_free(fx_tls *tls); /* drops one reference */
FX_DEFINE_AUTO(fx_tls);

/* A nng_tls_config over it (as void *, so that nng's headers stay in few files). errors: LIMIT */
FX_MUST_USE fx_code fx_tls_config(fx_tls *tls, void **out_config, fx_err *err);

/*
 * The peer of a stream: call it on the thread that has just read NNG_OPT_TLS_VERIFIED of it, which
 * makes the engine note the peer for this thread.
 */
FX_MUST_USE bool fx_tls_noted_peer(fx_wire_peer *out_peer);

/*
 * True if the TCP connection below a stream (a nng_stream) is gone. nng 1.5 tells only operations
 * that wait at that moment; one that begins later never ends, unless its stream is closed. Call it
 * while nobody frees the stream.
 */
FX_MUST_USE bool fx_tls_stream_is_lost(void *stream);

/* What went wrong with the last handshake, "" if nothing did since the last call. */
void fx_tls_take_failure(fx_tls *tls, char *out_text, size_t size_bytes);
