/*
 * Wraps a scope's private keys for a recipient, and opens them where this process can: with a
 * passphrase, an identity file, GPG or Vault that its environment names.
 *
 *   FORTRESS_PASSPHRASE_FILE  a file whose first line is the passphrase (mode 0600)
 *   FORTRESS_PASSPHRASE_FD    a file descriptor likewise; else the terminal asks
 *   FORTRESS_NEW_PASSPHRASE_FILE, FORTRESS_NEW_PASSPHRASE_FD  of a recipient that is added
 *   FORTRESS_IDENTITY_FILE    an X25519 identity
 *   GNUPGHOME                 GPG's own
 *   VAULT_ADDR, VAULT_TOKEN or VAULT_TOKEN_FILE, VAULT_CACERT, VAULT_NAMESPACE
 */
#pragma once

#include "common/base/secret.h"
#include "common/keyring/keyring.h"

/* What was already asked for or derived; wiped when freed. thread: one call at a time */
typedef struct fx_opener fx_opener;
fx_opener *fx_opener_new(void);
void fx_opener_free(fx_opener *opener);
FX_DEFINE_AUTO(fx_opener);

/*
 * Makes a passphrase recipient: has a new passphrase from where it is given, draws the salt.
 * errors: NOT_FOUND (no passphrase given), INVALID (too short), LIMIT
 */
FX_MUST_USE fx_code
fx_recipient_of_passphrase(const fx_name *label, fx_recipient *out_recipient, fx_err *err);

/* Appends the wrapped secret. errors: LIMIT; GPG's and Vault's: NOT_FOUND, UNREACHABLE, DENIED … */
FX_MUST_USE fx_code fx_wrap_seal(
    const fx_recipient *recipient, const fx_scope_secret *secret, fx_buf *out, fx_err *err);

/*
 * errors: NOT_FOUND (this recipient is not here: says what would make it be), WRONG_KEY (wrong
 * passphrase or identity), DAMAGED, and GPG's and Vault's
 */
FX_MUST_USE fx_code fx_wrap_open(
    fx_opener *opener,
    const fx_recipient *recipient,
    fx_bytes sealed,
    fx_scope_secret *out_secret,
    fx_err *err);

/* Would opening not be pointless? Cheap: nothing is asked or derived. */
bool fx_wrap_is_available(const fx_recipient *recipient);
