#include "common/keyring/manage.h"

#include <stdio.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/hex.h"
#include "common/crypto/sign.h"

void
fx_keyring_list_recipients(
    const fx_keyring *keyring,
    const fx_key_version *version,
    char out_text[FX_RECIPIENTS_TEXT_BYTES])
{
    size_t used = 0;
    out_text[0] = '\0';
    for (size_t i = 0; i < version->wrap_count && used < FX_RECIPIENTS_TEXT_BYTES; i++) {
        const fx_recipient *one = fx_keyring_find_recipient(keyring, &version->wraps[i].recipient);
        int put = snprintf(
            out_text + used,
            FX_RECIPIENTS_TEXT_BYTES - used,
            "%s%s (%s)",
            i == 0 ? "" : ", ",
            version->wraps[i].recipient.text,
            one == NULL ? "?" : fx_recipient_kind_name(one->kind));
        used += put < 0 ? 0 : (size_t)put;
    }
}

/* ---- opening ------------------------------------------------------------------------------------
 */

static void
make_publics(
    const fx_scope_secret *secret,
    unsigned char out_public[FX_BOX_KEY_BYTES],
    unsigned char out_verify[FX_KEY_BYTES])
{
    FX_AUTO(fx_sign_key) sign = fx_sign_key_of(secret->sign);
    fx_box_public(secret->box, out_public);
    fx_sign_key_public(sign, out_verify);
}

static bool
belongs(const fx_keyring_scope *scope, const fx_key_version *version, const fx_scope_secret *secret)
{
    unsigned char public_key[FX_BOX_KEY_BYTES];
    unsigned char verify_key[FX_KEY_BYTES];
    unsigned char check[FX_ID_CHECK_BYTES];
    make_publics(secret, public_key, verify_key);
    fx_id_check(secret->id_key, check);
    return memcmp(public_key, version->public_key, sizeof public_key) == 0 &&
           memcmp(verify_key, version->verify_key, sizeof verify_key) == 0 &&
           memcmp(check, scope->id_check, sizeof check) == 0;
}

/* Plain ones first, then those that need no network or person. */
static unsigned
rank_of(fx_recipient_kind kind)
{
    static const unsigned ranks[FX_RECIPIENT_KINDS] = {
        [FX_RECIPIENT_PLAIN] = 0,
        [FX_RECIPIENT_X25519] = 1,
        [FX_RECIPIENT_PASSPHRASE] = 2,
        [FX_RECIPIENT_VAULT] = 3,
        [FX_RECIPIENT_GPG] = 4,
    };
    return ranks[kind];
}

static fx_code
open_one(
    fx_opener *opener,
    const fx_keyring_scope *scope,
    const fx_key_version *version,
    const fx_recipient *recipient,
    const fx_wrap *wrap,
    fx_scope_secret *out_secret,
    fx_err *err) /* NOLINT(readability-function-size): what is opened, with what, for whom */
{
    fx_scope_secret secret;
    fx_bytes sealed = {wrap->sealed, wrap->sealed_bytes};
    fx_code code = fx_wrap_open(opener, recipient, sealed, &secret, err);
    if (code == FX_OK && !belongs(scope, version, &secret)) {
        code = fx_fail(
            err,
            FX_ERR_DAMAGED,
            "could not open the key file: the keys of scope \"%s\", version %u, for \"%s\" do not "
            "belong together",
            scope->label.text,
            version->number,
            recipient->label.text);
    }
    if (code == FX_OK) {
        *out_secret = secret;
    }
    fx_wipe(&secret, sizeof secret);
    return code;
}

/* Keeps the failure that says most: one of a recipient that is here. */
static void
keep_reason(fx_err *kept, const fx_err *one)
{
    if (kept->code == FX_OK || kept->code == FX_ERR_NOT_FOUND) {
        *kept = *one;
    }
}

fx_code
fx_keyring_open_version(
    const fx_keyring *keyring,
    fx_opener *opener,
    const fx_keyring_scope *scope,
    const fx_key_version *version,
    fx_scope_secret *out_secret,
    fx_err *err)
{
    fx_err reason = {0};
    for (unsigned rank = 0; rank < FX_RECIPIENT_KINDS; rank++) {
        for (size_t i = 0; i < version->wrap_count; i++) {
            const fx_wrap *wrap = &version->wraps[i];
            const fx_recipient *recipient = fx_keyring_find_recipient(keyring, &wrap->recipient);
            if (recipient == NULL || rank_of(recipient->kind) != rank ||
                !fx_wrap_is_available(recipient)) {
                continue;
            }
            fx_err one = {0};
            if (open_one(opener, scope, version, recipient, wrap, out_secret, &one) == FX_OK) {
                return FX_OK;
            }
            keep_reason(&reason, &one);
        }
    }
    if (reason.code != FX_OK) {
        *err = reason;
        return err->code;
    }
    char there[FX_RECIPIENTS_TEXT_BYTES];
    fx_keyring_list_recipients(keyring, version, there);
    return fx_fail(
        err,
        FX_ERR_WRONG_KEY,
        "could not open scope \"%s\" of the key file: no recipient is available here; there are: "
        "%s",
        scope->label.text,
        there);
}

/* ---- new keys -----------------------------------------------------------------------------------
 */

/* A version of new keys, wrapped for the recipients that `like` has; NULL: for all. */
static fx_code
add_version(
    fx_keyring *keyring,
    fx_opener *opener,
    fx_keyring_scope *scope,
    const fx_scope_secret *secret,
    fx_err *err)
{
    fx_key_version *version = fx_keyring_add_version(scope);
    version->created = fx_clock_wall();
    make_publics(secret, version->public_key, version->verify_key);
    for (size_t i = 0; i < keyring->recipient_count; i++) {
        const fx_recipient *recipient = &keyring->recipients[i];
        FX_BUF_AUTO sealed;
        fx_buf_init(&sealed, FX_WRAP_MAX_BYTES);
        fx_buf_reserve(&sealed, FX_WRAP_MAX_BYTES);
        fx_code code = fx_wrap_seal(opener, recipient, secret, &sealed, err);
        if (code == FX_OK) {
            fx_keyring_add_wrap(version, &recipient->label, fx_buf_bytes(&sealed));
        }
        fx_wipe(sealed.data, sealed.size_bytes);
        if (code != FX_OK) {
            return fx_err_wrap(err, "wrapping the keys for \"%s\"", recipient->label.text);
        }
    }
    return FX_OK;
}

fx_code
fx_keyring_create_scope(fx_keyring *keyring, fx_opener *opener, const fx_name *label, fx_err *err)
{
    if (fx_keyring_find_scope(keyring, label->text) != NULL) {
        return fx_fail(
            err,
            FX_ERR_EXISTS,
            "could not create scope \"%s\": the key file has one of that name",
            label->text);
    }
    if (keyring->scope_count == FX_SCOPE_MAX) {
        return fx_fail(
            err, FX_ERR_LIMIT, "could not create a scope: the key file has %d", FX_SCOPE_MAX);
    }
    FX_ASSERT(keyring->recipient_count > 0);
    fx_scope_id id;
    fx_scope_secret secret;
    fx_crypto_random(&id, sizeof id);
    fx_crypto_random(&secret, sizeof secret);
    fx_keyring_scope *scope = fx_keyring_add_scope(keyring, &id, label);
    fx_id_check(secret.id_key, scope->id_check);
    fx_code code = add_version(keyring, opener, scope, &secret, err);
    fx_wipe(&secret, sizeof secret);
    return code;
}
