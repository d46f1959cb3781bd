/* The file of API tokens: a YAML list of {name, role: viewer|operator, sha256: hex of the token}.
 */
#pragma once

#include "common/base/name.h"

enum { FX_TOKEN_MAX = 256, FX_TOKEN_HASH_BYTES = 32 };

typedef enum fx_token_role { FX_TOKEN_VIEWER, FX_TOKEN_OPERATOR } fx_token_role;

typedef struct fx_token {
    fx_name name;
    fx_token_role role;
    unsigned char hash[FX_TOKEN_HASH_BYTES]; /* SHA-256 of the token's text */
} fx_token;

typedef struct fx_tokens {
    fx_token *items;
    size_t count;
} fx_tokens;
void fx_tokens_free(fx_tokens *tokens); /* the items, not the struct */

/* errors: NOT_FOUND, DENIED, INVALID (naming what is wrong), LIMIT (more than FX_TOKEN_MAX) */
FX_MUST_USE fx_code fx_tokens_load(const char *path, fx_tokens *out_tokens, fx_err *err);
