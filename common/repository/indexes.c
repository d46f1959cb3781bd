/* Which packs hold which chunks: from index objects, a copy of them on disk, or the packs. */
#include "common/repository/internal.h"

#include <stdio.h>
#include <string.h>

#include "common/base/file.h"
#include "common/base/hex.h"

enum {
    LIST_MAX = 1 << 24,
    LOAD_TRIES = 8,       /* while a collector removes index objects */
    COPY_OBJECTS = 8,     /* the copy is written again when so many index objects are not in it, */
    COPY_CHUNKS = 100000, /* or so many chunks */
};

/* ---- indexes
 * ------------------------------------------------------------------------------------------ */

/* false: no index object's key. */
static bool
name_of(const char *store_key, fx_chunk_id *out_name)
{
    fx_err ignored = {0};
    const char *slash = strrchr(store_key, '/');
    return slash != NULL &&
           fx_hex_decode(slash + 1, out_name->bytes, sizeof out_name->bytes, &ignored) == FX_OK;
}

static bool
is_bad(const fx_repository *repository, const char *store_key)
{
    for (size_t i = 0; i < repository->bad_count; i++) {
        if (strcmp(repository->bad[i].store_key, store_key) == 0) {
            return true;
        }
    }
    return false;
}

/* All of an index object or nothing of it. */
static fx_code
load_index(fx_repository *repository, const char *store_key, fx_err *err)
{
    FX_BUF_AUTO bytes;
    FX_BUF_AUTO content;
    FX_AUTO(fx_object) object = NULL;
    fx_buf_init(&bytes, FX_STORE_OBJECT_MAX_BYTES);
    fx_buf_init(&content, FX_OBJECT_BLOB_MAX_BYTES);
    if (fx_repository_load_object(repository, store_key, FX_OBJECT_INDEX, &bytes, &object, err) !=
        FX_OK) {
        return err->code;
    }
    FX_ASSERT(object != NULL);
    if (object->aead == NULL && !fx_is_named_by_digest(store_key, fx_buf_bytes(&bytes))) {
        return fx_fail(
            err,
            FX_ERR_DAMAGED,
            "could not read \"%s\": its bytes are not what was written",
            store_key);
    }
    if (object->aead == NULL) { /* of a scope that is not ours: it has nothing to tell us */
        fx_chunk_id name;
        if (name_of(store_key, &name)) {
            (void)fx_id_set_add(&repository->foreign, &name);
        }
        return FX_OK;
    }
    fx_index_mark before = fx_index_marked(repository->index);
    fx_code code = FX_OK;
    for (uint32_t i = 0; code == FX_OK && i < object->blob_count; i++) {
        fx_buf_clear(&content);
        code = fx_repository_open_blob(repository, object, &bytes, i, &content, err);
        if (code == FX_OK) {
            code = fx_index_decode(repository->index, fx_buf_bytes(&content), err);
        }
    }
    if (code != FX_OK) {
        fx_index_roll_back(repository->index, &before);
        return fx_err_wrap(err, "reading \"%s\"", store_key);
    }
    if (fx_index_is_due(repository->index)) {
        fx_index_seal(repository->index);
    }
    return FX_OK;
}

/* Takes the key. */
/* NOLINTBEGIN(readability-non-const-parameter): it owns the text from then on */
static void
mark_bad(fx_repository *repository, char *store_key, const fx_err *err)
{
    size_t room = (repository->bad_count + 1) * sizeof *repository->bad;
    repository->bad = realloc(repository->bad, room);
    FX_ASSERT(repository->bad != NULL);
    repository->bad[repository->bad_count++] = (fx_bad_index){store_key, *err};
}
/* NOLINTEND(readability-non-const-parameter) */

/* Does trying again not help? The bytes are there and are not what this program wrote. */
static bool
is_damage(fx_code code)
{
    return code == FX_ERR_DAMAGED || code == FX_ERR_UNSUPPORTED || code == FX_ERR_LIMIT;
}

/* ---- the copy on disk
 * -------------------------------------------------------------------------------- */

/* The copy's label: the repository's id, what keys read it, and the names of the index objects that
 * it holds or that those keys do not open. */
static fx_code
save_copy(fx_repository *repository, fx_err *err)
{
    FX_BUF_AUTO label;
    fx_buf_init(&label, (repository->loaded.count + 2) * sizeof(fx_chunk_id));
    if (fx_buf_append(&label, repository->id, sizeof repository->id, err) != FX_OK ||
        fx_buf_append(&label, repository->key_digest, sizeof repository->key_digest, err) !=
            FX_OK) {
        return err->code;
    }
    for (size_t i = 0; i < repository->loaded.capacity; i++) {
        if (repository->loaded.used[i] &&
            fx_buf_append(&label, &repository->loaded.slots[i], sizeof(fx_chunk_id), err) !=
                FX_OK) {
            return err->code;
        }
    }
    if (fx_index_save(repository->index, repository->cache, fx_buf_bytes(&label), err) != FX_OK) {
        return err->code;
    }
    repository->saved_count = repository->loaded.count;
    return FX_OK;
}

/* Worth writing: many objects would be read again the next time, or a large one. */
static bool
is_copy_due(const fx_repository *repository, uint64_t new_chunk_count)
{
    return repository->cache != NULL && !repository->rescued &&
           (repository->loaded.count - repository->saved_count >= COPY_OBJECTS ||
            new_chunk_count >= COPY_CHUNKS);
}

static bool
take_label(fx_repository *repository, fx_bytes label, const fx_id_set *listed)
{
    const unsigned char *data = label.data;
    size_t head_bytes = sizeof repository->id + sizeof repository->key_digest;
    if (label.size_bytes < head_bytes ||
        (label.size_bytes - head_bytes) % sizeof(fx_chunk_id) != 0 ||
        memcmp(data, repository->id, sizeof repository->id) != 0 ||
        memcmp(
            data + sizeof repository->id, repository->key_digest, sizeof repository->key_digest) !=
            0) {
        return false;
    }
    for (size_t at = head_bytes; at < label.size_bytes; at += sizeof(fx_chunk_id)) {
        fx_chunk_id name;
        memcpy(name.bytes, data + at, sizeof name.bytes);
        (void)fx_id_set_add(&repository->loaded, &name);
        if (!fx_id_set_has(listed, &name)) {
            return false; /* removed since, perhaps with packs that it names */
        }
    }
    return true;
}

/* Uses the copy if it holds nothing that is gone. Without one, all is read from the store. */
static void
load_copy(fx_repository *repository, const fx_key_list *list)
{
    FX_BUF_AUTO label;
    fx_buf_init(&label, (LIST_MAX + 2) * sizeof(fx_chunk_id));
    fx_err err = {0};
    fx_id_set listed = {0};
    for (size_t i = 0; i < list->count; i++) {
        fx_chunk_id name;
        if (name_of(list->items[i], &name)) {
            (void)fx_id_set_add(&listed, &name);
        }
    }
    if (fx_index_load(repository->index, repository->cache, &label, &err) == FX_OK &&
        !take_label(repository, fx_buf_bytes(&label), &listed)) {
        fx_index_free(repository->index);
        repository->index = fx_index_new(repository->cache_folder);
        fx_id_set_free(&repository->loaded);
    }
    repository->saved_count = repository->loaded.count;
    fx_id_set_free(&listed);
}

fx_code
fx_repository_use_cache(fx_repository *repository, const char *folder, fx_err *err)
{
    char hex[2 * FX_REPOSITORY_ID_BYTES + 1];
    char path[4096];
    FX_ASSERT(repository->cache == NULL && fx_index_pack_count(repository->index) == 0);
    fx_hex_encode((fx_bytes){repository->id, sizeof repository->id}, hex);
    int length = snprintf(path, sizeof path, "%s/%s", folder, hex);
    if (length < 0 || (size_t)length >= sizeof path - sizeof "/index") {
        return fx_fail(err, FX_ERR_INVALID, "could not use cache \"%.100s…\": too long", folder);
    }
    if (fx_file_make_folder(path, 0700, err) != FX_OK) {
        return err->code;
    }
    repository->cache_folder = strdup(path);
    (void)stpcpy(path + length, "/index");
    repository->cache = strdup(path);
    FX_ASSERT(repository->cache_folder != NULL && repository->cache != NULL);
    fx_index_free(repository->index);
    repository->index = fx_index_new(repository->cache_folder);
    return FX_OK;
}

/* ---- loading
 * ---------------------------------------------------------------------------------------- */

/* Takes the key from the list when it is not that index that fails, but the store. */
static fx_code
load_listed(fx_repository *repository, char **store_key, fx_err *err)
{
    fx_chunk_id name;
    fx_err one = {0};
    if (!name_of(*store_key, &name) || fx_id_set_has(&repository->loaded, &name) ||
        is_bad(repository, *store_key)) {
        return FX_OK;
    }
    fx_code code = load_index(repository, *store_key, &one);
    if (code == FX_OK) {
        (void)fx_id_set_add(&repository->loaded, &name);
    } else if (is_damage(code)) {
        mark_bad(repository, FX_TAKE(*store_key), &one);
    } else {
        *err = one;
        return code;
    }
    return FX_OK;
}

/* Numbers of packs mean something else from then on. */
void
fx_repository_forget_indexes(fx_repository *repository)
{
    fx_index_free(repository->index);
    repository->index = fx_index_new(repository->cache_folder);
    fx_id_set_free(&repository->loaded);
    fx_id_set_free(&repository->foreign);
    repository->saved_count = 0;
    while (repository->bad_count > 0) {
        free(repository->bad[--repository->bad_count].store_key);
    }
    repository->rescued = false;
    repository->rescued_count = 0;
    for (size_t i = 0; i < FX_OPEN_PACK_MAX; i++) {
        fx_object_free(repository->packs[i].object);
        repository->packs[i] = (fx_open_pack){0};
    }
    for (size_t i = 0; i < FX_SEGMENT_MAX; i++) {
        repository->segments[i].used_at = 0;
    }
}

static bool
is_one_gone(const fx_repository *repository, const fx_key_list *list)
{
    size_t still = 0;
    for (size_t i = 0; i < list->count; i++) {
        fx_chunk_id name;
        still += name_of(list->items[i], &name) && fx_id_set_has(&repository->loaded, &name);
    }
    return still < repository->loaded.count;
}

static fx_code
load_once(fx_repository *repository, bool must_be_there, fx_err *err)
{
    fx_key_list list = {0};
    fx_code code = fx_repository_list_keys(repository, "indexes/", &list, err);
    if (code == FX_OK && must_be_there && is_one_gone(repository, &list)) {
        fx_repository_forget_indexes(repository);
    }
    if (code == FX_OK && repository->cache != NULL && repository->loaded.count == 0) {
        load_copy(repository, &list);
    }
    uint64_t chunk_count = fx_index_entry_count(repository->index);
    for (size_t i = 0; code == FX_OK && i < list.count; i++) {
        code = load_listed(repository, &list.items[i], err);
    }
    fx_index_seal(repository->index);
    fx_key_list_free(&list);
    uint64_t new_count = fx_index_entry_count(repository->index) - chunk_count;
    if (code == FX_OK && is_copy_due(repository, new_count)) {
        fx_err ignored = {0};
        fx_ignore(save_copy(repository, &ignored), "the copy saves time, nothing else");
    }
    return code;
}

/* A collector can remove one between the list and the get; what took its place was put before. */
static fx_code
load_all(fx_repository *repository, bool must_be_there, fx_err *err)
{
    fx_err failure = {0};
    fx_code code = FX_ERR_NOT_FOUND;
    for (int i = 0; code == FX_ERR_NOT_FOUND && i < LOAD_TRIES; i++) {
        failure = (fx_err){0};
        code = load_once(repository, must_be_there, &failure);
    }
    if (code != FX_OK) {
        *err = failure;
    }
    return code;
}

fx_code
fx_repository_load_indexes(fx_repository *repository, fx_err *err)
{
    return load_all(repository, false, err);
}

fx_code
fx_repository_refresh_indexes(fx_repository *repository, fx_err *err)
{
    return load_all(repository, true, err);
}

/* ---- packs that are there
 * ---------------------------------------------------------------------------- */

fx_code
fx_repository_list_packs(fx_repository *repository, fx_id_set *names, fx_err *err)
{
    fx_key_list list = {0};
    fx_code code = fx_repository_list_keys(repository, "packs/", &list, err);
    for (size_t i = 0; code == FX_OK && i < list.count; i++) {
        fx_chunk_id name;
        fx_err ignored = {0};
        const char *hex = strrchr(list.items[i], '/') + 1;
        if (fx_hex_decode(hex, name.bytes, sizeof name.bytes, &ignored) == FX_OK) {
            (void)fx_id_set_add(names, &name);
        }
    }
    fx_key_list_free(&list);
    return code == FX_OK ? FX_OK : fx_err_wrap(err, "listing packs");
}

/* ---- packs without an index
 * ---------------------------------------------------------------------------- */

/* Reads the foot, then head and directory. */
static fx_code
rescue_pack(
    fx_repository *repository,
    const char *store_key,
    const unsigned char name[FX_ID_BYTES],
    fx_err *err)
{
    FX_BUF_AUTO head;
    FX_BUF_AUTO foot;
    FX_BUF_AUTO tail;
    FX_AUTO(fx_object) object = NULL;
    fx_store *store = repository->store;
    fx_mono deadline = fx_repository_deadline();
    uint64_t size_bytes = 0;
    uint64_t tail_bytes = 0;
    fx_buf_init(&head, FX_OBJECT_HEAD_BYTES);
    fx_buf_init(&foot, FX_OBJECT_FOOT_BYTES);
    fx_buf_init(&tail, FX_STORE_OBJECT_MAX_BYTES);
    if (fx_store_stat(store, store_key, deadline, &size_bytes, err) != FX_OK) {
        return err->code;
    }
    if (size_bytes < FX_OBJECT_HEAD_BYTES + FX_OBJECT_FOOT_BYTES) {
        return fx_fail(err, FX_ERR_DAMAGED, "could not read \"%s\": it is too short", store_key);
    }
    uint64_t foot_at = size_bytes - FX_OBJECT_FOOT_BYTES;
    if (fx_store_get(store, store_key, 0, FX_OBJECT_HEAD_BYTES, deadline, &head, err) != FX_OK ||
        fx_store_get(store, store_key, foot_at, FX_OBJECT_FOOT_BYTES, deadline, &foot, err) !=
            FX_OK ||
        fx_object_tail_size(fx_buf_bytes(&foot), &tail_bytes, err) != FX_OK) {
        return err->code;
    }
    if (tail_bytes > size_bytes) {
        return fx_fail(err, FX_ERR_DAMAGED, "could not read \"%s\": it is too short", store_key);
    }
    uint64_t tail_at = size_bytes - tail_bytes;
    if (fx_store_get(store, store_key, tail_at, tail_bytes, deadline, &tail, err) != FX_OK ||
        fx_object_parse(fx_buf_bytes(&head), fx_buf_bytes(&tail), size_bytes, &object, err) !=
            FX_OK) {
        return err->code;
    }
    FX_ASSERT(object != NULL);
    if (!fx_object_has_key(object, repository->key)) {
        return FX_OK; /* of a scope that is not ours */
    }
    if (fx_object_unlock(object, repository->key, err) != FX_OK) {
        return err->code;
    }
    if (object->type != FX_OBJECT_PACK) {
        return fx_fail(
            err, FX_ERR_DAMAGED, "could not read \"%s\": it is of another kind", store_key);
    }
    fx_index_pack pack = {
        .size_bytes = size_bytes, .blob_count = object->blob_count, .is_rescued = 1};
    memcpy(pack.name, name, FX_ID_BYTES);
    repository->rescued_count++;
    fx_index_entry entry = {.pack = fx_index_add_pack(repository->index, &pack)};
    for (entry.blob = 0; entry.blob < object->blob_count; entry.blob++) {
        entry.id = object->blobs[entry.blob].id;
        fx_index_add(repository->index, &entry);
    }
    return FX_OK;
}

fx_code
fx_repository_rescue_packs(fx_repository *repository, fx_err *err)
{
    if (repository->rescued) {
        return FX_OK;
    }
    fx_key_list list = {0};
    fx_id_set known = {0};
    for (size_t i = 0; i < fx_index_pack_count(repository->index); i++) {
        fx_chunk_id name;
        fx_index_pack pack = fx_index_pack_at(repository->index, (uint32_t)i);
        memcpy(name.bytes, pack.name, FX_ID_BYTES);
        (void)fx_id_set_add(&known, &name);
    }
    fx_code code = fx_repository_list_keys(repository, "packs/", &list, err);
    for (size_t i = 0; code == FX_OK && i < list.count; i++) {
        fx_chunk_id name;
        fx_err one = {0};
        const char *hex = strrchr(list.items[i], '/') + 1;
        if (fx_hex_decode(hex, name.bytes, sizeof name.bytes, &one) != FX_OK ||
            fx_id_set_has(&known, &name)) {
            continue;
        }
        code = rescue_pack(repository, list.items[i], name.bytes, &one);
        if (code == FX_ERR_NOT_FOUND || is_damage(code)) {
            code = FX_OK; /* what only it holds is reported as not found */
        } else if (code != FX_OK) {
            *err = one;
        }
    }
    fx_index_seal(repository->index);
    repository->rescued = code == FX_OK;
    fx_id_set_free(&known);
    fx_key_list_free(&list);
    return code == FX_OK ? FX_OK : fx_err_wrap(err, "reading packs that no index names");
}
