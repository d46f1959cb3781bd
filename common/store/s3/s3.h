/* What the parts of the s3 driver share: one question to the server, and what its refusals mean. */
#pragma once

#include <pthread.h>

#include "common/store/remote/credentials.h"
#include "common/store/remote/remote.h"
#include "common/store/s3/address.h"
#include "common/store/store.h"

typedef struct fx_s3 {
    fx_s3_address address;
    fx_credentials credentials; /* access key, secret key, session token */
    fx_remote *remote;
    pthread_mutex_t lock; /* of what follows, and while it is found out */
    fx_store_finding puts_conditionally;
    fx_store_finding completes_conditionally;
} fx_s3;

enum { FX_S3_ASK_HEADER_MAX = 8, FX_S3_DIGEST_HEX_BYTES = 65, FX_S3_DIGEST_TEXT_BYTES = 48 };

typedef struct fx_s3_ask {
    const char *method;
    const char *key; /* NULL: the bucket itself */
    fx_s3_pair query[FX_S3_PARAMETER_MAX];
    size_t query_count;
    fx_s3_pair headers[FX_S3_ASK_HEADER_MAX];
    size_t header_count;
    fx_bytes body;
    bool is_change;
    const char *what; /* for messages: "store" */
} fx_s3_ask;

void fx_s3_add_query(fx_s3_ask *ask, const char *name, const char *value);
void fx_s3_add_header(fx_s3_ask *ask, const char *name, const char *value);

/* Any answer that trying again will not change; `body` may be NULL. errors: those of fx_remote_ask
 */
FX_MUST_USE fx_code fx_s3_send(
    fx_s3 *s3,
    const fx_s3_ask *ask,
    fx_mono deadline,
    fx_buf *body,
    fx_remote_answer *out_answer,
    fx_err *err);

/* FX_OK for a status below 300, else what the refusal means to a person and to a program. */
FX_MUST_USE fx_code
fx_s3_judge(const fx_s3 *s3, const fx_s3_ask *ask, const fx_remote_answer *answer, fx_err *err);

/* What is put: borrowed. */
typedef struct fx_s3_put {
    const char *key;
    fx_bytes body;
    const fx_store_retention *retention; /* NULL: none */
    char nonce[FX_REMOTE_NONCE_BYTES];
    char until[32];
    char nonce_header[40];
} fx_s3_put;

/* Adds what the object carries: its nonce and its retention. */
void fx_s3_add_object_headers(const fx_s3 *s3, const fx_s3_put *put, fx_s3_ask *ask);

/*
 * After a put that may have happened: is the object there, and ours? FX_OK, EXISTS (another's),
 * NOT_FOUND (not yet), DAMAGED, and those of asking.
 */
FX_MUST_USE fx_code fx_s3_settle(fx_s3 *s3, const fx_s3_put *put, fx_mono deadline, fx_err *err);

/* In parts. errors: as fx_store_put */
FX_MUST_USE fx_code fx_s3_upload(fx_s3 *s3, const fx_s3_put *put, fx_mono deadline, fx_err *err);

/* Ends an upload of one part over an object; *out_code: what the server makes of it. */
FX_MUST_USE fx_code
fx_s3_try_upload(fx_s3 *s3, const fx_s3_put *put, fx_mono deadline, fx_code *out_code, fx_err *err);

/*
 * Does the server refuse to replace an object, at a put and at the end of an upload in parts? Known
 * for some, else tried once a store, on an object of our own beside the keys.
 */
FX_MUST_USE fx_code
fx_s3_puts_conditionally(fx_s3 *s3, fx_mono deadline, fx_store_finding *out_finding, fx_err *err);
FX_MUST_USE fx_code fx_s3_completes_conditionally(
    fx_s3 *s3, fx_mono deadline, fx_store_finding *out_finding, fx_err *err);

FX_MUST_USE fx_code
fx_s3_examine(void *state, fx_mono deadline, fx_store_examination *to, fx_err *err);

/* The texts of the elements at `path` of an answer, the last one; false where there is none. */
bool fx_s3_find_text(const fx_buf *body, const char *path, char *out_text, size_t room_bytes);
