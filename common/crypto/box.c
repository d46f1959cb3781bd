#include "common/crypto/box.h"

#include <string.h>

#include <openssl/evp.h>

#include "common/base/secret.h"

void
fx_box_key_pair(
    unsigned char out_private[FX_BOX_KEY_BYTES], unsigned char out_public[FX_BOX_KEY_BYTES])
{
    fx_crypto_random(out_private, FX_BOX_KEY_BYTES);
    fx_box_public(out_private, out_public);
}

static EVP_PKEY *
private_of(const unsigned char bytes[FX_BOX_KEY_BYTES])
{
    EVP_PKEY *key = EVP_PKEY_new_raw_private_key_ex(NULL, "X25519", NULL, bytes, FX_BOX_KEY_BYTES);
    FX_ASSERT(key != NULL); /* any 32 bytes are a private key */
    return key;
}

void
fx_box_public(
    const unsigned char private_key[FX_BOX_KEY_BYTES], unsigned char out_public[FX_BOX_KEY_BYTES])
{
    EVP_PKEY *key = private_of(private_key);
    size_t size_bytes = FX_BOX_KEY_BYTES;
    int result = EVP_PKEY_get_raw_public_key(key, out_public, &size_bytes);
    FX_ASSERT(result == 1 && size_bytes == FX_BOX_KEY_BYTES);
    EVP_PKEY_free(key);
}

/* False for a public key of small order, with which the shared secret would be zero. */
static bool
agree(
    const unsigned char private_key[FX_BOX_KEY_BYTES],
    const unsigned char public_key[FX_BOX_KEY_BYTES],
    unsigned char out_shared[FX_BOX_KEY_BYTES])
{
    EVP_PKEY *own = private_of(private_key);
    EVP_PKEY *peer =
        EVP_PKEY_new_raw_public_key_ex(NULL, "X25519", NULL, public_key, FX_BOX_KEY_BYTES);
    EVP_PKEY_CTX *exchange = EVP_PKEY_CTX_new_from_pkey(NULL, own, NULL);
    FX_ASSERT(peer != NULL && exchange != NULL);
    size_t size_bytes = FX_BOX_KEY_BYTES;
    int result = EVP_PKEY_derive_init(exchange);
    FX_ASSERT(result == 1);
    bool agreed = EVP_PKEY_derive_set_peer(exchange, peer) == 1 &&
                  EVP_PKEY_derive(exchange, out_shared, &size_bytes) == 1 &&
                  size_bytes == FX_BOX_KEY_BYTES;
    EVP_PKEY_CTX_free(exchange);
    EVP_PKEY_free(peer);
    EVP_PKEY_free(own);
    return agreed;
}

static fx_aead *
cipher_of(
    unsigned char shared[FX_BOX_KEY_BYTES],
    const unsigned char ephemeral[FX_BOX_KEY_BYTES],
    const unsigned char recipient[FX_BOX_KEY_BYTES],
    const char *info)
{
    unsigned char salt[2 * FX_BOX_KEY_BYTES];
    memcpy(salt, ephemeral, FX_BOX_KEY_BYTES);
    memcpy(salt + FX_BOX_KEY_BYTES, recipient, FX_BOX_KEY_BYTES);
    unsigned char key[FX_KEY_BYTES];
    fx_hkdf_sha256(
        (fx_bytes){shared, FX_BOX_KEY_BYTES}, (fx_bytes){salt, sizeof salt}, info, key, sizeof key);
    fx_wipe(shared, FX_BOX_KEY_BYTES);
    fx_aead *aead = fx_aead_new(key);
    fx_wipe(key, sizeof key);
    return aead;
}

fx_code
fx_box_seal(
    const unsigned char public_key[FX_BOX_KEY_BYTES],
    const char *info,
    fx_bytes plain,
    fx_buf *out,
    fx_err *err)
{
    FX_ASSERT(plain.size_bytes <= FX_BOX_PLAIN_MAX_BYTES);
    unsigned char ephemeral_private[FX_BOX_KEY_BYTES];
    unsigned char ephemeral[FX_BOX_KEY_BYTES];
    unsigned char shared[FX_BOX_KEY_BYTES];
    fx_box_key_pair(ephemeral_private, ephemeral);
    bool agreed = agree(ephemeral_private, public_key, shared);
    fx_wipe(ephemeral_private, sizeof ephemeral_private);
    if (!agreed) {
        return fx_fail(err, FX_ERR_INVALID, "could not encrypt: the public key is of small order");
    }
    FX_AUTO(fx_aead) aead = cipher_of(shared, ephemeral, public_key, info);
    if (fx_buf_append(out, ephemeral, sizeof ephemeral, err) != FX_OK) {
        return fx_err_wrap(err, "sealing a key");
    }
    /* The key is used once, so that any nonce will do. */
    return fx_aead_seal(aead, 0, (fx_bytes){NULL, 0}, plain, out, err);
}

fx_code
fx_box_open(
    const unsigned char private_key[FX_BOX_KEY_BYTES],
    const char *info,
    fx_bytes sealed,
    fx_buf *out,
    fx_err *err)
{
    unsigned char shared[FX_BOX_KEY_BYTES];
    if (sealed.size_bytes < FX_BOX_OVERHEAD_BYTES ||
        sealed.size_bytes > FX_BOX_OVERHEAD_BYTES + FX_BOX_PLAIN_MAX_BYTES ||
        !agree(private_key, sealed.data, shared)) {
        return fx_fail(err, FX_ERR_WRONG_KEY, "could not open a sealed key: it is malformed");
    }
    unsigned char recipient[FX_BOX_KEY_BYTES];
    fx_box_public(private_key, recipient);
    FX_AUTO(fx_aead) aead = cipher_of(shared, sealed.data, recipient, info);
    fx_bytes body = {
        (const unsigned char *)sealed.data + FX_BOX_KEY_BYTES,
        sealed.size_bytes - FX_BOX_KEY_BYTES};
    if (fx_aead_open(aead, 0, (fx_bytes){NULL, 0}, body, out, err) != FX_OK) {
        return fx_fail(
            err,
            FX_ERR_WRONG_KEY,
            "could not open a sealed key: it is for another key, or damaged");
    }
    return FX_OK;
}
