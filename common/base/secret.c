#include "common/base/secret.h"

#include <string.h>

fx_secret *
fx_secret_new(fx_bytes bytes)
{
    fx_secret *secret = calloc(1, sizeof *secret);
    FX_ASSERT(secret != NULL);
    secret->data = calloc(1, bytes.size_bytes + 1);
    FX_ASSERT(secret->data != NULL);
    if (bytes.size_bytes > 0) {
        memcpy(secret->data, bytes.data, bytes.size_bytes);
    }
    secret->size_bytes = bytes.size_bytes;
    return secret;
}

void
fx_secret_free(fx_secret *secret)
{
    if (secret == NULL) {
        return;
    }
    fx_wipe(secret->data, secret->size_bytes);
    free(secret->data);
    free(secret);
}

void
fx_wipe(void *data, size_t size_bytes)
{
    explicit_bzero(data, size_bytes);
}
