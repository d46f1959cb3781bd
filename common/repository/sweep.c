#include "common/repository/sweep.h"

#include <stdio.h>
#include <string.h>

#include "common/base/pool.h"
#include "common/repository/hold.h"
#include "common/repository/internal.h"
#include "common/repository/voucher.h"

typedef struct sweeping {
    fx_repository *repository;
    const fx_keyring_scope *scope;
    const fx_sweep_options *options;
    fx_sweep_report *report;
} sweeping;

static fx_code
remove_object(const sweeping *work, const char *store_key, fx_err *err)
{
    fx_err failure = {0};
    if (work->options->dry_run) {
        return FX_OK;
    }
    fx_code code =
        fx_store_remove(work->repository->store, store_key, fx_repository_deadline(), &failure);
    if (code != FX_OK && code != FX_ERR_NOT_FOUND) {
        *err = failure;
        return fx_err_wrap(err, "removing \"%s\"", store_key);
    }
    return FX_OK;
}

/* ---- snapshots ----------------------------------------------------------------------------------
 */

static fx_code
check_holds(const sweeping *work, const fx_snapshot_list *list, fx_err *err)
{
    fx_hold_list holds = {0};
    char text[FX_HOLD_TEXT_BYTES];
    fx_code code = fx_hold_list_all(work->repository, NULL, &holds, err);
    for (size_t i = 0; code == FX_OK && i < list->count; i++) {
        const fx_hold *held = fx_hold_find(&holds, list->items[i].id);
        if (held != NULL) {
            fx_hold_format(held, text);
            code = fx_fail(
                err,
                FX_ERR_HELD,
                "could not remove what is left of scope \"%s\": snapshot %.12s: %.120s",
                work->scope->label.text,
                list->items[i].id,
                text);
        }
    }
    fx_hold_list_free(&holds);
    return code;
}

/* All, the void ones too. Those that cannot be read may be another scope's: they stay. */
static fx_code
forget_snapshots(sweeping *work, fx_err *err)
{
    fx_snapshot_list list = {0};
    size_t unreadable_count = 0;
    char scope[FX_SCOPE_ID_TEXT_BYTES];
    if (fx_repository_list_all(work->repository, &list, &unreadable_count, err) != FX_OK) {
        return err->code;
    }
    size_t kept = 0;
    fx_scope_id_format(&work->scope->id, scope);
    for (size_t i = 0; i < list.count; i++) {
        if (strcmp(list.items[i].scope, scope) == 0) {
            list.items[kept++] = list.items[i];
        }
    }
    list.count = kept;
    fx_code code = check_holds(work, &list, err);
    for (size_t i = 0; code == FX_OK && i < list.count; i++) {
        fx_err failure = {0};
        code = work->options->dry_run
                   ? FX_OK
                   : fx_repository_forget(work->repository, list.items[i].id, &failure);
        if (code == FX_ERR_NOT_FOUND) {
            code = FX_OK; /* another was faster */
        } else if (code != FX_OK) {
            *err = failure;
        }
        work->report->snapshot_count += code == FX_OK;
    }
    fx_snapshot_list_free(&list);
    return code;
}

/* ---- all else -----------------------------------------------------------------------------------
 */

/* As its head says. false: it is another's, no object, or gone. */
static fx_code
is_of_scope(const sweeping *work, const char *store_key, bool *out_is, fx_err *err)
{
    fx_scope_id scope;
    fx_err failure = {0};
    fx_code code = fx_repository_scope_of(work->repository, store_key, &scope, &failure);
    if (code != FX_OK && code != FX_ERR_NOT_FOUND && code != FX_ERR_DAMAGED) {
        *err = failure;
        return code;
    }
    *out_is = code == FX_OK && memcmp(&scope, &work->scope->id, sizeof scope) == 0;
    return FX_OK;
}

static fx_code
object_size(const sweeping *work, const char *store_key, uint64_t *out_size_bytes, fx_err *err)
{
    fx_err failure = {0};
    fx_code code = fx_store_stat(
        work->repository->store, store_key, fx_repository_deadline(), out_size_bytes, &failure);
    if (code != FX_OK && code != FX_ERR_NOT_FOUND) {
        *err = failure;
        return code;
    }
    return FX_OK;
}

/* The objects of a prefix, while they are looked at several at once. */
typedef struct sweeping_part {
    const sweeping *work;
    bool is_by_head; /* whose an object is, its head says; else all are ours */
    fx_key_list keys;
    pthread_mutex_t lock; /* guards all below */
    uint64_t our_count;
    fx_progress progress;
} sweeping_part;

static fx_code
sweep_object(void *ctx, size_t item, fx_err *err)
{
    sweeping_part *part = ctx;
    const sweeping *work = part->work;
    const char *store_key = part->keys.items[item];
    bool is_ours = !part->is_by_head;
    uint64_t size_bytes = 0;
    if (part->is_by_head && is_of_scope(work, store_key, &is_ours, err) != FX_OK) {
        return err->code;
    }
    if (is_ours && (object_size(work, store_key, &size_bytes, err) != FX_OK ||
                    remove_object(work, store_key, err) != FX_OK)) {
        return err->code;
    }
    (void)pthread_mutex_lock(&part->lock);
    part->our_count += is_ours;
    work->report->removed_bytes += size_bytes;
    part->progress.count++;
    part->progress.done_bytes += size_bytes;
    fx_repository_tell(work->repository, &part->progress);
    (void)pthread_mutex_unlock(&part->lock);
    return FX_OK;
}

static fx_code
sweep_prefix(
    const sweeping *work, const char *prefix, bool is_by_head, uint64_t *counter, fx_err *err)
{
    sweeping_part part = {
        .work = work,
        .is_by_head = is_by_head,
        .progress = {.step = "removing", .what = "objects"},
    };
    int result = pthread_mutex_init(&part.lock, NULL);
    FX_ASSERT(result == 0);
    fx_code code = fx_repository_list_keys(work->repository, prefix, &part.keys, err);
    if (code == FX_OK) {
        part.progress.total_count = part.keys.count;
        code = fx_pool_each(FX_REQUESTS_AT_ONCE, part.keys.count, sweep_object, &part, err);
    }
    *counter += part.our_count;
    fx_key_list_free(&part.keys);
    (void)pthread_mutex_destroy(&part.lock);
    return code;
}

/* What names others goes before them: snapshots, then vouchers and index objects, then packs. */
static fx_code
sweep_scope(sweeping *work, fx_err *err)
{
    char vouchers[FX_VOUCHER_PREFIX_BYTES];
    fx_sweep_report *report = work->report;
    fx_voucher_prefix(&work->scope->id, vouchers);
    if (forget_snapshots(work, err) != FX_OK ||
        sweep_prefix(work, "arriving/", true, &report->other_count, err) != FX_OK ||
        sweep_prefix(work, vouchers, false, &report->other_count, err) != FX_OK ||
        sweep_prefix(work, "indexes/", true, &report->other_count, err) != FX_OK ||
        sweep_prefix(work, "streams/", true, &report->other_count, err) != FX_OK ||
        sweep_prefix(work, "packs/", true, &report->pack_count, err) != FX_OK) {
        return fx_err_wrap(err, "removing what is left of scope \"%s\"", work->scope->label.text);
    }
    return FX_OK;
}

fx_code
fx_repository_sweep_erased(
    const char *url,
    const fx_keyring *keyring,
    const fx_sweep_options *options,
    fx_sweep_report *out_report,
    fx_err *err)
{
    FX_AUTO(fx_repository) repository = NULL;
    fx_sweep_report report = {0};
    if (fx_repository_open(url, NULL, &repository, err) != FX_OK) {
        return err->code;
    }
    repository->progress = options->progress;
    repository->progress_ctx = options->ctx;
    fx_code code = FX_OK;
    for (size_t i = 0; code == FX_OK && i < keyring->scope_count; i++) {
        const fx_keyring_scope *scope = &keyring->scopes[i];
        sweeping work = {repository, scope, options, &report};
        bool is_proven = false;
        if (scope->state != FX_SCOPE_ERASED) {
            continue;
        }
        code = fx_erasure_is_proven(repository->store, scope, &is_proven, err);
        if (code == FX_OK && is_proven) {
            report.scope_count++;
            code = sweep_scope(&work, err);
        }
    }
    *out_report = report;
    if (code == FX_OK && report.scope_count == 0) {
        return fx_fail(
            err,
            FX_ERR_NOT_FOUND,
            "could not remove what is left of erased scopes: key file and repository tell of none "
            "that both say was erased");
    }
    return code;
}
