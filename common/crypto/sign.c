#include "common/crypto/sign.h"

#include <errno.h>
#include <sys/stat.h>

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>

#include "common/base/file.h"
#include "common/base/secret.h"

enum { PEM_MAX_BYTES = 4096 };

struct fx_sign_key {
    EVP_PKEY *key;
};

struct fx_verify_key {
    EVP_PKEY *key;
};

static fx_code
check_private(const char *path, fx_err *err)
{
    struct stat info;
    if (stat(path, &info) != 0) {
        return fx_fail_errno(err, errno, "could not open \"%s\"", path);
    }
    if ((info.st_mode & 077) != 0) {
        return fx_fail(
            err,
            FX_ERR_DENIED,
            "could not use \"%s\": others than its owner may read it; chmod 600 it",
            path);
    }
    return FX_OK;
}

/* Reads PEM of either half. */
static fx_code
load(const char *path, bool is_private, EVP_PKEY **out_key, fx_err *err)
{
    FX_BUF_AUTO pem;
    fx_buf_init(&pem, PEM_MAX_BYTES);
    if (fx_file_read(path, &pem, err) != FX_OK) {
        return err->code;
    }
    BIO *bio = BIO_new_mem_buf(fx_buf_text(&pem), (int)pem.size_bytes);
    FX_ASSERT(bio != NULL);
    char none[] = "";
    EVP_PKEY *key = is_private ? PEM_read_bio_PrivateKey(bio, NULL, NULL, none)
                               : PEM_read_bio_PUBKEY(bio, NULL, NULL, none);
    BIO_free(bio);
    if (pem.data != NULL) {
        fx_wipe(pem.data, pem.size_bytes);
    }
    if (key == NULL || EVP_PKEY_is_a(key, "ED25519") != 1) {
        EVP_PKEY_free(key);
        return fx_fail(
            err,
            FX_ERR_INVALID,
            "could not use \"%s\": not an Ed25519 %s key in PEM",
            path,
            is_private ? "private" : "public");
    }
    *out_key = key;
    return FX_OK;
}

fx_code
fx_sign_key_load(const char *path, fx_sign_key **out_key, fx_err *err)
{
    EVP_PKEY *loaded = NULL;
    if (check_private(path, err) != FX_OK || load(path, true, &loaded, err) != FX_OK) {
        return err->code;
    }
    fx_sign_key *key = calloc(1, sizeof *key);
    FX_ASSERT(key != NULL);
    key->key = loaded;
    *out_key = key;
    return FX_OK;
}

fx_sign_key *
fx_sign_key_of(const unsigned char seed[FX_SIGN_KEY_BYTES])
{
    fx_sign_key *key = calloc(1, sizeof *key);
    FX_ASSERT(key != NULL);
    key->key = EVP_PKEY_new_raw_private_key_ex(NULL, "ED25519", NULL, seed, FX_SIGN_KEY_BYTES);
    FX_ASSERT(key->key != NULL);
    return key;
}

void
fx_sign_key_public(const fx_sign_key *key, unsigned char out_public[FX_SIGN_KEY_BYTES])
{
    size_t size_bytes = FX_SIGN_KEY_BYTES;
    int result = EVP_PKEY_get_raw_public_key(key->key, out_public, &size_bytes);
    FX_ASSERT(result == 1 && size_bytes == FX_SIGN_KEY_BYTES);
}

void
fx_sign_key_free(fx_sign_key *key)
{
    if (key != NULL) {
        EVP_PKEY_free(key->key);
        free(key);
    }
}

void
fx_sign(const fx_sign_key *key, fx_bytes bytes, unsigned char out_signature[FX_SIGN_BYTES])
{
    EVP_MD_CTX *signer = EVP_MD_CTX_new();
    FX_ASSERT(signer != NULL);
    size_t size_bytes = FX_SIGN_BYTES;
    int result = EVP_DigestSignInit(signer, NULL, NULL, NULL, key->key);
    FX_ASSERT(result == 1);
    result = EVP_DigestSign(signer, out_signature, &size_bytes, bytes.data, bytes.size_bytes);
    FX_ASSERT(result == 1 && size_bytes == FX_SIGN_BYTES);
    EVP_MD_CTX_free(signer);
}

fx_code
fx_verify_key_load(const char *path, fx_verify_key **out_key, fx_err *err)
{
    EVP_PKEY *loaded = NULL;
    if (load(path, false, &loaded, err) != FX_OK) {
        return err->code;
    }
    fx_verify_key *key = calloc(1, sizeof *key);
    FX_ASSERT(key != NULL);
    key->key = loaded;
    *out_key = key;
    return FX_OK;
}

fx_verify_key *
fx_verify_key_of(const unsigned char public_key[FX_SIGN_KEY_BYTES])
{
    fx_verify_key *key = calloc(1, sizeof *key);
    FX_ASSERT(key != NULL);
    key->key = EVP_PKEY_new_raw_public_key_ex(NULL, "ED25519", NULL, public_key, FX_SIGN_KEY_BYTES);
    FX_ASSERT(key->key != NULL); /* any 32 bytes: what is no point verifies nothing */
    return key;
}

void
fx_verify_key_free(fx_verify_key *key)
{
    if (key != NULL) {
        EVP_PKEY_free(key->key);
        free(key);
    }
}

bool
fx_verify(const fx_verify_key *key, fx_bytes bytes, const unsigned char signature[FX_SIGN_BYTES])
{
    EVP_MD_CTX *verifier = EVP_MD_CTX_new();
    FX_ASSERT(verifier != NULL);
    int result = EVP_DigestVerifyInit(verifier, NULL, NULL, NULL, key->key);
    FX_ASSERT(result == 1);
    bool valid =
        EVP_DigestVerify(verifier, signature, FX_SIGN_BYTES, bytes.data, bytes.size_bytes) == 1;
    EVP_MD_CTX_free(verifier);
    return valid;
}
