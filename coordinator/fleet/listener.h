/*
 * The coordinator's ear: takes messages of agents and of other coordinators from the wire, refuses
 * those that do not belong (logged as message.refused) and hands the others to the loop.
 */
#pragma once

#include "common/loop/loop.h"
#include "common/wire/wire.h"
#include "proto/link_sender.h"

typedef struct fx_listener fx_listener;

/* A message that passed every check; ended by exactly one reply or refusal. */
typedef struct fx_listener_message {
    const fx_link_envelope *envelope; /* body: report, digest or endorse_request */
    fx_wire_peer peer;                /* its name is the envelope's sender */
    fx_mono arrived;                  /* at this host, before it waited for the loop */
} fx_listener_message;

/* On the loop's thread. The answer may come later; the message is valid until then. */
typedef void (*fx_listener_handler)(void *ctx, fx_listener_message *message);

enum {
    FX_LISTENER_CONNECTION_MAX = 1024,
    FX_LISTENER_REQUEST_MAX = 512, /* unanswered at a time; more wait */
};

typedef struct fx_listener_options {
    fx_loop *loop;
    fx_link_sender *sender; /* of this coordinator; borrowed */
    const char *url;
    fx_wire_tls tls;
    fx_listener_handler handler;
    void *ctx;
    const fx_log *log;
} fx_listener_options;

/* errors: as fx_wire_server_open(). thread: the loop's, as all of this header */
FX_MUST_USE fx_code
fx_listener_open(const fx_listener_options *options, fx_listener **out_listener, fx_err *err);

/*
 * No handler runs any more; messages not answered by then may still be, in vain. The loop has to
 * run once more before it is freed, as after fx_peer_free(): messages may wait in it.
 */
void fx_listener_free(fx_listener *listener);
FX_DEFINE_AUTO(fx_listener);

uint16_t fx_listener_port(const fx_listener *listener);

/* Messages refused since the beginning, for metrics. */
uint64_t fx_listener_refused_count(const fx_listener *listener);

/*
 * Both free the message. `body` is an envelope of which only the body is read: the listener adds
 * who speaks and the number of the request.
 */
void fx_listener_reply(fx_listener_message *message, const fx_link_envelope *body);
void fx_listener_refuse(fx_listener_message *message, const fx_err *reason);
