/*
 * Requests and replies between hosts: nng REQ/REP over tls+tcp with mutual TLS 1.3. Door to nng,
 * with a TLS engine on OpenSSL that tells which certificate the peer used. It moves bytes; what
 * they mean is proto's and its users' business.
 */
#pragma once

#include "common/base/buf.h"
#include "common/base/log.h"
#include "common/base/name.h"
#include "common/base/time.h"

typedef struct fx_wire_tls {
    const char *ca_file;          /* PEM */
    const char *certificate_file; /* PEM */
    const char *key_file;         /* PEM */
} fx_wire_tls;

/* From the peer's certificate, which the CA signed. */
typedef struct fx_wire_peer {
    fx_name name;                  /* subject CN: host or coordinator */
    fx_name role;                  /* subject OU: "agent", "coordinator" */
    unsigned char fingerprint[32]; /* SHA-256 of the certificate */
} fx_wire_peer;

/* ---- server ------------------------------------------------------------------------------------
 */

typedef struct fx_wire_server fx_wire_server;
typedef struct fx_wire_request fx_wire_request;

/*
 * Called for each request on a thread of the wire; must not block: hand it on (fx_loop_post) or
 * answer at once. Every request ends with exactly one fx_wire_reply() or fx_wire_drop().
 */
typedef void (*fx_wire_handler)(void *ctx, fx_wire_request *request);

typedef struct fx_wire_server_options {
    const char *url; /* "tls+tcp://127.0.1.1:7400" */
    fx_wire_tls tls;
    size_t message_max_bytes;
    size_t connection_max; /* more are closed at once, logged */
    size_t request_max;    /* unanswered at a time; more wait in the kernel */
    fx_wire_handler handler;
    void *ctx;
    const fx_log *log;
} fx_wire_server_options;

FX_MUST_USE fx_code fx_wire_server_open(
    const fx_wire_server_options *options, fx_wire_server **out_server, fx_err *err);

/* The port it listens on: for an url with port 0. */
uint16_t fx_wire_server_port(const fx_wire_server *server);

/* Ends all connections; requests not answered by then may still be dropped or replied to, in vain.
 */
void fx_wire_server_free(fx_wire_server *server);
FX_DEFINE_AUTO(fx_wire_server);

/* Borrowed until the reply. */
fx_bytes fx_wire_request_bytes(const fx_wire_request *request);
const fx_wire_peer *fx_wire_request_peer(const fx_wire_request *request);

/* Both free the request. thread: any */
void fx_wire_reply(fx_wire_request *request, fx_bytes reply);
/* No answer, and the connection is closed: for garbage. */
void fx_wire_drop(fx_wire_request *request);

/*
 * A connection that is not ready to receive in 10 s, that is slower than 10 s with a message once
 * begun, or silent for 60 s is closed; clients dial again at their next call. Requests of one
 * connection are taken one after the other.
 */
enum {
    FX_WIRE_READY_MAX_MS = 10000,
    FX_WIRE_MESSAGE_MAX_MS = 10000,
    FX_WIRE_IDLE_MAX_MS = 60000,
    FX_WIRE_UNREADY_MAX = 256, /* more connections that are not ready: the oldest gives way */
};

/* ---- client ------------------------------------------------------------------------------------
 */

typedef struct fx_wire_client fx_wire_client;

typedef struct fx_wire_client_options {
    const char *url;
    fx_wire_tls tls;
    fx_name peer_name; /* the CN that the server must show; else DENIED */
    fx_name peer_role;
    size_t message_max_bytes;
    /*
     * Dials at a call that finds no connection, but not before a wait that doubles from min to max
     * with each failure in a row, with full jitter.
     */
    fx_dur redial_min;
    fx_dur redial_max;
    fx_dur connect_max; /* of the time of a call, spent without a connection; 0: all of it */
    const fx_log *log;
} fx_wire_client_options;

/* Does not wait for a connection. errors: INVALID (url, files) */
FX_MUST_USE fx_code fx_wire_client_open(
    const fx_wire_client_options *options, fx_wire_client **out_client, fx_err *err);
void fx_wire_client_free(fx_wire_client *client);
FX_DEFINE_AUTO(fx_wire_client);

/*
 * Sends one request and waits for its reply; never sends twice. Blocks this thread.
 *
 * errors: UNREACHABLE (not sent: no connection by the deadline), TIMEOUT and UNREACHABLE with
 * outcome UNKNOWN (sent, no reply), DENIED (the peer is not who it should be), LIMIT thread: any;
 * one call per client at a time
 */
FX_MUST_USE fx_code fx_wire_client_call(
    fx_wire_client *client, fx_bytes request, fx_mono deadline, fx_buf *reply, fx_err *err);

/* Makes a blocked call on another thread return CANCELLED, and every later one. thread: any */
void fx_wire_client_cancel(fx_wire_client *client);
