#include "common/crypto/aead.h"

#include <limits.h>
#include <string.h>

#include <openssl/evp.h>

#include "common/base/secret.h"

enum { NONCE_BYTES = 12 };

struct fx_aead {
    EVP_CIPHER *method;
    EVP_CIPHER_CTX *sealing;
    EVP_CIPHER_CTX *opening;
};

static void
must(int openssl_result)
{
    FX_ASSERT(openssl_result == 1);
}

fx_aead *
fx_aead_new(const unsigned char key[FX_KEY_BYTES])
{
    fx_aead *aead = calloc(1, sizeof *aead);
    FX_ASSERT(aead != NULL);
    aead->method = EVP_CIPHER_fetch(NULL, "AES-256-GCM", NULL);
    aead->sealing = EVP_CIPHER_CTX_new();
    aead->opening = EVP_CIPHER_CTX_new();
    FX_ASSERT(aead->method != NULL && aead->sealing != NULL && aead->opening != NULL);
    fx_aead_set_key(aead, key);
    return aead;
}

void
fx_aead_set_key(fx_aead *aead, const unsigned char key[FX_KEY_BYTES])
{
    must(EVP_EncryptInit_ex2(aead->sealing, aead->method, key, NULL, NULL));
    must(EVP_DecryptInit_ex2(aead->opening, aead->method, key, NULL, NULL));
}

void
fx_aead_free(fx_aead *aead)
{
    if (aead == NULL) {
        return;
    }
    EVP_CIPHER_CTX_free(aead->sealing);
    EVP_CIPHER_CTX_free(aead->opening);
    EVP_CIPHER_free(aead->method);
    free(aead);
}

static void
make_nonce(uint64_t number, unsigned char out_nonce[NONCE_BYTES])
{
    memset(out_nonce, 0, NONCE_BYTES);
    for (size_t i = 0; i < sizeof number; i++) {
        out_nonce[NONCE_BYTES - 1 - i] = (unsigned char)(number >> (8 * i));
    }
}

void
fx_aead_seal_into(
    fx_aead *aead, uint64_t number, fx_bytes bound, fx_bytes plain, unsigned char *out_room)
{
    FX_ASSERT(plain.size_bytes < INT_MAX && bound.size_bytes < INT_MAX);
    unsigned char nonce[NONCE_BYTES];
    make_nonce(number, nonce);
    int put = 0;
    EVP_CIPHER_CTX *cipher = aead->sealing;
    must(EVP_EncryptInit_ex2(cipher, NULL, NULL, nonce, NULL));
    if (bound.size_bytes > 0) {
        must(EVP_EncryptUpdate(cipher, NULL, &put, bound.data, (int)bound.size_bytes));
    }
    if (plain.size_bytes > 0) {
        must(EVP_EncryptUpdate(cipher, out_room, &put, plain.data, (int)plain.size_bytes));
    }
    unsigned char rest[16];
    must(EVP_EncryptFinal_ex(cipher, rest, &put));
    must(EVP_CIPHER_CTX_ctrl(
        cipher, EVP_CTRL_AEAD_GET_TAG, FX_AEAD_TAG_BYTES, out_room + plain.size_bytes));
}

fx_code
fx_aead_seal(
    fx_aead *aead, uint64_t number, fx_bytes bound, fx_bytes plain, fx_buf *out, fx_err *err)
{
    unsigned char *room = NULL;
    if (fx_buf_extend(out, plain.size_bytes + FX_AEAD_TAG_BYTES, &room, err) != FX_OK) {
        return fx_err_wrap(err, "encrypting");
    }
    fx_aead_seal_into(aead, number, bound, plain, room);
    return FX_OK;
}

fx_code
fx_aead_open(
    fx_aead *aead, uint64_t number, fx_bytes bound, fx_bytes sealed, fx_buf *out, fx_err *err)
{
    FX_ASSERT(bound.size_bytes < INT_MAX);
    if (sealed.size_bytes < FX_AEAD_TAG_BYTES || sealed.size_bytes > INT_MAX) {
        return fx_fail(err, FX_ERR_DAMAGED, "could not decrypt: %zu bytes", sealed.size_bytes);
    }
    size_t plain_bytes = sealed.size_bytes - FX_AEAD_TAG_BYTES;
    size_t before_bytes = out->size_bytes;
    unsigned char *room = NULL;
    if (fx_buf_extend(out, plain_bytes, &room, err) != FX_OK) {
        return fx_err_wrap(err, "decrypting");
    }
    unsigned char nonce[NONCE_BYTES];
    make_nonce(number, nonce);
    unsigned char tag[FX_AEAD_TAG_BYTES];
    const unsigned char *data = sealed.data;
    memcpy(tag, data + plain_bytes, sizeof tag); /* OpenSSL wants it writable */
    int put = 0;
    EVP_CIPHER_CTX *cipher = aead->opening;
    must(EVP_DecryptInit_ex2(cipher, NULL, NULL, nonce, NULL));
    if (bound.size_bytes > 0) {
        must(EVP_DecryptUpdate(cipher, NULL, &put, bound.data, (int)bound.size_bytes));
    }
    if (plain_bytes > 0) {
        must(EVP_DecryptUpdate(cipher, room, &put, data, (int)plain_bytes));
    }
    must(EVP_CIPHER_CTX_ctrl(cipher, EVP_CTRL_AEAD_SET_TAG, FX_AEAD_TAG_BYTES, tag));
    unsigned char rest[16];
    if (EVP_DecryptFinal_ex(cipher, rest, &put) != 1) {
        out->size_bytes = before_bytes; /* nothing unauthenticated leaves this function */
        fx_wipe(room, plain_bytes);
        return fx_fail(
            err, FX_ERR_DAMAGED, "could not decrypt: the bytes are not what was written");
    }
    return FX_OK;
}
