#include "common/repository/key_object.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "proto/repository.pb-c.h"

#include "common/base/hex.h"
#include "common/repository/internal.h"
#include "common/repository/signed.h"

enum {
    NAMES_MAX = 1 << 20,
    NUMBER_DIGITS = 8,
    LEAF_BYTES = 2 * FX_SCOPE_ID_BYTES + 1 + 2 * NUMBER_DIGITS + 1, /* "SCOPE/VERSION-SERIAL" */
};

static const char magic[8] = "FXKEYOBJ";
static const char prefix[] = "keys/";
static const char object_use[] = "fortress key object 1";

void
fx_key_object_free(fx_key_object *object)
{
    if (object != NULL) {
        free(object->recipients);
        free(object->exports);
        free(object);
    }
}

/* ---- bytes --------------------------------------------------------------------------------------
 */

static fx_code
pack_message(const fx_key_object *object, fx_buf *out, fx_err *err)
{
    Fortress__Repository__KeyRecipient recipients[FX_RECIPIENT_MAX];
    Fortress__Repository__KeyRecipient *recipient_list[FX_RECIPIENT_MAX];
    Fortress__Repository__KeyExport exports[FX_EXPORT_MAX];
    Fortress__Repository__KeyExport *export_list[FX_EXPORT_MAX];
    fx_key_object copy = *object; /* the message's pointers are not const */
    FX_ASSERT(object->recipient_count <= FX_RECIPIENT_MAX);
    FX_ASSERT(object->export_count <= FX_EXPORT_MAX);
    for (size_t i = 0; i < object->recipient_count; i++) {
        fortress__repository__key_recipient__init(&recipients[i]);
        recipients[i].label = object->recipients[i].label.text;
        recipients[i].kind = object->recipients[i].kind;
        recipients[i].name = object->recipients[i].name;
        recipient_list[i] = &recipients[i];
    }
    for (size_t i = 0; i < object->export_count; i++) {
        fortress__repository__key_export__init(&exports[i]);
        exports[i].label = object->exports[i].label.text;
        exports[i].created_wall_ns = object->exports[i].created.ns;
        export_list[i] = &exports[i];
    }
    Fortress__Repository__KeyObject message;
    fortress__repository__key_object__init(&message);
    message.scope_id = (ProtobufCBinaryData){sizeof copy.scope.bytes, copy.scope.bytes};
    message.label = copy.label.text;
    message.version = copy.version;
    message.serial = copy.serial;
    message.created_wall_ns = copy.created.ns;
    message.public_key = (ProtobufCBinaryData){sizeof copy.public_key, copy.public_key};
    message.verify_key = (ProtobufCBinaryData){sizeof copy.verify_key, copy.verify_key};
    message.id_check = (ProtobufCBinaryData){sizeof copy.id_check, copy.id_check};
    message.recipients = recipient_list;
    message.n_recipients = object->recipient_count;
    message.exports = export_list;
    message.n_exports = object->export_count;
    unsigned char *room = NULL;
    size_t size_bytes = fortress__repository__key_object__get_packed_size(&message);
    if (fx_buf_extend(out, size_bytes, &room, err) != FX_OK) {
        return err->code;
    }
    (void)fortress__repository__key_object__pack(&message, room);
    return FX_OK;
}

fx_code
fx_key_object_encode(
    const fx_key_object *object,
    const unsigned char sign[FX_SIGN_KEY_BYTES],
    fx_buf *out,
    fx_err *err)
{
    if (fx_signed_begin(out, magic, err) != FX_OK || pack_message(object, out, err) != FX_OK ||
        fx_signed_finish(out, object_use, sign, err) != FX_OK) {
        return fx_err_wrap(err, "encoding a key object");
    }
    return FX_OK;
}

static bool
take_bytes(const ProtobufCBinaryData *from, void *out, size_t size_bytes)
{
    if (from->len != size_bytes) {
        return false;
    }
    memcpy(out, from->data, size_bytes);
    return true;
}

static bool
take_label(const char *from, fx_name *out)
{
    fx_err ignored = {0};
    return fx_name_parse(from, "label", out, &ignored) == FX_OK;
}

static bool
take_lists(const Fortress__Repository__KeyObject *message, fx_key_object *object)
{
    if (message->n_recipients > FX_RECIPIENT_MAX || message->n_exports > FX_EXPORT_MAX) {
        return false;
    }
    object->recipients = calloc(message->n_recipients + 1, sizeof *object->recipients);
    object->exports = calloc(message->n_exports + 1, sizeof *object->exports);
    FX_ASSERT(object->recipients != NULL);
    FX_ASSERT(object->exports != NULL);
    for (size_t i = 0; i < message->n_recipients; i++) {
        const Fortress__Repository__KeyRecipient *from = message->recipients[i];
        fx_key_recipient *to = &object->recipients[object->recipient_count++];
        if (!take_label(from->label, &to->label) || strlen(from->kind) >= sizeof to->kind ||
            strlen(from->name) >= sizeof to->name) {
            return false;
        }
        memcpy(to->kind, from->kind, strlen(from->kind) + 1);
        memcpy(to->name, from->name, strlen(from->name) + 1);
    }
    for (size_t i = 0; i < message->n_exports; i++) {
        fx_export *to = &object->exports[object->export_count++];
        to->created.ns = message->exports[i]->created_wall_ns;
        if (!take_label(message->exports[i]->label, &to->label)) {
            return false;
        }
    }
    return true;
}

static bool
take_message(const Fortress__Repository__KeyObject *message, fx_key_object *object)
{
    object->version = message->version;
    object->serial = message->serial;
    object->created.ns = message->created_wall_ns;
    return take_bytes(&message->scope_id, &object->scope, sizeof object->scope) &&
           take_bytes(&message->public_key, object->public_key, sizeof object->public_key) &&
           take_bytes(&message->verify_key, object->verify_key, sizeof object->verify_key) &&
           take_bytes(&message->id_check, object->id_check, sizeof object->id_check) &&
           take_label(message->label, &object->label) && message->version > 0 &&
           message->serial > 0 && take_lists(message, object);
}

fx_code
fx_key_object_decode(fx_bytes bytes, fx_key_object **out_object, fx_err *err)
{
    fx_signed parts;
    if (fx_signed_open(bytes, magic, &parts, err) != FX_OK) {
        return fx_err_wrap(err, "reading a key object");
    }
    Fortress__Repository__KeyObject *message = fortress__repository__key_object__unpack(
        NULL, parts.message.size_bytes, parts.message.data);
    FX_AUTO(fx_key_object) object = calloc(1, sizeof *object);
    FX_ASSERT(object != NULL);
    bool is_valid = message != NULL && take_message(message, object);
    if (message != NULL) {
        fortress__repository__key_object__free_unpacked(message, NULL);
    }
    if (!is_valid) {
        /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): FX_AUTO frees it */
        return fx_fail(err, FX_ERR_DAMAGED, "could not read the key object: it is malformed");
    }
    if (!fx_statement_check(object->verify_key, object_use, parts.statement, parts.signature)) {
        return fx_fail(err, FX_ERR_DAMAGED, "could not read the key object: its signature is bad");
    }
    *out_object = FX_TAKE(object);
    return FX_OK;
}

/* ---- names --------------------------------------------------------------------------------------
 */

void
fx_key_object_name(
    const fx_scope_id *scope,
    uint32_t version,
    uint32_t serial,
    char out_name[FX_KEY_OBJECT_NAME_BYTES])
{
    char hex[FX_SCOPE_ID_TEXT_BYTES];
    fx_scope_id_format(scope, hex);
    (void)snprintf(
        out_name,
        FX_KEY_OBJECT_NAME_BYTES,
        "%s%s/%0*" PRIu32 "-%0*" PRIu32,
        prefix,
        hex,
        NUMBER_DIGITS,
        version,
        NUMBER_DIGITS,
        serial);
}

static bool
take_number(const char *from, char after, uint32_t *out_number)
{
    if (strspn(from, "0123456789") != NUMBER_DIGITS || from[NUMBER_DIGITS] != after) {
        return false;
    }
    *out_number = (uint32_t)strtoul(from, NULL, 10);
    return *out_number > 0;
}

static bool
parse_name(const char *store_key, fx_key_name *out_name)
{
    const char *leaf = store_key + sizeof prefix - 1;
    char hex[FX_SCOPE_ID_TEXT_BYTES] = "";
    fx_err ignored = {0};
    if (strncmp(store_key, prefix, sizeof prefix - 1) != 0 || strlen(leaf) != LEAF_BYTES ||
        leaf[FX_SCOPE_ID_TEXT_BYTES - 1] != '/') {
        return false;
    }
    memcpy(hex, leaf, sizeof hex - 1);
    return fx_hex_decode(hex, out_name->scope.bytes, sizeof out_name->scope.bytes, &ignored) ==
               FX_OK &&
           take_number(leaf + sizeof hex, '-', &out_name->version) &&
           take_number(leaf + sizeof hex + NUMBER_DIGITS + 1, '\0', &out_name->serial);
}

typedef struct collection {
    fx_key_names names;
    bool overflow;
} collection;

static void
collect_name(void *ctx, const char *store_key, uint64_t size_bytes)
{
    (void)size_bytes;
    collection *list = ctx;
    fx_key_names *names = &list->names;
    fx_key_name name;
    if (!parse_name(store_key, &name)) {
        return;
    }
    if (names->count == NAMES_MAX) {
        list->overflow = true;
        return;
    }
    if ((names->count & (names->count - 1)) == 0) {
        names->items = realloc(names->items, (names->count * 2 + 1) * sizeof *names->items);
        FX_ASSERT(names->items != NULL);
    }
    names->items[names->count++] = name;
}

fx_code
fx_key_names_list(fx_store *store, const char *from, fx_key_names *out_names, fx_err *err)
{
    collection list = {0};
    fx_mono deadline = fx_repository_deadline();
    fx_code code = fx_store_list(store, from, deadline, collect_name, &list, err);
    if (code == FX_OK && list.overflow) {
        code = fx_fail(err, FX_ERR_LIMIT, "more than %d", NAMES_MAX);
    }
    if (code != FX_OK) {
        free(list.names.items);
        return fx_err_wrap(err, "listing key objects");
    }
    *out_names = list.names;
    return FX_OK;
}

void
fx_key_names_free(fx_key_names *names)
{
    free(names->items);
    *names = (fx_key_names){0};
}

/* ---- in the store -------------------------------------------------------------------------------
 */

fx_code
fx_key_object_load(
    fx_store *store, const fx_key_name *name, fx_key_object **out_object, fx_err *err)
{
    FX_ASSERT(*out_object == NULL);
    char store_key[FX_KEY_OBJECT_NAME_BYTES];
    FX_BUF_AUTO bytes;
    FX_AUTO(fx_key_object) object = NULL;
    fx_buf_init(&bytes, FX_KEY_OBJECT_MAX_BYTES);
    fx_key_object_name(&name->scope, name->version, name->serial, store_key);
    fx_mono deadline = fx_repository_deadline();
    fx_code code =
        fx_store_get(store, store_key, 0, FX_KEY_OBJECT_MAX_BYTES, deadline, &bytes, err);
    if (code != FX_OK || fx_key_object_decode(fx_buf_bytes(&bytes), &object, err) != FX_OK) {
        return fx_err_wrap(err, "reading \"%s\"", store_key);
    }
    FX_ASSERT(object != NULL);
    if (memcmp(&object->scope, &name->scope, sizeof object->scope) != 0 ||
        object->version != name->version || object->serial != name->serial) {
        return fx_fail(
            err, FX_ERR_DAMAGED, "could not read \"%s\": it was written as another", store_key);
    }
    *out_object = FX_TAKE(object);
    return FX_OK;
}

fx_key_object *
fx_key_object_of(
    const fx_keyring *keyring, const fx_keyring_scope *scope, const fx_key_version *version)
{
    fx_key_object *object = calloc(1, sizeof *object);
    FX_ASSERT(object != NULL);
    object->scope = scope->id;
    object->label = scope->label;
    object->version = version->number;
    object->created = version->created;
    memcpy(object->public_key, version->public_key, sizeof object->public_key);
    memcpy(object->verify_key, version->verify_key, sizeof object->verify_key);
    memcpy(object->id_check, scope->id_check, sizeof object->id_check);
    object->recipients = calloc(version->wrap_count + 1, sizeof *object->recipients);
    object->exports = calloc(scope->export_count + 1, sizeof *object->exports);
    FX_ASSERT(object->recipients != NULL);
    FX_ASSERT(object->exports != NULL);
    for (size_t i = 0; i < version->wrap_count; i++) {
        const fx_recipient *from = fx_keyring_find_recipient(keyring, &version->wraps[i].recipient);
        FX_ASSERT(from != NULL);
        fx_key_recipient *to = &object->recipients[object->recipient_count++];
        to->label = from->label;
        (void)snprintf(to->kind, sizeof to->kind, "%s", fx_recipient_kind_name(from->kind));
        (void)snprintf(to->name, sizeof to->name, "%s", from->name);
        if (from->kind == FX_RECIPIENT_X25519) {
            fx_hex_encode((fx_bytes){from->public_key, sizeof from->public_key}, to->name);
        }
    }
    for (size_t i = 0; i < scope->export_count; i++) {
        object->exports[object->export_count++] = scope->exports[i];
    }
    return object;
}

static bool
has_same_keys(const fx_key_object *left, const fx_key_object *right)
{
    return memcmp(left->public_key, right->public_key, sizeof left->public_key) == 0 &&
           memcmp(left->verify_key, right->verify_key, sizeof left->verify_key) == 0 &&
           memcmp(left->id_check, right->id_check, sizeof left->id_check) == 0;
}

static bool
says_the_same(const fx_key_object *left, const fx_key_object *right)
{
    bool is_same = fx_name_is(&left->label, &right->label) &&
                   left->recipient_count == right->recipient_count &&
                   left->export_count == right->export_count;
    for (size_t i = 0; is_same && i < left->recipient_count; i++) {
        const fx_key_recipient *one = &left->recipients[i];
        const fx_key_recipient *two = &right->recipients[i];
        is_same = fx_name_is(&one->label, &two->label) && strcmp(one->kind, two->kind) == 0 &&
                  strcmp(one->name, two->name) == 0;
    }
    for (size_t i = 0; is_same && i < left->export_count; i++) {
        is_same = fx_name_is(&left->exports[i].label, &right->exports[i].label) &&
                  left->exports[i].created.ns == right->exports[i].created.ns;
    }
    return is_same;
}

static fx_code
another_key(const fx_key_object *object, fx_err *err)
{
    return fx_fail(
        err,
        FX_ERR_CONFLICT,
        "could not publish key version %" PRIu32 " of scope \"%s\": the repository has another key "
        "of that number; was the scope rotated with another copy of the key file?",
        object->version,
        object->label.text);
}

/* The newest object of the version, or NULL. */
static fx_code
load_newest(
    fx_store *store,
    const fx_key_names *names,
    uint32_t version,
    fx_key_object **out_object,
    fx_err *err)
{
    const fx_key_name *newest = NULL;
    for (size_t i = 0; i < names->count; i++) {
        const fx_key_name *one = &names->items[i];
        if (one->version == version && (newest == NULL || one->serial > newest->serial)) {
            newest = one;
        }
    }
    *out_object = NULL;
    return newest == NULL ? FX_OK : fx_key_object_load(store, newest, out_object, err);
}

static fx_code
publish_version(
    fx_store *store,
    const fx_key_names *names,
    fx_key_object *object,
    const unsigned char sign[FX_SIGN_KEY_BYTES],
    fx_err *err)
{
    FX_AUTO(fx_key_object) there = NULL;
    if (load_newest(store, names, object->version, &there, err) != FX_OK) {
        return err->code;
    }
    if (there != NULL && !has_same_keys(there, object)) {
        return another_key(object, err);
    }
    if (there != NULL && says_the_same(there, object)) {
        return FX_OK;
    }
    char store_key[FX_KEY_OBJECT_NAME_BYTES];
    FX_BUF_AUTO bytes;
    fx_buf_init(&bytes, FX_KEY_OBJECT_MAX_BYTES);
    object->serial = there == NULL ? 1 : there->serial + 1;
    fx_key_object_name(&object->scope, object->version, object->serial, store_key);
    if (fx_key_object_encode(object, sign, &bytes, err) != FX_OK) {
        return err->code;
    }
    fx_mono deadline = fx_repository_deadline();
    return fx_store_put(store, store_key, fx_buf_bytes(&bytes), deadline, err) == FX_OK
               ? FX_OK
               : fx_err_wrap(err, "storing \"%s\"", store_key);
}

static fx_code
publish_scope(fx_store *store, const fx_keyring *keyring, const fx_scope_keys *keys, fx_err *err)
{
    char hex[FX_SCOPE_ID_TEXT_BYTES];
    char below[FX_KEY_OBJECT_NAME_BYTES];
    fx_key_names names = {0};
    fx_scope_id_format(&keys->id, hex);
    (void)snprintf(below, sizeof below, "%s%s/", prefix, hex);
    const fx_keyring_scope *scope = fx_keyring_find_scope(keyring, hex);
    FX_ASSERT(scope != NULL);
    FX_ASSERT(scope->version_count == keys->version_count);
    fx_code code = fx_key_names_list(store, below, &names, err);
    for (size_t i = 0; code == FX_OK && i < scope->version_count; i++) {
        FX_AUTO(fx_key_object) object = fx_key_object_of(keyring, scope, &scope->versions[i]);
        /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): FX_AUTO frees it */
        code = publish_version(store, &names, object, keys->versions[i].sign, err);
    }
    fx_key_names_free(&names);
    return code;
}

fx_code
fx_publish_keys(fx_store *store, const fx_repository_key *key, fx_err *err)
{
    for (size_t i = 0; i < key->scope_count; i++) {
        if (key->scopes[i].can_read &&
            publish_scope(store, key->keyring, &key->scopes[i], err) != FX_OK) {
            return fx_err_wrap(err, "publishing scope \"%s\"", key->scopes[i].label.text);
        }
    }
    return FX_OK;
}

/* Is one of the scope's versions there, with the key that we have? */
static fx_code
find_scope(fx_store *store, const fx_scope_keys *scope, bool *out_is_there, fx_err *err)
{
    *out_is_there = false;
    for (size_t i = scope->version_count; i > 0 && !*out_is_there; i--) {
        const fx_scope_version *version = &scope->versions[i - 1];
        fx_key_name name = {scope->id, version->number, 1};
        FX_AUTO(fx_key_object) object = NULL;
        fx_err reason = {0};
        fx_code code = fx_key_object_load(store, &name, &object, &reason);
        if (code == FX_ERR_NOT_FOUND) {
            continue; /* a rotation that was interrupted before it came so far */
        }
        /* A damaged one keeps nobody out who has the keys themselves; verify tells of it. */
        if (code != FX_OK && code != FX_ERR_DAMAGED && code != FX_ERR_UNSUPPORTED) {
            *err = reason;
            return code;
        }
        if (object != NULL &&
            memcmp(object->public_key, version->public_key, sizeof version->public_key) != 0) {
            return another_key(object, err);
        }
        *out_is_there = true;
    }
    return FX_OK;
}

fx_code
fx_check_keys(
    fx_store *store, const fx_repository_key *key, bool *out_is_write_scope_there, fx_err *err)
{
    bool is_there = false;
    if (find_scope(store, fx_repository_key_writes(key), &is_there, err) != FX_OK) {
        return err->code;
    }
    *out_is_write_scope_there = is_there;
    for (size_t i = 0; !is_there && i < key->scope_count; i++) {
        if (find_scope(store, &key->scopes[i], &is_there, err) != FX_OK) {
            return err->code;
        }
    }
    return is_there ? FX_OK
                    : fx_fail(
                          err,
                          FX_ERR_WRONG_KEY,
                          "the key file is another repository's: it has none of the scopes here");
}

fx_code
fx_key_object_verify(
    fx_store *store, const char *store_key, const fx_repository_key *key, fx_err *err)
{
    fx_key_name name;
    FX_AUTO(fx_key_object) object = NULL;
    if (!parse_name(store_key, &name)) {
        return fx_fail(err, FX_ERR_DAMAGED, "could not read it: its name is not a key object's");
    }
    if (fx_key_object_load(store, &name, &object, err) != FX_OK) {
        return err->code;
    }
    FX_ASSERT(object != NULL);
    const fx_scope_keys *scope = fx_repository_key_scope(key, &object->scope);
    if (scope == NULL || object->version > scope->version_count) {
        return FX_OK;
    }
    const fx_scope_version *version = &scope->versions[object->version - 1];
    if (memcmp(object->public_key, version->public_key, sizeof version->public_key) != 0 ||
        memcmp(object->verify_key, version->verify_key, sizeof version->verify_key) != 0 ||
        memcmp(object->id_check, scope->id_check, sizeof scope->id_check) != 0) {
        return another_key(object, err);
    }
    return FX_OK;
}
