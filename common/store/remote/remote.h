/*
 * What stores over HTTP have in common: clients that keep their connections, one for each call that
 * goes on; attempts with back-off until a deadline; and the answer's headers by name.
 */
#pragma once

#include "common/base/buf.h"
#include "common/base/time.h"
#include "common/http/http.h"

enum {
    FX_REMOTE_HEADER_MAX = FX_HTTP_HEADER_MAX - 1,
    FX_REMOTE_URL_MAX_BYTES = 4096,
    FX_REMOTE_NONCE_BYTES = 33, /* with its NUL */
    FX_REMOTE_REFUSAL_MAX_BYTES = 64 * 1024,
};

typedef struct fx_remote fx_remote;

/* `ca_file` may be NULL: the system's authorities. */
fx_remote *fx_remote_new(const char *ca_file);
void fx_remote_free(fx_remote *remote);
FX_DEFINE_AUTO(fx_remote);

/* One attempt; headers are the request's own and wiped after it. */
typedef struct fx_remote_request {
    const char *method;
    char url[FX_REMOTE_URL_MAX_BYTES];
    char *headers[FX_REMOTE_HEADER_MAX];
    size_t header_count;
    fx_bytes body;
} fx_remote_request;

/* Adds "Name: value". */
void fx_remote_add_header(fx_remote_request *request, const char *fmt, ...) FX_PRINTF(2, 3);

typedef struct fx_remote_answer {
    int status;
    bool maybe_done; /* an attempt before this one may have reached the server and been carried out
                      */
    uint64_t content_bytes; /* of the body that a GET would have */
    bool has_content_bytes;
    char etag[128];
    char region[64];                   /* of the bucket, where the server tells */
    char nonce[FX_REMOTE_NONCE_BYTES]; /* of the put that made the object */
    char server[64];
    char immutability[16];       /* "true" or "false", where the service tells */
    char immutable_versions[16]; /* likewise */
    char code[64];               /* of a refusal: "NoSuchKey" */
    char message[160];           /* likewise */
    bool knows_skew;
    fx_dur skew; /* the server's clock less ours; may be below 0 */
} fx_remote_answer;

typedef struct fx_remote_call {
    /* Fills in a request, for each attempt anew: its signature carries the time. */
    fx_code (*build)(void *ctx, fx_wall now, fx_remote_request *to, fx_err *err);
    void *ctx;
    fx_buf *body;   /* gets what a success answers; what a broken attempt left is taken off again */
    bool is_change; /* else nothing can have happened, however it fails */
    const char *what; /* for messages: "store", and then the key or "" */
    const char *key;
} fx_remote_call;

/*
 * Asks until there is an answer that trying again will not change; which one is for the caller.
 *
 * errors: UNREACHABLE, TIMEOUT, BUSY (the server asks to slow down), DENIED (TLS), LIMIT (`body`),
 * those of `build`. Outcome UNKNOWN where any attempt may have been carried out thread: any;
 * several at once
 */
FX_MUST_USE fx_code fx_remote_ask(
    fx_remote *remote,
    const fx_remote_call *call,
    fx_mono deadline,
    fx_remote_answer *out_answer,
    fx_err *err);

/* A refusal's name or, where there is none, its status: what it means and what to do about it. */
typedef struct fx_remote_meaning {
    const char *name; /* "": any of the status */
    int status;
    fx_code code;
    const char *text;
} fx_remote_meaning;

typedef struct fx_remote_judgement {
    const fx_remote_meaning *meanings;
    size_t count;
    const char *what; /* "store" */
    const char *key;
    const char *hint; /* what the caller adds; may be NULL */
} fx_remote_judgement;

/* FX_OK for a status below 300, else what the refusal means, to a person and to a program. */
FX_MUST_USE fx_code
fx_remote_judge(const fx_remote_judgement *judgement, const fx_remote_answer *answer, fx_err *err);

/*
 * Takes what is left of an address's path as a prefix: "" or "a/b/", of the characters of keys, so
 * that nothing in it needs to be encoded. false: it is none, or too long.
 */
bool fx_remote_take_prefix(const char *path, char *out_prefix, size_t room_bytes);

/* A text that no other put has, to know one's own object by. */
void fx_remote_draw_nonce(char out_nonce[FX_REMOTE_NONCE_BYTES]);

/* Is the host this machine itself? Elsewhere nothing is sent without TLS. */
bool fx_remote_is_loopback(const char *host);

/* The value of `name` in "a=1&b=2"; false where there is none or it does not fit. */
bool fx_remote_query_value(const char *query, const char *name, char *out_value, size_t room_bytes);

/* For tests: signs as if this host's clock were off by so much. */
void fx_remote_shift_clock(fx_dur by);
