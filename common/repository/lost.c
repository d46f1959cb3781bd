#include "common/repository/lost.h"

#include <string.h>

#include "common/repository/live.h"

typedef struct measuring {
    fx_lost *lost;
    const bool *is_bad; /* by number of the pack */
    size_t room;
} measuring;

static bool
has_good_place(const measuring *work, const fx_chunk_id *id)
{
    fx_index_cursor cursor = {0};
    fx_index_entry entry;
    while (fx_index_next(work->lost->repository->index, id, &cursor, &entry)) {
        if (!work->is_bad[entry.pack]) {
            return true;
        }
    }
    return false;
}

static void
look(void *ctx, const fx_index_entry *entry)
{
    measuring *work = ctx;
    fx_lost *lost = work->lost;
    if (!work->is_bad[entry->pack] || has_good_place(work, &entry->id)) {
        return;
    }
    if (lost->count == work->room) {
        work->room = work->room == 0 ? 256 : work->room * 2;
        lost->places = realloc(lost->places, work->room * sizeof *lost->places);
        FX_ASSERT(lost->places != NULL);
    }
    lost->places[lost->count++] = (fx_lost_place){.pack = entry->pack, .blob = entry->blob};
}

fx_code
fx_lost_measure(fx_repository *repository, const fx_id_set *good, fx_lost *out_lost, fx_err *err)
{
    (void)pthread_mutex_lock(&repository->lock);
    fx_code code = fx_repository_load_indexes(repository, err);
    if (code == FX_OK) {
        code = fx_repository_rescue_packs(repository, err);
    }
    (void)pthread_mutex_unlock(&repository->lock);
    if (code != FX_OK) {
        return code;
    }
    size_t count = fx_index_pack_count(repository->index);
    bool *is_bad = calloc(count + 1, sizeof *is_bad);
    FX_ASSERT(is_bad != NULL);
    for (size_t i = 0; i < count; i++) {
        fx_chunk_id name;
        fx_index_pack pack = fx_index_pack_at(repository->index, (uint32_t)i);
        memcpy(name.bytes, pack.name, FX_ID_BYTES);
        is_bad[i] = !fx_id_set_has(good, &name);
    }
    *out_lost = (fx_lost){.repository = repository};
    measuring work = {.lost = out_lost, .is_bad = is_bad};
    fx_index_each(repository->index, look, &work);
    free(is_bad);
    return FX_OK;
}

void
fx_lost_free(fx_lost *lost)
{
    free(lost->places);
    *lost = (fx_lost){0};
}

fx_code
fx_lost_affects(const fx_lost *lost, const char *snapshot_id, bool *out_affects, fx_err *err)
{
    fx_live live = {0};
    fx_err failure = {0};
    fx_live_measure(&live, lost->repository);
    fx_code code = fx_live_add_snapshot(&live, snapshot_id, &failure);
    bool is_affected = code == FX_ERR_DAMAGED || code == FX_ERR_NOT_FOUND || live.unknown_count > 0;
    for (size_t i = 0; code == FX_OK && !is_affected && i < lost->count; i++) {
        is_affected = fx_live_has(&live, lost->places[i].pack, lost->places[i].blob);
    }
    fx_live_free(&live);
    if (code != FX_OK && !is_affected) {
        *err = failure;
        return code;
    }
    *out_affects = is_affected;
    return FX_OK;
}
