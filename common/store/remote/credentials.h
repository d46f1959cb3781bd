/*
 * Keys of cloud stores: from the environment or a file, never from flags or addresses. A file is
 * one of sections and lines "name = value", as the AWS tools write it.
 */
#pragma once

#include "common/base/buf.h"
#include "common/base/secret.h"

enum { FX_CREDENTIAL_MAX_BYTES = 8192, FX_CREDENTIAL_MAX = 4 };

/* A wanted value: where it may come from. */
typedef struct fx_credential_name {
    const char *variable; /* of the environment */
    const char *line;     /* of the file */
    bool is_required;
} fx_credential_name;

typedef struct fx_credentials {
    fx_secret *values[FX_CREDENTIAL_MAX]; /* in the order of the names; NULL: none */
    char origin[160];                     /* for messages: "the environment" or the file's path */
} fx_credentials;

/*
 * All of them from one place: the environment where any variable of the names is set; else the file
 * in FORTRESS_CREDENTIALS_FILE, AWS_SHARED_CREDENTIALS_FILE or ~/.aws/credentials, its section
 * AWS_PROFILE or "default". A file that others than its owner may read is refused.
 *
 * errors: NOT_FOUND (none anywhere, or not all that are required), DENIED, INVALID, IO, LIMIT
 */
FX_MUST_USE fx_code fx_credentials_load(
    const fx_credential_name *names, size_t count, fx_credentials *out_credentials, fx_err *err);
void fx_credentials_clear(fx_credentials *credentials);

/* For the loader and its tests: the section's value of a line's name; false where there is none. */
bool fx_credentials_find(
    const char *content, const char *section, const char *name, fx_bytes *out_value);
