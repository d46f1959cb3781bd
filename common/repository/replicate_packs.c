#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/repository/forgotten.h"
#include "common/repository/replication.h"

enum { LOOK_TRIES = 8 };

/*
 * Lists packs between two equal lists of indexes: a collector that moved chunks between packs
 * meanwhile has changed the indexes in between.
 */
static fx_code
look_at_source(fx_replication *work, fx_err *err)
{
    for (int i = 0; i < LOOK_TRIES; i++) {
        fx_stored_list again = {0};
        fx_stored_list_free(&work->packs);
        fx_stored_list_free(&work->indexes);
        if (fx_stored_list_read(work->from, "indexes/", &work->indexes, err) != FX_OK ||
            fx_stored_list_read(work->from, "packs/", &work->packs, err) != FX_OK ||
            fx_stored_list_read(work->from, "indexes/", &again, err) != FX_OK) {
            return fx_err_wrap(err, "at the source");
        }
        bool is_same = fx_stored_list_is_same(&work->indexes, &again);
        fx_stored_list_free(&again);
        if (is_same) {
            return FX_OK;
        }
    }
    return fx_fail(
        err,
        FX_ERR_BUSY,
        "could not copy: the source's indexes changed each time they were looked at; run it again");
}

/* Packs that a collector at the target is about to remove are not counted on, there or not. */
static void
leave_marked(fx_replication *work, const fx_id_set *marked)
{
    size_t kept = 0;
    for (size_t i = 0; i < work->packs.count; i++) {
        fx_chunk_id name;
        fx_stored item = work->packs.items[i];
        if (fx_replication_id(item.store_key, &name) && fx_id_set_has(marked, &name)) {
            free(item.store_key);
            work->is_blocked = true;
        } else {
            work->packs.items[kept++] = item;
        }
    }
    work->packs.count = kept;
}

/* A pack of another size than the source's is damaged here or there. */
static void
compare_sizes(fx_replication *work, const fx_stored_list *there)
{
    for (size_t i = 0; i < work->packs.count; i++) {
        const fx_stored *item = &work->packs.items[i];
        const fx_stored *other = fx_stored_find(there, item->store_key);
        if (other != NULL && other->size_bytes != item->size_bytes) {
            char text[FX_KEY_TEXT_BYTES + 160];
            (void)snprintf(
                text,
                sizeof text,
                "%s: has %" PRIu64 " bytes at the source and %" PRIu64
                " at the target: repair the one that is damaged",
                item->store_key,
                item->size_bytes,
                other->size_bytes);
            fx_replication_find(work, text);
            work->copied.damaged_count++;
            work->is_held = true;
        }
    }
}

/* After the lease, marks first. *out_gone: packs vanished that were listed. */
static fx_code
copy_packs_once(fx_replication *work, const fx_id_set *marked, bool *out_gone, fx_err *err)
{
    fx_stored_list there = {0};
    fx_copy_result result = {0};
    if (look_at_source(work, err) != FX_OK ||
        fx_stored_list_read(work->to, "packs/", &there, err) != FX_OK) {
        return err->code;
    }
    leave_marked(work, marked);
    compare_sizes(work, &there);
    fx_code code = fx_replication_copy_missing(work, &there, &work->packs, &result, err);
    fx_stored_list_free(&there);
    work->copied.copied_count += result.copied_count;
    work->copied.copied_bytes += result.copied_bytes;
    work->copied.damaged_count += result.damaged_count;
    work->is_held = work->is_held || result.damaged_count > 0 || work->is_blocked;
    *out_gone = result.gone_count > 0;
    return code;
}

fx_code
fx_replication_copy_packs(fx_replication *work, fx_err *err)
{
    fx_id_set marked = {0};
    bool is_gone = true;
    fx_code code = work->options->dry_run ? FX_OK : fx_marks_read(work->to, &marked, err);
    for (int i = 0; code == FX_OK && is_gone && i < LOOK_TRIES; i++) {
        code = copy_packs_once(work, &marked, &is_gone, err);
    }
    fx_id_set_free(&marked);
    if (code == FX_OK && is_gone) {
        code = fx_fail(
            err,
            FX_ERR_BUSY,
            "could not copy: packs of the source vanished each time while they were copied; run it "
            "again when nothing is collected there");
    }
    return code;
}
