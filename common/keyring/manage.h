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
 * Adds a scope with a first key version, wrapped for the recipients of the first live scope (for
 * all where there is none). On failure the keyring may be changed: it is to be thrown away. errors:
 * EXISTS (label), LIMIT, and fx_wrap_seal's
 */
FX_MUST_USE fx_code fx_keyring_create_scope(fx_keyring *keyring, const fx_name *label, fx_err *err);

/*
 * What follows changes the keyring in memory; on failure it is to be thrown away. Scopes that are
 * erased or write-only have nothing to wrap.
 */

/*
 * Wraps all versions of a scope (NULL: of all live scopes) for a recipient, which is added if it is
 * not one yet. errors: EXISTS (another recipient has the label, or it has them all already),
 * WRONG_KEY (write-only, erased), LIMIT, and those of opening and wrapping
 */
FX_MUST_USE fx_code fx_keyring_grant(
    fx_keyring *keyring,
    fx_opener *opener,
    const fx_recipient *recipient,
    fx_keyring_scope *scope,
    fx_err *err);

/* Takes away what fx_keyring_grant() gave. errors: NOT_FOUND, CONFLICT (nobody could open the scope
 * any more) */
FX_MUST_USE fx_code fx_keyring_revoke(
    fx_keyring *keyring, const fx_name *recipient, fx_keyring_scope *scope, fx_err *err);

/* Adds a key version for the recipients of the newest one; the id key stays. errors: LIMIT,
 * WRONG_KEY, and those of opening and wrapping */
FX_MUST_USE fx_code
fx_keyring_rotate(fx_keyring *keyring, fx_opener *opener, fx_keyring_scope *scope, fx_err *err);

/* Makes a keyring that can only write to a scope, and notes that in `keyring`. errors: LIMIT,
 * WRONG_KEY, and those of opening */
FX_MUST_USE fx_code fx_keyring_export(
    fx_keyring *keyring,
    fx_opener *opener,
    fx_keyring_scope *scope,
    const fx_name *label,
    fx_keyring **out_exported,
    fx_err *err);

/* Destroys all of a scope's private keys but the one that signs the proof; and then that one.
 * errors: WRONG_KEY, and those of opening */
FX_MUST_USE fx_code
fx_keyring_erase(fx_keyring *keyring, fx_opener *opener, fx_keyring_scope *scope, fx_err *err);
void fx_keyring_finish_erasing(fx_keyring_scope *scope);

/* Text for people: "ops (passphrase), anna (x25519)". */
enum { FX_RECIPIENTS_TEXT_BYTES = 160 };
void fx_keyring_list_recipients(
    const fx_keyring *keyring,
    const fx_key_version *version,
    char out_text[FX_RECIPIENTS_TEXT_BYTES]);
