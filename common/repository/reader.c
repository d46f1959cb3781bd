#include "common/repository/internal.h"

#include <string.h>

#include "common/base/hex.h"
#include "common/repository/kept.h"

/* The head, and the last bytes: directory and foot, whose length the number of blobs tells. */
static fx_code
read_pack_ends(
    const fx_repository *repository,
    const fx_index_pack *pack,
    const char *store_key,
    fx_buf *head,
    fx_buf *tail,
    fx_err *err)
{
    fx_mono deadline = fx_repository_deadline();
    uint64_t tail_bytes = FX_OBJECT_FOOT_BYTES + (uint64_t)pack->blob_count * FX_OBJECT_ENTRY_BYTES;
    if (pack->size_bytes < FX_OBJECT_HEAD_BYTES + tail_bytes) {
        return fx_fail(
            err, FX_ERR_DAMAGED, "could not use the index: it gives \"%s\" no size", store_key);
    }
    fx_buf_init(head, FX_OBJECT_HEAD_BYTES);
    fx_buf_init(tail, tail_bytes);
    if (fx_store_get(repository->store, store_key, 0, FX_OBJECT_HEAD_BYTES, deadline, head, err) !=
        FX_OK) {
        return err->code;
    }
    return fx_store_get(
        repository->store,
        store_key,
        pack->size_bytes - tail_bytes,
        tail_bytes,
        deadline,
        tail,
        err);
}

fx_code
fx_repository_load_pack(
    const fx_repository *repository, uint32_t number, fx_object **out_pack, fx_err *err)
{
    fx_index_pack pack = fx_index_pack_at(repository->index, number);
    char store_key[FX_KEY_TEXT_BYTES];
    fx_pack_key(pack.name, store_key);
    FX_BUF_AUTO head;
    FX_BUF_AUTO tail;
    FX_AUTO(fx_object) object = NULL;
    fx_buf_init(&head, 0);
    fx_buf_init(&tail, 0);
    if (read_pack_ends(repository, &pack, store_key, &head, &tail, err) != FX_OK ||
        fx_object_parse(fx_buf_bytes(&head), fx_buf_bytes(&tail), pack.size_bytes, &object, err) !=
            FX_OK) {
        return fx_err_wrap(err, "reading \"%s\"", store_key);
    }
    FX_ASSERT(object != NULL);
    if (object->blob_count != pack.blob_count) {
        return fx_fail(
            err,
            FX_ERR_DAMAGED,
            "could not read \"%s\": it holds another number of blobs",
            store_key);
    }
    if (fx_object_has_key(object, repository->key) &&
        fx_object_unlock(object, repository->key, err) != FX_OK) {
        return fx_err_wrap(err, "reading \"%s\"", store_key);
    }
    *out_pack = FX_TAKE(object);
    return FX_OK;
}

fx_code
fx_repository_scope_of(
    const fx_repository *repository, const char *store_key, fx_scope_id *out_scope, fx_err *err)
{
    FX_BUF_AUTO head;
    fx_buf_init(&head, FX_OBJECT_HEAD_BYTES);
    fx_mono deadline = fx_repository_deadline();
    if (fx_store_get(repository->store, store_key, 0, FX_OBJECT_HEAD_BYTES, deadline, &head, err) !=
        FX_OK) {
        return fx_err_wrap(err, "reading \"%s\"", store_key);
    }
    if (!fx_object_scope(fx_buf_bytes(&head), out_scope)) {
        return fx_fail(err, FX_ERR_DAMAGED, "could not read \"%s\": it is no object", store_key);
    }
    return FX_OK;
}

/* The pack's head and directory, from memory or from the store in place of the least recently used.
 */
static fx_code
open_pack(fx_repository *repository, uint32_t number, fx_object **out_object, fx_err *err)
{
    fx_open_pack *oldest = &repository->packs[0];
    for (size_t i = 0; i < FX_OPEN_PACK_MAX; i++) {
        fx_open_pack *one = &repository->packs[i];
        if (one->object != NULL && one->pack == number) {
            one->used_at = ++repository->use_count;
            *out_object = one->object;
            return FX_OK;
        }
        if (one->used_at < oldest->used_at) {
            oldest = one;
        }
    }
    FX_AUTO(fx_object) object = NULL;
    if (fx_repository_load_pack(repository, number, &object, err) != FX_OK) {
        return err->code;
    }
    FX_ASSERT(object != NULL);
    if (object->aead == NULL) {
        return fx_repository_explain_locked(repository, object, err);
    }
    fx_object_free(oldest->object);
    *oldest = (fx_open_pack){
        .pack = number, .used_at = ++repository->use_count, .object = FX_TAKE(object)};
    *out_object = oldest->object;
    return FX_OK;
}

static bool
covers(const fx_segment *segment, uint32_t pack, const fx_blob *blob)
{
    return segment->used_at != 0 && segment->pack == pack && segment->offset <= blob->offset &&
           blob->offset + blob->stored_bytes <= segment->offset + segment->bytes.size_bytes;
}

/* The more, the longer reading has gone on where it ended: trees lie between files' content. */
static uint64_t
size_ahead(const fx_repository *repository, uint32_t number, const fx_blob *blob)
{
    uint64_t size_bytes = FX_SEGMENT_FIRST_BYTES;
    for (size_t i = 0; i < FX_SEGMENT_MAX; i++) {
        const fx_segment *one = &repository->segments[i];
        uint64_t end = one->offset + one->bytes.size_bytes;
        if (one->used_at != 0 && one->pack == number && blob->offset <= end &&
            end <= blob->offset + blob->stored_bytes) {
            size_bytes = 2 * one->bytes.size_bytes;
        }
    }
    size_bytes = size_bytes < FX_SEGMENT_BYTES ? size_bytes : FX_SEGMENT_BYTES;
    return blob->stored_bytes > size_bytes ? blob->stored_bytes : size_bytes;
}

/*
 * The blob's stored bytes, borrowed until the next call. Reads some of what follows too: chunks of
 * one file mostly lie side by side.
 */
static fx_code
stored_bytes_of(
    fx_repository *repository,
    uint32_t number,
    const fx_blob *blob,
    fx_bytes *out_form,
    fx_err *err)
{
    fx_segment *oldest = &repository->segments[0];
    fx_segment *found = NULL;
    for (size_t i = 0; i < FX_SEGMENT_MAX && found == NULL; i++) {
        fx_segment *one = &repository->segments[i];
        found = covers(one, number, blob) ? one : NULL;
        oldest = one->used_at < oldest->used_at ? one : oldest;
    }
    if (found == NULL) {
        char store_key[FX_KEY_TEXT_BYTES];
        fx_pack_key(fx_index_pack_at(repository->index, number).name, store_key);
        uint64_t want_bytes = size_ahead(repository, number, blob);
        found = oldest;
        found->used_at = 0;
        fx_buf_clear(&found->bytes);
        if (fx_store_get(
                repository->store,
                store_key,
                blob->offset,
                want_bytes,
                fx_repository_deadline(),
                &found->bytes,
                err) != FX_OK) {
            return fx_err_wrap(err, "reading \"%s\"", store_key);
        }
        found->pack = number;
        found->offset = blob->offset;
        found->used_at = 1;
    }
    if (!covers(found, number, blob)) {
        found->used_at = 0;
        return fx_fail(err, FX_ERR_DAMAGED, "could not read a pack: it is cut short");
    }
    found->used_at = ++repository->use_count;
    *out_form = (fx_bytes){found->bytes.data + (blob->offset - found->offset), blob->stored_bytes};
    return FX_OK;
}

/* Opens one stored copy of a chunk and computes its id again. */
static fx_code
read_copy(
    const fx_chunks *chunks,
    const fx_index_entry *entry,
    fx_chunk_form *out_form,
    fx_buf *out_content,
    fx_err *err)
{
    fx_repository *repository = chunks->repository;
    fx_object *object = NULL;
    char store_key[FX_KEY_TEXT_BYTES];
    fx_pack_key(fx_index_pack_at(repository->index, entry->pack).name, store_key);
    if (open_pack(repository, entry->pack, &object, err) != FX_OK) {
        return err->code;
    }
    FX_ASSERT(object != NULL);
    if (object->scope_keys != chunks->scope) {
        return fx_fail(
            err,
            FX_ERR_DAMAGED,
            "could not use \"%s\": it is of another scope than what names its chunk",
            store_key);
    }
    const fx_blob *blob = &object->blobs[entry->blob];
    if (memcmp(blob->id.bytes, entry->id.bytes, FX_ID_BYTES) != 0) {
        return fx_fail(
            err,
            FX_ERR_DAMAGED,
            "could not read \"%s\": its directory is not the index's",
            store_key);
    }
    fx_bytes stored = {0};
    size_t before_bytes = out_content->size_bytes;
    if (stored_bytes_of(repository, entry->pack, blob, &stored, err) != FX_OK ||
        fx_object_open_blob(object, repository->zip, entry->blob, stored, out_content, err) !=
            FX_OK) {
        return fx_err_wrap(err, "reading \"%s\"", store_key);
    }
    fx_chunk_id id;
    fx_repository_chunk_id(
        repository,
        object,
        (fx_bytes){out_content->data + before_bytes, out_content->size_bytes - before_bytes},
        &id);
    if (memcmp(id.bytes, entry->id.bytes, FX_ID_BYTES) != 0) {
        out_content->size_bytes = before_bytes;
        return fx_fail(
            err, FX_ERR_DAMAGED, "could not use a chunk of \"%s\": not its id", store_key);
    }
    *out_form = (fx_chunk_form){
        .kind = blob->flags >> 8 == FX_CHUNK_TREE + 1 ? FX_CHUNK_TREE : FX_CHUNK_DATA,
        .is_compressed = (blob->flags & 1) != 0};
    return FX_OK;
}

/* Every copy in turn: one damaged pack does not lose what another holds too. */
static fx_code
read_any_copy(
    const fx_chunks *chunks,
    const fx_chunk_id *id,
    fx_chunk_form *out_form,
    fx_buf *out_content,
    fx_err *err)
{
    fx_repository *repository = chunks->repository;
    if (!fx_index_has(repository->index, id) &&
        fx_repository_load_indexes(repository, err) != FX_OK) {
        return err->code;
    }
    if (!fx_index_has(repository->index, id) &&
        fx_repository_rescue_packs(repository, err) != FX_OK) {
        return err->code;
    }
    if (!fx_index_has(repository->index, id)) {
        char hex[2 * FX_ID_BYTES + 1];
        fx_hex_encode((fx_bytes){id->bytes, FX_ID_BYTES}, hex);
        bool is_bad = repository->bad_count > 0;
        return fx_fail(
            err,
            FX_ERR_NOT_FOUND,
            "could not find chunk %s in any index or pack%s%s%s",
            hex,
            is_bad ? "; could not read index \"" : "",
            is_bad ? repository->bad[0].store_key : "",
            is_bad ? "\"" : "");
    }
    fx_index_cursor cursor = {0};
    fx_index_entry entry;
    fx_code code = FX_ERR_NOT_FOUND;
    while (code != FX_OK && code != FX_ERR_LIMIT &&
           fx_index_next(repository->index, id, &cursor, &entry)) {
        code = read_copy(chunks, &entry, out_form, out_content, err);
    }
    return code;
}

/* A list that this host has kept: it believes its own files as little as others'. */
static bool
read_kept(const fx_chunks *chunks, const fx_chunk_id *id, fx_buf *out_content)
{
    fx_bytes content;
    fx_err ignored = {0};
    const struct fx_kept *kept = chunks->repository->kept;
    return kept != NULL && fx_kept_find(kept, id, &content) &&
           fx_repository_is_chunk(chunks, id, content) &&
           fx_buf_append(out_content, content.data, content.size_bytes, &ignored) == FX_OK;
}

fx_code
fx_repository_read_chunk(
    const fx_chunks *chunks, const fx_chunk_id *id, fx_buf *out_content, fx_err *err)
{
    fx_chunk_form ignored;
    if (read_kept(chunks, id, out_content)) {
        return FX_OK;
    }
    return fx_repository_read_stored(chunks, id, &ignored, out_content, err);
}

fx_code
fx_repository_read_stored(
    const fx_chunks *chunks,
    const fx_chunk_id *id,
    fx_chunk_form *out_form,
    fx_buf *out_content,
    fx_err *err)
{
    fx_repository *repository = chunks->repository;
    if (fx_repository_need_read(repository, err) != FX_OK) {
        return err->code;
    }
    (void)pthread_mutex_lock(&repository->lock);
    fx_code code = read_any_copy(chunks, id, out_form, out_content, err);
    (void)pthread_mutex_unlock(&repository->lock);
    return code;
}

bool
fx_repository_is_chunk(const fx_chunks *chunks, const fx_chunk_id *id, fx_bytes content)
{
    fx_chunk_id computed;
    FX_AUTO(fx_hmac) hmac = fx_hmac_new(chunks->scope->id_key);
    fx_hmac_sha256(hmac, content, computed.bytes);
    return memcmp(computed.bytes, id->bytes, FX_ID_BYTES) == 0;
}

fx_chunks
fx_repository_own_chunks(fx_repository *repository)
{
    return (fx_chunks){repository, fx_repository_key_writes(repository->key)};
}
