#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/repository/collection.h"

enum { BATCH_CHUNKS = 1 << 20 }; /* gathered at a time: 40 MiB */

/* Needed chunks in those of the packs [first, end) that go. */
typedef struct moving {
    const fx_collection *work;
    uint32_t first;
    uint32_t end;
    fx_index_entry *items;
    size_t count;
    size_t room;
} moving;

static void
gather(void *ctx, const fx_index_entry *entry)
{
    moving *list = ctx;
    const fx_collection *work = list->work;
    if (entry->pack < list->first || entry->pack >= list->end ||
        !fx_collection_is_doomed(work, entry->pack) ||
        !fx_live_has(&work->live, entry->pack, entry->blob)) {
        return;
    }
    if (list->count == list->room) {
        list->room = list->room == 0 ? 1024 : list->room * 2;
        list->items = realloc(list->items, list->room * sizeof *list->items);
        FX_ASSERT(list->items != NULL);
    }
    list->items[list->count++] = *entry;
}

/* As they lie in the store, so that each pack is read once and from its start on. */
static int
compare_places(const void *left, const void *right)
{
    const fx_index_entry *a = left;
    const fx_index_entry *b = right;
    if (a->pack != b->pack) {
        return a->pack < b->pack ? -1 : 1;
    }
    return (a->blob > b->blob) - (a->blob < b->blob);
}

static fx_code
move_chunk(fx_collection *work, const fx_chunk_id *id, fx_err *err)
{
    FX_BUF_AUTO content;
    fx_buf_init(&content, FX_CHUNK_MAX_BYTES);
    fx_chunk_form form;
    fx_chunk_id again;
    if (fx_collection_is_elsewhere(work, id, true)) {
        return FX_OK;
    }
    const fx_chunks chunks = fx_repository_own_chunks(work->repository);
    if (fx_repository_read_stored(&chunks, id, &form, &content, err) != FX_OK) {
        return err->code;
    }
    /* What was not to be compressed must not be now; where it would not shrink, it still does not.
     */
    fx_writer_set_compression(
        work->writer, form.is_compressed ? work->repository->level : FX_ZIP_NONE);
    if (fx_writer_add_chunk(work->writer, form.kind, fx_buf_bytes(&content), &again, err) !=
        FX_OK) {
        return err->code;
    }
    FX_ASSERT(memcmp(again.bytes, id->bytes, FX_ID_BYTES) == 0);
    work->report->rewritten_chunk_count++;
    return FX_OK;
}

static bool
is_to_go(const void *ctx, uint32_t pack)
{
    return fx_collection_is_doomed(ctx, pack);
}

/* How much of a pack is to be moved. */
static uint64_t
moved_of(const fx_collection *work, uint32_t pack)
{
    return fx_collection_is_doomed(work, pack) ? work->live.counts[pack] : 0;
}

/* A chunk that cannot be read stays where it is. */
static fx_code
move_batch(fx_collection *work, moving *batch, fx_progress *progress, fx_err *err)
{
    fx_index_each(work->repository->index, gather, batch);
    if (batch->count > 0) {
        qsort(batch->items, batch->count, sizeof *batch->items, compare_places);
    }
    fx_code code = FX_OK;
    for (size_t i = 0; code == FX_OK && i < batch->count; i++) {
        fx_err failure = {0};
        fx_repository_tell(work->repository, progress);
        progress->count++;
        code = move_chunk(work, &batch->items[i].id, &failure);
        if (code == FX_ERR_DAMAGED || code == FX_ERR_NOT_FOUND) {
            code = FX_OK;
        } else if (code != FX_OK) {
            *err = failure;
        }
    }
    return code;
}

/* Stores again what is needed of the packs that go. */
fx_code
fx_collection_write_anew(fx_collection *work, fx_err *err)
{
    fx_code code = FX_OK;
    fx_progress progress = {.step = "writing anew", .what = "chunks"};
    for (uint32_t i = 0; i < work->pack_count; i++) {
        progress.total_count += moved_of(work, i);
    }
    fx_writer_avoid(work->writer, is_to_go, work);
    for (moving batch = {.work = work}; code == FX_OK && batch.end < work->pack_count;) {
        uint64_t chunk_count = 0;
        batch = (moving){.work = work, .first = batch.end, .end = batch.end};
        while (batch.end < work->pack_count && chunk_count < BATCH_CHUNKS) {
            chunk_count += moved_of(work, batch.end++);
        }
        if (chunk_count > 0) {
            code = move_batch(work, &batch, &progress, err);
        }
        free(batch.items);
    }
    return code == FX_OK ? fx_writer_flush(work->writer, err)
                         : fx_err_wrap(err, "writing packs anew");
}

/* Packs that hold the only place of a needed chunk stay after all. */
static void
spare(void *ctx, const fx_index_entry *entry)
{
    const fx_collection *work = ctx;
    if (fx_collection_is_doomed(work, entry->pack) && !work->missing[work->canon[entry->pack]] &&
        fx_live_has(&work->live, entry->pack, entry->blob) &&
        !fx_collection_is_elsewhere(work, &entry->id, true)) {
        work->doomed[work->canon[entry->pack]] = false;
    }
}

/* Of needed chunks that were only in packs that are lost. */
typedef struct losses {
    const fx_collection *work;
    uint64_t chunk_count;
} losses;

static void
count_lost(void *ctx, const fx_index_entry *entry)
{
    losses *lost = ctx;
    const fx_collection *work = lost->work;
    lost->chunk_count += fx_collection_is_doomed(work, entry->pack) &&
                         fx_live_has(&work->live, entry->pack, entry->blob) &&
                         !fx_collection_is_elsewhere(work, &entry->id, false);
}

fx_code
fx_collection_spare_packs(fx_collection *work, fx_err *err)
{
    losses lost = {.work = work};
    fx_index_each(work->repository->index, spare, work);
    fx_index_each(work->repository->index, count_lost, &lost);
    return lost.chunk_count == 0 ? FX_OK
                                 : fx_fail(
                                       err,
                                       FX_ERR_DAMAGED,
                                       "could not collect: packs with %" PRIu64
                                       " needed chunks are missing; verify names them",
                                       lost.chunk_count);
}
