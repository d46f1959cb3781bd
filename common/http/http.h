/*
 * HTTP requests that block until a deadline. Door to libcurl. A client keeps its connections open
 * from one call to the next.
 */
#pragma once

#include "common/base/buf.h"
#include "common/base/time.h"

/* PEM files; NULL: none. Without `ca_file` the system's authorities are believed. */
typedef struct fx_http_tls {
    const char *ca_file;
    const char *certificate_file;
    const char *key_file;
} fx_http_tls;

typedef struct fx_http_client fx_http_client;

/* Copies `tls`; NULL for the system's authorities and no certificate of our own. */
fx_http_client *fx_http_client_new(const fx_http_tls *tls);
void fx_http_client_free(fx_http_client *client);
FX_DEFINE_AUTO(fx_http_client);

enum { FX_HTTP_HEADER_MAX = 16 };

typedef struct fx_http_request {
    const char *method;                      /* "GET", "POST", ... */
    const char *url;                         /* http or https */
    const char *headers[FX_HTTP_HEADER_MAX]; /* "Name: value"; up to the first NULL */
    fx_bytes body;                           /* none: size 0 */
    fx_dur connect_max;                      /* 0: only the deadline */
} fx_http_request;

typedef struct fx_http_response {
    int status;
    char content_type[128];
    char location[512];
    int64_t retry_after_s; /* -1: not said */
} fx_http_response;

/*
 * Sends one request, once; redirects are not followed, any status is success.
 *
 * owns:   appends the answer's body to `body`, whose maximum bounds it
 * errors: INVALID (url), UNREACHABLE and TIMEOUT (TRANSIENT before the request was sent, UNKNOWN
 *         after), DENIED (TLS: one side does not believe the other), LIMIT (longer answer; UNKNOWN)
 * thread: any; one call per client at a time
 */
FX_MUST_USE fx_code fx_http_call(
    fx_http_client *client,
    const fx_http_request *request,
    fx_mono deadline,
    fx_http_response *out_response,
    fx_buf *body,
    fx_err *err);
