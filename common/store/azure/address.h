/* Where a container of blobs is: read from a store's URL. Pure. */
#pragma once

#include "common/base/err.h"

enum {
    FX_AZURE_ACCOUNT_MAX_BYTES = 24,
    FX_AZURE_CONTAINER_MAX_BYTES = 63,
    FX_AZURE_PREFIX_MAX_BYTES = 400,
};

typedef struct fx_azure_address {
    char scheme[8];
    char host[272];
    char account[FX_AZURE_ACCOUNT_MAX_BYTES + 1];
    char base_path[96]; /* "/CONTAINER" or "/ACCOUNT/CONTAINER" */
    char container[FX_AZURE_CONTAINER_MAX_BYTES + 1];
    char prefix[FX_AZURE_PREFIX_MAX_BYTES + 2]; /* "" or ends with a slash */
    size_t block_bytes;
} fx_azure_address;

/*
 * Reads what follows "azure:": "https://ACCOUNT.blob.HOST/CONTAINER[/PREFIX]", or, where the host
 * is not of that form, "https://HOST/ACCOUNT/CONTAINER[/PREFIX]"; with ?block-mib=N. errors:
 * INVALID
 */
FX_MUST_USE fx_code
fx_azure_address_parse(const char *rest, fx_azure_address *out_address, fx_err *err);
