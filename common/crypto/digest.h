/* Randomness, SHA-256, HMAC, HKDF, base64. Door to OpenSSL 3, with aead.h, box.h and sign.h. */
#pragma once

#include "common/base/buf.h"

enum { FX_SHA256_BYTES = 32, FX_KEY_BYTES = 32 };

/* From the system's generator; stops the process if that fails. thread: any */
void fx_crypto_random(void *out_bytes, size_t size_bytes);

/* In constant time. */
bool fx_crypto_equal(const void *left, const void *right, size_t size_bytes);

void fx_sha256(fx_bytes bytes, unsigned char out_digest[FX_SHA256_BYTES]);

/* The digest of bytes that come in pieces. */
typedef struct fx_sha256_stream fx_sha256_stream;
fx_sha256_stream *fx_sha256_stream_new(void);
void fx_sha256_stream_free(fx_sha256_stream *stream);
FX_DEFINE_AUTO(fx_sha256_stream);
void fx_sha256_stream_add(fx_sha256_stream *stream, fx_bytes bytes);
/* The stream begins anew. */
void fx_sha256_stream_finish(fx_sha256_stream *stream, unsigned char out_digest[FX_SHA256_BYTES]);

/* HMAC-SHA-256 under one key, many times. source: RFC 2104. thread: one at a time */
typedef struct fx_hmac fx_hmac;
fx_hmac *fx_hmac_new(const unsigned char key[FX_KEY_BYTES]);
void fx_hmac_free(fx_hmac *hmac);
FX_DEFINE_AUTO(fx_hmac);
void fx_hmac_sha256(fx_hmac *hmac, fx_bytes bytes, unsigned char out_code[FX_SHA256_BYTES]);

/* Once, under a key of any length: for protocols that derive keys from texts. */
void fx_hmac_sha256_once(fx_bytes key, fx_bytes bytes, unsigned char out_code[FX_SHA256_BYTES]);

/*
 * MD5, for protocols that check a transfer with it; against no one who means harm. false: this
 * OpenSSL has none.
 */
enum { FX_MD5_BYTES = 16 };
bool fx_md5(fx_bytes bytes, unsigned char out_digest[FX_MD5_BYTES]);

/* source: RFC 5869, with SHA-256; out at most 255 * 32 bytes */
void fx_hkdf_sha256(
    fx_bytes key, fx_bytes salt, const char *info, unsigned char *out_bytes, size_t size_bytes);

/* Standard alphabet with padding, one line (RFC 4648, section 4). Both append. errors: LIMIT,
 * INVALID */
FX_MUST_USE fx_code fx_base64_encode(fx_bytes bytes, fx_buf *out, fx_err *err);
FX_MUST_USE fx_code fx_base64_decode(const char *text, fx_buf *out, fx_err *err);
