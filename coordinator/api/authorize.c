#include "coordinator/api/authorize.h"

#include <string.h>
#include <strings.h>

#include "common/crypto/digest.h"

enum { TOKEN_MAX_BYTES = 512 };

static bool
is_same(const unsigned char *left, const unsigned char *right)
{
    unsigned difference = 0;
    for (size_t i = 0; i < FX_TOKEN_HASH_BYTES; i++) {
        difference |= (unsigned)(left[i] ^ right[i]);
    }
    return difference == 0;
}

/* The token of "Bearer TOKEN" (the scheme in any case: RFC 9110 section 11.1), NULL if it is none.
 */
static const char *
token_of(const char *authorization)
{
    static const char scheme[] = "Bearer ";
    if (authorization == NULL || strncasecmp(authorization, scheme, sizeof scheme - 1) != 0) {
        return NULL;
    }
    const char *token = authorization + sizeof scheme - 1;
    token += strspn(token, " ");
    size_t size_bytes = strnlen(token, TOKEN_MAX_BYTES + 1);
    return size_bytes == 0 || size_bytes > TOKEN_MAX_BYTES ? NULL : token;
}

const fx_token *
fx_authorize(const fx_tokens *tokens, const char *authorization)
{
    const char *token = token_of(authorization);
    if (token == NULL) {
        return NULL;
    }
    unsigned char hash[FX_SHA256_BYTES];
    _Static_assert((int)FX_SHA256_BYTES == (int)FX_TOKEN_HASH_BYTES, "a token's hash is SHA-256");
    fx_sha256((fx_bytes){token, strlen(token)}, hash);
    const fx_token *found = NULL;
    for (size_t i = 0; i < tokens->count; i++) {
        if (is_same(hash, tokens->items[i].hash) && found == NULL) {
            found = &tokens->items[i];
        }
    }
    return found;
}
