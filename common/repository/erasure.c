#include "common/repository/erasure.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "proto/repository.pb-c.h"

#include "common/repository/internal.h"
#include "common/repository/signed.h"

enum { OBJECT_MAX_BYTES = 512 * 1024, NAME_BYTES = 48, OUT_OF_REACH_MAX = 8, TEXT_BYTES = 192 };

static const char magic[8] = "FXERASED";
static const char erasure_use[] = "fortress erasure 1";
static const char export_kind[] = "export";

const char *const fx_erasure_out_of_reach[] = {
    "copies of the key file made before, in backups, on other hosts or on paper: whoever is a "
    "recipient in such a copy still opens it",
    "blocks of the disk that held the key file and that the file system or the drive copied "
    "elsewhere (snapshots, copy-on-write, flash)",
    "session keys and content in the memory, swap and restored files of hosts that have read the "
    "scope",
    "the encrypted objects themselves, in all tiers and under Object Lock: they stay until they "
    "expire and cannot be opened without a key",
    NULL,
};

void
fx_erasure_free(fx_erasure *erasure)
{
    if (erasure != NULL) {
        free(erasure->holders);
        free(erasure);
    }
}

/* ---- bytes --------------------------------------------------------------------------------------
 */

static fx_code
pack_message(const fx_erasure *erasure, fx_buf *out, fx_err *err)
{
    size_t count = erasure->holder_count;
    Fortress__Repository__Holder *holders = calloc(count + 1, sizeof *holders);
    Fortress__Repository__Holder **list = calloc(count + 1, sizeof(Fortress__Repository__Holder *));
    char *reasons[OUT_OF_REACH_MAX];
    char texts[OUT_OF_REACH_MAX][TEXT_BYTES];
    char destroyed[] = "destroyed";
    char unconfirmed[] = "unconfirmed";
    fx_erasure copy = *erasure; /* the message's pointers are not const */
    Fortress__Repository__Erasure message;
    fortress__repository__erasure__init(&message);
    FX_ASSERT(holders != NULL);
    FX_ASSERT(list != NULL);
    for (size_t i = 0; i < count; i++) {
        fortress__repository__holder__init(&holders[i]);
        holders[i].label = copy.holders[i].label.text;
        holders[i].kind = copy.holders[i].kind;
        holders[i].name = copy.holders[i].name;
        holders[i].state = copy.holders[i].is_destroyed ? destroyed : unconfirmed;
        holders[i].note = copy.holders[i].note;
        list[i] = &holders[i];
    }
    while (fx_erasure_out_of_reach[message.n_out_of_reach] != NULL) {
        FX_ASSERT(message.n_out_of_reach < OUT_OF_REACH_MAX);
        reasons[message.n_out_of_reach] = texts[message.n_out_of_reach];
        (void)snprintf(
            texts[message.n_out_of_reach],
            sizeof texts[0],
            "%s",
            fx_erasure_out_of_reach[message.n_out_of_reach]);
        message.n_out_of_reach++;
    }
    message.scope_id = (ProtobufCBinaryData){sizeof copy.scope.bytes, copy.scope.bytes};
    message.label = copy.label.text;
    message.serial = copy.serial;
    message.key_version = copy.key_version;
    message.verify_key = (ProtobufCBinaryData){sizeof copy.verify_key, copy.verify_key};
    message.at_wall_ns = copy.at.ns;
    message.host = copy.host;
    message.key_file = copy.key_file;
    message.is_done = copy.is_done;
    message.holders = list;
    message.n_holders = count;
    message.out_of_reach = reasons;
    unsigned char *room = NULL;
    size_t size_bytes = fortress__repository__erasure__get_packed_size(&message);
    fx_code code = fx_buf_extend(out, size_bytes, &room, err);
    if (code == FX_OK) {
        (void)fortress__repository__erasure__pack(&message, room);
    }
    free(list);
    free(holders);
    return code;
}

fx_code
fx_erasure_encode(
    const fx_erasure *erasure,
    const unsigned char sign[FX_SIGN_KEY_BYTES],
    fx_buf *out,
    fx_err *err)
{
    if (fx_signed_begin(out, magic, err) != FX_OK || pack_message(erasure, out, err) != FX_OK ||
        fx_signed_finish(out, erasure_use, sign, err) != FX_OK) {
        return fx_err_wrap(err, "encoding an erasure");
    }
    return FX_OK;
}

static bool
take_text(const char *from, char *out, size_t room_bytes)
{
    if (strlen(from) >= room_bytes) {
        return false;
    }
    memcpy(out, from, strlen(from) + 1);
    return true;
}

static bool
take_label(const char *from, fx_name *out)
{
    fx_err ignored = {0};
    return fx_name_parse(from, "label", out, &ignored) == FX_OK;
}

static bool
take_holders(const Fortress__Repository__Erasure *message, fx_erasure *erasure)
{
    if (message->n_holders > FX_HOLDER_MAX) {
        return false;
    }
    erasure->holders = calloc(message->n_holders + 1, sizeof *erasure->holders);
    FX_ASSERT(erasure->holders != NULL);
    for (size_t i = 0; i < message->n_holders; i++) {
        const Fortress__Repository__Holder *from = message->holders[i];
        fx_holder *to = &erasure->holders[erasure->holder_count++];
        to->is_destroyed = strcmp(from->state, "destroyed") == 0;
        if (!take_label(from->label, &to->label) ||
            !take_text(from->kind, to->kind, sizeof to->kind) ||
            !take_text(from->name, to->name, sizeof to->name) ||
            !take_text(from->note, to->note, sizeof to->note)) {
            return false;
        }
    }
    return true;
}

static bool
take_message(const Fortress__Repository__Erasure *message, fx_erasure *erasure)
{
    if (message->scope_id.len != sizeof erasure->scope.bytes ||
        message->verify_key.len != sizeof erasure->verify_key) {
        return false;
    }
    memcpy(erasure->scope.bytes, message->scope_id.data, sizeof erasure->scope.bytes);
    memcpy(erasure->verify_key, message->verify_key.data, sizeof erasure->verify_key);
    erasure->serial = message->serial;
    erasure->key_version = message->key_version;
    erasure->at.ns = message->at_wall_ns;
    erasure->is_done = message->is_done;
    return take_label(message->label, &erasure->label) &&
           take_text(message->host, erasure->host, sizeof erasure->host) &&
           take_text(message->key_file, erasure->key_file, sizeof erasure->key_file) &&
           take_holders(message, erasure);
}

fx_code
fx_erasure_decode(fx_bytes bytes, fx_erasure **out_erasure, fx_err *err)
{
    fx_signed parts;
    if (fx_signed_open(bytes, magic, &parts, err) != FX_OK) {
        return fx_err_wrap(err, "reading an erasure");
    }
    Fortress__Repository__Erasure *message =
        fortress__repository__erasure__unpack(NULL, parts.message.size_bytes, parts.message.data);
    FX_AUTO(fx_erasure) erasure = calloc(1, sizeof *erasure);
    FX_ASSERT(erasure != NULL);
    bool is_valid = message != NULL && take_message(message, erasure);
    if (message != NULL) {
        fortress__repository__erasure__free_unpacked(message, NULL);
    }
    if (!is_valid) {
        /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): FX_AUTO frees it */
        return fx_fail(err, FX_ERR_DAMAGED, "could not read the erasure: it is malformed");
    }
    if (!fx_statement_check(erasure->verify_key, erasure_use, parts.statement, parts.signature)) {
        return fx_fail(err, FX_ERR_DAMAGED, "could not read the erasure: its signature is bad");
    }
    *out_erasure = FX_TAKE(erasure);
    return FX_OK;
}

/* ---- who has keys -------------------------------------------------------------------------------
 */

static fx_holder *
find_holder(const fx_erasure *erasure, const fx_name *label, const char *kind, const char *name)
{
    for (size_t i = 0; i < erasure->holder_count; i++) {
        fx_holder *one = &erasure->holders[i];
        if (fx_name_is(&one->label, label) && strcmp(one->kind, kind) == 0 &&
            strcmp(one->name, name) == 0) {
            return one;
        }
    }
    return NULL;
}

static void
add_holder(
    fx_erasure *erasure,
    const fx_name *label,
    const char *kind,
    const char *name,
    bool is_destroyed)
{
    if (erasure->holder_count == FX_HOLDER_MAX || find_holder(erasure, label, kind, name) != NULL) {
        return;
    }
    size_t room = (erasure->holder_count + 1) * sizeof *erasure->holders;
    erasure->holders = realloc(erasure->holders, room);
    FX_ASSERT(erasure->holders != NULL);
    fx_holder *one = &erasure->holders[erasure->holder_count++];
    *one = (fx_holder){.label = *label, .is_destroyed = is_destroyed};
    (void)snprintf(one->kind, sizeof one->kind, "%s", kind);
    (void)snprintf(one->name, sizeof one->name, "%s", name);
    const char *note = "is no recipient any more; opens an older copy of the key file";
    if (strcmp(kind, export_kind) == 0) {
        note = "holds the id key, which opens nothing but confirms guesses at content";
    } else if (is_destroyed) {
        note = "its wrapped keys are destroyed in this key file; opens an older copy of it";
    }
    (void)snprintf(one->note, sizeof one->note, "%s", note);
}

/* `keyring` NULL: of the recipients of a version that is in the key file. */
static void
add_described(
    fx_erasure *erasure,
    const fx_key_object *object,
    const fx_keyring *keyring,
    const fx_keyring_scope *scope)
{
    for (size_t i = 0; i < object->recipient_count; i++) {
        const fx_key_recipient *one = &object->recipients[i];
        /* Once the keys are destroyed, the key file only tells who has been a recipient. */
        bool is_destroyed =
            keyring == NULL || (scope->state == FX_SCOPE_ERASING &&
                                fx_keyring_find_recipient(keyring, &one->label) != NULL);
        add_holder(erasure, &one->label, one->kind, one->name, is_destroyed);
    }
    for (size_t i = 0; i < object->export_count; i++) {
        add_holder(erasure, &object->exports[i].label, export_kind, "", false);
    }
}

fx_code
fx_erasure_describe(
    fx_store *store,
    const fx_keyring *keyring,
    const fx_keyring_scope *scope,
    fx_erasure **out_erasure,
    fx_err *err)
{
    char hex[FX_SCOPE_ID_TEXT_BYTES];
    char below[NAME_BYTES];
    fx_key_names names = {0};
    FX_AUTO(fx_erasure) erasure = calloc(1, sizeof *erasure);
    FX_ASSERT(erasure != NULL);
    erasure->scope = scope->id;
    erasure->label = scope->label;
    const fx_key_version *newest = &scope->versions[scope->version_count - 1];
    erasure->key_version = newest->number;
    memcpy(erasure->verify_key, newest->verify_key, sizeof erasure->verify_key);
    for (size_t i = 0; i < scope->version_count; i++) {
        FX_AUTO(fx_key_object) object = fx_key_object_of(keyring, scope, &scope->versions[i]);
        add_described(erasure, object, NULL, NULL);
    }
    fx_scope_id_format(&scope->id, hex);
    (void)snprintf(below, sizeof below, "keys/%s/", hex);
    if (fx_key_names_list(store, below, &names, err) != FX_OK) {
        return err->code; /* NOLINT(clang-analyzer-unix.Malloc): FX_AUTO frees it */
    }
    /* Also those of the past: they may keep a copy of the key file from then. */
    fx_code code = FX_OK;
    for (size_t i = 0; code == FX_OK && i < names.count; i++) {
        FX_AUTO(fx_key_object) object = NULL;
        fx_err one = {0};
        code = fx_key_object_load(store, &names.items[i], &object, &one);
        if (code == FX_ERR_DAMAGED || code == FX_ERR_UNSUPPORTED) {
            code = FX_OK; /* verify tells of it; what the others say is listed */
        } else if (code != FX_OK) {
            *err = one;
        } else {
            add_described(erasure, object, keyring, scope);
        }
    }
    fx_key_names_free(&names);
    if (code == FX_OK) {
        *out_erasure = FX_TAKE(erasure);
    }
    return code;
}

/* ---- in the store -------------------------------------------------------------------------------
 */

static void
make_name(const fx_scope_id *scope, uint32_t serial, char out_name[NAME_BYTES])
{
    char hex[FX_SCOPE_ID_TEXT_BYTES];
    fx_scope_id_format(scope, hex);
    (void)snprintf(out_name, NAME_BYTES, "erasures/%s/%08" PRIu32, hex, serial);
}

fx_code
fx_erasure_put(
    fx_store *store, fx_erasure *erasure, const unsigned char sign[FX_SIGN_KEY_BYTES], fx_err *err)
{
    enum { SERIAL_MAX = 10000 };
    for (erasure->serial = 1; erasure->serial < SERIAL_MAX; erasure->serial++) {
        char store_key[NAME_BYTES];
        FX_BUF_AUTO bytes;
        fx_buf_init(&bytes, OBJECT_MAX_BYTES);
        make_name(&erasure->scope, erasure->serial, store_key);
        if (fx_erasure_encode(erasure, sign, &bytes, err) != FX_OK) {
            return err->code;
        }
        fx_err one = {0};
        fx_mono deadline = fx_repository_deadline();
        fx_code code = fx_store_put(store, store_key, fx_buf_bytes(&bytes), deadline, &one);
        if (code != FX_ERR_EXISTS) {
            *err = one;
            return code == FX_OK ? FX_OK : fx_err_wrap(err, "storing \"%s\"", store_key);
        }
    }
    return fx_fail(err, FX_ERR_LIMIT, "could not store the erasure: there are %d", SERIAL_MAX);
}

static fx_code
load(fx_store *store, const char *store_key, fx_erasure **out_erasure, fx_err *err)
{
    FX_BUF_AUTO bytes;
    fx_buf_init(&bytes, OBJECT_MAX_BYTES);
    fx_mono deadline = fx_repository_deadline();
    if (fx_store_get(store, store_key, 0, OBJECT_MAX_BYTES, deadline, &bytes, err) != FX_OK ||
        fx_erasure_decode(fx_buf_bytes(&bytes), out_erasure, err) != FX_OK) {
        return fx_err_wrap(err, "reading \"%s\"", store_key);
    }
    return FX_OK;
}

fx_code
fx_erasure_count_done(fx_store *store, const fx_scope_id *scope, size_t *out_count, fx_err *err)
{
    size_t count = 0;
    /* Serial numbers have no holes: the first that is absent ends them. */
    for (uint32_t serial = 1;; serial++) {
        char store_key[NAME_BYTES];
        FX_AUTO(fx_erasure) erasure = NULL;
        fx_err one = {0};
        make_name(scope, serial, store_key);
        fx_code code = load(store, store_key, &erasure, &one);
        if (code == FX_ERR_NOT_FOUND) {
            *out_count = count;
            return FX_OK;
        }
        if (code != FX_OK && code != FX_ERR_DAMAGED && code != FX_ERR_UNSUPPORTED) {
            *err = one;
            return code;
        }
        count += erasure != NULL && erasure->is_done ? 1 : 0;
    }
}

static bool
proves(const fx_erasure *erasure, const fx_keyring_scope *scope)
{
    const fx_key_version *newest = &scope->versions[scope->version_count - 1];
    return erasure->is_done && erasure->key_version == newest->number &&
           memcmp(&erasure->scope, &scope->id, sizeof scope->id) == 0 &&
           memcmp(erasure->verify_key, newest->verify_key, sizeof erasure->verify_key) == 0;
}

fx_code
fx_erasure_is_proven(fx_store *store, const fx_keyring_scope *scope, bool *out_proven, fx_err *err)
{
    FX_ASSERT(scope->version_count > 0);
    for (uint32_t serial = 1;; serial++) {
        char store_key[NAME_BYTES];
        FX_AUTO(fx_erasure) erasure = NULL;
        fx_err one = {0};
        make_name(&scope->id, serial, store_key);
        fx_code code = load(store, store_key, &erasure, &one);
        if (code != FX_OK && code != FX_ERR_NOT_FOUND && code != FX_ERR_DAMAGED &&
            code != FX_ERR_UNSUPPORTED) {
            *err = one;
            return code;
        }
        bool is_proven = erasure != NULL && proves(erasure, scope);
        if (is_proven || code == FX_ERR_NOT_FOUND) {
            *out_proven = is_proven;
            return FX_OK;
        }
    }
}

fx_code
fx_erasure_verify(fx_store *store, const char *store_key, const fx_repository_key *key, fx_err *err)
{
    char expected[NAME_BYTES];
    FX_AUTO(fx_erasure) erasure = NULL;
    if (load(store, store_key, &erasure, err) != FX_OK) {
        return err->code;
    }
    FX_ASSERT(erasure != NULL);
    make_name(&erasure->scope, erasure->serial, expected);
    if (strcmp(store_key, expected) != 0) {
        return fx_fail(err, FX_ERR_DAMAGED, "could not use it: it was written as another");
    }
    const fx_scope_keys *scope = fx_repository_key_scope(key, &erasure->scope);
    if (scope != NULL && erasure->key_version <= scope->version_count &&
        (erasure->key_version == 0 || memcmp(
                                          scope->versions[erasure->key_version - 1].verify_key,
                                          erasure->verify_key,
                                          sizeof erasure->verify_key) != 0)) {
        return fx_fail(err, FX_ERR_DAMAGED, "could not use it: another key than the scope's signs");
    }
    return FX_OK;
}
