#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/hex.h"
#include "common/repository/collection.h"
#include "common/repository/forgotten.h"
#include "common/repository/key.h"

void
fx_collection_id(const char *hex, fx_chunk_id *out_id)
{
    fx_err err = {0};
    fx_code code = fx_hex_decode(hex, out_id->bytes, sizeof out_id->bytes, &err);
    FX_ASSERT(code == FX_OK);
}

/* Chunks of other scopes are none of ours. */
static void
keep_scope(fx_snapshot_list *list, const char *scope)
{
    size_t kept = 0;
    for (size_t i = 0; i < list->count; i++) {
        if (strcmp(list->items[i].scope, scope) == 0) {
            list->items[kept++] = list->items[i];
        }
    }
    list->count = kept;
}

/* How many chunks it needs that no pack has. */
static fx_code
mark(fx_collection *work, const char *snapshot_id, uint64_t *out_unknown_count, fx_err *err)
{
    uint64_t before = work->live.unknown_count;
    if (fx_live_add_snapshot(&work->live, snapshot_id, err) != FX_OK) {
        return err->code;
    }
    *out_unknown_count = work->live.unknown_count - before;
    return FX_OK;
}

/* At the first look all that a snapshot needs is in a pack, perhaps in one that was put since. */
static fx_code
look_at(fx_collection *work, const char *snapshot_id, bool is_first, fx_err *err)
{
    uint64_t unknown_count = 0;
    if (mark(work, snapshot_id, &unknown_count, err) != FX_OK) {
        return err->code;
    }
    if (unknown_count > 0 && is_first &&
        (fx_collection_learn(work, true, err) != FX_OK ||
         mark(work, snapshot_id, &unknown_count, err) != FX_OK)) {
        return err->code;
    }
    return unknown_count == 0 || !is_first
               ? FX_OK
               : fx_fail(
                     err,
                     FX_ERR_DAMAGED,
                     "could not collect: snapshot %.16s needs %" PRIu64
                     " chunks that are in no pack; repair it from another tier, or forget it",
                     snapshot_id,
                     unknown_count);
}

static fx_code
look_at_all(fx_collection *work, bool is_first, fx_err *err)
{
    fx_snapshot_list list = {0};
    size_t unreadable_count = 0;
    if (fx_repository_list(work->repository, &list, &unreadable_count, err) != FX_OK) {
        return err->code;
    }
    char scope[FX_SCOPE_ID_TEXT_BYTES];
    fx_scope_id_format(&fx_repository_key_writes(work->repository->key)->id, scope);
    keep_scope(&list, scope);
    fx_code code = FX_OK;
    if (unreadable_count > 0) {
        code = fx_fail(
            err,
            FX_ERR_DAMAGED,
            "could not collect: %zu snapshots cannot be read, so that nobody knows what they need; "
            "verify names them",
            unreadable_count);
    }
    for (size_t i = 0; code == FX_OK && i < list.count; i++) {
        fx_chunk_id id;
        const fx_progress progress = {
            .step = "following", .what = "snapshots", .count = i, .total_count = list.count};
        fx_repository_tell(work->repository, &progress);
        fx_collection_id(list.items[i].id, &id);
        if (!fx_id_set_has(&work->roots, &id)) {
            code = look_at(work, list.items[i].id, is_first, err);
        }
        if (code == FX_OK) {
            (void)fx_id_set_add(&work->roots, &id);
        }
    }
    free(work->root_list);
    work->root_list = FX_TAKE(list.items);
    work->root_count = list.count;
    return code == FX_OK ? FX_OK : fx_err_wrap(err, "finding what snapshots need");
}

fx_code
fx_collection_look_at_snapshots(fx_collection *work, fx_err *err)
{
    return look_at_all(work, true, err);
}

/* No snapshot that can be read with this key, or not all of it is there yet. */
static bool
is_not_whole(fx_code code)
{
    return code == FX_ERR_NOT_FOUND || code == FX_ERR_DAMAGED || code == FX_ERR_WRONG_KEY ||
           code == FX_ERR_UNSUPPORTED || code == FX_ERR_LIMIT;
}

/*
 * What a replicator is about to put, and may put late. As the last: where not all is there yet,
 * some of it is marked, and nobody may take from that that the rest is marked too.
 */
static fx_code
look_at_arriving(fx_collection *work, const fx_id_set *arriving, fx_err *err)
{
    for (size_t i = 0; i < arriving->capacity; i++) {
        char hex[2 * FX_ID_BYTES + 1];
        char store_key[FX_KEY_TEXT_BYTES];
        fx_root root;
        fx_err failure = {0};
        if (!arriving->used[i] || fx_id_set_has(&work->roots, &arriving->slots[i])) {
            continue;
        }
        fx_hex_encode((fx_bytes){arriving->slots[i].bytes, FX_ID_BYTES}, hex);
        (void)snprintf(store_key, sizeof store_key, "arriving/%s", hex);
        fx_code code = fx_repository_root_at(work->repository, store_key, &root, &failure);
        if (code == FX_OK) {
            code = fx_live_add_root(&work->live, &root, &failure);
        }
        if (code != FX_OK && !is_not_whole(code)) {
            *err = failure;
            return fx_err_wrap(err, "looking what an arriving snapshot needs");
        }
    }
    return FX_OK;
}

/* The second look: what arrives is listed before what has arrived. */
fx_code
fx_collection_look_again(fx_collection *work, fx_err *err)
{
    fx_id_set arriving = {0};
    fx_id_set forgotten = {0};
    fx_code code = fx_arriving_read(work->repository->store, &arriving, err);
    if (code == FX_OK) {
        code = look_at_all(work, false, err);
    }
    if (code == FX_OK) {
        code = fx_forgotten_read(work->repository->store, &forgotten, err);
    }
    for (size_t i = 0; i < arriving.capacity; i++) { /* forgotten ones are roots of nothing */
        if (arriving.used[i] && fx_id_set_has(&forgotten, &arriving.slots[i])) {
            arriving.used[i] = false;
        }
    }
    if (code == FX_OK) {
        code = look_at_arriving(work, &arriving, err);
    }
    fx_id_set_free(&arriving);
    fx_id_set_free(&forgotten);
    return code;
}
