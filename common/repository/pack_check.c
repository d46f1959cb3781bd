#include "common/repository/pack_check.h"

#include <inttypes.h>
#include <string.h>

#include "common/repository/key.h"

fx_pack_checker *
fx_pack_checker_new(void)
{
    fx_pack_checker *checker = calloc(1, sizeof *checker);
    FX_ASSERT(checker != NULL);
    checker->zip = fx_zip_new();
    fx_buf_init(&checker->bytes, FX_STORE_OBJECT_MAX_BYTES);
    fx_buf_init(&checker->content, FX_CHUNK_MAX_BYTES);
    return checker;
}

void
fx_pack_checker_free(fx_pack_checker *checker)
{
    if (checker != NULL) {
        fx_zip_free(checker->zip);
        fx_buf_free(&checker->bytes);
        fx_buf_free(&checker->content);
        free(checker);
    }
}

static fx_code
open_blob(fx_pack_checker *checker, fx_object *object, fx_hmac *hmac, uint32_t number, fx_err *err)
{
    const fx_blob *blob = &object->blobs[number];
    fx_bytes stored = {checker->bytes.data + blob->offset, blob->stored_bytes};
    fx_chunk_id id;
    fx_buf_clear(&checker->content);
    if (fx_object_open_blob(object, checker->zip, number, stored, &checker->content, err) !=
        FX_OK) {
        return err->code;
    }
    fx_hmac_sha256(hmac, fx_buf_bytes(&checker->content), id.bytes);
    if (memcmp(id.bytes, blob->id.bytes, FX_ID_BYTES) != 0) {
        return fx_fail(err, FX_ERR_DAMAGED, "could not use a chunk: not its id");
    }
    return FX_OK;
}

static fx_code
open_every_blob(fx_repository *repository, fx_pack_checker *checker, fx_object *object, fx_err *err)
{
    if (object->aead == NULL) {
        return fx_repository_explain_locked(repository, object, err);
    }
    FX_AUTO(fx_hmac) hmac = fx_hmac_new(object->scope_keys->id_key);
    for (uint32_t i = 0; i < object->blob_count; i++) {
        if (open_blob(checker, object, hmac, i, err) != FX_OK) {
            return err->code;
        }
    }
    return FX_OK;
}

/* Is every blob where the index says: is it this pack, and no other under its name? */
static bool
is_indexed(const fx_repository *repository, const fx_index_pack *pack, const fx_object *object)
{
    for (uint32_t i = 0; i < object->blob_count; i++) {
        fx_index_cursor cursor = {0};
        fx_index_entry entry;
        bool found = false;
        while (!found && fx_index_next(repository->index, &object->blobs[i].id, &cursor, &entry)) {
            fx_index_pack named = fx_index_pack_at(repository->index, entry.pack);
            found = entry.blob == i && memcmp(named.name, pack->name, FX_ID_BYTES) == 0;
        }
        if (!found) {
            return false;
        }
    }
    return object->blob_count == pack->blob_count;
}

/* What the pack holds, by its own word, which was just found true. */
static fx_code
note_record(
    const fx_repository *repository,
    fx_pack_checker *checker,
    const fx_index_pack *pack,
    const fx_object *object,
    fx_err *err)
{
    const fx_scope_keys *scope = fx_repository_key_writes(repository->key);
    if (memcmp(&object->scope, &scope->id, sizeof scope->id) != 0) {
        return FX_OK;
    }
    FX_BUF_AUTO record;
    fx_index_pack told = *pack;
    told.blob_count = object->blob_count;
    size_t room_bytes = (size_t)object->blob_count * FX_ID_BYTES + sizeof told;
    fx_buf_init(&record, room_bytes);
    const unsigned char *ids = object->blob_count == 0 ? NULL : object->blobs[0].id.bytes;
    if (fx_index_encode(&told, ids, sizeof object->blobs[0], &record, err) != FX_OK) {
        return err->code;
    }
    fx_index_record_of(&scope->id, fx_buf_bytes(&record), checker->record.bytes);
    checker->is_opened = true;
    return FX_OK;
}

/*
 * With its key every byte of a pack is authenticated: the head by each blob, the directory by its
 * tag; and the index, which is not made of packs, says which one it must be. Without, its name is
 * the digest of its bytes: as good for that, and as slow as all else together.
 */
static fx_code
read_pack(
    fx_repository *repository,
    fx_pack_checker *checker,
    const fx_index_pack *pack,
    const char *store_key,
    fx_err *err)
{
    FX_AUTO(fx_object) object = NULL;
    if (fx_repository_load_object(
            repository, store_key, FX_OBJECT_PACK, &checker->bytes, &object, err) != FX_OK) {
        return err->code;
    }
    FX_ASSERT(object != NULL);
    bool is_known =
        object->aead != NULL && pack->is_rescued == 0 && is_indexed(repository, pack, object);
    if (!is_known && !fx_is_named_by_digest(store_key, fx_buf_bytes(&checker->bytes))) {
        return fx_fail(
            err, FX_ERR_DAMAGED, "could not read it: its bytes are not what was written");
    }
    checker->scope = object->scope_keys;
    return open_every_blob(repository, checker, object, err) == FX_OK
               ? note_record(repository, checker, pack, object, err)
               : err->code;
}

fx_code
fx_pack_check(
    fx_repository *repository,
    fx_pack_checker *checker,
    const fx_index_pack *pack,
    bool read_data,
    uint64_t *out_read_bytes,
    fx_err *err)
{
    char store_key[FX_KEY_TEXT_BYTES];
    uint64_t size_bytes = 0;
    fx_pack_key(pack->name, store_key);
    *out_read_bytes = 0;
    checker->is_opened = false;
    checker->scope = NULL;
    fx_mono deadline = fx_repository_deadline();
    if (fx_store_stat(repository->store, store_key, deadline, &size_bytes, err) != FX_OK) {
        return err->code;
    }
    if (size_bytes != pack->size_bytes) {
        return fx_fail(
            err,
            FX_ERR_DAMAGED,
            "could not use it: %" PRIu64 " bytes instead of %" PRIu32,
            size_bytes,
            pack->size_bytes);
    }
    if (!read_data) {
        return FX_OK;
    }
    *out_read_bytes = size_bytes;
    if (size_bytes <= checker->bytes.max_bytes) {
        fx_buf_reserve(&checker->bytes, (size_t)size_bytes); /* no more than it takes */
    }
    return read_pack(repository, checker, pack, store_key, err);
}
