/*
 * Reports to a coordinator and brings its replies: a thread that calls one coordinator at a time,
 * its own region's first, the next at once when a call fails.
 *
 * thread: the loop's, unless said otherwise
 */
#pragma once

#include "common/loop/loop.h"
#include "common/wire/wire.h"
#include "proto/link_sender.h"

typedef struct fx_reporter fx_reporter;

enum {
    FX_REPORTER_TARGET_MAX = 9,
    FX_REPORTER_CALL_MS = 1500,    /* a coordinator that has not replied by then has failed */
    FX_REPORTER_CONNECT_MS = 1000, /* or that could not be connected to */
    FX_REPORTER_OWN_MS = 10000,    /* while with another region: its own is tried again */
    FX_REPORTER_LEAST_MS = 100,    /* between two reports, whatever a reply or a wake says */
    FX_REPORTER_MOST_MS = 10000,
    FX_REPORTER_FIRST_MS = 1000, /* until a reply says otherwise */
};

typedef struct fx_reporter_target {
    fx_name name;
    fx_name region;
    const char *url;
} fx_reporter_target;

/* A checked reply. Valid during the call. */
typedef struct fx_reporter_reply {
    const Fortress__Link__ReportReply *message;
    fx_mono sent_at; /* the instant before the request left: a lease counts from here */
    fx_name coordinator;
} fx_reporter_reply;

typedef struct fx_reporter_options {
    fx_loop *loop;
    fx_link_sender *sender;            /* of this host; borrowed */
    fx_name region;                    /* own */
    const fx_reporter_target *targets; /* in order of preference; copied */
    size_t target_count;
    fx_wire_tls tls;
    /*
     * Both on the loop's thread. `report` appends the host's state as a packed
     * fortress.link.Report: an agent whose loop hangs reports nothing, and so loses its lease. On
     * failure it has logged why, and the report is left out.
     */
    fx_code (*report)(void *ctx, fx_buf *out, fx_err *err);
    void (*reply)(void *ctx, const fx_reporter_reply *reply);
    void *ctx;
    const fx_log *log;
} fx_reporter_options;

/* Reports at once and then from time to time. errors: INVALID (addresses, files) */
FX_MUST_USE fx_code
fx_reporter_open(const fx_reporter_options *options, fx_reporter **out_reporter, fx_err *err);

/* No callback runs any more. The loop has to run once more before it is freed: posted calls wait.
 */
void fx_reporter_free(fx_reporter *reporter);
FX_DEFINE_AUTO(fx_reporter);

/* Something important changed: report now. thread: any */
void fx_reporter_wake(fx_reporter *reporter);
