#include <stdlib.h>
#include <string.h>

#include "common/base/pool.h"
#include "common/repository/collection.h"
#include "common/repository/key.h"

/* Numbers of packs, of the index `ctx`. */
static int
by_name(const void *left, const void *right, void *ctx)
{
    const uint32_t *one = left;
    const uint32_t *two = right;
    fx_index_pack first = fx_index_pack_at(ctx, *one);
    fx_index_pack second = fx_index_pack_at(ctx, *two);
    int order = memcmp(first.name, second.name, FX_ID_BYTES);
    return order != 0 ? order : (*one > *two) - (*one < *two);
}

/* Does the pack hold what its record of that number says? */
static bool
is_true(const fx_collection *work, uint32_t number, const fx_object *object)
{
    FX_BUF_AUTO record;
    fx_err ignored = {0};
    unsigned char digest[FX_ID_BYTES];
    fx_index_pack pack = fx_index_pack_at(work->repository->index, number);
    if (object->blob_count != pack.blob_count) {
        return false;
    }
    fx_buf_init(&record, sizeof pack + (size_t)object->blob_count * FX_ID_BYTES);
    const unsigned char *ids = object->blob_count == 0 ? NULL : object->blobs[0].id.bytes;
    if (fx_index_encode(&pack, ids, sizeof object->blobs[0], &record, &ignored) != FX_OK) {
        return false;
    }
    fx_index_record_of(
        &fx_repository_key_writes(work->repository->key)->id, fx_buf_bytes(&record), digest);
    return memcmp(digest, pack.record, sizeof digest) == 0;
}

/*
 * Of several records of one pack, the one that counts: what somebody vouches for, else what the
 * pack says itself. Anybody who can write can put an index object that lies.
 */
static uint32_t
choose_record(const fx_collection *work, const uint32_t *same, size_t count)
{
    const fx_index *index = work->repository->index;
    fx_index_pack first = fx_index_pack_at(index, same[0]);
    bool differ = false;
    for (size_t i = 0; i < count; i++) {
        fx_index_pack pack = fx_index_pack_at(index, same[i]);
        if (pack.is_trusted != 0) {
            return same[i];
        }
        differ = differ || memcmp(pack.record, first.record, sizeof first.record) != 0;
    }
    for (size_t i = 0; differ && i < count; i++) {
        fx_err ignored = {0};
        FX_AUTO(fx_object) object = NULL;
        if (fx_repository_load_pack(work->repository, same[i], &object, &ignored) == FX_OK &&
            is_true(work, same[i], object)) {
            return same[i];
        }
    }
    return same[0];
}

static bool
is_same_pack(const fx_index *index, uint32_t one, uint32_t other)
{
    fx_index_pack first = fx_index_pack_at(index, one);
    fx_index_pack second = fx_index_pack_at(index, other);
    return memcmp(first.name, second.name, FX_ID_BYTES) == 0;
}

/*
 * A pack can stand in the index several times: in two index objects, or when its own directory
 * told of it before the index object of a writer that was still at work.
 */
static void
find_doubles(fx_collection *work)
{
    fx_index *index = work->repository->index;
    uint32_t *all = calloc(work->pack_count + 1, sizeof *all);
    work->canon = realloc(work->canon, (work->pack_count + 1) * sizeof *work->canon);
    FX_ASSERT(all != NULL && work->canon != NULL);
    for (size_t i = 0; i < work->pack_count; i++) {
        all[i] = (uint32_t)i;
    }
    qsort_r(all, work->pack_count, sizeof *all, by_name, index);
    for (size_t i = 0; i < work->pack_count;) {
        size_t end = i + 1;
        while (end < work->pack_count && is_same_pack(index, all[i], all[end])) {
            end++;
        }
        uint32_t chosen = choose_record(work, &all[i], end - i);
        while (i < end) {
            work->canon[all[i++]] = chosen;
        }
    }
    free(all);
}

/* Another record of a pack may count now: what was decided goes with it. */
static void
carry_over(fx_collection *work)
{
    for (size_t i = 0; i < work->pack_count; i++) {
        uint32_t counts = work->canon[i];
        if (counts != i && work->doomed[i]) {
            work->doomed[counts] = true;
            work->missing[counts] = work->missing[counts] || work->missing[i];
            work->doomed[i] = false;
            work->missing[i] = false;
        }
    }
}

bool
fx_collection_is_doomed(const fx_collection *work, uint32_t pack)
{
    return pack < work->pack_count && work->doomed[work->canon[pack]];
}

/* Named by an index object that came late, or lost. */
static fx_code
find_missing(fx_collection *work, fx_err *err)
{
    fx_id_set there = {0};
    fx_code code = fx_repository_list_packs(work->repository, &there, err);
    for (size_t i = 0; code == FX_OK && i < work->pack_count; i++) {
        fx_index_pack pack = fx_index_pack_at(work->repository->index, (uint32_t)i);
        fx_chunk_id name;
        memcpy(name.bytes, pack.name, FX_ID_BYTES);
        if (work->canon[i] == i && !fx_id_set_has(&there, &name)) {
            work->missing[i] = true;
            work->doomed[i] = true;
        }
    }
    fx_id_set_free(&there);
    return code;
}

fx_code
fx_collection_learn(fx_collection *work, bool orphans_too, fx_err *err)
{
    fx_repository *repository = work->repository;
    (void)pthread_mutex_lock(&repository->lock);
    fx_code code = fx_repository_load_indexes(repository, err);
    if (code == FX_OK && orphans_too) {
        code = fx_repository_rescue_packs(repository, err);
    }
    (void)pthread_mutex_unlock(&repository->lock);
    if (code != FX_OK) {
        return code;
    }
    fx_live_measure(&work->live, repository);
    work->doomed = realloc(work->doomed, (work->live.pack_count + 1) * sizeof *work->doomed);
    work->missing = realloc(work->missing, (work->live.pack_count + 1) * sizeof *work->missing);
    FX_ASSERT(work->doomed != NULL && work->missing != NULL);
    while (work->pack_count < work->live.pack_count) {
        work->missing[work->pack_count] = false;
        work->doomed[work->pack_count++] = false;
    }
    find_doubles(work);
    carry_over(work);
    return find_missing(work, err);
}

void
fx_collection_part_init(fx_collection_part *part, fx_collection *work, const char *step)
{
    *part = (fx_collection_part){.work = work, .progress = {.step = step, .what = "packs"}};
    part->packs = calloc(work->pack_count + 1, sizeof *part->packs);
    FX_ASSERT(part->packs != NULL);
    for (size_t i = 0; i < work->pack_count; i++) {
        if (work->doomed[i] && !work->missing[i]) { /* of several numbers, only one is */
            part->packs[part->count++] = (uint32_t)i;
        }
    }
    part->progress.total_count = part->count;
    int result = pthread_mutex_init(&part->lock, NULL);
    FX_ASSERT(result == 0);
}

void
fx_collection_part_free(fx_collection_part *part)
{
    (void)pthread_mutex_destroy(&part->lock);
    free(part->packs);
}

void
fx_collection_part_done(fx_collection_part *part, uint64_t done_bytes)
{
    (void)pthread_mutex_lock(&part->lock);
    part->progress.count++;
    part->progress.done_bytes += done_bytes;
    fx_repository_tell(part->work->repository, &part->progress);
    (void)pthread_mutex_unlock(&part->lock);
}

/*
 * An index object that lies may name a pack of another scope, of which nothing is needed here: then
 * it is as if it were not there. One whose head is damaged is anybody's and stays, unless who can
 * read the scope vouched for it.
 */
static fx_code
pass_over_foreign(void *ctx, size_t item, fx_err *err)
{
    fx_collection_part *part = ctx;
    fx_collection *work = part->work;
    uint32_t number = part->packs[item];
    char store_key[FX_KEY_TEXT_BYTES];
    fx_scope_id scope;
    fx_err failure = {0};
    fx_index_pack pack = fx_index_pack_at(work->repository->index, number);
    const fx_scope_keys *ours = fx_repository_key_writes(work->repository->key);
    fx_pack_key(pack.name, store_key);
    fx_code code = fx_repository_scope_of(work->repository, store_key, &scope, &failure);
    if (code == FX_OK) {
        work->missing[number] = memcmp(&scope, &ours->id, sizeof scope) != 0;
    } else if (code == FX_ERR_DAMAGED) {
        work->doomed[number] = pack.is_trusted != 0;
    } else if (code != FX_ERR_NOT_FOUND) { /* what is gone is no matter */
        *err = failure;
        return code;
    }
    fx_collection_part_done(part, 0);
    return FX_OK;
}

fx_code
fx_collection_choose_packs(fx_collection *work, fx_err *err)
{
    const fx_live *live = &work->live;
    for (size_t i = 0; i < work->pack_count; i++) {
        if (work->canon[i] != i) {
            continue;
        }
        uint64_t all = live->first[i + 1] - live->first[i];
        uint64_t needed = live->counts[i];
        work->doomed[i] =
            work->missing[i] || needed == 0 || needed * 100 < all * work->options->live_percent;
        work->report->pack_count++;
        work->report->chunk_count += all;
        work->report->live_chunk_count += needed;
    }
    fx_collection_part part;
    fx_collection_part_init(&part, work, "checking");
    fx_code code = fx_pool_each(FX_REQUESTS_AT_ONCE, part.count, pass_over_foreign, &part, err);
    fx_collection_part_free(&part);
    return code;
}

bool
fx_collection_has_doomed(const fx_collection *work)
{
    for (size_t i = 0; i < work->pack_count; i++) {
        if (work->doomed[i]) {
            return true;
        }
    }
    return false;
}

bool
fx_collection_is_elsewhere(const fx_collection *work, const fx_chunk_id *id, bool is_certain)
{
    fx_index_cursor cursor = {0};
    fx_index_entry entry;
    while (fx_index_next(work->repository->index, id, &cursor, &entry)) {
        if (!fx_collection_is_doomed(work, entry.pack) &&
            (!is_certain ||
             fx_index_pack_at(work->repository->index, entry.pack).is_trusted != 0)) {
            return true;
        }
    }
    return false;
}
