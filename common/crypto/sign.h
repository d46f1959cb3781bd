/* Ed25519 signatures with keys in PEM files or of 32 bytes. source: RFC 8032 */
#pragma once

#include "common/crypto/digest.h"

enum { FX_SIGN_BYTES = 64, FX_SIGN_KEY_BYTES = 32 };

typedef struct fx_sign_key fx_sign_key;
/* errors: NOT_FOUND, DENIED (also when group or others may read the file), INVALID (not such a key)
 */
FX_MUST_USE fx_code fx_sign_key_load(const char *path, fx_sign_key **out_key, fx_err *err);
/* Of the private key's 32 bytes, any of which are one. */
fx_sign_key *fx_sign_key_of(const unsigned char seed[FX_SIGN_KEY_BYTES]);
void fx_sign_key_free(fx_sign_key *key);
FX_DEFINE_AUTO(fx_sign_key);
/* thread: any */
void fx_sign_key_public(const fx_sign_key *key, unsigned char out_public[FX_SIGN_KEY_BYTES]);
/* thread: any */
void fx_sign(const fx_sign_key *key, fx_bytes bytes, unsigned char out_signature[FX_SIGN_BYTES]);

typedef struct fx_verify_key fx_verify_key;
FX_MUST_USE fx_code fx_verify_key_load(const char *path, fx_verify_key **out_key, fx_err *err);
fx_verify_key *fx_verify_key_of(const unsigned char public_key[FX_SIGN_KEY_BYTES]);
void fx_verify_key_free(fx_verify_key *key);
FX_DEFINE_AUTO(fx_verify_key);
/* thread: any */
bool
fx_verify(const fx_verify_key *key, fx_bytes bytes, const unsigned char signature[FX_SIGN_BYTES]);
