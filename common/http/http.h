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

enum { FX_HTTP_HEADER_MAX = 24 };

/* One header of the answer. */
typedef void (*fx_http_on_header)(void *ctx, const char *name, const char *value);

typedef struct fx_http_request {
    const char *method;                      /* "GET", "POST", ... */
    const char *url;                         /* http or https */
    const char *headers[FX_HTTP_HEADER_MAX]; /* "Name: value"; up to the first NULL */
    fx_bytes body;                           /* none: size 0 */
    fx_dur connect_max;                      /* 0: only the deadline */
    fx_dur stall_max;     /* without a byte either way, to a second; 0: only the deadline */
    bool is_repeatable;   /* twice is like once: connections are kept for it without a body too */
    bool use_proxy;       /* the one that the environment names for this host */
    fx_buf *refusal_body; /* takes the body of a status of 300 and more; NULL: `body` does */
    fx_http_on_header on_header; /* may be NULL */
    void *header_ctx;
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

/* What an address consists of; each part as it stands there, still percent-encoded. */
typedef struct fx_http_url {
    char scheme[8];
    char host[256];      /* with brackets where it is an IPv6 address */
    char authority[272]; /* host, and ":port" where it is not the scheme's own */
    char path[1024];     /* begins with '/' */
    char query[512];     /* "" where there is none */
} fx_http_url;

/* http and https. errors: INVALID; also for a user or a password, which an address never carries */
FX_MUST_USE fx_code fx_http_url_parse(const char *text, fx_http_url *out_url, fx_err *err);

/* Appends the text with all but RFC 3986's unreserved characters percent-encoded. errors: LIMIT */
FX_MUST_USE fx_code fx_http_escape(const char *text, fx_buf *out, fx_err *err);

/* An HTTP date, as in a Date header. errors: INVALID */
FX_MUST_USE fx_code fx_http_date_parse(const char *text, fx_wall *out_when, fx_err *err);
