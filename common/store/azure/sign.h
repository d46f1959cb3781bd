/*
 * The signature of a storage account's key over a request. Pure.
 * source: learn.microsoft.com/rest/api/storageservices/authorize-with-shared-key
 */
#pragma once

#include "common/base/buf.h"
#include "common/base/secret.h"
#include "common/base/time.h"
#include "common/store/remote/pair.h"

enum { FX_AZURE_TIME_BYTES = 32 };

typedef struct fx_azure_to_sign {
    const char *method;
    const char *account;
    const char *path;                         /* as sent */
    fx_remote_pair query[FX_REMOTE_PAIR_MAX]; /* not encoded */
    size_t query_count;
    fx_remote_pair headers[FX_REMOTE_PAIR_MAX];
    size_t header_count;
    size_t content_bytes;
} fx_azure_to_sign;

/* "Mon, 23 Nov 2026 01:02:03 GMT" */
void fx_azure_time_format(fx_wall when, char out_time[FX_AZURE_TIME_BYTES]);

/* Appends the text that is signed. errors: LIMIT */
FX_MUST_USE fx_code fx_azure_text_to_sign(const fx_azure_to_sign *what, fx_buf *out, fx_err *err);

/* Appends the value of the Authorization header; `key` is decoded from base64. errors: LIMIT */
FX_MUST_USE fx_code
fx_azure_sign(const fx_secret *key, const fx_azure_to_sign *what, fx_buf *out, fx_err *err);
