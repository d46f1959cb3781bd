#include "common/repository/internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "proto/repository.pb-c.h"

#include "common/base/clock.h"
#include "common/base/hex.h"
#include "common/repository/forgotten.h"
#include "common/repository/hold.h"
#include "common/repository/kept.h"
#include "common/repository/lease.h"
#include "common/repository/tags.h"

enum {
    REPOSITORY_MAGIC = 0x4ea05174,
    CONFIG_MAX_BYTES = 4096,
    CONFIG_HEAD_BYTES = 12,
    OBJECT_DEADLINE_MS = 600 * 1000,
    LIST_MAX = 1 << 24,
};

static const char config_magic[8] = "FXCONFIG";
static const char config_key[] = "config";

fx_mono
fx_repository_deadline(void)
{
    return fx_mono_after(fx_clock_mono(), FX_DUR_MS(OBJECT_DEADLINE_MS));
}

void
fx_pack_key(const unsigned char name[FX_ID_BYTES], char out_key[FX_KEY_TEXT_BYTES])
{
    char hex[2 * FX_ID_BYTES + 1];
    fx_hex_encode((fx_bytes){name, FX_ID_BYTES}, hex);
    (void)snprintf(out_key, FX_KEY_TEXT_BYTES, "packs/%.2s/%s", hex, hex);
}

bool
fx_is_named_by_digest(const char *store_key, fx_bytes bytes)
{
    unsigned char digest[FX_SHA256_BYTES];
    char hex[2 * FX_SHA256_BYTES + 1];
    fx_sha256(bytes, digest);
    fx_hex_encode((fx_bytes){digest, sizeof digest}, hex);
    const char *slash = strrchr(store_key, '/');
    return strcmp(slash == NULL ? store_key : slash + 1, hex) == 0;
}

fx_code
fx_repository_need_key(const fx_repository *repository, fx_err *err)
{
    FX_ASSERT(repository->magic == REPOSITORY_MAGIC);
    if (repository->key == NULL) {
        return fx_fail(err, FX_ERR_WRONG_KEY, "could not do this without the repository's key");
    }
    if (!repository->has_write_scope) {
        return fx_fail(
            err,
            FX_ERR_WRONG_KEY,
            "could not write: the repository does not have scope \"%s\"; choose another, or have "
            "\"scope create\" publish it",
            fx_repository_key_writes(repository->key)->label.text);
    }
    return FX_OK;
}

bool
fx_repository_is_write_only(const fx_repository *repository)
{
    return repository->key != NULL && !fx_repository_key_can_read(repository->key) &&
           fx_repository_key_writes(repository->key)->can_write;
}

fx_code
fx_repository_need_read(const fx_repository *repository, fx_err *err)
{
    FX_ASSERT(repository->magic == REPOSITORY_MAGIC);
    if (repository->key == NULL) {
        return fx_fail(err, FX_ERR_WRONG_KEY, "could not do this without the repository's key");
    }
    for (size_t i = 0; i < repository->key->scope_count; i++) {
        if (repository->key->scopes[i].can_read) {
            return FX_OK;
        }
    }
    return fx_fail(
        err,
        FX_ERR_WRONG_KEY,
        "could not read: the key file can only write; use one that holds private keys");
}

void
fx_repository_chunk_id(
    fx_repository *repository, const fx_object *object, fx_bytes content, fx_chunk_id *out_id)
{
    FX_ASSERT(object->scope_keys != NULL);
    size_t number = (size_t)(object->scope_keys - repository->key->scopes);
    FX_ASSERT(number < repository->key->scope_count);
    if (repository->hmacs[number] == NULL) {
        repository->hmacs[number] = fx_hmac_new(object->scope_keys->id_key);
    }
    fx_hmac_sha256(repository->hmacs[number], content, out_id->bytes);
}

fx_code
fx_repository_explain_locked(fx_repository *repository, const fx_object *object, fx_err *err)
{
    if (repository->key == NULL) {
        return fx_repository_need_key(repository, err);
    }
    if (!repository->has_key_names &&
        fx_key_names_list(repository->store, "keys/", &repository->key_names, err) != FX_OK) {
        return err->code;
    }
    repository->has_key_names = true;
    bool is_known = false;
    for (size_t i = 0; i < repository->key_names.count; i++) {
        const fx_key_name *name = &repository->key_names.items[i];
        is_known = is_known || (memcmp(&name->scope, &object->scope, sizeof name->scope) == 0 &&
                                name->version == object->key_version);
    }
    if (!is_known) {
        return fx_fail(
            err,
            FX_ERR_DAMAGED,
            "could not read the object: it names a key that the repository does not have");
    }
    return fx_object_explain_locked(object, repository->key, err);
}

/* ---- the object "config"
 * -------------------------------------------------------------------------- */

/* Magic, version, message, digest of all before. */
static fx_code
encode_config(fx_buf *out, fx_err *err)
{
    unsigned char id[FX_REPOSITORY_ID_BYTES];
    fx_crypto_random(id, sizeof id);
    Fortress__Repository__Config config;
    fortress__repository__config__init(&config);
    config.repository_id = (ProtobufCBinaryData){sizeof id, id};
    config.created_wall_ns = fx_clock_wall().ns;

    unsigned char head[CONFIG_HEAD_BYTES] = {0};
    memcpy(head, config_magic, sizeof config_magic);
    head[8] = FX_OBJECT_VERSION;
    unsigned char message[CONFIG_MAX_BYTES];
    FX_ASSERT(fortress__repository__config__get_packed_size(&config) <= sizeof message);
    size_t message_bytes = fortress__repository__config__pack(&config, message);
    if (fx_buf_append(out, head, sizeof head, err) != FX_OK ||
        fx_buf_append(out, message, message_bytes, err) != FX_OK) {
        return err->code;
    }
    unsigned char digest[FX_SHA256_BYTES];
    fx_sha256(fx_buf_bytes(out), digest);
    return fx_buf_append(out, digest, sizeof digest, err);
}

static fx_code
decode_config(const fx_buf *bytes, unsigned char out_id[FX_REPOSITORY_ID_BYTES], fx_err *err)
{
    unsigned char digest[FX_SHA256_BYTES];
    size_t least_bytes = CONFIG_HEAD_BYTES + sizeof digest;
    if (bytes->size_bytes < least_bytes ||
        memcmp(bytes->data, config_magic, sizeof config_magic) != 0) {
        return fx_fail(err, FX_ERR_DAMAGED, "could not read \"config\": it is not a repository's");
    }
    /* First: the digest of another version may stand elsewhere. */
    if (bytes->data[8] != FX_OBJECT_VERSION) {
        return fx_fail(
            err,
            FX_ERR_UNSUPPORTED,
            "could not open the repository: its \"config\" has format version %d, this program "
            "knows %d",
            bytes->data[8],
            FX_OBJECT_VERSION);
    }
    size_t body_bytes = bytes->size_bytes - sizeof digest;
    fx_sha256((fx_bytes){bytes->data, body_bytes}, digest);
    if (memcmp(bytes->data + body_bytes, digest, sizeof digest) != 0) {
        return fx_fail(err, FX_ERR_DAMAGED, "could not read \"config\": its digest is another");
    }
    Fortress__Repository__Config *config = fortress__repository__config__unpack(
        NULL, body_bytes - CONFIG_HEAD_BYTES, bytes->data + CONFIG_HEAD_BYTES);
    bool valid = config != NULL && config->repository_id.len == FX_REPOSITORY_ID_BYTES;
    if (valid) {
        memcpy(out_id, config->repository_id.data, FX_REPOSITORY_ID_BYTES);
    }
    if (config != NULL) {
        fortress__repository__config__free_unpacked(config, NULL);
    }
    return valid ? FX_OK
                 : fx_fail(err, FX_ERR_DAMAGED, "could not read \"config\": it is malformed");
}

static fx_code
check_absent(fx_store *store, const char *url, fx_err *err)
{
    uint64_t size_bytes = 0;
    fx_err reason = {0};
    fx_code code = fx_store_stat(store, config_key, fx_repository_deadline(), &size_bytes, &reason);
    if (code == FX_OK) {
        return fx_fail(
            err, FX_ERR_EXISTS, "could not create a repository: there is one at \"%.150s\"", url);
    }
    if (code != FX_ERR_NOT_FOUND) {
        *err = reason;
        return code;
    }
    return FX_OK;
}

/* The key objects first: with the config the repository exists. */
fx_code
fx_repository_create(const char *url, const fx_repository_key *key, fx_err *err)
{
    FX_AUTO(fx_store) store = NULL;
    FX_BUF_AUTO config;
    fx_buf_init(&config, CONFIG_MAX_BYTES);
    if (!fx_repository_key_can_read(key)) {
        return fx_fail(
            err,
            FX_ERR_WRONG_KEY,
            "could not create a repository: the key file can only write to one");
    }
    if (fx_store_open(url, &store, err) != FX_OK || fx_store_prepare(store, err) != FX_OK ||
        check_absent(store, url, err) != FX_OK || fx_publish_keys(store, key, err) != FX_OK ||
        encode_config(&config, err) != FX_OK) {
        return err->code;
    }
    fx_mono deadline = fx_repository_deadline();
    fx_code code = fx_store_put(store, config_key, fx_buf_bytes(&config), deadline, err);
    if (code == FX_ERR_EXISTS) {
        return fx_fail(
            err, FX_ERR_EXISTS, "could not create a repository: there is one at \"%.150s\"", url);
    }
    return code;
}

static fx_code
check_config(fx_repository *repository, const char *url, fx_err *err)
{
    FX_BUF_AUTO bytes;
    fx_buf_init(&bytes, CONFIG_MAX_BYTES);
    fx_mono deadline = fx_repository_deadline();
    fx_code code =
        fx_store_get(repository->store, config_key, 0, CONFIG_MAX_BYTES, deadline, &bytes, err);
    if (code == FX_ERR_NOT_FOUND) {
        return fx_fail(
            err,
            FX_ERR_NOT_FOUND,
            "could not open a repository: there is none at \"%.100s\"; make one with repo init",
            url);
    }
    if (code != FX_OK || decode_config(&bytes, repository->id, err) != FX_OK) {
        return fx_err_wrap(err, "opening the repository \"%.150s\"", url);
    }
    if (repository->key != NULL &&
        fx_check_keys(repository->store, repository->key, &repository->has_write_scope, err) !=
            FX_OK) {
        return fx_err_wrap(err, "opening the repository \"%.150s\"", url);
    }
    return FX_OK;
}

/* Tells sets of keys apart that open different objects, or write to another scope. */
static void
digest_keys(const fx_repository_key *key, unsigned char out_digest[FX_SHA256_BYTES])
{
    FX_AUTO(fx_sha256_stream) stream = fx_sha256_stream_new();
    for (size_t i = 0; i < key->scope_count; i++) {
        const fx_scope_keys *scope = &key->scopes[i];
        for (size_t j = 0; scope->can_read && j < scope->version_count; j++) {
            const fx_scope_version *version = &scope->versions[j];
            fx_sha256_stream_add(
                stream, (fx_bytes){version->public_key, sizeof version->public_key});
        }
    }
    const fx_scope_keys *written = fx_repository_key_writes(key);
    for (size_t i = 0; i < written->version_count; i++) {
        const fx_scope_version *version = &written->versions[i];
        fx_sha256_stream_add(stream, (fx_bytes){version->verify_key, sizeof version->verify_key});
    }
    fx_sha256_stream_add(stream, (fx_bytes){written->id.bytes, sizeof written->id.bytes});
    fx_sha256_stream_finish(stream, out_digest);
}

fx_code
fx_repository_open(
    const char *url, const fx_repository_key *key, fx_repository **out_repository, fx_err *err)
{
    FX_AUTO(fx_repository) repository = calloc(1, sizeof *repository);
    FX_ASSERT(repository != NULL);
    repository->magic = REPOSITORY_MAGIC;
    repository->key = key;
    int result = pthread_mutex_init(&repository->lock, NULL);
    FX_ASSERT(result == 0);
    for (size_t i = 0; i < FX_SEGMENT_MAX; i++) {
        fx_buf_init(&repository->segments[i].bytes, FX_SEGMENT_BYTES + FX_OBJECT_STORED_MAX_BYTES);
    }
    repository->zip = fx_zip_new();
    repository->index = fx_index_new(NULL);
    if (key != NULL) {
        digest_keys(key, repository->key_digest);
        repository->hmacs = calloc(key->scope_count, sizeof(fx_hmac *));
        FX_ASSERT(repository->hmacs != NULL);
    }
    if (fx_store_open(url, &repository->store, err) != FX_OK ||
        check_config(repository, url, err) != FX_OK) {
        return err->code;
    }
    *out_repository = FX_TAKE(repository);
    return FX_OK;
}

void
fx_repository_free(fx_repository *repository)
{
    if (repository == NULL) {
        return;
    }
    FX_ASSERT(repository->magic == REPOSITORY_MAGIC);
    for (size_t i = 0; i < FX_OPEN_PACK_MAX; i++) {
        fx_object_free(repository->packs[i].object);
    }
    for (size_t i = 0; i < FX_SEGMENT_MAX; i++) {
        fx_buf_free(&repository->segments[i].bytes);
    }
    fx_id_set_free(&repository->loaded);
    fx_id_set_free(&repository->foreign);
    fx_id_set_free(&repository->vouchers);
    fx_id_set_free(&repository->vouched);
    fx_id_set_free(&repository->own);
    free(repository->own_path);
    fx_kept_free(repository->kept);
    free(repository->cache);
    free(repository->cache_folder);
    for (size_t i = 0; i < repository->bad_count; i++) {
        free(repository->bad[i].store_key);
    }
    free(repository->bad);
    fx_index_free(repository->index);
    for (size_t i = 0; repository->hmacs != NULL && i < repository->key->scope_count; i++) {
        fx_hmac_free(repository->hmacs[i]);
    }
    free(repository->hmacs);
    fx_key_names_free(&repository->key_names);
    fx_zip_free(repository->zip);
    fx_store_free(repository->store);
    (void)pthread_mutex_destroy(&repository->lock);
    repository->magic = 0;
    free(repository);
}

/* ---- whole objects
 * ---------------------------------------------------------------------------------- */

fx_code
fx_repository_load_object(
    fx_repository *repository,
    const char *store_key,
    fx_object_type type,
    fx_buf *bytes,
    fx_object **out_object,
    fx_err *err)
{
    fx_mono deadline = fx_repository_deadline();
    fx_buf_clear(bytes);
    if (fx_store_get(repository->store, store_key, 0, bytes->max_bytes, deadline, bytes, err) !=
        FX_OK) {
        return err->code;
    }
    FX_AUTO(fx_object) object = NULL;
    fx_bytes all = fx_buf_bytes(bytes);
    if (fx_object_parse(all, all, all.size_bytes, &object, err) != FX_OK) {
        return fx_err_wrap(err, "reading \"%s\"", store_key);
    }
    if (object->type != type) {
        return fx_fail(
            err, FX_ERR_DAMAGED, "could not read \"%s\": it is of another kind", store_key);
    }
    if (repository->key != NULL && fx_object_has_key(object, repository->key) &&
        fx_object_unlock(object, repository->key, err) != FX_OK) {
        return fx_err_wrap(err, "reading \"%s\"", store_key);
    }
    *out_object = FX_TAKE(object);
    return FX_OK;
}

fx_code
fx_repository_open_blob(
    fx_repository *repository,
    fx_object *object,
    const fx_buf *bytes,
    uint32_t index,
    fx_buf *out,
    fx_err *err)
{
    if (object->aead == NULL) {
        return fx_repository_explain_locked(repository, object, err);
    }
    const fx_blob *blob = &object->blobs[index];
    fx_bytes stored = {bytes->data + blob->offset, blob->stored_bytes};
    return fx_object_open_blob(object, repository->zip, index, stored, out, err);
}

/* ---- lists of keys
 * ---------------------------------------------------------------------------------- */

static void
collect_key(void *ctx, const char *key, uint64_t size_bytes)
{
    (void)size_bytes;
    fx_key_list *list = ctx;
    if (list->count == LIST_MAX) {
        list->overflow = true;
        return;
    }
    if ((list->count & (list->count - 1)) == 0) {
        list->items = realloc(list->items, (list->count * 2 + 1) * sizeof *list->items);
        FX_ASSERT(list->items != NULL);
    }
    list->items[list->count] = strdup(key);
    FX_ASSERT(list->items[list->count] != NULL);
    list->count++;
}

void
fx_key_list_free(fx_key_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        free(list->items[i]);
    }
    free(list->items);
}

fx_code
fx_repository_list_keys(
    fx_repository *repository, const char *prefix, fx_key_list *list, fx_err *err)
{
    fx_mono deadline = fx_repository_deadline();
    if (fx_store_list(repository->store, prefix, deadline, collect_key, list, err) != FX_OK) {
        return fx_err_wrap(err, "listing %s", prefix);
    }
    if (list->overflow) {
        return fx_fail(err, FX_ERR_LIMIT, "could not list %s: more than %d", prefix, LIST_MAX);
    }
    return FX_OK;
}

/* ---- snapshots
 * ------------------------------------------------------------------------------------------ */

static void
set_text(char *out, size_t room_bytes, const char *text)
{
    (void)snprintf(out, room_bytes, "%s", text == NULL ? "" : text);
}

fx_code
fx_snapshot_decode(
    const fx_object *object, const char *store_key, fx_snapshot *out_snapshot, fx_err *err)
{
    Fortress__Repository__SnapshotHeader *header =
        fortress__repository__snapshot_header__unpack(NULL, object->plain_bytes, object->plain);
    fx_snapshot snapshot = {0};
    fx_err ignored = {0};
    if (header == NULL || fx_name_parse(header->host, "host", &snapshot.host, &ignored) != FX_OK) {
        if (header != NULL) {
            fortress__repository__snapshot_header__free_unpacked(header, NULL);
        }
        return fx_fail(err, FX_ERR_DAMAGED, "could not read \"%s\": its header is bad", store_key);
    }
    set_text(snapshot.id, sizeof snapshot.id, strrchr(store_key, '/') + 1);
    fx_scope_id_format(&object->scope, snapshot.scope);
    set_text(snapshot.source, sizeof snapshot.source, header->source);
    set_text(snapshot.kind, sizeof snapshot.kind, header->kind);
    set_text(snapshot.note, sizeof snapshot.note, header->note);
    set_text(snapshot.lease, sizeof snapshot.lease, header->lease);
    /* A tag that is none is the claim of a host that writes headers of its own. */
    for (size_t i = 0; i < header->n_tags && i < FX_TAGS_MAX; i++) {
        fx_ignore(fx_tags_add(snapshot.tags, header->tags[i], &ignored), "it is then not shown");
    }
    snapshot.began = (fx_wall){.ns = header->began_wall_ns};
    snapshot.ended = (fx_wall){.ns = header->ended_wall_ns};
    snapshot.file_count = header->file_count;
    snapshot.size_bytes = header->size_bytes;
    snapshot.added_bytes = header->added_bytes;
    snapshot.warning_count = header->warning_count;
    fortress__repository__snapshot_header__free_unpacked(header, NULL);
    *out_snapshot = snapshot;
    return FX_OK;
}

/* Whole, so that its name can be checked: the header of a snapshot is readable, not trusted. */
static fx_code
read_snapshot(
    fx_repository *repository,
    const char *store_key,
    fx_snapshot *out_snapshot,
    fx_chunk_id *out_root,
    fx_err *err)
{
    FX_BUF_AUTO bytes;
    FX_BUF_AUTO root;
    FX_AUTO(fx_object) object = NULL;
    fx_buf_init(&bytes, FX_SNAPSHOT_OBJECT_MAX_BYTES);
    fx_buf_init(&root, FX_ID_BYTES);
    if (fx_repository_load_object(
            repository, store_key, FX_OBJECT_SNAPSHOT, &bytes, &object, err) != FX_OK) {
        return err->code;
    }
    FX_ASSERT(object != NULL);
    if (!fx_is_named_by_digest(store_key, fx_buf_bytes(&bytes))) {
        return fx_fail(
            err,
            FX_ERR_DAMAGED,
            "could not read \"%s\": its bytes are not what was written",
            store_key);
    }
    if (fx_snapshot_decode(object, store_key, out_snapshot, err) != FX_OK || out_root == NULL) {
        return err->code;
    }
    if (object->blob_count != 1 ||
        (object->aead != NULL &&
         (fx_repository_open_blob(repository, object, &bytes, 0, &root, err) != FX_OK ||
          root.size_bytes != FX_ID_BYTES))) {
        return fx_fail(err, FX_ERR_DAMAGED, "could not read \"%s\": its root is bad", store_key);
    }
    if (object->aead == NULL) {
        return fx_repository_explain_locked(repository, object, err);
    }
    memcpy(out_root->bytes, root.data, FX_ID_BYTES);
    return FX_OK;
}

/* What it claims, but not after the store got it: one that claims to be of the year 2100 is not the
 * latest for ever. */
static int64_t
believed_ns(const fx_snapshot *snapshot)
{
    bool is_later = snapshot->stored.ns != 0 && snapshot->began.ns > snapshot->stored.ns;
    return is_later ? snapshot->stored.ns : snapshot->began.ns;
}

static int
by_began(const void *left, const void *right)
{
    const fx_snapshot *one = left;
    const fx_snapshot *two = right;
    if (believed_ns(one) != believed_ns(two)) {
        return believed_ns(one) < believed_ns(two) ? -1 : 1;
    }
    return strcmp(one->id, two->id);
}

void
fx_snapshot_list_free(fx_snapshot_list *list)
{
    free(list->items);
    *list = (fx_snapshot_list){0};
}

static fx_code
mark_void(fx_repository *repository, fx_snapshot_list *list, fx_err *err)
{
    fx_settlements settled;
    fx_id_set forgotten = {0};
    if (fx_settlements_read(repository->store, &settled, err) != FX_OK) {
        return err->code;
    }
    fx_code code = fx_forgotten_read(repository->store, &forgotten, err);
    for (size_t i = 0; i < list->count; i++) {
        fx_chunk_id id;
        fx_err ignored = {0};
        fx_snapshot *snapshot = &list->items[i];
        snapshot->is_void =
            fx_hex_decode(snapshot->id, id.bytes, sizeof id.bytes, &ignored) == FX_OK &&
            (fx_settlements_void(&settled, snapshot->lease, &id) || fx_id_set_has(&forgotten, &id));
    }
    fx_settlements_free(&settled);
    fx_id_set_free(&forgotten);
    return code;
}

static void
take_time(void *ctx, const char *key, fx_wall stored)
{
    fx_snapshot_list *list = ctx;
    const char *id = key + strlen("snapshots/");
    /* In order of their ids, as the store lists. */
    size_t low = 0;
    size_t high = list->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (strcmp(list->items[middle].id, id) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    if (low < list->count && strcmp(list->items[low].id, id) == 0) {
        list->items[low].stored = stored;
    }
}

fx_code
fx_repository_list_all(
    fx_repository *repository,
    fx_snapshot_list *out_list,
    size_t *out_unreadable_count,
    fx_err *err)
{
    FX_ASSERT(repository->magic == REPOSITORY_MAGIC);
    fx_key_list keys = {0};
    fx_snapshot_list list = {0};
    size_t unreadable_count = 0;
    fx_code code = fx_repository_list_keys(repository, "snapshots/", &keys, err);
    if (code == FX_OK) {
        list.items = calloc(keys.count + 1, sizeof *list.items);
        FX_ASSERT(list.items != NULL);
    }
    for (size_t i = 0; code == FX_OK && i < keys.count; i++) {
        fx_err one = {0};
        (void)pthread_mutex_lock(&repository->lock);
        if (read_snapshot(repository, keys.items[i], &list.items[list.count], NULL, &one) ==
            FX_OK) {
            list.count++;
        } else if (one.code == FX_ERR_UNREACHABLE || one.code == FX_ERR_TIMEOUT) {
            *err = one;
            code = one.code;
        } else {
            unreadable_count++;
        }
        (void)pthread_mutex_unlock(&repository->lock);
    }
    fx_key_list_free(&keys);
    if (code == FX_OK) {
        fx_mono deadline = fx_repository_deadline();
        code =
            fx_store_list_times(repository->store, "snapshots/", deadline, take_time, &list, err);
    }
    if (code != FX_OK) {
        fx_snapshot_list_free(&list);
        return code;
    }
    if (mark_void(repository, &list, err) != FX_OK) {
        fx_snapshot_list_free(&list);
        return err->code;
    }
    qsort(list.items, list.count, sizeof *list.items, by_began);
    *out_list = list;
    *out_unreadable_count = unreadable_count;
    return FX_OK;
}

fx_code
fx_repository_list(
    fx_repository *repository,
    fx_snapshot_list *out_list,
    size_t *out_unreadable_count,
    fx_err *err)
{
    fx_snapshot_list list = {0};
    if (fx_repository_list_all(repository, &list, out_unreadable_count, err) != FX_OK) {
        return err->code;
    }
    size_t kept = 0;
    for (size_t i = 0; i < list.count; i++) {
        if (!list.items[i].is_void) {
            list.items[kept++] = list.items[i];
        }
    }
    list.count = kept;
    *out_list = list;
    return FX_OK;
}

static bool
matches(
    const fx_snapshot *snapshot,
    const char *which,
    const char *source,
    const char *host,
    fx_wall before)
{
    bool latest = strcmp(which, "latest") == 0;
    return (source == NULL || strcmp(snapshot->source, source) == 0) &&
           (host == NULL || strcmp(snapshot->host.text, host) == 0) &&
           (before.ns == 0 || believed_ns(snapshot) <= before.ns) &&
           (latest || strncmp(snapshot->id, which, strlen(which)) == 0);
}

/* NOLINTBEGIN(readability-function-size): the parameters are the question */
fx_code
fx_repository_find(
    fx_repository *repository,
    const char *which,
    const char *source,
    const char *host,
    fx_wall before,
    fx_snapshot *out_snapshot,
    fx_err *err)
{
    bool latest = strcmp(which, "latest") == 0;
    if (!latest && (strlen(which) < 8 || strspn(which, "0123456789abcdef") != strlen(which))) {
        return fx_fail(
            err,
            FX_ERR_INVALID,
            "could not use \"%.80s\" as a snapshot: \"latest\" or at least 8 digits of its id",
            which);
    }
    fx_snapshot_list list = {0};
    size_t unreadable_count = 0;
    if (fx_repository_list(repository, &list, &unreadable_count, err) != FX_OK) {
        return err->code;
    }
    const fx_snapshot *found = NULL;
    size_t count = 0;
    for (size_t i = 0; i < list.count; i++) {
        if (matches(&list.items[i], which, source, host, before)) {
            found = &list.items[i];
            count++;
        }
    }
    fx_code code = FX_OK;
    if (found == NULL) {
        code = fx_fail(
            err,
            FX_ERR_NOT_FOUND,
            "could not find snapshot \"%.70s\"%s%.100s among %zu (%zu more could not be read)",
            which,
            source == NULL ? "" : " of ",
            source == NULL ? "" : source,
            list.count,
            unreadable_count);
    } else if (count > 1 && !latest) {
        code = fx_fail(
            err, FX_ERR_INVALID, "could not choose: \"%.70s\" begins %zu snapshots", which, count);
    } else {
        *out_snapshot = *found;
    }
    fx_snapshot_list_free(&list);
    return code;
}
/* NOLINTEND(readability-function-size) */

fx_code
fx_repository_forget(fx_repository *repository, const char *snapshot_id, fx_err *err)
{
    char store_key[FX_KEY_TEXT_BYTES];
    FX_ASSERT(repository->magic == REPOSITORY_MAGIC);
    (void)snprintf(store_key, sizeof store_key, "snapshots/%.64s", snapshot_id);
    fx_mono deadline = fx_repository_deadline();
    uint64_t size_bytes = 0;
    uint32_t word = 0;
    if (fx_store_stat(repository->store, store_key, deadline, &size_bytes, err) != FX_OK ||
        fx_hold_begin_forget(repository, snapshot_id, &word, err) != FX_OK) {
        return fx_err_wrap(err, "forgetting snapshot %.16s", snapshot_id);
    }
    fx_err failure = {0};
    fx_code code = fx_forgotten_put(repository->store, snapshot_id, &failure);
    if (code == FX_OK) {
        code = fx_store_remove(repository->store, store_key, deadline, &failure);
    }
    /* In doubt the word stays: the put may still come, and a hold must not trust in itself. */
    fx_err kept = {0};
    if (code == FX_OK || failure.outcome != FX_CLASS_UNKNOWN) {
        fx_ignore(
            fx_hold_end_forget(repository, snapshot_id, word, &kept),
            "then a later hold is told that it may be too late");
    }
    if (code != FX_OK) {
        *err = failure;
        return fx_err_wrap(err, "forgetting snapshot %.16s", snapshot_id);
    }
    return FX_OK;
}

fx_code
fx_repository_root_at(
    fx_repository *repository, const char *store_key, fx_chunk_id *out_root, fx_err *err)
{
    fx_snapshot ignored;
    if (fx_repository_need_read(repository, err) != FX_OK) {
        return err->code;
    }
    (void)pthread_mutex_lock(&repository->lock);
    fx_code code = read_snapshot(repository, store_key, &ignored, out_root, err);
    (void)pthread_mutex_unlock(&repository->lock);
    return code;
}

fx_code
fx_repository_snapshot_root(
    fx_repository *repository, const char *snapshot_id, fx_chunk_id *out_root, fx_err *err)
{
    char store_key[FX_KEY_TEXT_BYTES];
    (void)snprintf(store_key, sizeof store_key, "snapshots/%.64s", snapshot_id);
    return fx_repository_root_at(repository, store_key, out_root, err);
}

/* A data set's name may hold anything: a digest stands for it. */
bool
fx_repository_kept_path(
    const fx_repository *repository,
    const char *source,
    const char *host,
    char out_path[FX_KEPT_PATH_BYTES])
{
    char scope[FX_SCOPE_ID_TEXT_BYTES];
    char hex[2 * FX_SHA256_BYTES + 1];
    unsigned char digest[FX_SHA256_BYTES];
    if (repository->cache_folder == NULL || !fx_repository_is_write_only(repository)) {
        return false;
    }
    FX_AUTO(fx_sha256_stream) stream = fx_sha256_stream_new();
    fx_sha256_stream_add(stream, (fx_bytes){host, strlen(host) + 1});
    fx_sha256_stream_add(stream, (fx_bytes){source, strlen(source) + 1});
    fx_sha256_stream_finish(stream, digest);
    fx_hex_encode((fx_bytes){digest, sizeof digest}, hex);
    fx_scope_id_format(&fx_repository_key_writes(repository->key)->id, scope);
    int length = snprintf(
        out_path, FX_KEPT_PATH_BYTES, "%s/parent-%s-%.32s", repository->cache_folder, scope, hex);
    return length > 0 && length < FX_KEPT_PATH_BYTES;
}

/* What this host has kept of its last snapshot, where it cannot read that. */
static fx_code
find_kept(
    fx_repository *repository,
    const char *source,
    const char *host,
    fx_snapshot *out_parent,
    fx_chunk_id *out_root,
    fx_err *err)
{
    char path[FX_KEPT_PATH_BYTES];
    fx_kept *kept = NULL;
    fx_err reason = {0};
    if (!fx_repository_kept_path(repository, source, host, path) ||
        fx_kept_load(path, &kept, &reason) != FX_OK) {
        return fx_fail(err, FX_ERR_NOT_FOUND, "could not find an earlier snapshot to build on");
    }
    fx_snapshot parent = {.began = fx_kept_began(kept)};
    (void)snprintf(parent.source, sizeof parent.source, "%s", source);
    (void)snprintf(parent.host.text, sizeof parent.host.text, "%s", host);
    fx_kept_free(repository->kept);
    repository->kept = kept;
    *out_parent = parent;
    *out_root = fx_kept_root(kept);
    return FX_OK;
}

fx_code
fx_repository_find_parent(
    fx_repository *repository,
    const char *source,
    const char *host,
    fx_snapshot *out_parent,
    fx_chunk_id *out_root,
    fx_err *err)
{
    fx_snapshot_list list = {0};
    size_t unreadable_count = 0;
    char scope[FX_SCOPE_ID_TEXT_BYTES];
    if (fx_repository_need_key(repository, err) != FX_OK) {
        return err->code;
    }
    if (fx_repository_is_write_only(repository)) {
        return find_kept(repository, source, host, out_parent, out_root, err);
    }
    if (fx_repository_list(repository, &list, &unreadable_count, err) != FX_OK) {
        return err->code;
    }
    fx_scope_id_format(&fx_repository_key_writes(repository->key)->id, scope);
    const fx_snapshot *found = NULL;
    for (size_t i = 0; i < list.count; i++) {
        const fx_snapshot *one = &list.items[i];
        if (matches(one, "latest", source, host, (fx_wall){0}) && strcmp(one->scope, scope) == 0) {
            found = one;
        }
    }
    fx_code code = FX_OK;
    if (found == NULL || !fx_repository_key_can_read(repository->key)) {
        code = fx_fail(err, FX_ERR_NOT_FOUND, "could not find an earlier snapshot to build on");
    } else {
        *out_parent = *found;
        code = fx_repository_snapshot_root(repository, found->id, out_root, err);
    }
    fx_snapshot_list_free(&list);
    return code;
}
