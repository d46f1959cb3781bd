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
check_belongs(
    const fx_keyring_scope *scope,
    const fx_key_version *version,
    const fx_recipient *recipient,
    const fx_scope_secret *secret,
    fx_err *err)
{
    return belongs(scope, version, secret) ? FX_OK
                                           : fx_fail(
                                                 err,
                                                 FX_ERR_DAMAGED,
                                                 "could not open the key file: the keys of scope "
                                                 "\"%s\", version %u, for \"%s\" "
                                                 "do not belong together",
                                                 scope->label.text,
                                                 version->number,
                                                 recipient->label.text);
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
            fx_scope_secret secret;
            fx_bytes sealed = {wrap->sealed, wrap->sealed_bytes};
            if (fx_wrap_open(opener, recipient, sealed, &secret, &one) == FX_OK &&
                check_belongs(scope, version, recipient, &secret, &one) == FX_OK) {
                *out_secret = secret;
                fx_wipe(&secret, sizeof secret);
                return FX_OK;
            }
            fx_wipe(&secret, sizeof secret);
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

static fx_code
wrap_for(
    fx_key_version *version,
    const fx_recipient *recipient,
    const fx_scope_secret *secret,
    fx_err *err)
{
    FX_BUF_AUTO sealed;
    fx_buf_init(&sealed, FX_WRAP_MAX_BYTES);
    fx_buf_reserve(&sealed, FX_WRAP_MAX_BYTES);
    fx_code code = fx_wrap_seal(recipient, secret, &sealed, err);
    if (code == FX_OK) {
        fx_keyring_add_wrap(version, &recipient->label, fx_buf_bytes(&sealed));
    }
    fx_wipe(sealed.data, sealed.capacity_bytes);
    return code == FX_OK ? FX_OK
                         : fx_err_wrap(err, "wrapping the keys for \"%s\"", recipient->label.text);
}

static bool
is_wrapped_for(const fx_key_version *version, const fx_name *recipient)
{
    for (size_t i = 0; i < version->wrap_count; i++) {
        if (fx_name_is(&version->wraps[i].recipient, recipient)) {
            return true;
        }
    }
    return false;
}

/* The newest version of a scope that can be read with the keyring; NULL: there is none. */
static const fx_key_version *
first_live(const fx_keyring *keyring)
{
    for (size_t i = 0; i < keyring->scope_count; i++) {
        const fx_keyring_scope *scope = &keyring->scopes[i];
        if (scope->state == FX_SCOPE_LIVE && scope->version_count > 0) {
            return &scope->versions[scope->version_count - 1];
        }
    }
    return NULL;
}

/*
 * A version of the secret's keys, wrapped for the recipients that the one before it has; the first
 * of a scope for those of the keyring's first scope; the very first for all.
 */
static fx_code
add_version(
    fx_keyring *keyring, fx_keyring_scope *scope, const fx_scope_secret *secret, fx_err *err)
{
    const fx_key_version *like = first_live(keyring);
    fx_key_version *version = fx_keyring_add_version(scope);
    const fx_key_version *before =
        scope->version_count == 1 ? like : &scope->versions[scope->version_count - 2];
    version->created = fx_clock_wall();
    make_publics(secret, version->public_key, version->verify_key);
    for (size_t i = 0; i < keyring->recipient_count; i++) {
        const fx_recipient *recipient = &keyring->recipients[i];
        if ((before == NULL || is_wrapped_for(before, &recipient->label)) &&
            wrap_for(version, recipient, secret, err) != FX_OK) {
            return err->code;
        }
    }
    FX_ASSERT(version->wrap_count > 0);
    return FX_OK;
}

fx_code
fx_keyring_create_scope(fx_keyring *keyring, const fx_name *label, fx_err *err)
{
    if (fx_keyring_find_scope(keyring, label->text) != NULL) {
        return fx_fail(
            err,
            FX_ERR_EXISTS,
            "could not create scope \"%s\": the key file has one of that name",
            label->text);
    }
    if (keyring->scope_count == FX_SCOPE_MAX || keyring->recipient_count == 0) {
        return fx_fail(
            err,
            FX_ERR_LIMIT,
            "could not create a scope: the key file has %zu scopes (of %d) and %zu recipients",
            keyring->scope_count,
            FX_SCOPE_MAX,
            keyring->recipient_count);
    }
    fx_scope_id id;
    fx_scope_secret secret;
    fx_crypto_random(&id, sizeof id);
    fx_crypto_random(&secret, sizeof secret);
    fx_keyring_scope *scope = fx_keyring_add_scope(keyring, &id, label);
    fx_id_check(secret.id_key, scope->id_check);
    fx_code code = add_version(keyring, scope, &secret, err);
    fx_wipe(&secret, sizeof secret);
    return code;
}

/* ---- changes ------------------------------------------------------------------------------------
 */

static fx_code
need_live(const fx_keyring_scope *scope, fx_err *err)
{
    static const char *const why[] = {
        [FX_SCOPE_WRITE_ONLY] = "this key file can only write to it",
        [FX_SCOPE_ERASING] = "its keys are being erased",
        [FX_SCOPE_ERASED] = "its keys were erased",
    };
    return scope->state == FX_SCOPE_LIVE ? FX_OK
                                         : fx_fail(
                                               err,
                                               FX_ERR_WRONG_KEY,
                                               "could not change the keys of scope \"%s\": %s",
                                               scope->label.text,
                                               why[scope->state]);
}

static fx_code
grant_scope(
    const fx_keyring *keyring,
    fx_opener *opener,
    const fx_recipient *recipient,
    fx_keyring_scope *scope,
    size_t *count,
    fx_err *err)
{
    if (need_live(scope, err) != FX_OK) {
        return err->code;
    }
    fx_code code = FX_OK;
    for (size_t i = 0; code == FX_OK && i < scope->version_count; i++) {
        fx_key_version *version = &scope->versions[i];
        fx_scope_secret secret;
        if (is_wrapped_for(version, &recipient->label)) {
            continue;
        }
        code = fx_keyring_open_version(keyring, opener, scope, version, &secret, err);
        if (code == FX_OK) {
            code = wrap_for(version, recipient, &secret, err);
            *count += 1;
        }
        fx_wipe(&secret, sizeof secret);
    }
    return code;
}

static bool
is_same(const fx_recipient *left, const fx_recipient *right)
{
    /* Each passphrase has a salt of its own: none is ever the same. */
    return left->kind == right->kind && left->kind != FX_RECIPIENT_PASSPHRASE &&
           memcmp(left->public_key, right->public_key, sizeof left->public_key) == 0 &&
           strcmp(left->name, right->name) == 0;
}

fx_code
fx_keyring_grant(
    fx_keyring *keyring,
    fx_opener *opener,
    const fx_recipient *recipient,
    fx_keyring_scope *scope,
    fx_err *err)
{
    const fx_recipient *there = fx_keyring_find_recipient(keyring, &recipient->label);
    if (there != NULL && !is_same(there, recipient)) {
        return fx_fail(
            err,
            FX_ERR_EXISTS,
            "could not add recipient \"%s\": the key file has another of that name",
            recipient->label.text);
    }
    if (there == NULL && keyring->recipient_count == FX_RECIPIENT_MAX) {
        return fx_fail(
            err, FX_ERR_LIMIT, "could not add a recipient: there are %d", FX_RECIPIENT_MAX);
    }
    if (there == NULL) {
        there = fx_keyring_add_recipient(keyring, recipient);
    }
    size_t count = 0;
    fx_code code = FX_OK;
    if (scope != NULL) {
        code = grant_scope(keyring, opener, there, scope, &count, err);
    }
    for (size_t i = 0; scope == NULL && code == FX_OK && i < keyring->scope_count; i++) {
        if (keyring->scopes[i].state == FX_SCOPE_LIVE) {
            code = grant_scope(keyring, opener, there, &keyring->scopes[i], &count, err);
        }
    }
    if (code == FX_OK && count == 0) {
        return fx_fail(
            err,
            FX_ERR_EXISTS,
            "could not add recipient \"%s\": it has those keys already, or there are none",
            recipient->label.text);
    }
    return code;
}

/* Gives how many wraps there were. */
static size_t
revoke_scope(fx_keyring_scope *scope, const fx_name *recipient)
{
    size_t count = 0;
    for (size_t i = 0; i < scope->version_count; i++) {
        count += fx_keyring_drop_wrap(&scope->versions[i], recipient) ? 1 : 0;
    }
    return count;
}

/* Would the scope still be opened by someone, with all its versions? */
static bool
keeps_recipient(const fx_keyring_scope *scope, const fx_name *without)
{
    for (size_t i = 0; i < scope->version_count; i++) {
        const fx_key_version *version = &scope->versions[i];
        if (version->wrap_count == (is_wrapped_for(version, without) ? 1 : 0)) {
            return false;
        }
    }
    return true;
}

fx_code
fx_keyring_revoke(
    fx_keyring *keyring, const fx_name *recipient, fx_keyring_scope *scope, fx_err *err)
{
    size_t count = 0;
    bool is_used = false;
    if (fx_keyring_find_recipient(keyring, recipient) == NULL) {
        return fx_fail(
            err,
            FX_ERR_NOT_FOUND,
            "could not remove recipient \"%s\": the key file has none of that name",
            recipient->text);
    }
    for (size_t i = 0; i < keyring->scope_count; i++) {
        fx_keyring_scope *one = &keyring->scopes[i];
        bool is_live = one->state == FX_SCOPE_LIVE;
        if (is_live && (scope == NULL || scope == one)) {
            if (!keeps_recipient(one, recipient)) {
                return fx_fail(
                    err,
                    FX_ERR_CONFLICT,
                    "could not remove recipient \"%s\": nobody else could open scope \"%s\" any "
                    "more; add another one first",
                    recipient->text,
                    one->label.text);
            }
            count += revoke_scope(one, recipient);
        }
        for (size_t j = 0; j < one->version_count; j++) {
            is_used = is_used || is_wrapped_for(&one->versions[j], recipient);
        }
    }
    if (count == 0 && scope != NULL) {
        return fx_fail(
            err,
            FX_ERR_NOT_FOUND,
            "could not remove recipient \"%s\": it has no keys of scope \"%s\"",
            recipient->text,
            scope->label.text);
    }
    if (!is_used) {
        fx_keyring_drop_recipient(keyring, recipient);
    }
    return FX_OK;
}

fx_code
fx_keyring_rotate(fx_keyring *keyring, fx_opener *opener, fx_keyring_scope *scope, fx_err *err)
{
    fx_scope_secret secret;
    if (need_live(scope, err) != FX_OK) {
        return err->code;
    }
    if (scope->version_count == FX_KEY_VERSION_MAX) {
        return fx_fail(
            err, FX_ERR_LIMIT, "could not rotate: there are %d key versions", FX_KEY_VERSION_MAX);
    }
    const fx_key_version *newest = &scope->versions[scope->version_count - 1];
    if (fx_keyring_open_version(keyring, opener, scope, newest, &secret, err) != FX_OK) {
        return err->code;
    }
    fx_crypto_random(secret.box, sizeof secret.box);
    fx_crypto_random(secret.sign, sizeof secret.sign);
    fx_code code = add_version(keyring, scope, &secret, err);
    fx_wipe(&secret, sizeof secret);
    return code;
}

fx_code
fx_keyring_export(
    fx_keyring *keyring,
    fx_opener *opener,
    fx_keyring_scope *scope,
    const fx_name *label,
    fx_keyring **out_exported,
    fx_err *err)
{
    fx_scope_secret secret;
    if (need_live(scope, err) != FX_OK) {
        return err->code;
    }
    if (scope->export_count == FX_EXPORT_MAX) {
        return fx_fail(err, FX_ERR_LIMIT, "could not export: %d were made", FX_EXPORT_MAX);
    }
    const fx_key_version *newest = &scope->versions[scope->version_count - 1];
    if (fx_keyring_open_version(keyring, opener, scope, newest, &secret, err) != FX_OK) {
        return err->code;
    }
    fx_keyring *exported = fx_keyring_new();
    fx_keyring_scope *to = fx_keyring_add_scope(exported, &scope->id, &scope->label);
    to->state = FX_SCOPE_WRITE_ONLY;
    memcpy(to->id_check, scope->id_check, sizeof to->id_check);
    memcpy(to->id_key, secret.id_key, sizeof to->id_key);
    fx_wipe(&secret, sizeof secret);
    for (size_t i = 0; i < scope->version_count; i++) {
        fx_key_version *version = fx_keyring_add_version(to);
        *version = scope->versions[i];
        version->wraps = NULL;
        version->wrap_count = 0;
    }
    fx_export note = {.label = *label, .created = fx_clock_wall()};
    fx_keyring_add_export(scope, &note);
    *out_exported = exported;
    return FX_OK;
}

fx_code
fx_keyring_erase(fx_keyring *keyring, fx_opener *opener, fx_keyring_scope *scope, fx_err *err)
{
    fx_scope_secret secret;
    if (need_live(scope, err) != FX_OK) {
        return err->code;
    }
    const fx_key_version *newest = &scope->versions[scope->version_count - 1];
    if (fx_keyring_open_version(keyring, opener, scope, newest, &secret, err) != FX_OK) {
        return err->code;
    }
    for (size_t i = 0; i < scope->version_count; i++) {
        fx_keyring_drop_wraps(&scope->versions[i]);
    }
    memcpy(scope->sign, secret.sign, sizeof scope->sign);
    fx_wipe(&secret, sizeof secret);
    scope->state = FX_SCOPE_ERASING;
    return FX_OK;
}

void
fx_keyring_finish_erasing(fx_keyring_scope *scope)
{
    FX_ASSERT(scope->state == FX_SCOPE_ERASING);
    fx_wipe(scope->sign, sizeof scope->sign);
    scope->state = FX_SCOPE_ERASED;
}
