/* The keys of one scope, the same in every run: what a fuzzer builds with them is opened with them.
 */
#pragma once

#include <string.h>

#include "common/repository/key.h"

typedef struct fuzz_keys {
    fx_scope_version version;
    fx_scope_keys scope;
    fx_repository_key key;
} fuzz_keys;

static inline const fuzz_keys *
fuzz_keys_get(void)
{
    static fuzz_keys keys;
    if (keys.scope.version_count == 0) {
        keys.version = (fx_scope_version){
            .number = 1, .private_key = {1, 2, 3}, .sign = {1}}; /* any bytes are keys */
        fx_box_public(keys.version.private_key, keys.version.public_key);
        FX_AUTO(fx_sign_key) signer = fx_sign_key_of(keys.version.sign);
        fx_sign_key_public(signer, keys.version.verify_key);
        keys.scope = (fx_scope_keys){
            .id = {{1, 2, 3, 4, 5, 6, 7, 8}},
            .label = {"fuzz"},
            .state = FX_SCOPE_LIVE,
            .can_read = true,
            .can_write = true,
            .id_key = {7},
            .versions = &keys.version,
            .version_count = 1};
        keys.key = (fx_repository_key){.scopes = &keys.scope, .scope_count = 1};
    }
    return &keys;
}
