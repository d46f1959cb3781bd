/*
 * Encryption to a key of the user's GPG and back. Door to GPGME, which runs gpg with the user's
 * home (GNUPGHOME) and agent: the agent may ask for a passphrase.
 *
 * thread: one call at a time
 */
#pragma once

#include "common/base/buf.h"

enum { FX_GPG_FINGERPRINT_BYTES = 65 };

/*
 * Finds the one key for a fingerprint, key id, address or name that can be encrypted to.
 * errors: NOT_FOUND, INVALID (several), UNSUPPORTED (no gpg here), FAILED
 */
FX_MUST_USE fx_code
fx_gpg_find(const char *which, char out_fingerprint[FX_GPG_FINGERPRINT_BYTES], fx_err *err);

/* Is the private half here? Asks for nothing. */
bool fx_gpg_has_private(const char *fingerprint);

/* Appends a binary OpenPGP message. The key need not be certified: the fingerprint says which.
 * errors: NOT_FOUND, INVALID (expired, revoked), UNSUPPORTED, LIMIT, FAILED */
FX_MUST_USE fx_code
fx_gpg_encrypt(const char *fingerprint, fx_bytes plain, fx_buf *out, fx_err *err);

/* errors: NOT_FOUND (no private key here), DENIED (no passphrase was given), DAMAGED, LIMIT, FAILED
 */
FX_MUST_USE fx_code fx_gpg_decrypt(fx_bytes sealed, fx_buf *out, fx_err *err);
