#include <stdlib.h>

#include "common/repository/collection.h"
#include "common/repository/index_writer.h"
#include "common/repository/key.h"
#include "common/repository/voucher.h"

enum { BATCH_BLOBS = 1 << 20 }; /* ids gathered at a time for new index objects: 32 MiB */

/* The ids of the packs [first, end) that stay, in their order. */
typedef struct batch {
    const fx_collection *work;
    uint32_t first;
    uint32_t end;
    fx_chunk_id *ids;
} batch;

static void
place_id(void *ctx, const fx_index_entry *entry)
{
    const batch *some = ctx;
    const fx_live *live = &some->work->live;
    if (entry->pack >= some->first && entry->pack < some->end) {
        uint64_t at = live->first[entry->pack] - live->first[some->first] + entry->blob;
        if (entry->blob < live->first[entry->pack + 1] - live->first[entry->pack]) {
            some->ids[at] = entry->id;
        }
    }
}

static fx_code
write_batch(batch *some, fx_index_writer *writer, fx_voucher_writer *voucher, fx_err *err)
{
    const fx_collection *work = some->work;
    fx_index_each(work->repository->index, place_id, some);
    for (uint32_t i = some->first; i < some->end; i++) {
        fx_index_pack pack = fx_index_pack_at(work->repository->index, i);
        const fx_chunk_id *ids = some->ids + (work->live.first[i] - work->live.first[some->first]);
        bool is_vouched = pack.is_trusted != 0;
        if (work->canon[i] == i && !fx_collection_is_doomed(work, i) &&
            (fx_index_writer_add(writer, &pack, ids->bytes, sizeof *ids, err) != FX_OK ||
             fx_voucher_writer_add(voucher, &pack, ids->bytes, sizeof *ids, is_vouched, err) !=
                 FX_OK)) {
            return err->code;
        }
    }
    return FX_OK;
}

fx_code
fx_collection_write_indexes(fx_collection *work, fx_err *err)
{
    fx_session session;
    fx_index_writer writer;
    fx_voucher_writer voucher;
    const fx_live *live = &work->live;
    if (fx_session_begin(work->repository->key, &session, err) != FX_OK) {
        return err->code;
    }
    fx_index_writer_init(&writer, work->repository->store, &session);
    writer.names = &work->index_names;
    fx_voucher_writer_init(
        &voucher, work->repository->store, fx_repository_key_writes(work->repository->key));
    voucher.names = &work->voucher_names;
    fx_code code = FX_OK;
    for (uint32_t first = 0; code == FX_OK && first < work->pack_count;) {
        batch some = {.work = work, .first = first, .end = first + 1};
        while (some.end < work->pack_count &&
               live->first[some.end + 1] - live->first[first] <= BATCH_BLOBS) {
            some.end++;
        }
        some.ids = calloc(live->first[some.end] - live->first[first] + 1, sizeof *some.ids);
        FX_ASSERT(some.ids != NULL);
        code = write_batch(&some, &writer, &voucher, err);
        free(some.ids);
        first = some.end;
    }
    if (code == FX_OK) {
        code = fx_index_writer_finish(&writer, err);
    }
    if (code == FX_OK) {
        code = fx_voucher_writer_finish(&voucher, err);
    }
    fx_index_writer_free(&writer);
    fx_voucher_writer_free(&voucher);
    fx_wipe(&session, sizeof session);
    return code == FX_OK ? FX_OK : fx_err_wrap(err, "writing new indexes");
}
