/* What is done with a keyring: new scopes and key versions, recipients that come and go, exports.
 */
#pragma once

#include "common/keyring/wrap.h"

/*
 * Opens a version through whichever of its recipients is here. errors: NOT_FOUND (none is: lists
 * them), WRONG_KEY, DAMAGED (also when the keys do not belong together), and those of GPG and Vault
 */
FX_MUST_USE fx_code fx_keyring_open_version(
    const fx_keyring *keyring,
    fx_opener *opener,
    const fx_keyring_scope *scope,
    const fx_key_version *version,
    fx_scope_secret *out_secret,
    fx_err *err);

/*
 * Adds a scope with a first key version, wrapped for all recipients. On failure the keyring may be
 * changed: it is to be thrown away. errors: EXISTS (label), LIMIT, and fx_wrap_seal's
 */
FX_MUST_USE fx_code
fx_keyring_create_scope(fx_keyring *keyring, fx_opener *opener, const fx_name *label, fx_err *err);

/* Text for people: "ops (passphrase), anna (x25519)". */
enum { FX_RECIPIENTS_TEXT_BYTES = 160 };
void fx_keyring_list_recipients(
    const fx_keyring *keyring,
    const fx_key_version *version,
    char out_text[FX_RECIPIENTS_TEXT_BYTES]);
