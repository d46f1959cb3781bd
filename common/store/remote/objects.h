/*
 * Objects that a server keeps over HTTP: what the drivers s3 and azure have in common above one
 * question and its answer. A driver's state begins with an fx_objects, so that functions here that
 * take a `state` can stand in its fx_store_driver; what differs is the service's.
 */
#pragma once

#include "common/store/remote/pair.h"
#include "common/store/remote/remote.h"
#include "common/store/store.h"

typedef struct fx_objects fx_objects;

typedef struct fx_objects_ask {
    const char *method;
    const char *key; /* NULL: the container itself */
    fx_remote_pair query[FX_REMOTE_PAIR_MAX];
    size_t query_count;
    fx_remote_pair headers[FX_REMOTE_PAIR_MAX];
    size_t header_count;
    fx_bytes body;
    bool is_change;
    const char *what; /* for messages: "store" */
} fx_objects_ask;

void fx_objects_add_query(fx_objects_ask *ask, const char *name, const char *value);
void fx_objects_add_header(fx_objects_ask *ask, const char *name, const char *value);

enum { FX_OBJECTS_HINT_BYTES = 200 };

/* How a service asks for a list, and the elements of its answer. */
typedef struct fx_objects_list_names {
    fx_remote_pair fixed[2]; /* of the query */
    size_t fixed_count;
    const char *count_parameter;
    const char *token_parameter;
    const char *item; /* ends one object */
    const char *key;
    const char *size;
    const char *time;
    const char *token; /* where the next page begins; not there, or empty: there is none */
    const char *more;  /* "true": there is a next page; NULL: the token alone says it */
} fx_objects_list_names;

typedef struct fx_objects_service {
    /* Asks, signed. `body` may be NULL. errors: those of fx_remote_ask */
    fx_code (*send)(
        fx_objects *objects,
        const fx_objects_ask *ask,
        fx_mono deadline,
        fx_buf *body,
        fx_remote_answer *out_answer,
        fx_err *err);
    const fx_remote_meaning *meanings; /* of refusals */
    size_t meaning_count;
    /* Adds to what a refusal means; NULL: nothing. */
    void (*hint)(
        const fx_objects *objects,
        const fx_remote_answer *answer,
        char out_hint[FX_OBJECTS_HINT_BYTES]);
    const char *range_header;
    fx_objects_list_names list;
    fx_wall (*read_time)(const char *text); /* of a list; 0: it is none */
} fx_objects_service;

struct fx_objects {
    const fx_objects_service *service;
    const char *container; /* its name, for messages */
    const char *base_path; /* "" or "/CONTAINER" */
    const char *prefix;    /* of all keys: "" or ends with a slash */
    fx_remote *remote;
};

/* ---- for a service's send() ---- */

enum { FX_OBJECTS_PATH_BYTES = FX_STORE_KEY_MAX_BYTES + 640 };

/* "/CONTAINER/PREFIX/KEY", or of the container itself. */
void fx_objects_write_path(
    const fx_objects *objects, const fx_objects_ask *ask, char out_path[FX_OBJECTS_PATH_BYTES]);

/* The call, but for what builds it. */
fx_remote_call fx_objects_call(const fx_objects *objects, const fx_objects_ask *ask, fx_buf *body);

/* ---- one question ---- */

/* Any answer that trying again will not change; all 0 where there is none. `body` may be NULL.
 * errors: those of fx_remote_ask */
FX_MUST_USE fx_code fx_objects_send(
    fx_objects *objects,
    const fx_objects_ask *ask,
    fx_mono deadline,
    fx_buf *body,
    fx_remote_answer *out_answer,
    fx_err *err);

/* FX_OK for a status below 300, else what the refusal means to a person and to a program. */
FX_MUST_USE fx_code fx_objects_judge(
    const fx_objects *objects,
    const fx_objects_ask *ask,
    const fx_remote_answer *answer,
    fx_err *err);

/* Sends and judges. */
FX_MUST_USE fx_code fx_objects_request(
    fx_objects *objects,
    const fx_objects_ask *ask,
    fx_mono deadline,
    fx_buf *body,
    fx_remote_answer *out_answer,
    fx_err *err);

FX_MUST_USE fx_code fx_objects_head(
    fx_objects *objects,
    const char *key,
    const char *what,
    fx_mono deadline,
    fx_remote_answer *out_answer,
    fx_err *err);

/* Asks for one key of the list: whether the container can be opened. */
FX_MUST_USE fx_code fx_objects_try_list(
    fx_objects *objects,
    const char *what,
    fx_mono deadline,
    fx_remote_answer *out_answer,
    fx_err *err);

/* ---- putting ---- */

/* What is put: borrowed. */
typedef struct fx_objects_put {
    const char *key;
    fx_bytes body;
    char nonce[FX_REMOTE_NONCE_BYTES];
} fx_objects_put;

/*
 * After a put that may have happened: is the object there, and ours? FX_OK, EXISTS (another's),
 * DAMAGED; else fails with `why`, the reason of the doubt, and outcome UNKNOWN.
 */
FX_MUST_USE fx_code fx_objects_settle(
    fx_objects *objects,
    const fx_objects_put *put,
    const fx_err *why,
    fx_mono deadline,
    fx_err *err);

/*
 * Sends the conditional request that makes the object, and settles what stays in doubt. errors: as
 * fx_store_put
 */
FX_MUST_USE fx_code fx_objects_create(
    fx_objects *objects,
    const fx_objects_put *put,
    const fx_objects_ask *ask,
    fx_mono deadline,
    fx_remote_answer *out_answer,
    fx_err *err);

/* Sends a body part by part. Parts alone are no object: outcomes are never UNKNOWN. */
typedef fx_code (*fx_objects_send_part)(
    void *ctx, size_t index, fx_bytes part, fx_mono deadline, fx_err *err);
FX_MUST_USE fx_code fx_objects_send_parts(
    fx_bytes body,
    size_t part_bytes,
    fx_objects_send_part send_part,
    void *ctx,
    fx_mono deadline,
    fx_err *err);

/* ---- for fx_store_driver: `state` is an fx_objects; contracts in store.h ---- */

FX_MUST_USE fx_code fx_objects_get(
    void *state,
    const char *key,
    uint64_t offset,
    uint64_t size_bytes,
    fx_mono deadline,
    fx_buf *out,
    fx_err *err);
FX_MUST_USE fx_code fx_objects_stat(
    void *state, const char *key, fx_mono deadline, uint64_t *out_size_bytes, fx_err *err);
FX_MUST_USE fx_code fx_objects_list(
    void *state,
    const char *prefix,
    fx_mono deadline,
    fx_store_visit visit,
    void *ctx,
    fx_err *err);
FX_MUST_USE fx_code fx_objects_list_times(
    void *state,
    const char *prefix,
    fx_mono deadline,
    fx_store_visit_time visit,
    void *ctx,
    fx_err *err);
FX_MUST_USE fx_code fx_objects_remove(void *state, const char *key, fx_mono deadline, fx_err *err);
