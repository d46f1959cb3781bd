#include "common/repository/collect.h"

#include <stdlib.h>

#include "common/repository/collection.h"
#include "common/repository/key.h"
#include "common/repository/lease.h"

enum { INDEX_MANY = 16 }; /* so many index objects are made few */

/* From the mark on: docs/format.md, "Collecting". */
static fx_code
remove_unneeded(fx_collection *work, fx_err *err)
{
    if (fx_collection_put_marks(work, err) != FX_OK ||
        fx_collection_await_writers(work, err) != FX_OK ||
        fx_collection_learn(work, false, err) != FX_OK ||
        fx_collection_look_again(work, err) != FX_OK ||
        fx_collection_spare_packs(work, err) != FX_OK ||
        fx_collection_settle_revoked(work, err) != FX_OK ||
        fx_collection_write_indexes(work, err) != FX_OK ||
        fx_collection_remove_old_vouchers(work, err) != FX_OK ||
        fx_collection_remove_old_indexes(work, err) != FX_OK ||
        fx_collection_remove_packs(work, err) != FX_OK) {
        return err->code;
    }
    return FX_OK;
}

static fx_code
collect(fx_collection *work, fx_err *err)
{
    fx_repository *repository = work->repository;
    if (fx_collection_begin_alone(work, err) != FX_OK ||
        fx_collection_learn(work, true, err) != FX_OK ||
        fx_collection_look_at_snapshots(work, err) != FX_OK ||
        fx_collection_choose_packs(work, err) != FX_OK) {
        return err->code;
    }
    bool has_work = fx_collection_has_doomed(work) || repository->bad_count > 0 ||
                    repository->loaded.count - repository->foreign.count > INDEX_MANY ||
                    repository->vouchers.count > INDEX_MANY || repository->rescued_count > 0;
    if (work->options->dry_run) {
        if (work->options->removal != NULL && fx_collection_tell(work, has_work, err) != FX_OK) {
            return err->code;
        }
        for (size_t i = 0; i < work->pack_count; i++) {
            work->report->removed_pack_count += work->doomed[i];
            work->report->removed_bytes +=
                work->doomed[i] ? fx_index_pack_at(repository->index, (uint32_t)i).size_bytes : 0;
        }
        return FX_OK;
    }
    if (has_work && fx_store_can(repository->store, FX_STORE_NEEDS_TICKETS) &&
        fx_collection_check_tickets(work, err) != FX_OK) {
        return err->code;
    }
    if (has_work &&
        (fx_collection_write_anew(work, err) != FX_OK ||
         fx_collection_learn(work, false, err) != FX_OK || remove_unneeded(work, err) != FX_OK)) {
        return err->code;
    }
    if (fx_collection_clear_leases(work, err) != FX_OK ||
        fx_collection_remove_arrived(work, err) != FX_OK) {
        return err->code;
    }
    return fx_collection_remove_void(work, err);
}

/* The repository's key has one scope. Adds to the report. */
static fx_code
collect_scope(
    fx_repository *repository,
    const fx_collect_options *options,
    fx_collect_report *report,
    fx_err *err)
{
    FX_AUTO(fx_writer) writer = NULL;
    if (fx_writer_open(repository, &writer, err) != FX_OK) {
        return fx_err_wrap(err, "beginning to collect");
    }
    fx_collection work = {
        .repository = repository, .options = options, .report = report, .writer = writer};
    fx_code code = collect(&work, err);
    fx_collection_remove_marks(&work);
    report->index_count +=
        work.index_names.count > 0 ? work.index_names.count : repository->loaded.count;
    free(work.missing);
    free(work.doomed);
    free(work.canon);
    free(work.root_list);
    fx_live_free(&work.live);
    fx_id_set_free(&work.roots);
    fx_id_set_free(&work.index_names);
    fx_id_set_free(&work.voucher_names);
    return code;
}

fx_code
fx_repository_collect(
    const char *url,
    const fx_repository_key *key,
    const fx_collect_options *options,
    fx_collect_report *out_report,
    fx_err *err)
{
    fx_collect_report report = {0};
    fx_code code = FX_OK;
    bool has_one = false;
    for (size_t i = 0; code == FX_OK && i < key->scope_count; i++) {
        /* Packs and index objects belong to one scope each: others must not see into them. */
        const fx_repository_key one = {
            .keyring = key->keyring, .scopes = &key->scopes[i], .scope_count = 1};
        FX_AUTO(fx_repository) repository = NULL;
        if (!one.scopes->can_read || !one.scopes->can_write) {
            continue;
        }
        code = fx_repository_open(url, &one, &repository, err);
        if (code == FX_OK && options->compression != 0) {
            fx_repository_set_compression(repository, options->compression);
        }
        if (code == FX_OK && repository->has_write_scope) {
            has_one = true;
            repository->progress = options->progress;
            repository->progress_ctx = options->ctx;
            code = collect_scope(repository, options, &report, err);
        }
    }
    if (code == FX_OK && !has_one) {
        code = fx_fail(
            err, FX_ERR_WRONG_KEY, "could not collect: the key can read no scope that is there");
    }
    *out_report = report;
    return code;
}
