/* AES-256-GCM. source: NIST SP 800-38D */
#pragma once

#include "common/crypto/digest.h"

enum { FX_AEAD_TAG_BYTES = 16 };

typedef struct fx_aead fx_aead;

/* thread: one call at a time */
fx_aead *fx_aead_new(const unsigned char key[FX_KEY_BYTES]);
void fx_aead_free(fx_aead *aead);
FX_DEFINE_AUTO(fx_aead);

/* The same context for another key: cheaper than a new one. */
void fx_aead_set_key(fx_aead *aead, const unsigned char key[FX_KEY_BYTES]);

/*
 * The nonce is `number` as 96 bits, big-endian: it must never repeat under one key. Appends the
 * ciphertext and the tag to `out`. `bound` is authenticated and not stored. errors: LIMIT
 */
FX_MUST_USE fx_code fx_aead_seal(
    fx_aead *aead, uint64_t number, fx_bytes bound, fx_bytes plain, fx_buf *out, fx_err *err);

/* As fx_aead_seal, to `out_room`: plain.size_bytes + FX_AEAD_TAG_BYTES bytes. */
void fx_aead_seal_into(
    fx_aead *aead, uint64_t number, fx_bytes bound, fx_bytes plain, unsigned char *out_room);

/* Appends the plain text. errors: DAMAGED (any byte, the number or `bound` is another), LIMIT */
FX_MUST_USE fx_code fx_aead_open(
    fx_aead *aead, uint64_t number, fx_bytes bound, fx_bytes sealed, fx_buf *out, fx_err *err);
