/* The keys of a scope: who has them can read and write its repositories. See docs/format.md,
 * "Keys". */
#pragma once

#include "common/crypto/box.h"
#include "common/repository/repository.h"

struct fx_repository_key {
    unsigned char scope_private[FX_BOX_KEY_BYTES];
    unsigned char scope_public[FX_BOX_KEY_BYTES];
    unsigned char id_key[FX_KEY_BYTES];
};

/* The text of a key file; for the fuzzer too. errors: INVALID */
FX_MUST_USE fx_code
fx_repository_key_parse(const char *text, fx_repository_key *out_key, fx_err *err);
