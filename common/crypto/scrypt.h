/* scrypt: a key of a passphrase, dear to guess. source: RFC 7914 */
#pragma once

#include "common/crypto/digest.h"

typedef struct fx_scrypt_cost {
    unsigned log2_n;
    unsigned r;
    unsigned p;
} fx_scrypt_cost;

/*
 * units:  takes 128 * r * 2^log2_n bytes of memory, at most FX_SCRYPT_MEMORY_MAX_BYTES
 * errors: LIMIT (more memory than that)
 */
enum { FX_SCRYPT_MEMORY_MAX_BYTES = 1 << 30 };
FX_MUST_USE fx_code fx_scrypt(
    fx_bytes passphrase,
    fx_bytes salt,
    fx_scrypt_cost cost,
    unsigned char out_key[FX_KEY_BYTES],
    fx_err *err);
