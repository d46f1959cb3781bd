/* Calls to the HTTP API, at the first of several coordinators that answers. */
#pragma once

#include "common/json/json.h"

typedef struct fx_client fx_client;

typedef struct fx_client_options {
    const char *urls; /* "https://127.0.1.1:7443,https://127.0.2.1:7443": tried in this order */
    const char *token_file; /* the token's text; blanks around it do not count */
    const char *ca_file;    /* PEM; NULL: the system's authorities */
} fx_client_options;

/* errors: INVALID (URLs other than https, no token), NOT_FOUND and DENIED (token file) */
FX_MUST_USE fx_code
fx_client_new(const fx_client_options *options, fx_client **out_client, fx_err *err);
void fx_client_free(fx_client *client);
FX_DEFINE_AUTO(fx_client);

/* Reads; any failure turns to the next coordinator. errors: of the last one tried */
FX_MUST_USE fx_code
fx_client_get(fx_client *client, const char *path, fx_json **out_answer, fx_err *err);

/*
 * Asks for a change; turns to the next coordinator only when nothing was sent.
 * errors: outcome UNKNOWN: it may have been taken; look before asking again
 */
FX_MUST_USE fx_code fx_client_post(
    fx_client *client, const char *path, const fx_json *body, fx_json **out_answer, fx_err *err);
