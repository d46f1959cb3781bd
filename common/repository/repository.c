#include "common/repository/internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "proto/repository.pb-c.h"

#include "common/base/clock.h"
#include "common/base/hex.h"
#include "common/repository/kept.h"

enum {
    CONFIG_MAX_BYTES = 4096,
    CONFIG_HEAD_BYTES = 12,
    OBJECT_DEADLINE_MS = 600 * 1000,
    LIST_MAX = 1 << 24,
};

static const char config_magic[8] = "FXCONFIG";
static const char config_key[] = "config";

void
fx_repository_tell(const fx_repository *repository, const fx_progress *progress)
{
    if (repository->progress != NULL) {
        repository->progress(repository->progress_ctx, progress);
    }
}

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
    FX_ASSERT(repository->magic == FX_REPOSITORY_MAGIC);
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
    FX_ASSERT(repository->magic == FX_REPOSITORY_MAGIC);
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

fx_code
fx_config_decode(const fx_buf *bytes, unsigned char out_id[FX_REPOSITORY_ID_BYTES], fx_err *err)
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
    if (code != FX_OK || fx_config_decode(&bytes, repository->id, err) != FX_OK) {
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
    repository->magic = FX_REPOSITORY_MAGIC;
    repository->key = key;
    int result = pthread_mutex_init(&repository->lock, NULL);
    FX_ASSERT(result == 0);
    for (size_t i = 0; i < FX_SEGMENT_MAX; i++) {
        fx_buf_init(&repository->segments[i].bytes, FX_SEGMENT_BYTES + FX_OBJECT_STORED_MAX_BYTES);
    }
    repository->zip = fx_zip_new();
    repository->level = FX_ZIP_USUAL_LEVEL;
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
    FX_ASSERT(repository->magic == FX_REPOSITORY_MAGIC);
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

void
fx_repository_set_compression(fx_repository *repository, int level)
{
    repository->level = level;
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
