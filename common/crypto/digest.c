#include "common/crypto/digest.h"

#include <limits.h>
#include <string.h>

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <openssl/rand.h>

/* OpenSSL fails in what follows only for exhaustion or a broken installation: both are fatal. */
static void
must(int openssl_result)
{
    FX_ASSERT(openssl_result == 1);
}

void
fx_crypto_random(void *out_bytes, size_t size_bytes)
{
    FX_ASSERT(size_bytes <= INT_MAX);
    must(RAND_bytes(out_bytes, (int)size_bytes));
}

bool
fx_crypto_equal(const void *left, const void *right, size_t size_bytes)
{
    return CRYPTO_memcmp(left, right, size_bytes) == 0;
}

/* Fetched once: a fetch costs more than the digest of a small chunk. */
static const EVP_MD *
sha256(void)
{
    static EVP_MD *method;
    EVP_MD *known = __atomic_load_n(&method, __ATOMIC_ACQUIRE);
    if (known != NULL) {
        return known;
    }
    EVP_MD *fetched = EVP_MD_fetch(NULL, "SHA256", NULL);
    FX_ASSERT(fetched != NULL);
    EVP_MD *expected = NULL;
    if (!__atomic_compare_exchange_n(
            &method, &expected, fetched, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
        EVP_MD_free(fetched);
        return expected;
    }
    return fetched;
}

void
fx_sha256(fx_bytes bytes, unsigned char out_digest[FX_SHA256_BYTES])
{
    unsigned size_bytes = FX_SHA256_BYTES;
    must(EVP_Digest(bytes.data, bytes.size_bytes, out_digest, &size_bytes, sha256(), NULL));
    FX_ASSERT(size_bytes == FX_SHA256_BYTES);
}

struct fx_sha256_stream {
    EVP_MD_CTX *digest;
};

fx_sha256_stream *
fx_sha256_stream_new(void)
{
    fx_sha256_stream *stream = calloc(1, sizeof *stream);
    FX_ASSERT(stream != NULL);
    stream->digest = EVP_MD_CTX_new();
    FX_ASSERT(stream->digest != NULL);
    must(EVP_DigestInit_ex2(stream->digest, sha256(), NULL));
    return stream;
}

void
fx_sha256_stream_free(fx_sha256_stream *stream)
{
    if (stream == NULL) {
        return;
    }
    EVP_MD_CTX_free(stream->digest);
    free(stream);
}

void
fx_sha256_stream_add(fx_sha256_stream *stream, fx_bytes bytes)
{
    must(EVP_DigestUpdate(stream->digest, bytes.data, bytes.size_bytes));
}

void
fx_sha256_stream_finish(fx_sha256_stream *stream, unsigned char out_digest[FX_SHA256_BYTES])
{
    unsigned size_bytes = FX_SHA256_BYTES;
    must(EVP_DigestFinal_ex(stream->digest, out_digest, &size_bytes));
    must(EVP_DigestInit_ex2(stream->digest, sha256(), NULL));
}

struct fx_hmac {
    EVP_MAC *method;
    EVP_MAC_CTX *mac;
};

fx_hmac *
fx_hmac_new(const unsigned char key[FX_KEY_BYTES])
{
    fx_hmac *hmac = calloc(1, sizeof *hmac);
    FX_ASSERT(hmac != NULL);
    hmac->method = EVP_MAC_fetch(NULL, "HMAC", NULL);
    FX_ASSERT(hmac->method != NULL);
    hmac->mac = EVP_MAC_CTX_new(hmac->method);
    FX_ASSERT(hmac->mac != NULL);
    char name[] = "SHA256";
    const OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, name, 0),
        OSSL_PARAM_construct_end()};
    must(EVP_MAC_init(hmac->mac, key, FX_KEY_BYTES, params));
    return hmac;
}

void
fx_hmac_free(fx_hmac *hmac)
{
    if (hmac == NULL) {
        return;
    }
    EVP_MAC_CTX_free(hmac->mac);
    EVP_MAC_free(hmac->method);
    free(hmac);
}

void
fx_hmac_sha256(fx_hmac *hmac, fx_bytes bytes, unsigned char out_code[FX_SHA256_BYTES])
{
    size_t size_bytes = 0;
    must(EVP_MAC_init(hmac->mac, NULL, 0, NULL)); /* the same key again */
    must(EVP_MAC_update(hmac->mac, bytes.data, bytes.size_bytes));
    must(EVP_MAC_final(hmac->mac, out_code, &size_bytes, FX_SHA256_BYTES));
    FX_ASSERT(size_bytes == FX_SHA256_BYTES);
}

void
fx_hmac_sha256_once(fx_bytes key, fx_bytes bytes, unsigned char out_code[FX_SHA256_BYTES])
{
    unsigned size_bytes = FX_SHA256_BYTES;
    FX_ASSERT(key.size_bytes <= INT_MAX);
    const unsigned char *code = HMAC(
        sha256(),
        key.data,
        (int)key.size_bytes,
        bytes.data,
        bytes.size_bytes,
        out_code,
        &size_bytes);
    FX_ASSERT(code != NULL && size_bytes == FX_SHA256_BYTES);
}

bool
fx_md5(fx_bytes bytes, unsigned char out_digest[FX_MD5_BYTES])
{
    unsigned size_bytes = FX_MD5_BYTES;
    return EVP_Digest(bytes.data, bytes.size_bytes, out_digest, &size_bytes, EVP_md5(), NULL) == 1;
}

/* OSSL_PARAM takes no const; OpenSSL only reads these. */
static void *
unconst(const void *data)
{
    void *writable = NULL;
    memcpy(&writable, &data, sizeof writable);
    return writable;
}

void
fx_hkdf_sha256(
    fx_bytes key, fx_bytes salt, const char *info, unsigned char *out_bytes, size_t size_bytes)
{
    EVP_KDF *method = EVP_KDF_fetch(NULL, "HKDF", NULL);
    FX_ASSERT(method != NULL);
    EVP_KDF_CTX *kdf = EVP_KDF_CTX_new(method);
    FX_ASSERT(kdf != NULL);
    char name[] = "SHA256";
    const OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, name, 0),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, unconst(key.data), key.size_bytes),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SALT, unconst(salt.data), salt.size_bytes),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, unconst(info), strlen(info)),
        OSSL_PARAM_construct_end()};
    must(EVP_KDF_derive(kdf, out_bytes, size_bytes, params));
    EVP_KDF_CTX_free(kdf);
    EVP_KDF_free(method);
}

fx_code
fx_base64_encode(fx_bytes bytes, fx_buf *out, fx_err *err)
{
    if (bytes.size_bytes > INT_MAX / 2) {
        return fx_fail(err, FX_ERR_LIMIT, "could not encode %zu bytes", bytes.size_bytes);
    }
    unsigned char *room = NULL;
    size_t length = (bytes.size_bytes + 2) / 3 * 4;
    if (fx_buf_extend(out, length, &room, err) != FX_OK) {
        return fx_err_wrap(err, "encoding base64");
    }
    int put = EVP_EncodeBlock(
        room, bytes.data, (int)bytes.size_bytes); /* and a NUL, for which buf has room */
    FX_ASSERT(put >= 0 && (size_t)put == length);
    return FX_OK;
}

fx_code
fx_base64_decode(const char *text, fx_buf *out, fx_err *err)
{
    size_t length = strlen(text);
    if (length > INT_MAX || length % 4 != 0) {
        return fx_fail(
            err, FX_ERR_INVALID, "could not read base64: not a multiple of 4 characters");
    }
    if (length == 0) {
        return FX_OK;
    }
    /* EVP_DecodeBlock takes blanks at the ends and '=' anywhere: ask first. */
    size_t digits =
        strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/");
    size_t padding = length - digits;
    if (padding > 2 || strspn(text + digits, "=") != padding) {
        return fx_fail(err, FX_ERR_INVALID, "could not read base64: another character");
    }
    size_t before_bytes = out->size_bytes;
    unsigned char *room = NULL;
    if (fx_buf_extend(out, length / 4 * 3, &room, err) != FX_OK) {
        return fx_err_wrap(err, "reading base64");
    }
    int got = EVP_DecodeBlock(room, (const unsigned char *)text, (int)length);
    FX_ASSERT(got >= 0 && (size_t)got == length / 4 * 3);
    out->size_bytes = before_bytes + (size_t)got - padding;
    out->data[out->size_bytes] = 0;
    return FX_OK;
}
