#include <stdio.h>

#include "common/base/hex.h"
#include "common/repository/collection.h"
#include "common/repository/key.h"
#include "common/repository/voucher.h"

typedef fx_code (*on_key)(fx_collection *work, const char *store_key, fx_err *err);

/* Visits each name of a set as a key; not index objects of other scopes. */
static fx_code
each_name(fx_collection *work, const char *prefix, const fx_id_set *set, on_key visit, fx_err *err)
{
    const fx_id_set *foreign = &work->repository->foreign;
    bool is_index = set == &work->repository->loaded;
    for (size_t i = 0; i < set->capacity; i++) {
        char hex[2 * FX_ID_BYTES + 1];
        char store_key[FX_KEY_TEXT_BYTES];
        if (!set->used[i] || (is_index && fx_id_set_has(foreign, &set->slots[i]))) {
            continue;
        }
        fx_hex_encode((fx_bytes){set->slots[i].bytes, FX_ID_BYTES}, hex);
        (void)snprintf(store_key, sizeof store_key, "%s%s", prefix, hex);
        if (visit(work, store_key, err) != FX_OK) {
            return err->code;
        }
    }
    return FX_OK;
}

/* What names packs: vouchers and index objects that are to be made anew. */
static fx_code
each_record(fx_collection *work, on_key visit, fx_err *err)
{
    const fx_repository *repository = work->repository;
    char prefix[FX_VOUCHER_PREFIX_BYTES];
    fx_voucher_prefix(&fx_repository_key_writes(repository->key)->id, prefix);
    if (each_name(work, prefix, &repository->vouchers, visit, err) != FX_OK ||
        each_name(work, "indexes/", &repository->loaded, visit, err) != FX_OK) {
        return err->code;
    }
    for (size_t i = 0; repository->foreign.count == 0 && i < repository->bad_count; i++) {
        const fx_bad_index *bad = &repository->bad[i];
        if (bad->err.code == FX_ERR_DAMAGED && visit(work, bad->store_key, err) != FX_OK) {
            return err->code;
        }
    }
    return FX_OK;
}

/* ---- telling
 * ---------------------------------------------------------------------------------------- */

static fx_code
tell(fx_collection *work, const char *store_key, fx_err *err)
{
    (void)err;
    work->options->removal(work->options->removal_ctx, store_key);
    return FX_OK;
}

static fx_code
tell_prefix(fx_collection *work, const char *prefix, fx_err *err)
{
    fx_key_list keys = {0};
    fx_code code = fx_repository_list_keys(work->repository, prefix, &keys, err);
    for (size_t i = 0; code == FX_OK && i < keys.count; i++) {
        code = tell(work, keys.items[i], err);
    }
    fx_key_list_free(&keys);
    return code;
}

static fx_code
tell_leases(fx_collection *work, fx_err *err)
{
    fx_lease_list leases = {0};
    fx_code code = fx_lease_list_all(work->repository->store, &leases, err);
    for (size_t i = 0; code == FX_OK && i < leases.count; i++) {
        char store_key[FX_KEY_TEXT_BYTES];
        (void)snprintf(store_key, sizeof store_key, "leases/%s", leases.items[i].id);
        if (leases.items[i].is_over) {
            code = tell(work, store_key, err);
        }
    }
    fx_lease_list_free(&leases);
    return code == FX_OK ? tell_prefix(work, "leases-over/", err) : code;
}

static fx_code
tell_void(fx_collection *work, fx_err *err)
{
    fx_snapshot_list list = {0};
    size_t unreadable_count = 0;
    fx_code code = fx_repository_list_all(work->repository, &list, &unreadable_count, err);
    for (size_t i = 0; code == FX_OK && i < list.count; i++) {
        char store_key[FX_KEY_TEXT_BYTES];
        (void)snprintf(store_key, sizeof store_key, "snapshots/%s", list.items[i].id);
        if (list.items[i].is_void) {
            code = tell(work, store_key, err);
        }
    }
    fx_snapshot_list_free(&list);
    return code;
}

fx_code
fx_collection_tell(fx_collection *work, bool has_work, fx_err *err)
{
    for (size_t i = 0; i < work->pack_count; i++) {
        if (work->doomed[i] && !work->missing[i]) {
            char store_key[FX_KEY_TEXT_BYTES];
            fx_pack_key(fx_index_pack_at(work->repository->index, (uint32_t)i).name, store_key);
            (void)tell(work, store_key, err);
        }
    }
    if ((has_work && each_record(work, tell, err) != FX_OK) || tell_void(work, err) != FX_OK) {
        return err->code;
    }
    return tell_leases(work, err);
}

/* ---- tickets
 * ---------------------------------------------------------------------------------------- */

static fx_code
check_one(fx_collection *work, const char *store_key, fx_err *err)
{
    return fx_store_check_ticket(work->repository->store, store_key, err);
}

static fx_code
explain(fx_err *err)
{
    return err->code == FX_ERR_DENIED
               ? fx_err_wrap(
                     err,
                     "collecting: write a list with collect --dry-run --out FILE, make a ticket of "
                     "it (fortress-coordinator ticket make, then sign in two regions), collect")
               : err->code;
}

fx_code
fx_collection_check_tickets(fx_collection *work, fx_err *err)
{
    fx_err refusal = {0};
    uint64_t left = 0;
    for (size_t i = 0; i < work->pack_count; i++) {
        char store_key[FX_KEY_TEXT_BYTES];
        fx_err why = {0};
        if (!work->doomed[i] || work->missing[i]) {
            left += work->doomed[i];
            continue;
        }
        fx_pack_key(fx_index_pack_at(work->repository->index, (uint32_t)i).name, store_key);
        fx_code code = check_one(work, store_key, &why);
        if (code == FX_ERR_DENIED) {
            work->doomed[i] = false;
            work->report->spared_pack_count++;
            refusal = why;
        } else if (code != FX_OK) {
            *err = why;
            return code;
        }
        left += work->doomed[i];
    }
    if (left == 0 && work->report->spared_pack_count > 0) {
        *err = refusal;
        return explain(err);
    }
    if (each_record(work, check_one, err) != FX_OK) {
        return explain(err);
    }
    fx_writer_tell_names(work->writer, &work->index_names, &work->voucher_names);
    return FX_OK;
}
