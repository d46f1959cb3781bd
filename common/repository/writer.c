#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/base/hex.h"
#include "common/repository/id_set.h"
#include "common/repository/index_writer.h"
#include "common/repository/internal.h"
#include "common/repository/kept.h"
#include "common/repository/lease.h"
#include "common/repository/own.h"
#include "common/repository/packer.h"
#include "common/repository/snapshot.h"
#include "common/repository/voucher.h"

enum {
    WRITER_MAGIC = 0x3417e400,
    VOUCH_IDS = 1 << 20, /* gathered at a time: 32 MiB */
};
#define NO_PLACE UINT64_MAX

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
    int level;        /* of content */
    fx_id_set fresh;  /* chunks of this run that may not be in `stored` yet */
    fx_err failure;   /* the first: what it lost may be in `fresh` already, so nothing follows it */
    fx_index *stored; /* chunks of this run that are in packs which are stored */
    fx_index_writer index;  /* from here on for whoever stores packs and commits: one at a time */
    fx_voucher_writer said; /* packs that are in index objects, and in no voucher yet */
    fx_kept_writer *kept;   /* lists of the snapshot, for this host; or NULL */
    uint64_t pack_bytes;
    char lease[FX_LEASE_ID_BYTES]; /* "": ended */
    fx_id_set marked;              /* packs that are about to go or gone: not counted on */
    size_t counted_packs;          /* of the index: later ones were not looked for */
    fx_writer_avoids avoids;       /* or NULL */
    const void *avoids_ctx;
};

/* ---- packs
 * ------------------------------------------------------------------------------------------ */

/*
 * What is stored may be on disk, what is fresh is in memory: so that this stays small, the fresh
 * are forgotten now and then. Of those on their way to the store a few may be stored twice.
 */
static void
remember_pack(fx_writer *writer, const fx_index_pack *pack, const unsigned char *ids)
{
    fx_index_entry entry = {.pack = fx_index_add_pack(writer->stored, pack)};
    for (entry.blob = 0; entry.blob < pack->blob_count; entry.blob++) {
        memcpy(entry.id.bytes, ids + (size_t)entry.blob * FX_OBJECT_ENTRY_BYTES, FX_ID_BYTES);
        fx_index_add(writer->stored, &entry);
    }
    if (fx_index_is_due(writer->stored)) {
        fx_index_seal(writer->stored);
        (void)pthread_mutex_lock(&writer->lock);
        fx_id_set_free(&writer->fresh);
        (void)pthread_mutex_unlock(&writer->lock);
    }
}

/* What was stored becomes known: signed, or only to this host where it cannot sign. */
static fx_code
say(fx_writer *writer, fx_err *err)
{
    const fx_repository *repository = writer->repository;
    if (!fx_repository_is_write_only(repository)) {
        return fx_voucher_writer_finish(&writer->said, err);
    }
    const fx_own_entry entry = {
        .index = writer->index.last, .records = fx_buf_bytes(&writer->said.records)};
    if (entry.records.size_bytes > 0 && repository->own_path != NULL) {
        fx_err ignored = {0};
        fx_ignore(
            fx_own_add(repository->own_path, &entry, &ignored),
            "what is not known is stored again");
    }
    fx_buf_clear(&writer->said.records);
    return FX_OK;
}

/*
 * Called by the packer, for one pack at a time. Index objects are put as they fill: if the run is
 * broken off, the next one knows what is stored.
 */
static fx_code
record_pack(void *ctx, const fx_index_pack *pack, const fx_object_writer *object, fx_err *err)
{
    fx_writer *writer = ctx;
    const unsigned char *ids = fx_object_ids(object);
    writer->pack_bytes += pack->size_bytes;
    uint64_t before_bytes = writer->index.added_bytes;
    remember_pack(writer, pack, ids);
    if (fx_index_writer_add(&writer->index, pack, ids, FX_OBJECT_ENTRY_BYTES, err) != FX_OK ||
        (writer->index.added_bytes > before_bytes && say(writer, err) != FX_OK)) {
        return err->code;
    }
    return fx_voucher_writer_add(&writer->said, pack, ids, FX_OBJECT_ENTRY_BYTES, true, err);
}

/* ---- opening
 * ---------------------------------------------------------------------------------------- */

/*
 * Packs that are gone can be named: by an index object that a revoked writer put late, or by what
 * somebody kept of a removed one and put again, voucher and all.
 */
static fx_code
avoid_missing_packs(fx_writer *writer, fx_err *err)
{
    fx_repository *repository = writer->repository;
    fx_id_set there = {0};
    fx_code code = fx_repository_list_packs(repository, &there, err);
    writer->counted_packs = fx_index_pack_count(repository->index);
    for (size_t i = 0; code == FX_OK && i < writer->counted_packs; i++) {
        fx_index_pack pack = fx_index_pack_at(repository->index, (uint32_t)i);
        fx_chunk_id name;
        memcpy(name.bytes, pack.name, FX_ID_BYTES);
        if (!fx_id_set_has(&there, &name)) {
            (void)fx_id_set_add(&writer->marked, &name);
        }
    }
    fx_id_set_free(&there);
    return code;
}

/* In this order, that a collector rests on: docs/format.md, "Collecting". */
static fx_code
begin(fx_writer *writer, fx_err *err)
{
    fx_repository *repository = writer->repository;
    if (fx_session_begin(repository->key, &writer->session, err) != FX_OK ||
        fx_lease_begin(repository->store, writer->lease, err) != FX_OK) {
        writer->lease[0] = '\0';
        return err->code;
    }
    if (fx_marks_read(repository->store, &writer->marked, err) != FX_OK) {
        return err->code;
    }
    (void)pthread_mutex_lock(&repository->lock);
    fx_code code = fx_repository_refresh_indexes(repository, err);
    if (code == FX_OK) {
        code = avoid_missing_packs(writer, err);
    }
    (void)pthread_mutex_unlock(&repository->lock);
    return code;
}

fx_code
fx_writer_open(fx_repository *repository, fx_writer **out_writer, fx_err *err)
{
    if (fx_repository_need_key(repository, err) != FX_OK) {
        return err->code;
    }
    FX_AUTO(fx_writer) writer = calloc(1, sizeof *writer);
    FX_ASSERT(writer != NULL);
    writer->magic = WRITER_MAGIC;
    writer->repository = repository;
    writer->level = repository->level;
    int result = pthread_mutex_init(&writer->lock, NULL);
    FX_ASSERT(result == 0);
    writer->stored = fx_index_new(repository->cache_folder);
    fx_index_writer_init(&writer->index, repository->store, &writer->session);
    fx_voucher_writer_init(
        &writer->said, repository->store, fx_repository_key_writes(repository->key));
    writer->index.lease = writer->lease;
    writer->said.lease = writer->lease;
    writer->packer = fx_packer_new(repository->store, &writer->session, record_pack, writer);
    if (begin(writer, err) != FX_OK) {
        return fx_err_wrap(err, "beginning to write");
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

/* One that cannot be ended delays a collector, until somebody revokes it. */
static void
end_lease(fx_writer *writer)
{
    fx_err ignored = {0};
    if (writer->lease[0] != '\0') {
        fx_ignore(
            fx_lease_end(writer->repository->store, writer->lease, &ignored),
            "what was stored is stored");
        writer->lease[0] = '\0';
    }
}

void
fx_writer_free(fx_writer *writer)
{
    if (writer == NULL) {
        return;
    }
    FX_ASSERT(writer->magic == WRITER_MAGIC);
    fx_packer_free(writer->packer);
    end_lease(writer);
    while (writer->lanes != NULL) {
        lane *one = writer->lanes;
        writer->lanes = one->next;
        free_lane(one);
    }
    fx_index_writer_free(&writer->index);
    fx_voucher_writer_free(&writer->said);
    fx_kept_writer_free(writer->kept);
    fx_id_set_free(&writer->fresh);
    fx_id_set_free(&writer->marked);
    fx_index_free(writer->stored);
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

/* Is the chunk in a pack that stays, and that holds what is said of it? */
static bool
is_recorded(const fx_writer *writer, const fx_chunk_id *id)
{
    const fx_index *index = writer->repository->index;
    fx_index_cursor cursor = {0};
    fx_index_entry entry;
    while (fx_index_next(index, id, &cursor, &entry)) {
        fx_index_pack pack = fx_index_pack_at(index, entry.pack);
        fx_chunk_id name;
        memcpy(name.bytes, pack.name, FX_ID_BYTES);
        if (pack.is_rescued == 0 && pack.is_trusted != 0 && entry.pack < writer->counted_packs &&
            (writer->avoids == NULL || !writer->avoids(writer->avoids_ctx, entry.pack)) &&
            !fx_id_set_has(&writer->marked, &name)) {
            return true;
        }
    }
    return false;
}

const char *
fx_writer_lease(const fx_writer *writer)
{
    return writer->lease;
}

bool
fx_writer_has(const fx_writer *writer, const fx_chunk_id *id)
{
    FX_ASSERT(writer->magic == WRITER_MAGIC);
    return is_recorded(writer, id);
}

void
fx_writer_tell_names(fx_writer *writer, fx_id_set *indexes, fx_id_set *vouchers)
{
    writer->index.names = indexes;
    writer->said.names = vouchers;
}

void
fx_writer_avoid(fx_writer *writer, fx_writer_avoids avoids, const void *ctx)
{
    writer->avoids = avoids;
    writer->avoids_ctx = ctx;
}

static bool
is_new(fx_writer *writer, const fx_chunk_id *id)
{
    if (is_recorded(writer, id) || fx_index_has(writer->stored, id)) {
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
    if (kind == FX_CHUNK_TREE && writer->kept != NULL) {
        fx_kept_writer_add(writer->kept, &draft.id, content);
    }
    if (is_new(writer, &draft.id)) {
        fx_zip_set_level(mine->zip, kind == FX_CHUNK_TREE ? FX_ZIP_USUAL_LEVEL : writer->level);
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

void
fx_writer_set_compression(fx_writer *writer, int level)
{
    writer->level = level;
}

/* ---- commit
 * ------------------------------------------------------------------------------------------- */

/* What may be put but is not acknowledged must not stay: its chunks may be gone. */
static void
take_back(fx_writer *writer, const fx_snapshot *snapshot)
{
    char store_key[FX_KEY_TEXT_BYTES];
    fx_err ignored = {0};
    (void)snprintf(store_key, sizeof store_key, "snapshots/%s", snapshot->id);
    fx_ignore(
        fx_store_remove(writer->repository->store, store_key, fx_repository_deadline(), &ignored),
        "readers know from the settlement that it is void");
}

/*
 * Nobody knows whether the snapshot is or will be there, perhaps when its chunks are gone. A
 * collector will say whether it counts. Where that cannot be asked for, the lease stays.
 */
static void
give_up_right(fx_writer *writer)
{
    fx_err ignored = {0};
    if (fx_lease_revoke(writer->repository->store, writer->lease, &ignored) != FX_OK) {
        writer->lease[0] = '\0';
    }
}

fx_code
fx_writer_flush(fx_writer *writer, fx_err *err)
{
    FX_ASSERT(writer->magic == WRITER_MAGIC);
    if (writer->failure.code != FX_OK) {
        *err = writer->failure;
        return err->code;
    }
    fx_code code = fx_packer_flush(writer->packer, err);
    if (code == FX_OK) {
        code = fx_index_writer_finish(&writer->index, err);
    }
    if (code == FX_OK) {
        code = say(writer, err);
    }
    return keep_failure(writer, code, err);
}

/* ---- vouching
 * ----------------------------------------------------------------------------------------- */

/* The ids of some packs, in their order. */
typedef struct vouching {
    fx_writer *writer;
    const fx_id_set *opened;
    uint64_t *places; /* of each pack's first id; NO_PLACE: it is not one of them */
    size_t pack_count;
    fx_chunk_id *ids;
    uint64_t id_count;
} vouching;

/* Is it there, said by nobody yet, and was it opened? */
static bool
is_to_be_vouched(const vouching *some, uint32_t number)
{
    const fx_writer *writer = some->writer;
    fx_index_pack pack = fx_index_pack_at(writer->repository->index, number);
    fx_chunk_id record;
    fx_chunk_id name;
    memcpy(record.bytes, pack.record, FX_ID_BYTES);
    memcpy(name.bytes, pack.name, FX_ID_BYTES);
    return pack.is_trusted == 0 && pack.is_rescued == 0 && number < writer->counted_packs &&
           !fx_id_set_has(&writer->marked, &name) && fx_id_set_has(some->opened, &record);
}

static void
take_id(void *ctx, const fx_index_entry *entry)
{
    vouching *some = ctx;
    uint64_t place = entry->pack < some->pack_count ? some->places[entry->pack] : NO_PLACE;
    if (place != NO_PLACE && place + entry->blob < some->id_count) {
        some->ids[place + entry->blob] = entry->id;
    }
}

/* Those from `*next` on that fit in memory. */
static fx_code
vouch_some(vouching *some, uint32_t *next, uint64_t *count, fx_err *err)
{
    const fx_index *index = some->writer->repository->index;
    uint32_t first = *next;
    some->id_count = 0;
    for (size_t i = 0; i < some->pack_count; i++) {
        some->places[i] = NO_PLACE;
    }
    while (*next < some->pack_count && some->id_count < VOUCH_IDS) {
        if (is_to_be_vouched(some, *next)) {
            some->places[*next] = some->id_count;
            some->id_count += fx_index_pack_at(index, *next).blob_count;
        }
        (*next)++;
    }
    free(some->ids);
    some->ids = calloc(some->id_count + 1, sizeof *some->ids);
    FX_ASSERT(some->ids != NULL);
    fx_index_each(index, take_id, some);
    for (uint32_t i = first; i < *next; i++) {
        fx_index_pack pack = fx_index_pack_at(index, i);
        if (some->places[i] == NO_PLACE) {
            continue;
        }
        const fx_chunk_id *ids = some->ids + some->places[i];
        if (fx_voucher_writer_add(&some->writer->said, &pack, ids->bytes, sizeof *ids, true, err) !=
            FX_OK) {
            return err->code;
        }
        (*count)++;
    }
    return FX_OK;
}

fx_code
fx_writer_vouch(fx_writer *writer, const fx_id_set *opened, uint64_t *out_count, fx_err *err)
{
    vouching some = {
        .writer = writer,
        .opened = opened,
        .pack_count = fx_index_pack_count(writer->repository->index)};
    uint32_t next = 0;
    uint64_t count = 0;
    fx_code code = FX_OK;
    some.places = calloc(some.pack_count + 1, sizeof *some.places);
    FX_ASSERT(some.places != NULL);
    while (code == FX_OK && next < some.pack_count) {
        code = vouch_some(&some, &next, &count, err);
    }
    free(some.places);
    free(some.ids);
    code = code == FX_OK ? fx_lease_check(writer->repository->store, writer->lease, err) : code;
    code = code == FX_OK ? fx_writer_flush(writer, err) : code;
    *out_count = code == FX_OK ? count : 0;
    return code;
}

static fx_code
commit(fx_writer *writer, const fx_chunk_id *root, fx_snapshot *header, fx_err *err)
{
    if (fx_writer_flush(writer, err) != FX_OK ||
        fx_lease_check(writer->repository->store, writer->lease, err) != FX_OK) {
        return err->code;
    }
    header->added_bytes = writer->pack_bytes + writer->index.added_bytes + writer->said.added_bytes;
    fx_snapshot_place place = {
        .store = writer->repository->store,
        .session = &writer->session,
        .scope = fx_repository_key_writes(writer->repository->key),
        .lease = writer->lease};
    if (fx_snapshot_put(&place, root, header, err) != FX_OK) {
        give_up_right(writer);
        return err->code;
    }
    /* Whoever revoked it before this look may not have seen the snapshot. */
    fx_code code = fx_lease_check(writer->repository->store, writer->lease, err);
    if (code == FX_ERR_STALE) {
        take_back(writer, header);
    }
    return code;
}

void
fx_writer_keep_lists(fx_writer *writer)
{
    const fx_repository *repository = writer->repository;
    if (writer->kept == NULL && repository->cache_folder != NULL &&
        fx_repository_is_write_only(repository)) {
        writer->kept = fx_kept_writer_new(repository->cache_folder);
    }
}

static void
keep_lists(fx_writer *writer, const fx_chunk_id *root, const fx_snapshot *header)
{
    char path[FX_KEPT_PATH_BYTES];
    fx_err ignored = {0};
    if (writer->kept != NULL &&
        fx_repository_kept_path(writer->repository, header->source, header->host.text, path)) {
        fx_ignore(
            fx_kept_writer_finish(writer->kept, path, root, header->began, &ignored),
            "without them all files are read the next time");
    }
}

fx_code
fx_writer_commit(fx_writer *writer, const fx_chunk_id *root, fx_snapshot *header, fx_err *err)
{
    FX_ASSERT(!fx_name_is_none(&header->host));
    fx_code code = commit(writer, root, header, err);
    if (code != FX_OK) {
        code = fx_err_wrap(err, "committing the snapshot");
    } else {
        end_lease(writer);
        keep_lists(writer, root, header);
    }
    return keep_failure(writer, code, err);
}
