/*
 * Sealing a short secret to a public key, so that only the holder of the private key opens it:
 * ephemeral X25519, HKDF-SHA-256 over both public keys, AES-256-GCM. source: RFC 7748; shape of RFC
 * 9180
 */
#pragma once

#include "common/crypto/aead.h"

enum {
    FX_BOX_KEY_BYTES = 32,
    FX_BOX_PLAIN_MAX_BYTES = 256,
    FX_BOX_OVERHEAD_BYTES = FX_BOX_KEY_BYTES + FX_AEAD_TAG_BYTES,
};

void fx_box_key_pair(
    unsigned char out_private[FX_BOX_KEY_BYTES], unsigned char out_public[FX_BOX_KEY_BYTES]);

/* The public key of a private one. */
void fx_box_public(
    const unsigned char private_key[FX_BOX_KEY_BYTES], unsigned char out_public[FX_BOX_KEY_BYTES]);

/* Appends plain.size_bytes + FX_BOX_OVERHEAD_BYTES to `out`. `info` names the use. errors: LIMIT,
 * INVALID (public key) */
FX_MUST_USE fx_code fx_box_seal(
    const unsigned char public_key[FX_BOX_KEY_BYTES],
    const char *info,
    fx_bytes plain,
    fx_buf *out,
    fx_err *err);

/* errors: WRONG_KEY (sealed to another key, or damaged: the two cannot be told apart), LIMIT */
FX_MUST_USE fx_code fx_box_open(
    const unsigned char private_key[FX_BOX_KEY_BYTES],
    const char *info,
    fx_bytes sealed,
    fx_buf *out,
    fx_err *err);
