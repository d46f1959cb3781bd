/* Bytes that are wiped when freed and that logs show as ***. */
#pragma once

#include "common/base/err.h"

typedef struct fx_secret {
    unsigned char *data; /* followed by a NUL that size_bytes does not count */
    size_t size_bytes;
} fx_secret;

fx_secret *fx_secret_new(fx_bytes bytes);
void fx_secret_free(fx_secret *secret);
FX_DEFINE_AUTO(fx_secret);

/* Overwrites memory in a way that the compiler keeps. */
void fx_wipe(void *data, size_t size_bytes);
