#include "common/crypto/scrypt.h"

#include <openssl/evp.h>

fx_code
fx_scrypt(
    fx_bytes passphrase,
    fx_bytes salt,
    fx_scrypt_cost cost,
    unsigned char out_key[FX_KEY_BYTES],
    fx_err *err)
{
    enum { BLOCK_BYTES = 128, SLACK_BYTES = 1 << 20, LOG2_N_MAX = 30 };
    uint64_t n = UINT64_C(1) << (cost.log2_n <= LOG2_N_MAX ? cost.log2_n : LOG2_N_MAX);
    uint64_t memory_bytes = BLOCK_BYTES * (uint64_t)cost.r * n;
    if (memory_bytes > FX_SCRYPT_MEMORY_MAX_BYTES) {
        return fx_fail(
            err,
            FX_ERR_LIMIT,
            "could not derive a key: scrypt with N = 2^%u, r = %u takes too much memory",
            cost.log2_n,
            cost.r);
    }
    uint64_t max_bytes = memory_bytes + BLOCK_BYTES * (uint64_t)cost.r * cost.p + SLACK_BYTES;
    if (EVP_PBE_scrypt(
            passphrase.data,
            passphrase.size_bytes,
            salt.data,
            salt.size_bytes,
            n,
            cost.r,
            cost.p,
            max_bytes,
            out_key,
            FX_KEY_BYTES) != 1) {
        return fx_fail(
            err,
            FX_ERR_LIMIT,
            "could not derive a key: scrypt with N = 2^%u, r = %u, p = %u failed (memory?)",
            cost.log2_n,
            cost.r,
            cost.p);
    }
    return FX_OK;
}
