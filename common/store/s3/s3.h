/* What the parts of the s3 driver share: one question to the server, and what its refusals mean. */
#pragma once

#include <pthread.h>

#include "common/store/remote/credentials.h"
#include "common/store/remote/objects.h"
#include "common/store/s3/address.h"

typedef struct fx_s3 {
    fx_objects objects; /* first: the driver's functions take either */
    fx_s3_address address;
    fx_credentials credentials; /* access key, secret key, session token */
    pthread_mutex_t lock;       /* of what follows, and while it is found out */
    fx_store_finding puts_conditionally;
    fx_store_finding completes_conditionally;
} fx_s3;

extern const fx_objects_service fx_s3_service;

/* What is put: borrowed. */
typedef struct fx_s3_put {
    fx_objects_put object;
    const fx_store_retention *retention; /* NULL: none */
    char until[32];
    char nonce_header[40];
} fx_s3_put;

/* Adds what the object carries: its nonce and its retention. */
void fx_s3_add_object_headers(const fx_s3_put *put, fx_objects_ask *ask);

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
