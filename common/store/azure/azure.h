/* What the parts of the azure driver share: one question to the service, and its refusals. */
#pragma once

#include "common/store/azure/address.h"
#include "common/store/azure/sign.h"
#include "common/store/remote/credentials.h"
#include "common/store/remote/objects.h"

typedef struct fx_azure {
    fx_objects objects; /* first: the driver's functions take either */
    fx_azure_address address;
    fx_secret *key;       /* decoded; NULL: the token is used */
    fx_secret *sas_token; /* without its question mark */
} fx_azure;

extern const fx_objects_service fx_azure_service;

/*
 * Sends the request that makes the blob, and settles what stays in doubt. `ask` has all but the
 * condition. errors: as fx_store_put
 */
FX_MUST_USE fx_code fx_azure_create(
    fx_azure *azure, const fx_objects_put *put, fx_objects_ask *ask, fx_mono deadline, fx_err *err);

/* In blocks. errors: as fx_store_put */
FX_MUST_USE fx_code
fx_azure_upload(fx_azure *azure, const fx_objects_put *put, fx_mono deadline, fx_err *err);
