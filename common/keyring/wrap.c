#include "common/keyring/wrap.h"

#include <stdio.h>
#include <string.h>

#include "common/base/hex.h"
#include "common/crypto/scrypt.h"
#include "common/gpg/gpg.h"
#include "common/keyring/passphrase.h"
#include "common/keyring/vault.h"

static const char wrap_use[] = "fortress wrapped key 1";

/* A pair that scrypt made of the passphrase, by salt. */
typedef struct derived {
    bool is_wrong; /* not the recipient's: it is not tried again */
    unsigned char salt[FX_SCRYPT_SALT_BYTES];
    unsigned char private_key[FX_BOX_KEY_BYTES];
} derived;

struct fx_opener {
    fx_secret *passphrase;
    derived pairs[FX_RECIPIENT_MAX];
    size_t pair_count;
    bool has_identity;
    unsigned char identity[FX_BOX_KEY_BYTES];
};

fx_opener *
fx_opener_new(void)
{
    fx_opener *opener = calloc(1, sizeof *opener);
    FX_ASSERT(opener != NULL);
    return opener;
}

void
fx_opener_free(fx_opener *opener)
{
    if (opener != NULL) {
        fx_secret_free(opener->passphrase);
        fx_wipe(opener, sizeof *opener);
        free(opener);
    }
}

/* ---- passphrase ---------------------------------------------------------------------------------
 */

static fx_code
derive(
    const fx_secret *passphrase,
    const fx_recipient *recipient,
    unsigned char out_private[FX_BOX_KEY_BYTES],
    fx_err *err)
{
    fx_scrypt_cost cost = {recipient->scrypt_log2_n, recipient->scrypt_r, recipient->scrypt_p};
    fx_bytes salt = {recipient->salt, sizeof recipient->salt};
    return fx_scrypt(
        (fx_bytes){passphrase->data, passphrase->size_bytes}, salt, cost, out_private, err);
}

fx_code
fx_recipient_of_passphrase(const fx_name *label, fx_recipient *out_recipient, fx_err *err)
{
    FX_AUTO(fx_secret) passphrase = NULL;
    fx_recipient recipient = {
        .label = *label,
        .kind = FX_RECIPIENT_PASSPHRASE,
        .scrypt_log2_n = FX_SCRYPT_LOG2_N_MIN,
        .scrypt_r = 8,
        .scrypt_p = 1,
    };
    unsigned char private_key[FX_BOX_KEY_BYTES];
    fx_crypto_random(recipient.salt, sizeof recipient.salt);
    if (fx_passphrase_read(label->text, true, &passphrase, err) != FX_OK ||
        derive(passphrase, &recipient, private_key, err) != FX_OK) {
        return err->code;
    }
    fx_box_public(private_key, recipient.public_key);
    fx_wipe(private_key, sizeof private_key);
    *out_recipient = recipient;
    return FX_OK;
}

static fx_code
wrong_passphrase(const fx_recipient *recipient, fx_err *err)
{
    return fx_fail(
        err,
        FX_ERR_WRONG_KEY,
        "could not open the key file: the passphrase is not that of recipient \"%s\"",
        recipient->label.text);
}

/* Derives once for each salt, whatever comes of it. */
static fx_code
passphrase_private(
    fx_opener *opener, const fx_recipient *recipient, const unsigned char **out, fx_err *err)
{
    for (size_t i = 0; i < opener->pair_count; i++) {
        const derived *known = &opener->pairs[i];
        if (memcmp(known->salt, recipient->salt, sizeof recipient->salt) == 0) {
            *out = known->private_key;
            return known->is_wrong ? wrong_passphrase(recipient, err) : FX_OK;
        }
    }
    FX_ASSERT(opener->pair_count < FX_RECIPIENT_MAX);
    derived *pair = &opener->pairs[opener->pair_count];
    unsigned char public_key[FX_BOX_KEY_BYTES];
    if (opener->passphrase == NULL &&
        fx_passphrase_read(recipient->label.text, false, &opener->passphrase, err) != FX_OK) {
        return err->code;
    }
    if (derive(opener->passphrase, recipient, pair->private_key, err) != FX_OK) {
        return err->code;
    }
    fx_box_public(pair->private_key, public_key);
    pair->is_wrong = memcmp(public_key, recipient->public_key, sizeof public_key) != 0;
    memcpy(pair->salt, recipient->salt, sizeof pair->salt);
    opener->pair_count++;
    *out = pair->private_key;
    return pair->is_wrong ? wrong_passphrase(recipient, err) : FX_OK;
}

/* ---- identity -----------------------------------------------------------------------------------
 */

static const char *
identity_path(void)
{
    return getenv("FORTRESS_IDENTITY_FILE"); /* NOLINT(concurrency-mt-unsafe): read at start */
}

static fx_code
load_identity(fx_opener *opener, fx_err *err)
{
    enum { IDENTITY_MAX_BYTES = 4096 };
    if (opener->has_identity) {
        return FX_OK;
    }
    if (identity_path() == NULL) {
        return fx_fail(
            err,
            FX_ERR_NOT_FOUND,
            "could not open with an X25519 key: FORTRESS_IDENTITY_FILE names none");
    }
    FX_BUF_AUTO text;
    fx_buf_init(&text, IDENTITY_MAX_BYTES);
    fx_code code = fx_secret_file_read(identity_path(), &text, err);
    if (code == FX_OK) {
        code = fx_identity_parse(fx_buf_bytes(&text), opener->identity, err);
    }
    if (text.data != NULL) {
        fx_wipe(text.data, text.capacity_bytes);
    }
    opener->has_identity = code == FX_OK;
    return code == FX_OK ? FX_OK : fx_err_wrap(err, "reading \"%.150s\"", identity_path());
}

static fx_code
identity_private(
    fx_opener *opener, const fx_recipient *recipient, const unsigned char **out, fx_err *err)
{
    unsigned char public_key[FX_BOX_KEY_BYTES];
    if (load_identity(opener, err) != FX_OK) {
        return err->code;
    }
    fx_box_public(opener->identity, public_key);
    if (memcmp(public_key, recipient->public_key, sizeof public_key) != 0) {
        return fx_fail(
            err,
            FX_ERR_WRONG_KEY,
            "could not open the key file: \"%.100s\" is not the identity of recipient \"%s\"",
            identity_path(),
            recipient->label.text);
    }
    *out = opener->identity;
    return FX_OK;
}

/* ---- all kinds ----------------------------------------------------------------------------------
 */

static fx_code
take_secret(fx_bytes plain, const fx_recipient *recipient, fx_scope_secret *out, fx_err *err)
{
    if (plain.size_bytes != sizeof *out) {
        return fx_fail(
            err,
            FX_ERR_DAMAGED,
            "could not open the key file: what is wrapped for \"%s\" is no key",
            recipient->label.text);
    }
    memcpy(out, plain.data, sizeof *out);
    return FX_OK;
}

fx_code
fx_wrap_seal(const fx_recipient *recipient, const fx_scope_secret *secret, fx_buf *out, fx_err *err)
{
    fx_bytes plain = {secret, sizeof *secret};
    switch (recipient->kind) {
    case FX_RECIPIENT_PLAIN:
        return fx_buf_append(out, secret, sizeof *secret, err);
    case FX_RECIPIENT_PASSPHRASE:
    case FX_RECIPIENT_X25519:
        return fx_box_seal(recipient->public_key, wrap_use, plain, out, err);
    case FX_RECIPIENT_GPG:
        return fx_gpg_encrypt(recipient->name, plain, out, err);
    case FX_RECIPIENT_VAULT:
        return fx_vault_encrypt(recipient->name, plain, out, err);
    }
    return fx_fail(err, FX_ERR_UNSUPPORTED, "could not wrap a key for \"%s\"", recipient->name);
}

static fx_code
open_box(
    const unsigned char private_key[FX_BOX_KEY_BYTES],
    const fx_recipient *recipient,
    fx_bytes sealed,
    fx_scope_secret *out_secret,
    fx_err *err)
{
    FX_BUF_AUTO plain;
    fx_buf_init(&plain, FX_BOX_PLAIN_MAX_BYTES);
    fx_buf_reserve(&plain, FX_BOX_PLAIN_MAX_BYTES);
    fx_code code = FX_OK;
    if (fx_box_open(private_key, wrap_use, sealed, &plain, err) != FX_OK) {
        /* The private key is the right one: its public half is the recipient's. */
        code = fx_fail(
            err,
            FX_ERR_DAMAGED,
            "could not open the key file: what is wrapped for \"%s\" is damaged",
            recipient->label.text);
    } else {
        code = take_secret(fx_buf_bytes(&plain), recipient, out_secret, err);
    }
    fx_wipe(plain.data, plain.capacity_bytes);
    return code;
}

/* With a key that this process never sees. */
static fx_code
open_elsewhere(
    const fx_recipient *recipient, fx_bytes sealed, fx_scope_secret *out_secret, fx_err *err)
{
    FX_BUF_AUTO plain;
    fx_buf_init(&plain, FX_WRAP_MAX_BYTES);
    fx_buf_reserve(&plain, FX_WRAP_MAX_BYTES);
    fx_code code = recipient->kind == FX_RECIPIENT_GPG
                       ? fx_gpg_decrypt(sealed, &plain, err)
                       : fx_vault_decrypt(recipient->name, sealed, &plain, err);
    code = code == FX_OK ? take_secret(fx_buf_bytes(&plain), recipient, out_secret, err)
                         : fx_err_wrap(err, "opening as \"%s\"", recipient->label.text);
    fx_wipe(plain.data, plain.capacity_bytes);
    return code;
}

fx_code
fx_wrap_open(
    fx_opener *opener,
    const fx_recipient *recipient,
    fx_bytes sealed,
    fx_scope_secret *out_secret,
    fx_err *err)
{
    const unsigned char *private_key = NULL;
    switch (recipient->kind) {
    case FX_RECIPIENT_PLAIN:
        return take_secret(sealed, recipient, out_secret, err);
    case FX_RECIPIENT_PASSPHRASE:
        return passphrase_private(opener, recipient, &private_key, err) == FX_OK
                   ? open_box(private_key, recipient, sealed, out_secret, err)
                   : err->code;
    case FX_RECIPIENT_X25519:
        return identity_private(opener, recipient, &private_key, err) == FX_OK
                   ? open_box(private_key, recipient, sealed, out_secret, err)
                   : err->code;
    case FX_RECIPIENT_GPG:
    case FX_RECIPIENT_VAULT:
        return open_elsewhere(recipient, sealed, out_secret, err);
    }
    return fx_fail(err, FX_ERR_UNSUPPORTED, "could not open a key of \"%s\"", recipient->name);
}

bool
fx_wrap_is_available(const fx_recipient *recipient)
{
    switch (recipient->kind) {
    case FX_RECIPIENT_PLAIN:
        return true;
    case FX_RECIPIENT_PASSPHRASE:
        return fx_passphrase_is_given();
    case FX_RECIPIENT_X25519:
        return identity_path() != NULL;
    case FX_RECIPIENT_GPG:
        return fx_gpg_has_private(recipient->name);
    case FX_RECIPIENT_VAULT:
        return fx_vault_is_given();
    }
    return false;
}
