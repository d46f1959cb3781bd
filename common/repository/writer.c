#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "proto/repository.pb-c.h"

#include "common/base/hex.h"
#include "common/repository/id_set.h"
#include "common/repository/internal.h"
#include "common/repository/packer.h"

enum {
    WRITER_MAGIC = 0x3417e400,
    INDEX_BLOBS_MAX = 4, /* of an index object: half a million chunks, 16 MiB */
};

/* What one thread at a time needs to make a blob of a chunk. */
typedef struct lane {
    fx_hmac *hmac;
    fx_zip *zip;
    fx_aead *aead;
    fx_buf scratch;
    struct lane *next;
} lane;

struct fx_writer {
    uint32_t magic;
    fx_repository *repository;
    fx_session session;
    fx_packer *packer;
    pthread_mutex_t lock; /* guards the next four */
    lane *lanes;
    size_t lane_count;
    fx_id_set fresh;  /* chunks of this run that may not be in `stored` yet */
    fx_err failure;   /* the first: what it lost may be in `fresh` already, so nothing follows it */
    fx_index *stored; /* chunks of this run that are in packs which are stored */
    fx_zip *zip;      /* from here on for whoever stores packs and commits: one at a time */
    fx_object_writer index;
    bool index_open;
    fx_buf records; /* of packs that are stored, not yet in an index blob */
    uint64_t added_bytes;
};

/* ---- index
 * ------------------------------------------------------------------------------------------ */

/* Success also if the object is there: it is named by its bytes. */
static fx_code
put_by_digest(fx_writer *writer, const char *store_key, fx_bytes bytes, fx_err *err)
{
    fx_mono deadline = fx_repository_deadline();
    fx_code code = fx_store_put(writer->repository->store, store_key, bytes, deadline, err);
    if (code == FX_OK || code == FX_ERR_EXISTS) {
        writer->added_bytes += bytes.size_bytes;
        return FX_OK;
    }
    return fx_err_wrap(err, "storing \"%s\"", store_key);
}

/* Moves the collected records into a blob of the index object. */
static fx_code
seal_records(fx_writer *writer, fx_err *err)
{
    static const fx_chunk_id none;
    if (writer->records.size_bytes == 0) {
        return FX_OK;
    }
    if (!writer->index_open) {
        fx_bytes plain = {NULL, 0};
        if (fx_object_begin(&writer->index, &writer->session, FX_OBJECT_INDEX, plain, err) !=
            FX_OK) {
            return err->code;
        }
        writer->index_open = true;
    }
    fx_bytes records = fx_buf_bytes(&writer->records);
    if (fx_object_add(&writer->index, writer->zip, &none, FX_CHUNK_TREE + 1, records, err) !=
        FX_OK) {
        return err->code;
    }
    fx_buf_clear(&writer->records);
    return FX_OK;
}

/* Of a long run several: each bounded, and if the run is broken off the next one knows them. */
static fx_code
put_index(fx_writer *writer, fx_err *err)
{
    if (seal_records(writer, err) != FX_OK || !writer->index_open) {
        return writer->records.size_bytes == 0 && !writer->index_open ? FX_OK : err->code;
    }
    unsigned char digest[FX_SHA256_BYTES];
    char hex[2 * FX_SHA256_BYTES + 1];
    char store_key[FX_KEY_TEXT_BYTES];
    if (fx_object_finish(&writer->index, digest, err) != FX_OK) {
        return err->code;
    }
    fx_hex_encode((fx_bytes){digest, sizeof digest}, hex);
    (void)snprintf(store_key, sizeof store_key, "indexes/%s", hex);
    fx_code code = put_by_digest(writer, store_key, fx_buf_bytes(&writer->index.bytes), err);
    writer->index_open = false;
    return code;
}

/*
 * What is stored may be on disk, what is fresh is in memory: so that this stays small, the fresh
 * are forgotten now and then. Of those on their way to the store a few may be stored twice.
 */
static void
remember_pack(fx_writer *writer, const fx_index_pack *pack, const fx_object_writer *object)
{
    fx_index_entry entry = {.pack = fx_index_add_pack(writer->stored, pack)};
    for (entry.blob = 0; entry.blob < pack->blob_count; entry.blob++) {
        entry.id = *fx_object_id_at(object, entry.blob);
        fx_index_add(writer->stored, &entry);
    }
    if (fx_index_is_due(writer->stored)) {
        fx_index_seal(writer->stored);
        (void)pthread_mutex_lock(&writer->lock);
        fx_id_set_free(&writer->fresh);
        (void)pthread_mutex_unlock(&writer->lock);
    }
}

/* Called by the packer, for one pack at a time. */
static fx_code
record_pack(void *ctx, const fx_index_pack *pack, const fx_object_writer *object, fx_err *err)
{
    fx_writer *writer = ctx;
    fx_err full = {0};
    writer->added_bytes += pack->size_bytes;
    remember_pack(writer, pack, object);
    if (fx_index_encode(pack, object, &writer->records, &full) == FX_OK) {
        return FX_OK;
    }
    if (seal_records(writer, err) != FX_OK) {
        return err->code;
    }
    if (writer->index.count >= INDEX_BLOBS_MAX && put_index(writer, err) != FX_OK) {
        return err->code;
    }
    return fx_index_encode(pack, object, &writer->records, err);
}

/* ---- opening
 * ---------------------------------------------------------------------------------------- */

fx_code
fx_writer_open(fx_repository *repository, fx_writer **out_writer, fx_err *err)
{
    if (fx_repository_need_key(repository, err) != FX_OK) {
        return err->code;
    }
    (void)pthread_mutex_lock(&repository->lock);
    fx_code code = fx_repository_load_indexes(repository, err);
    (void)pthread_mutex_unlock(&repository->lock);
    if (code != FX_OK) {
        return fx_err_wrap(err, "beginning to write");
    }
    FX_AUTO(fx_writer) writer = calloc(1, sizeof *writer);
    FX_ASSERT(writer != NULL);
    writer->magic = WRITER_MAGIC;
    writer->repository = repository;
    int result = pthread_mutex_init(&writer->lock, NULL);
    FX_ASSERT(result == 0);
    writer->stored = fx_index_new(repository->cache_folder);
    writer->zip = fx_zip_new();
    fx_object_writer_init(&writer->index);
    fx_buf_init(&writer->records, FX_OBJECT_BLOB_MAX_BYTES);
    writer->packer = fx_packer_new(repository->store, &writer->session, record_pack, writer);
    if (fx_session_begin(repository->key, &writer->session, err) != FX_OK) {
        return err->code;
    }
    *out_writer = FX_TAKE(writer);
    return FX_OK;
}

static void
free_lane(lane *one)
{
    fx_hmac_free(one->hmac);
    fx_zip_free(one->zip);
    fx_aead_free(one->aead);
    fx_buf_free(&one->scratch);
    free(one);
}

void
fx_writer_free(fx_writer *writer)
{
    if (writer == NULL) {
        return;
    }
    FX_ASSERT(writer->magic == WRITER_MAGIC);
    fx_packer_free(writer->packer);
    while (writer->lanes != NULL) {
        lane *one = writer->lanes;
        writer->lanes = one->next;
        free_lane(one);
    }
    fx_object_writer_free(&writer->index);
    fx_buf_free(&writer->records);
    fx_id_set_free(&writer->fresh);
    fx_index_free(writer->stored);
    fx_zip_free(writer->zip);
    fx_wipe(&writer->session, sizeof writer->session);
    (void)pthread_mutex_destroy(&writer->lock);
    writer->magic = 0;
    free(writer);
}

/* ---- chunks
 * ---------------------------------------------------------------------------------------- */

static lane *
new_lane(const fx_writer *writer)
{
    lane *fresh = calloc(1, sizeof *fresh);
    FX_ASSERT(fresh != NULL);
    fresh->hmac = fx_hmac_new(fx_repository_key_id_key(writer->repository->key));
    fresh->zip = fx_zip_new();
    fresh->aead = fx_aead_new(writer->session.key); /* each pack's key takes its place */
    fx_buf_init(&fresh->scratch, 2 * (size_t)FX_OBJECT_BLOB_MAX_BYTES);
    return fresh;
}

static fx_code
take_lane(fx_writer *writer, lane **out_lane, fx_err *err)
{
    (void)pthread_mutex_lock(&writer->lock);
    fx_code code = writer->failure.code;
    if (code != FX_OK) {
        *err = writer->failure;
    }
    lane *taken = writer->lanes;
    if (code == FX_OK && taken != NULL) {
        writer->lanes = taken->next;
    }
    (void)pthread_mutex_unlock(&writer->lock);
    if (code == FX_OK) {
        *out_lane = taken == NULL ? new_lane(writer) : taken;
    }
    return code;
}

static void
give_lane(fx_writer *writer, lane *given)
{
    (void)pthread_mutex_lock(&writer->lock);
    given->next = writer->lanes;
    writer->lanes = given;
    (void)pthread_mutex_unlock(&writer->lock);
}

static fx_code
keep_failure(fx_writer *writer, fx_code code, const fx_err *err)
{
    if (code != FX_OK) {
        (void)pthread_mutex_lock(&writer->lock);
        if (writer->failure.code == FX_OK) {
            writer->failure = *err;
        }
        (void)pthread_mutex_unlock(&writer->lock);
    }
    return code;
}

static bool
is_new(fx_writer *writer, const fx_chunk_id *id)
{
    if (fx_index_is_recorded(writer->repository->index, id) || fx_index_has(writer->stored, id)) {
        return false;
    }
    (void)pthread_mutex_lock(&writer->lock);
    bool added = fx_id_set_add(&writer->fresh, id);
    (void)pthread_mutex_unlock(&writer->lock);
    return added;
}

fx_code
fx_writer_add_chunk(
    fx_writer *writer, fx_chunk_kind kind, fx_bytes content, fx_chunk_id *out_id, fx_err *err)
{
    FX_ASSERT(writer->magic == WRITER_MAGIC);
    if (content.size_bytes > FX_CHUNK_MAX_BYTES) {
        return fx_fail(
            err, FX_ERR_LIMIT, "could not store a chunk of %zu bytes", content.size_bytes);
    }
    lane *mine = NULL;
    if (take_lane(writer, &mine, err) != FX_OK) {
        return err->code;
    }
    FX_ASSERT(mine != NULL);
    fx_blob_draft draft = {0};
    fx_code code = FX_OK;
    fx_hmac_sha256(mine->hmac, content, draft.id.bytes);
    if (is_new(writer, &draft.id)) {
        code =
            fx_blob_draft_fill(&draft, (uint32_t)kind + 1, content, mine->zip, &mine->scratch, err);
        if (code == FX_OK) {
            code = fx_packer_add(writer->packer, mine->aead, &draft, err);
        }
    }
    give_lane(writer, mine);
    *out_id = draft.id;
    return keep_failure(writer, code, err);
}

/* ---- commit
 * ------------------------------------------------------------------------------------------- */

static fx_code
encode_header(fx_snapshot *snapshot, fx_buf *out, fx_err *err)
{
    Fortress__Repository__SnapshotHeader header;
    fortress__repository__snapshot_header__init(&header);
    header.host = snapshot->host.text;
    header.source = snapshot->source;
    header.kind = snapshot->kind;
    header.began_wall_ns = snapshot->began.ns;
    header.ended_wall_ns = snapshot->ended.ns;
    header.file_count = snapshot->file_count;
    header.size_bytes = snapshot->size_bytes;
    header.added_bytes = snapshot->added_bytes;
    header.warning_count = snapshot->warning_count;
    header.note = snapshot->note;
    unsigned char *room = NULL;
    size_t size_bytes = fortress__repository__snapshot_header__get_packed_size(&header);
    if (fx_buf_extend(out, size_bytes, &room, err) != FX_OK) {
        return err->code;
    }
    (void)fortress__repository__snapshot_header__pack(&header, room);
    return FX_OK;
}

static fx_code
put_snapshot(fx_writer *writer, const fx_chunk_id *root, fx_snapshot *snapshot, fx_err *err)
{
    static const fx_chunk_id none;
    FX_BUF_AUTO plain;
    fx_buf_init(&plain, FX_OBJECT_PLAIN_MAX_BYTES);
    if (encode_header(snapshot, &plain, err) != FX_OK) {
        return err->code;
    }
    fx_object_writer object;
    fx_object_writer_init(&object);
    unsigned char digest[FX_SHA256_BYTES];
    char store_key[FX_KEY_TEXT_BYTES];
    fx_bytes content = {root->bytes, FX_ID_BYTES};
    fx_code code =
        fx_object_begin(&object, &writer->session, FX_OBJECT_SNAPSHOT, fx_buf_bytes(&plain), err);
    if (code == FX_OK) {
        code = fx_object_add(&object, writer->zip, &none, FX_CHUNK_TREE + 1, content, err);
    }
    if (code == FX_OK) {
        code = fx_object_finish(&object, digest, err);
    }
    if (code == FX_OK) {
        fx_hex_encode((fx_bytes){digest, sizeof digest}, snapshot->id);
        (void)snprintf(store_key, sizeof store_key, "snapshots/%s", snapshot->id);
        code = put_by_digest(writer, store_key, fx_buf_bytes(&object.bytes), err);
    }
    fx_object_writer_free(&object);
    return code;
}

fx_code
fx_writer_commit(fx_writer *writer, const fx_chunk_id *root, fx_snapshot *header, fx_err *err)
{
    FX_ASSERT(writer->magic == WRITER_MAGIC);
    FX_ASSERT(!fx_name_is_none(&header->host));
    if (writer->failure.code != FX_OK) {
        *err = writer->failure;
        return err->code;
    }
    fx_code code = fx_packer_flush(writer->packer, err);
    if (code == FX_OK) {
        code = put_index(writer, err);
    }
    if (code == FX_OK) {
        header->added_bytes = writer->added_bytes;
        code = put_snapshot(writer, root, header, err);
    }
    if (code != FX_OK) {
        code = fx_err_wrap(err, "committing the snapshot");
    }
    return keep_failure(writer, code, err);
}
