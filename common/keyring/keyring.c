#include "common/keyring/keyring.h"

#include <string.h>

#include "common/base/hex.h"
#include "common/base/secret.h"

static const char check_use[] = "fortress id key check 1";

fx_keyring *
fx_keyring_new(void)
{
    fx_keyring *keyring = calloc(1, sizeof *keyring);
    FX_ASSERT(keyring != NULL);
    return keyring;
}

void
fx_keyring_drop_wraps(fx_key_version *version)
{
    for (size_t i = 0; i < version->wrap_count; i++) {
        fx_wipe(version->wraps[i].sealed, version->wraps[i].sealed_bytes);
        free(version->wraps[i].sealed);
    }
    free(version->wraps);
    version->wraps = NULL;
    version->wrap_count = 0;
}

static void
free_scope(fx_keyring_scope *scope)
{
    for (size_t i = 0; i < scope->version_count; i++) {
        fx_keyring_drop_wraps(&scope->versions[i]);
    }
    free(scope->versions);
    free(scope->exports);
    fx_wipe(scope->id_key, sizeof scope->id_key);
    fx_wipe(scope->sign, sizeof scope->sign);
}

void
fx_keyring_free(fx_keyring *keyring)
{
    if (keyring == NULL) {
        return;
    }
    for (size_t i = 0; i < keyring->scope_count; i++) {
        free_scope(&keyring->scopes[i]);
    }
    if (keyring->scopes != NULL) {
        fx_wipe(keyring->scopes, keyring->scope_count * sizeof *keyring->scopes);
    }
    free(keyring->scopes);
    free(keyring->recipients);
    free(keyring);
}

/* Room for one more at the end, zeroed. What moves is wiped where it was. */
static void *
grow(void *items, size_t count, size_t item_bytes)
{
    unsigned char *grown = calloc(count + 1, item_bytes);
    FX_ASSERT(grown != NULL);
    if (items != NULL) {
        memcpy(grown, items, count * item_bytes);
        fx_wipe(items, count * item_bytes);
        free(items);
    }
    return grown;
}

fx_recipient *
fx_keyring_add_recipient(fx_keyring *keyring, const fx_recipient *recipient)
{
    FX_ASSERT(keyring->recipient_count < FX_RECIPIENT_MAX);
    keyring->recipients =
        grow(keyring->recipients, keyring->recipient_count, sizeof *keyring->recipients);
    keyring->recipients[keyring->recipient_count] = *recipient;
    return &keyring->recipients[keyring->recipient_count++];
}

fx_keyring_scope *
fx_keyring_add_scope(fx_keyring *keyring, const fx_scope_id *id, const fx_name *label)
{
    FX_ASSERT(keyring->scope_count < FX_SCOPE_MAX);
    keyring->scopes = grow(keyring->scopes, keyring->scope_count, sizeof *keyring->scopes);
    fx_keyring_scope *scope = &keyring->scopes[keyring->scope_count++];
    scope->id = *id;
    scope->label = *label;
    return scope;
}

fx_key_version *
fx_keyring_add_version(fx_keyring_scope *scope)
{
    FX_ASSERT(scope->version_count < FX_KEY_VERSION_MAX);
    scope->versions = grow(scope->versions, scope->version_count, sizeof *scope->versions);
    fx_key_version *version = &scope->versions[scope->version_count++];
    version->number = (uint32_t)scope->version_count;
    return version;
}

void
fx_keyring_add_wrap(fx_key_version *version, const fx_name *recipient, fx_bytes sealed)
{
    FX_ASSERT(version->wrap_count < FX_RECIPIENT_MAX);
    FX_ASSERT(sealed.size_bytes > 0);
    FX_ASSERT(sealed.size_bytes <= FX_WRAP_MAX_BYTES);
    version->wraps = grow(version->wraps, version->wrap_count, sizeof *version->wraps);
    fx_wrap *wrap = &version->wraps[version->wrap_count++];
    wrap->recipient = *recipient;
    wrap->sealed = malloc(sealed.size_bytes);
    FX_ASSERT(wrap->sealed != NULL);
    memcpy(wrap->sealed, sealed.data, sealed.size_bytes);
    wrap->sealed_bytes = sealed.size_bytes;
}

void
fx_keyring_add_export(fx_keyring_scope *scope, const fx_export *export)
{
    FX_ASSERT(scope->export_count < FX_EXPORT_MAX);
    scope->exports = grow(scope->exports, scope->export_count, sizeof *scope->exports);
    scope->exports[scope->export_count++] = *export;
}

bool
fx_keyring_drop_wrap(fx_key_version *version, const fx_name *recipient)
{
    for (size_t i = 0; i < version->wrap_count; i++) {
        fx_wrap *wrap = &version->wraps[i];
        if (fx_name_is(&wrap->recipient, recipient)) {
            fx_wipe(wrap->sealed, wrap->sealed_bytes);
            free(wrap->sealed);
            version->wrap_count--;
            memmove(wrap, wrap + 1, (version->wrap_count - i) * sizeof *wrap);
            return true;
        }
    }
    return false;
}

void
fx_keyring_drop_recipient(fx_keyring *keyring, const fx_name *label)
{
    size_t kept = 0;
    for (size_t i = 0; i < keyring->recipient_count; i++) {
        if (!fx_name_is(&keyring->recipients[i].label, label)) {
            keyring->recipients[kept++] = keyring->recipients[i];
        }
    }
    keyring->recipient_count = kept;
}

const fx_recipient *
fx_keyring_find_recipient(const fx_keyring *keyring, const fx_name *label)
{
    for (size_t i = 0; i < keyring->recipient_count; i++) {
        if (fx_name_is(&keyring->recipients[i].label, label)) {
            return &keyring->recipients[i];
        }
    }
    return NULL;
}

fx_keyring_scope *
fx_keyring_find_scope(const fx_keyring *keyring, const char *which)
{
    fx_keyring_scope *by_id = NULL;
    for (size_t i = 0; i < keyring->scope_count; i++) {
        fx_keyring_scope *scope = &keyring->scopes[i];
        char hex[FX_SCOPE_ID_TEXT_BYTES];
        fx_scope_id_format(&scope->id, hex);
        if (strcmp(scope->label.text, which) == 0) {
            return scope;
        }
        by_id = strcmp(hex, which) == 0 ? scope : by_id;
    }
    return by_id;
}

const char *
fx_recipient_kind_name(fx_recipient_kind kind)
{
    static const char *const names[FX_RECIPIENT_KINDS] = {
        "plain", "passphrase", "x25519", "gpg", "vault"};
    return names[kind];
}

void
fx_id_check(const unsigned char id_key[FX_KEY_BYTES], unsigned char out_check[FX_ID_CHECK_BYTES])
{
    unsigned char text[sizeof check_use - 1 + FX_KEY_BYTES];
    unsigned char digest[FX_SHA256_BYTES];
    memcpy(text, check_use, sizeof check_use - 1);
    memcpy(text + sizeof check_use - 1, id_key, FX_KEY_BYTES);
    fx_sha256((fx_bytes){text, sizeof text}, digest);
    memcpy(out_check, digest, FX_ID_CHECK_BYTES);
    fx_wipe(text, sizeof text);
}

void
fx_scope_id_format(const fx_scope_id *id, char out_text[FX_SCOPE_ID_TEXT_BYTES])
{
    fx_hex_encode((fx_bytes){id->bytes, sizeof id->bytes}, out_text);
}
