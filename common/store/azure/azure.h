/* What the parts of the azure driver share: one question to the service, and its refusals. */
#pragma once

#include "common/store/azure/address.h"
#include "common/store/azure/sign.h"
#include "common/store/remote/credentials.h"
#include "common/store/remote/remote.h"
#include "common/store/store.h"

typedef struct fx_azure {
    fx_azure_address address;
    fx_secret *key;       /* decoded; NULL: the token is used */
    fx_secret *sas_token; /* without its question mark */
    fx_remote *remote;
} fx_azure;

typedef struct fx_azure_ask {
    const char *method;
    const char *key; /* NULL: the container itself */
    fx_azure_pair query[FX_AZURE_PAIR_MAX];
    size_t query_count;
    fx_azure_pair headers[FX_AZURE_PAIR_MAX];
    size_t header_count;
    fx_bytes body;
    bool is_change;
    const char *what; /* for messages: "store" */
} fx_azure_ask;

void fx_azure_add_query(fx_azure_ask *ask, const char *name, const char *value);
void fx_azure_add_header(fx_azure_ask *ask, const char *name, const char *value);

/* Any answer that trying again will not change; `body` may be NULL. errors: those of fx_remote_ask
 */
FX_MUST_USE fx_code fx_azure_send(
    fx_azure *azure,
    const fx_azure_ask *ask,
    fx_mono deadline,
    fx_buf *body,
    fx_remote_answer *out_answer,
    fx_err *err);

/* FX_OK for a status below 300, else what the refusal means to a person and to a program. */
FX_MUST_USE fx_code fx_azure_judge(
    const fx_azure *azure, const fx_azure_ask *ask, const fx_remote_answer *answer, fx_err *err);

/* What is put: borrowed. */
typedef struct fx_azure_put {
    const char *key;
    fx_bytes body;
    char nonce[FX_REMOTE_NONCE_BYTES];
} fx_azure_put;

/*
 * After a put that may have happened: is the blob there, and ours? FX_OK, EXISTS (another's),
 * NOT_FOUND (not yet), DAMAGED, and those of asking.
 */
FX_MUST_USE fx_code
fx_azure_settle(fx_azure *azure, const fx_azure_put *put, fx_mono deadline, fx_err *err);

/*
 * Sends the request that makes the blob, and settles what stays in doubt. `ask` has all but the
 * condition. errors: as fx_store_put
 */
FX_MUST_USE fx_code fx_azure_create(
    fx_azure *azure, const fx_azure_put *put, fx_azure_ask *ask, fx_mono deadline, fx_err *err);

/* In blocks. errors: as fx_store_put */
FX_MUST_USE fx_code
fx_azure_upload(fx_azure *azure, const fx_azure_put *put, fx_mono deadline, fx_err *err);
