/*
 * An HTTPS server: one thread, whole requests in, whole responses out, limits on everything. Door
 * to libmicrohttpd. It knows nothing of paths, tokens or JSON.
 */
#pragma once

#include "common/base/buf.h"
#include "common/base/log.h"
#include "common/base/time.h"

typedef struct fx_httpd fx_httpd;
typedef struct fx_httpd_request fx_httpd_request;

typedef struct fx_httpd_response {
    unsigned status;          /* 200 if the handler leaves it 0 */
    const char *content_type; /* a literal; NULL: application/json */
    const char *allow;        /* a literal for the Allow header of a 405, else NULL */
    bool authenticate;        /* adds WWW-Authenticate: Bearer */
    fx_buf body;              /* bounded by response_max_bytes; copied into the response */
} fx_httpd_response;

/*
 * Answers one request, on the server's thread: while it runs, nobody else is served.
 *
 * owns: both are valid until it returns
 */
typedef void (*fx_httpd_handler)(
    void *ctx, const fx_httpd_request *request, fx_httpd_response *response);

typedef struct fx_httpd_options {
    const char *listen;           /* "127.0.0.1:7443", "[::1]:7443"; port 0: any free one */
    const char *certificate_file; /* PEM, the server's first */
    const char *key_file;         /* PEM */
    size_t body_max_bytes;        /* a larger request body is answered with 413 */
    size_t response_max_bytes;
    unsigned connection_max;
    unsigned connection_address_max; /* from one address; 0: no own limit */
    fx_dur idle_max;                 /* a connection that says nothing for longer is closed */
    fx_httpd_handler handler;
    void *ctx;
    const fx_log *log; /* borrowed, may be NULL */
} fx_httpd_options;

/* errors: INVALID (address, certificate), NOT_FOUND, DENIED, BUSY (port in use), IO */
FX_MUST_USE fx_code
fx_httpd_open(const fx_httpd_options *options, fx_httpd **out_httpd, fx_err *err);

/* Waits for the handler; none runs afterwards. */
void fx_httpd_free(fx_httpd *httpd);
FX_DEFINE_AUTO(fx_httpd);

uint16_t fx_httpd_port(const fx_httpd *httpd);

/* ---- the request; texts are valid until the handler returns
 * -------------------------------------- */

const char *fx_httpd_method(const fx_httpd_request *request);
/* Percent-decoded, without the query. Bytes that decode to NUL cut nothing: such a request gets
 * 400. */
const char *fx_httpd_path(const fx_httpd_request *request);
/* NULL where absent; "" where it has no value. */
const char *fx_httpd_query(const fx_httpd_request *request, const char *name);
/* The name in any case. NULL where absent. */
const char *fx_httpd_header(const fx_httpd_request *request, const char *name);
fx_bytes fx_httpd_body(const fx_httpd_request *request);
/* Address of the client as text, without port. */
const char *fx_httpd_client(const fx_httpd_request *request);
