/*
 * The connections of one opened depot: several calls at once, each repeated as long as that is
 * safe. Inside common/store/depot only.
 */
#pragma once

#include "common/store/store.h"
#include "proto/depot_check.h"

typedef struct fx_depot_lines fx_depot_lines;

enum {
    FX_DEPOT_LINE_MAX = 8,
    FX_DEPOT_CONNECT_MS = 15000,
    FX_DEPOT_CALL_MS = 60000,     /* one try */
    FX_DEPOT_PATIENCE_MS = 60000, /* from a call's beginning on it is tried again */
};

typedef struct fx_depot_lines_options {
    const char *url;  /* "tls+tcp://HOST:PORT" */
    const char *peer; /* the common name that the depot must show */
    const char *ca_file;
    const char *certificate_file;
    const char *key_file;
} fx_depot_lines_options;

/* Texts are copied; connects at the first call. errors: INVALID */
FX_MUST_USE fx_code
fx_depot_lines_open(const fx_depot_lines_options *options, fx_depot_lines **out_lines, fx_err *err);
void fx_depot_lines_free(fx_depot_lines *lines);
FX_DEFINE_AUTO(fx_depot_lines);

typedef struct fx_depot_call {
    const fx_depot_request *request;
    fx_mono deadline;
    bool may_repeat; /* doing it twice is as good as once */
} fx_depot_call;

/*
 * Asks and fails as the depot's reply says. *out_doubt: an earlier try may have been carried out.
 * On a failure with outcome UNKNOWN the last one may have been.
 *
 * owns:   free the reply with fx_depot_reply_free(); thread: any, several at once
 */
FX_MUST_USE fx_code fx_depot_ask(
    fx_depot_lines *lines,
    const fx_depot_call *call,
    bool *out_doubt,
    fx_depot_reply **out_reply,
    fx_err *err);
