#include "common/repository/key.h"

#include <string.h>

#include "common/base/hex.h"
#include "common/keyring/manage.h"

static const char first_scope[] = "default";
static const char first_recipient[] = "file";

/* ---- opening ------------------------------------------------------------------------------------
 */

static void
copy_public(const fx_keyring_scope *from, fx_scope_keys *to)
{
    to->id = from->id;
    to->label = from->label;
    to->state = from->state;
    memcpy(to->id_check, from->id_check, sizeof to->id_check);
    to->versions = calloc(from->version_count, sizeof *to->versions);
    FX_ASSERT(to->versions != NULL);
    to->version_count = from->version_count;
    for (size_t i = 0; i < from->version_count; i++) {
        fx_scope_version *version = &to->versions[i];
        version->number = from->versions[i].number;
        version->created = from->versions[i].created;
        memcpy(version->public_key, from->versions[i].public_key, sizeof version->public_key);
        memcpy(version->verify_key, from->versions[i].verify_key, sizeof version->verify_key);
    }
}

static fx_code
open_versions(
    const fx_keyring *keyring,
    fx_opener *opener,
    const fx_keyring_scope *from,
    fx_scope_keys *to,
    fx_err *err)
{
    fx_scope_secret secret;
    for (size_t i = 0; i < from->version_count; i++) {
        if (fx_keyring_open_version(keyring, opener, from, &from->versions[i], &secret, err) !=
            FX_OK) {
            return err->code;
        }
        memcpy(to->versions[i].private_key, secret.box, sizeof secret.box);
        memcpy(to->versions[i].sign, secret.sign, sizeof secret.sign);
        memcpy(to->id_key, secret.id_key, sizeof secret.id_key);
    }
    fx_wipe(&secret, sizeof secret);
    return FX_OK;
}

static void
open_scope(
    const fx_keyring *keyring, fx_opener *opener, const fx_keyring_scope *from, fx_scope_keys *to)
{
    copy_public(from, to);
    switch (from->state) {
    case FX_SCOPE_LIVE:
        to->can_read = open_versions(keyring, opener, from, to, &to->reason) == FX_OK;
        to->can_write = to->can_read;
        break;
    case FX_SCOPE_WRITE_ONLY:
        memcpy(to->id_key, from->id_key, sizeof to->id_key);
        to->can_write = true;
        break;
    case FX_SCOPE_ERASING:
    case FX_SCOPE_ERASED:
        fx_ignore(
            fx_fail(
                &to->reason,
                FX_ERR_WRONG_KEY,
                "could not use scope \"%s\": its keys were erased",
                from->label.text),
            "kept for whoever asks for the scope");
        break;
    }
}

/* Writing goes to the first scope that can be written to. */
static fx_code
choose_scope(fx_repository_key *key, fx_err *err)
{
    const fx_err *reason = NULL;
    for (size_t i = 0; i < key->scope_count; i++) {
        const fx_scope_keys *scope = &key->scopes[i];
        if (scope->can_write) {
            key->write_scope = i;
            return FX_OK;
        }
        if (reason == NULL || scope->state == FX_SCOPE_LIVE) {
            reason = &scope->reason;
        }
    }
    if (reason == NULL) {
        return fx_fail(err, FX_ERR_WRONG_KEY, "could not use the key file: it has no scope");
    }
    *err = *reason;
    return err->code;
}

fx_code
fx_repository_key_of(
    const fx_keyring *keyring, fx_opener *opener, fx_repository_key **out_key, fx_err *err)
{
    FX_AUTO(fx_repository_key) key = calloc(1, sizeof *key);
    FX_ASSERT(key != NULL);
    key->keyring = keyring;
    key->scopes = calloc(keyring->scope_count + 1, sizeof *key->scopes);
    FX_ASSERT(key->scopes != NULL);
    for (size_t i = 0; i < keyring->scope_count; i++) {
        open_scope(keyring, opener, &keyring->scopes[i], &key->scopes[i]);
        key->scope_count++;
    }
    if (choose_scope(key, err) != FX_OK) {
        return err->code; /* NOLINT(clang-analyzer-unix.Malloc): FX_AUTO frees it */
    }
    *out_key = FX_TAKE(key);
    return FX_OK;
}

fx_code
fx_repository_key_load(const char *path, fx_repository_key **out_key, fx_err *err)
{
    FX_AUTO(fx_keyring) keyring = NULL;
    FX_AUTO(fx_opener) opener = fx_opener_new();
    fx_repository_key *key = NULL;
    if (fx_keyring_load(path, &keyring, err) != FX_OK) {
        return err->code;
    }
    FX_ASSERT(keyring != NULL);
    if (fx_repository_key_of(keyring, opener, &key, err) != FX_OK) {
        return fx_err_wrap(err, "opening key file \"%.150s\"", path);
    }
    FX_ASSERT(key != NULL);
    key->own = FX_TAKE(keyring);
    *out_key = key;
    return FX_OK;
}

fx_code
fx_repository_key_create(const char *path, fx_err *err)
{
    FX_AUTO(fx_keyring) keyring = fx_keyring_new();
    fx_recipient plain = {.label = fx_name_of(first_recipient), .kind = FX_RECIPIENT_PLAIN};
    fx_name label = fx_name_of(first_scope);
    (void)fx_keyring_add_recipient(keyring, &plain);
    if (fx_keyring_create_scope(keyring, &label, err) != FX_OK) {
        return err->code;
    }
    return fx_keyring_create(path, keyring, err);
}

void
fx_repository_key_free(fx_repository_key *key)
{
    if (key == NULL) {
        return;
    }
    for (size_t i = 0; i < key->scope_count; i++) {
        fx_scope_keys *scope = &key->scopes[i];
        fx_wipe(scope->versions, scope->version_count * sizeof *scope->versions);
        free(scope->versions);
    }
    fx_wipe(key->scopes, key->scope_count * sizeof *key->scopes);
    free(key->scopes);
    fx_keyring_free(key->own);
    free(key);
}

/* ---- asking -------------------------------------------------------------------------------------
 */

const fx_scope_keys *
fx_repository_key_scope(const fx_repository_key *key, const fx_scope_id *id)
{
    for (size_t i = 0; i < key->scope_count; i++) {
        if (memcmp(&key->scopes[i].id, id, sizeof *id) == 0) {
            return &key->scopes[i];
        }
    }
    return NULL;
}

const fx_scope_keys *
fx_repository_key_writes(const fx_repository_key *key)
{
    FX_ASSERT(key->write_scope < key->scope_count);
    return &key->scopes[key->write_scope];
}

const unsigned char *
fx_repository_key_id_key(const fx_repository_key *key)
{
    return fx_repository_key_writes(key)->id_key;
}

bool
fx_repository_key_can_read(const fx_repository_key *key)
{
    return fx_repository_key_writes(key)->can_read;
}

fx_code
fx_repository_key_select(fx_repository_key *key, const char *which, fx_err *err)
{
    size_t found = key->scope_count;
    if (which == NULL) {
        return FX_OK;
    }
    for (size_t i = 0; i < key->scope_count; i++) {
        char hex[FX_SCOPE_ID_TEXT_BYTES];
        fx_scope_id_format(&key->scopes[i].id, hex);
        bool is_named = strcmp(key->scopes[i].label.text, which) == 0;
        if (is_named || (found == key->scope_count && strcmp(hex, which) == 0)) {
            found = i;
        }
    }
    if (found == key->scope_count) {
        return fx_fail(
            err,
            FX_ERR_NOT_FOUND,
            "could not choose scope \"%.80s\": the key file has none of that name",
            which);
    }
    if (!key->scopes[found].can_write) {
        *err = key->scopes[found].reason;
        return err->code;
    }
    key->write_scope = found;
    return FX_OK;
}

/* ---- signing ------------------------------------------------------------------------------------
 */

/* SHA-256(use ‖ 0 ‖ statement): a statement of one use is none of another. */
static void
digest_of(const char *use, fx_bytes statement, unsigned char out_digest[FX_SHA256_BYTES])
{
    FX_AUTO(fx_sha256_stream) stream = fx_sha256_stream_new();
    fx_sha256_stream_add(stream, (fx_bytes){use, strlen(use) + 1});
    fx_sha256_stream_add(stream, statement);
    fx_sha256_stream_finish(stream, out_digest);
}

void
fx_statement_sign(
    const unsigned char sign[FX_SIGN_KEY_BYTES],
    const char *use,
    fx_bytes statement,
    unsigned char out_signature[FX_SIGN_BYTES])
{
    FX_AUTO(fx_sign_key) key = fx_sign_key_of(sign);
    unsigned char digest[FX_SHA256_BYTES];
    digest_of(use, statement, digest);
    fx_sign(key, (fx_bytes){digest, sizeof digest}, out_signature);
}

bool
fx_statement_check(
    const unsigned char verify_key[FX_SIGN_KEY_BYTES],
    const char *use,
    fx_bytes statement,
    const unsigned char signature[FX_SIGN_BYTES])
{
    FX_AUTO(fx_verify_key) key = fx_verify_key_of(verify_key);
    unsigned char digest[FX_SHA256_BYTES];
    digest_of(use, statement, digest);
    return fx_verify(key, (fx_bytes){digest, sizeof digest}, signature);
}

fx_code
fx_scope_sign(
    const fx_scope_keys *scope,
    const char *use,
    fx_bytes statement,
    unsigned char out_signature[FX_SIGN_BYTES],
    fx_err *err)
{
    if (!scope->can_read) {
        return fx_fail(
            err,
            FX_ERR_WRONG_KEY,
            "could not sign for scope \"%s\": the key file holds no private key of it",
            scope->label.text);
    }
    const fx_scope_version *version = &scope->versions[scope->version_count - 1];
    fx_statement_sign(version->sign, use, statement, out_signature);
    return FX_OK;
}

bool
fx_scope_check(
    const fx_scope_keys *scope,
    uint32_t version,
    const char *use,
    fx_bytes statement,
    const unsigned char signature[FX_SIGN_BYTES])
{
    return version >= 1 && version <= scope->version_count &&
           fx_statement_check(scope->versions[version - 1].verify_key, use, statement, signature);
}
