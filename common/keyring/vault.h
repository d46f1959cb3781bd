/*
 * Vault's transit engine, which encrypts with keys that never leave it. Reached at VAULT_ADDR with
 * VAULT_TOKEN or the token in VAULT_TOKEN_FILE; VAULT_CACERT and VAULT_NAMESPACE as Vault's own
 * client has them. source: https://developer.hashicorp.com/vault/api-docs/secret/transit
 */
#pragma once

#include "common/base/buf.h"

/* Is there an address and a token? */
bool fx_vault_is_given(void);

/* Letters, digits, '.', '_', '-'. */
bool fx_vault_is_key_name(const char *name);

/* Appends the ciphertext, text "vault:v1:…". errors: NOT_FOUND (no such key, no address), DENIED,
 * UNREACHABLE, TIMEOUT, FAILED, INVALID */
FX_MUST_USE fx_code
fx_vault_encrypt(const char *key_name, fx_bytes plain, fx_buf *out, fx_err *err);
/* Appends the plain text. errors: likewise; DAMAGED (Vault refuses the ciphertext) */
FX_MUST_USE fx_code
fx_vault_decrypt(const char *key_name, fx_bytes ciphertext, fx_buf *out, fx_err *err);
