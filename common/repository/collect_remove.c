#include <stdio.h>
#include <string.h>

#include "common/base/hex.h"
#include "common/base/pool.h"
#include "common/repository/collection.h"
#include "common/repository/forgotten.h"
#include "common/repository/key.h"
#include "common/repository/voucher.h"

static fx_code
remove_key(fx_collection *work, const char *store_key, fx_err *err)
{
    fx_err failure = {0};
    fx_mono deadline = fx_repository_deadline();
    fx_code code = fx_store_remove(work->repository->store, store_key, deadline, &failure);
    if (code != FX_OK && code != FX_ERR_NOT_FOUND) {
        *err = failure;
        return fx_err_wrap(err, "removing \"%s\"", store_key);
    }
    return FX_OK;
}

/* What they say of packs that stay, the new ones say. Those with bad signatures say nothing. */
fx_code
fx_collection_remove_old_vouchers(fx_collection *work, fx_err *err)
{
    const fx_repository *repository = work->repository;
    char prefix[FX_VOUCHER_PREFIX_BYTES];
    fx_voucher_prefix(&fx_repository_key_writes(repository->key)->id, prefix);
    for (size_t i = 0; i < repository->vouchers.capacity; i++) {
        char hex[2 * FX_ID_BYTES + 1];
        char store_key[FX_KEY_TEXT_BYTES];
        const fx_chunk_id *name = &repository->vouchers.slots[i];
        if (!repository->vouchers.used[i] || fx_id_set_has(&work->voucher_names, name)) {
            continue;
        }
        fx_hex_encode((fx_bytes){name->bytes, FX_ID_BYTES}, hex);
        (void)snprintf(store_key, sizeof store_key, "%s%s", prefix, hex);
        if (remove_key(work, store_key, err) != FX_OK) {
            return err->code;
        }
    }
    return FX_OK;
}

/* Those whose packs all stand in the new ones; damaged ones too: their packs' directories spoke. */
fx_code
fx_collection_remove_old_indexes(fx_collection *work, fx_err *err)
{
    fx_repository *repository = work->repository;
    for (size_t i = 0; i < repository->loaded.capacity; i++) {
        char hex[2 * FX_ID_BYTES + 1];
        char store_key[FX_KEY_TEXT_BYTES];
        const fx_chunk_id *name = &repository->loaded.slots[i];
        if (!repository->loaded.used[i] || fx_id_set_has(&work->index_names, name) ||
            fx_id_set_has(&repository->foreign, name)) {
            continue;
        }
        fx_hex_encode((fx_bytes){name->bytes, FX_ID_BYTES}, hex);
        (void)snprintf(store_key, sizeof store_key, "indexes/%s", hex);
        if (remove_key(work, store_key, err) != FX_OK) {
            return err->code;
        }
    }
    /* A damaged one may be another scope's: then only that scope's holder can tell. */
    for (size_t i = 0; repository->foreign.count == 0 && i < repository->bad_count; i++) {
        const fx_bad_index *bad = &repository->bad[i];
        if (bad->err.code == FX_ERR_DAMAGED && remove_key(work, bad->store_key, err) != FX_OK) {
            return err->code;
        }
    }
    return FX_OK;
}

static fx_code
remove_pack(void *ctx, size_t item, fx_err *err)
{
    fx_collection_part *part = ctx;
    char store_key[FX_KEY_TEXT_BYTES];
    fx_index_pack pack = fx_index_pack_at(part->work->repository->index, part->packs[item]);
    fx_pack_key(pack.name, store_key);
    if (remove_key(part->work, store_key, err) != FX_OK) {
        return err->code;
    }
    fx_collection_part_done(part, pack.size_bytes);
    return FX_OK;
}

fx_code
fx_collection_remove_packs(fx_collection *work, fx_err *err)
{
    fx_collection_part part;
    fx_collection_part_init(&part, work, "removing");
    fx_repository_tell(work->repository, &part.progress);
    fx_code code = fx_pool_each(FX_REQUESTS_AT_ONCE, part.count, remove_pack, &part, err);
    work->report->removed_pack_count += part.progress.count;
    work->report->removed_bytes += part.progress.done_bytes;
    fx_collection_part_free(&part);
    return code;
}

fx_code
fx_collection_remove_void(fx_collection *work, fx_err *err)
{
    fx_snapshot_list list = {0};
    size_t unreadable_count = 0;
    fx_code code = fx_repository_list_all(work->repository, &list, &unreadable_count, err);
    for (size_t i = 0; code == FX_OK && i < list.count; i++) {
        char store_key[FX_KEY_TEXT_BYTES];
        if (list.items[i].is_void && !work->options->dry_run) {
            (void)snprintf(store_key, sizeof store_key, "snapshots/%s", list.items[i].id);
            fx_err failure = {0};
            code = remove_key(work, store_key, &failure);
            work->report->void_snapshot_count += code == FX_OK;
            if (code == FX_ERR_DENIED) { /* void it is all the same */
                code = FX_OK;
            } else if (code != FX_OK) {
                *err = failure;
            }
        }
    }
    fx_snapshot_list_free(&list);
    return code;
}

/* Announcements of what has arrived, or was forgotten. A snapshot goes only after it was said to be
 * forgotten. */
fx_code
fx_collection_remove_arrived(const fx_collection *work, fx_err *err)
{
    fx_id_set arriving = {0};
    fx_id_set settled = {0};
    fx_key_list list = {0};
    fx_store *store = work->repository->store;
    fx_code code = fx_arriving_read(store, &arriving, err);
    if (code == FX_OK && arriving.count > 0) {
        code = fx_forgotten_read(store, &settled, err);
    }
    if (code == FX_OK && arriving.count > 0) {
        code = fx_repository_list_keys(work->repository, "snapshots/", &list, err);
    }
    for (size_t i = 0; code == FX_OK && i < list.count; i++) {
        fx_chunk_id id;
        fx_err ignored = {0};
        const char *hex = strrchr(list.items[i], '/') + 1;
        if (fx_hex_decode(hex, id.bytes, sizeof id.bytes, &ignored) == FX_OK) {
            (void)fx_id_set_add(&settled, &id);
        }
    }
    for (size_t i = 0; code == FX_OK && i < arriving.capacity; i++) {
        if (arriving.used[i] && fx_id_set_has(&settled, &arriving.slots[i])) {
            fx_err failure = {0};
            code = fx_arriving_remove(store, &arriving.slots[i], &failure);
            if (code == FX_ERR_DENIED) { /* it keeps nothing */
                code = FX_OK;
            } else if (code != FX_OK) {
                *err = failure;
            }
        }
    }
    fx_id_set_free(&arriving);
    fx_id_set_free(&settled);
    fx_key_list_free(&list);
    return code == FX_OK ? FX_OK : fx_err_wrap(err, "removing announcements");
}
