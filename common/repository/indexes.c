/* Which packs hold which chunks: from index objects, a copy of them on disk, or the packs. */
#include "common/repository/internal.h"

#include <stdio.h>
#include <string.h>

#include "common/base/file.h"
#include "common/base/hex.h"
#include "common/repository/own.h"
#include "common/repository/voucher.h"

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
    const fx_scope_keys *written = fx_repository_key_writes(repository->key);
    bool is_written = memcmp(&object->scope, &written->id, sizeof written->id) == 0;
    const fx_index_origin origin = {.scope = is_written ? &written->id : NULL};
    fx_code code = FX_OK;
    for (uint32_t i = 0; code == FX_OK && i < object->blob_count; i++) {
        fx_buf_clear(&content);
        code = fx_repository_open_blob(repository, object, &bytes, i, &content, err);
        if (code == FX_OK) {
            code = fx_index_decode(repository->index, fx_buf_bytes(&content), &origin, err);
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

/* ---- vouchers
 * ----------------------------------------------------------------------------------------- */

static bool
can_read_any(const fx_repository *repository)
{
    fx_err ignored = {0};
    return fx_repository_need_read(repository, &ignored) == FX_OK;
}

/*
 * To who can only write, vouchers say what index objects say to others. Those that are damaged, or
 * signed by nobody of the scope, are as if they were not there: anybody can put them.
 */
static fx_code
load_voucher(fx_repository *repository, const char *store_key, fx_err *err)
{
    FX_AUTO(fx_voucher) voucher = NULL;
    const fx_scope_keys *scope = fx_repository_key_writes(repository->key);
    const fx_index_origin vouched = {.scope = &scope->id, .is_trusted = true};
    const fx_index_origin kept = {.scope = &scope->id};
    fx_code code = fx_voucher_get(repository->store, store_key, scope, &voucher, err);
    if (code != FX_OK) {
        return is_damage(code) || code == FX_ERR_WRONG_KEY ? FX_OK : code;
    }
    FX_ASSERT(voucher != NULL);
    fx_index_mark before = fx_index_marked(repository->index);
    if (fx_index_decode(repository->index, voucher->records, &vouched, err) != FX_OK ||
        fx_index_decode(repository->index, voucher->kept, &kept, err) != FX_OK) {
        fx_index_roll_back(repository->index, &before);
        return FX_OK;
    }
    if (fx_index_is_due(repository->index)) {
        fx_index_seal(repository->index);
    }
    return FX_OK;
}

/* To who can read, they say which records of index objects are true. */
static fx_code
note_voucher(fx_repository *repository, const char *store_key, fx_err *err)
{
    FX_AUTO(fx_voucher) voucher = NULL;
    fx_chunk_id name;
    const fx_scope_keys *scope = fx_repository_key_writes(repository->key);
    if (!name_of(store_key, &name) || fx_id_set_has(&repository->vouchers, &name)) {
        return FX_OK;
    }
    fx_code code = fx_voucher_get(repository->store, store_key, scope, &voucher, err);
    if (code == FX_OK) {
        fx_err ignored = {0};
        fx_ignore(
            fx_voucher_digests(voucher->records, &scope->id, &repository->vouched, &ignored),
            "what is malformed says nothing");
    } else if (code == FX_ERR_WRONG_KEY) {
        return FX_OK; /* of a newer key, which this host may get */
    } else if (!is_damage(code)) {
        return code;
    }
    (void)fx_id_set_add(&repository->vouchers, &name);
    return FX_OK;
}

static fx_code
note_vouchers(fx_repository *repository, const fx_key_list *list, fx_err *err)
{
    fx_code code = FX_OK;
    for (size_t i = 0; code == FX_OK && i < list->count; i++) {
        code = note_voucher(repository, list->items[i], err);
    }
    return code;
}

/*
 * What this host stored, where a collector has not removed its index object since, or has said that
 * it keeps the packs.
 */
static void
add_own(fx_repository *repository, const fx_id_set *listed)
{
    fx_own own;
    fx_err ignored = {0};
    fx_id_set digests = {0};
    const fx_scope_keys *scope = fx_repository_key_writes(repository->key);
    const fx_index_origin origin = {.scope = &scope->id, .is_trusted = true};
    if (repository->own_path == NULL) {
        return;
    }
    fx_own_load(repository->own_path, &own);
    for (size_t i = 0; i < own.count; i++) {
        const fx_own_entry *entry = &own.entries[i];
        fx_index_mark before = fx_index_marked(repository->index);
        fx_ignore(
            fx_voucher_digests(entry->records, &scope->id, &digests, &ignored),
            "what is malformed says nothing");
        if (fx_id_set_has(listed, &entry->index) &&
            fx_id_set_add(&repository->own, &entry->index) &&
            fx_index_decode(repository->index, entry->records, &origin, &ignored) != FX_OK) {
            fx_index_roll_back(repository->index, &before);
        }
    }
    fx_index_seal(repository->index);
    (void)fx_index_trust(repository->index, &digests);
    fx_id_set_free(&digests);
    fx_own_free(&own);
}

/* ---- the copy on disk
 * -------------------------------------------------------------------------------- */

static fx_code
append_names(const fx_id_set *names, fx_buf *out, fx_err *err)
{
    for (size_t i = 0; i < names->capacity; i++) {
        if (names->used[i] &&
            fx_buf_append(out, &names->slots[i], sizeof names->slots[i], err) != FX_OK) {
            return err->code;
        }
    }
    return FX_OK;
}

/* The copy's label: the repository's id, what keys read it, number and names of the vouchers that
 * it takes into account, and the names of the index objects that it holds or that those keys do not
 * open. */
static fx_code
save_copy(fx_repository *repository, fx_err *err)
{
    FX_BUF_AUTO label;
    uint64_t voucher_count = repository->vouchers.count;
    size_t name_count = repository->loaded.count + repository->vouchers.count;
    fx_buf_init(&label, (name_count + 3) * sizeof(fx_chunk_id));
    if (fx_buf_append(&label, repository->id, sizeof repository->id, err) != FX_OK ||
        fx_buf_append(&label, repository->key_digest, sizeof repository->key_digest, err) !=
            FX_OK ||
        fx_buf_append(&label, &voucher_count, sizeof voucher_count, err) != FX_OK ||
        append_names(&repository->vouchers, &label, err) != FX_OK ||
        append_names(&repository->loaded, &label, err) != FX_OK) {
        return err->code;
    }
    if (fx_index_save(repository->index, repository->cache, fx_buf_bytes(&label), err) != FX_OK) {
        return err->code;
    }
    repository->saved_count = repository->loaded.count;
    repository->saved_vouchers = repository->vouchers.count;
    return FX_OK;
}

/* Worth writing: many objects would be read again the next time, or a large one. What this host
 * alone knows stays out of it. */
static bool
is_copy_due(const fx_repository *repository, uint64_t new_chunk_count, size_t new_trusted_count)
{
    return repository->cache != NULL && !repository->rescued && repository->own.count == 0 &&
           (repository->loaded.count - repository->saved_count >= COPY_OBJECTS ||
            repository->vouchers.count - repository->saved_vouchers >= COPY_OBJECTS ||
            new_chunk_count >= COPY_CHUNKS || new_trusted_count >= COPY_CHUNKS);
}

static bool
take_label(fx_repository *repository, fx_bytes label, const fx_id_set *listed)
{
    const unsigned char *data = label.data;
    uint64_t voucher_count = 0;
    size_t keys_at = sizeof repository->id;
    size_t count_at = keys_at + sizeof repository->key_digest;
    size_t head_bytes = count_at + sizeof voucher_count;
    if (label.size_bytes < head_bytes ||
        (label.size_bytes - head_bytes) % sizeof(fx_chunk_id) != 0 ||
        memcmp(data, repository->id, sizeof repository->id) != 0 ||
        memcmp(data + keys_at, repository->key_digest, sizeof repository->key_digest) != 0) {
        return false;
    }
    memcpy(&voucher_count, data + count_at, sizeof voucher_count);
    for (size_t at = head_bytes; at < label.size_bytes; at += sizeof(fx_chunk_id)) {
        fx_chunk_id name;
        memcpy(name.bytes, data + at, sizeof name.bytes);
        if (voucher_count > 0) {
            (void)fx_id_set_add(&repository->vouchers, &name);
            voucher_count--;
            continue;
        }
        (void)fx_id_set_add(&repository->loaded, &name);
        if (!fx_id_set_has(listed, &name)) {
            return false; /* removed since, perhaps with packs that it names */
        }
    }
    return true;
}

/* Uses the copy if it holds nothing that is gone. Without one, all is read from the store. */
static void
load_copy(fx_repository *repository, const fx_id_set *listed)
{
    FX_BUF_AUTO label;
    fx_buf_init(&label, (LIST_MAX + 3) * sizeof(fx_chunk_id));
    fx_err err = {0};
    if (fx_index_load(repository->index, repository->cache, &label, &err) == FX_OK &&
        !take_label(repository, fx_buf_bytes(&label), listed)) {
        fx_index_free(repository->index);
        repository->index = fx_index_new(repository->cache_folder);
        fx_id_set_free(&repository->loaded);
        fx_id_set_free(&repository->vouchers);
    }
    repository->saved_count = repository->loaded.count;
    repository->saved_vouchers = repository->vouchers.count;
}

fx_code
fx_repository_use_cache(fx_repository *repository, const char *folder, fx_err *err)
{
    char hex[2 * FX_REPOSITORY_ID_BYTES + 1];
    char path[4096];
    FX_ASSERT(repository->cache == NULL && fx_index_pack_count(repository->index) == 0);
    fx_hex_encode((fx_bytes){repository->id, sizeof repository->id}, hex);
    char scope[FX_SCOPE_ID_TEXT_BYTES] = "";
    if (repository->key != NULL) {
        fx_scope_id_format(&fx_repository_key_writes(repository->key)->id, scope);
    }
    int length = snprintf(path, sizeof path, "%s/%s", folder, hex);
    if (length < 0 || (size_t)length >= sizeof path - sizeof "/index-" - sizeof scope) {
        return fx_fail(err, FX_ERR_INVALID, "could not use cache \"%.100s…\": too long", folder);
    }
    if (fx_file_make_folder(path, 0700, err) != FX_OK) {
        return err->code;
    }
    repository->cache_folder = strdup(path);
    (void)stpcpy(stpcpy(path + length, "/index-"), scope);
    repository->cache = strdup(path);
    (void)stpcpy(stpcpy(path + length, "/own-"), scope);
    repository->own_path = strdup(path);
    FX_ASSERT(repository->cache_folder != NULL && repository->cache != NULL);
    FX_ASSERT(repository->own_path != NULL);
    fx_index_free(repository->index);
    repository->index = fx_index_new(repository->cache_folder);
    return FX_OK;
}

/* ---- loading
 * ---------------------------------------------------------------------------------------- */

static bool
is_voucher(const char *store_key)
{
    return strncmp(store_key, "verified/", strlen("verified/")) == 0;
}

/* Takes the key from the list when it is not that index that fails, but the store. */
static fx_code
load_listed(fx_repository *repository, char **store_key, fx_err *err)
{
    fx_chunk_id name;
    fx_err one = {0};
    if (!name_of(*store_key, &name) || fx_id_set_has(&repository->loaded, &name) ||
        is_bad(repository, *store_key) || (!is_voucher(*store_key) && !can_read_any(repository))) {
        return FX_OK;
    }
    fx_code code = is_voucher(*store_key) ? load_voucher(repository, *store_key, &one)
                                          : load_index(repository, *store_key, &one);
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
    fx_id_set_free(&repository->vouchers);
    fx_id_set_free(&repository->vouched);
    fx_id_set_free(&repository->own);
    repository->saved_count = 0;
    repository->saved_vouchers = 0;
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
is_one_gone(const fx_repository *repository, const fx_id_set *listed)
{
    const fx_id_set *sets[] = {&repository->loaded, &repository->own};
    for (size_t i = 0; i < sizeof sets / sizeof sets[0]; i++) {
        for (size_t at = 0; at < sets[i]->capacity; at++) {
            if (sets[i]->used[at] && !fx_id_set_has(listed, &sets[i]->slots[at])) {
                return true;
            }
        }
    }
    return false;
}

/* What is in the store: vouchers first, because each follows the index objects that it speaks of.
 */
typedef struct listing {
    fx_key_list vouchers; /* none where nobody asks */
    fx_key_list indexes;
    fx_id_set names; /* of all that is loaded from */
} listing;

static void
add_names(fx_id_set *names, const fx_key_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        fx_chunk_id name;
        if (name_of(list->items[i], &name)) {
            (void)fx_id_set_add(names, &name);
        }
    }
}

static fx_code
list_all(fx_repository *repository, listing *all, fx_err *err)
{
    char prefix[FX_VOUCHER_PREFIX_BYTES];
    bool is_write_only = fx_repository_is_write_only(repository);
    if (repository->is_writing || is_write_only) {
        fx_voucher_prefix(&fx_repository_key_writes(repository->key)->id, prefix);
        if (fx_repository_list_keys(repository, prefix, &all->vouchers, err) != FX_OK) {
            return err->code;
        }
    }
    if (fx_repository_list_keys(repository, "indexes/", &all->indexes, err) != FX_OK) {
        return err->code;
    }
    add_names(&all->names, &all->indexes);
    if (is_write_only) {
        add_names(&all->names, &all->vouchers);
    }
    return FX_OK;
}

static void
listing_free(listing *all)
{
    fx_key_list_free(&all->vouchers);
    fx_key_list_free(&all->indexes);
    fx_id_set_free(&all->names);
}

static fx_code
load_each(fx_repository *repository, const fx_key_list *list, fx_err *err)
{
    fx_code code = FX_OK;
    for (size_t i = 0; code == FX_OK && i < list->count; i++) {
        code = load_listed(repository, &list->items[i], err);
    }
    return code;
}

static fx_code
load_once(fx_repository *repository, bool must_be_there, fx_err *err)
{
    listing all = {0};
    bool is_write_only = fx_repository_is_write_only(repository);
    fx_code code = list_all(repository, &all, err);
    if (code == FX_OK && must_be_there && is_one_gone(repository, &all.names)) {
        fx_repository_forget_indexes(repository);
    }
    if (code == FX_OK && repository->cache != NULL && repository->loaded.count == 0 &&
        fx_index_pack_count(repository->index) == 0) {
        load_copy(repository, &all.names);
    }
    uint64_t chunk_count = fx_index_entry_count(repository->index);
    if (code == FX_OK) {
        code = is_write_only ? load_each(repository, &all.vouchers, err)
                             : note_vouchers(repository, &all.vouchers, err);
    }
    if (code == FX_OK) {
        code = load_each(repository, &all.indexes, err);
    }
    fx_index_seal(repository->index);
    uint64_t new_count = fx_index_entry_count(repository->index) - chunk_count;
    size_t trusted_count = fx_index_trust(repository->index, &repository->vouched);
    if (code == FX_OK && is_copy_due(repository, new_count, trusted_count)) {
        fx_err ignored = {0};
        fx_ignore(save_copy(repository, &ignored), "the copy saves time, nothing else");
    }
    if (code == FX_OK && is_write_only) {
        add_own(repository, &all.names);
    }
    listing_free(&all);
    return code;
}

/* A collector can remove one between the list and the get; what took its place was put before. */
static fx_code
load_all(fx_repository *repository, bool must_be_there, fx_err *err)
{
    fx_err failure = {0};
    fx_code code = FX_ERR_NOT_FOUND;
    repository->is_writing = repository->is_writing || must_be_there;
    for (int i = 0; code == FX_ERR_NOT_FOUND && i < LOAD_TRIES; i++) {
        failure = (fx_err){0};
        code = load_once(repository, must_be_there, &failure);
    }
    fx_id_set_free(&repository->vouched);
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

/* Names are 32 bytes each, keys thrice that, and there may be millions: only names are kept. */
typedef struct pack_listing {
    fx_id_set *names;       /* takes them, */
    const fx_id_set *known; /* but those; may be NULL */
} pack_listing;

static void
take_pack(void *ctx, const char *store_key, uint64_t size_bytes)
{
    (void)size_bytes;
    const pack_listing *asked = ctx;
    fx_chunk_id name;
    if (name_of(store_key, &name) &&
        (asked->known == NULL || !fx_id_set_has(asked->known, &name))) {
        (void)fx_id_set_add(asked->names, &name);
    }
}

static fx_code
list_packs(fx_repository *repository, const fx_id_set *known, fx_id_set *names, fx_err *err)
{
    pack_listing asked = {.names = names, .known = known};
    fx_mono deadline = fx_repository_deadline();
    fx_code code = fx_store_list(repository->store, "packs/", deadline, take_pack, &asked, err);
    return code == FX_OK ? FX_OK : fx_err_wrap(err, "listing packs");
}

fx_code
fx_repository_list_packs(fx_repository *repository, fx_id_set *names, fx_err *err)
{
    return list_packs(repository, NULL, names, err);
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
    if (object->type != FX_OBJECT_PACK || size_bytes > FX_STORE_OBJECT_MAX_BYTES) {
        return fx_fail(
            err, FX_ERR_DAMAGED, "could not read \"%s\": it is of another kind", store_key);
    }
    fx_index_pack pack = {
        .size_bytes = (uint32_t)size_bytes, .blob_count = object->blob_count, .is_rescued = 1};
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
    fx_id_set known = {0};
    fx_id_set unknown = {0};
    for (size_t i = 0; i < fx_index_pack_count(repository->index); i++) {
        fx_chunk_id name;
        fx_index_pack pack = fx_index_pack_at(repository->index, (uint32_t)i);
        memcpy(name.bytes, pack.name, FX_ID_BYTES);
        (void)fx_id_set_add(&known, &name);
    }
    uint64_t done_count = 0;
    fx_code code = list_packs(repository, &known, &unknown, err);
    fx_id_set_free(&known);
    for (size_t i = 0; code == FX_OK && i < unknown.capacity; i++) {
        char store_key[FX_KEY_TEXT_BYTES];
        fx_err one = {0};
        if (!unknown.used[i]) {
            continue;
        }
        const fx_progress progress = {
            .step = "reading directories",
            .what = "packs",
            .count = done_count++,
            .total_count = unknown.count,
        };
        fx_repository_tell(repository, &progress);
        fx_pack_key(unknown.slots[i].bytes, store_key);
        code = rescue_pack(repository, store_key, unknown.slots[i].bytes, &one);
        if (code == FX_ERR_NOT_FOUND || is_damage(code)) {
            code = FX_OK; /* what only it holds is reported as not found */
        } else if (code != FX_OK) {
            *err = one;
        }
    }
    fx_index_seal(repository->index);
    repository->rescued = code == FX_OK;
    fx_id_set_free(&unknown);
    return code == FX_OK ? FX_OK : fx_err_wrap(err, "reading packs that no index names");
}
