#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/base/file.h"
#include "common/base/hex.h"
#include "common/repository/verification.h"

void
fx_verification_found(fx_verification *v, const char *fmt, ...)
{
    char text[FX_ERR_MESSAGE_MAX_BYTES];
    va_list args;
    va_start(args, fmt);
    /* NOLINTNEXTLINE(clang-analyzer-valist.Uninitialized): va_start is above */
    (void)vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    v->report.damage_count++;
    if (v->first.code == FX_OK) {
        fx_ignore(fx_fail(&v->first, FX_ERR_DAMAGED, "%s", text), "kept for the end");
    }
    if (v->options->finding != NULL) {
        v->options->finding(v->options->ctx, text);
    }
}

bool
fx_verification_is_cancelled(const fx_verification *v)
{
    return v->options->cancel != NULL && atomic_load(v->options->cancel);
}

fx_code
fx_verification_check_cancelled(const fx_verification *v, fx_err *err)
{
    return fx_verification_is_cancelled(v)
               ? fx_fail(
                     err,
                     FX_ERR_CANCELLED,
                     "could not finish: it was cancelled; what was read is remembered")
               : FX_OK;
}

static fx_code
verify_all(fx_verification *v, fx_err *err)
{
    (void)pthread_mutex_lock(&v->repository->lock);
    fx_code code = fx_repository_load_indexes(v->repository, err);
    if (code == FX_OK && v->repository->bad_count > 0) {
        code = fx_repository_rescue_packs(v->repository, err);
    }
    if (code == FX_OK) {
        fx_verification_packs(v);
    }
    (void)pthread_mutex_unlock(&v->repository->lock);
    if (code != FX_OK || fx_verification_objects(v, err) != FX_OK) {
        return err->code;
    }
    return fx_verification_judge_missing(v, err);
}

/* ---- what is said to writers
 * -------------------------------------------------------------------------------- */

static bool
has_news(const fx_verification *v)
{
    const fx_index *index = v->repository->index;
    for (size_t i = 0; v->opened.count > 0 && i < fx_index_pack_count(index); i++) {
        fx_index_pack pack = fx_index_pack_at(index, (uint32_t)i);
        fx_chunk_id record;
        memcpy(record.bytes, pack.record, FX_ID_BYTES);
        if (pack.is_trusted == 0 && pack.is_rescued == 0 && fx_id_set_has(&v->opened, &record)) {
            return true;
        }
    }
    return false;
}

/* Packs of hosts that only write: from now on others may count on them. It is not what was asked
 * for: a store that cannot be written to is verified all the same. */
static void
vouch(fx_verification *v)
{
    fx_repository *repository = v->repository;
    FX_AUTO(fx_writer) writer = NULL;
    fx_err *err = &v->report.vouch_failure;
    if (repository->has_write_scope && fx_repository_key_can_read(repository->key) && has_news(v) &&
        (fx_writer_open(repository, &writer, err) != FX_OK ||
         fx_writer_vouch(writer, &v->opened, &v->report.vouched_pack_count, err) != FX_OK)) {
        fx_ignore(fx_err_wrap(err, "vouching for what was read"), "it is in the report");
    }
}

/* ---- what is remembered
 * --------------------------------------------------------------------------------- */

static fx_code
load_state(fx_verification *v, fx_err *err)
{
    const fx_verify_options *options = v->options;
    if (options->state_folder == NULL && options->share_ppm > 0) {
        return fx_fail(
            err,
            FX_ERR_INVALID,
            "could not choose what to read: no folder remembers what was read");
    }
    if (options->part_count > 0 && (options->part == 0 || options->part > options->part_count)) {
        return fx_fail(err, FX_ERR_INVALID, "could not choose what to read: there is no such part");
    }
    if (options->state_folder != NULL) {
        char hex[2 * FX_REPOSITORY_ID_BYTES + 1];
        char *folder = NULL;
        fx_hex_encode((fx_bytes){v->repository->id, sizeof v->repository->id}, hex);
        int length = asprintf(&folder, "%s/%s", options->state_folder, hex);
        FX_ASSERT(length >= 0 && folder != NULL);
        fx_code code = fx_file_make_folder(folder, 0700, err);
        length = asprintf(&v->state_path, "%s/verified", folder);
        FX_ASSERT(length >= 0 && v->state_path != NULL);
        free(folder);
        if (code != FX_OK) {
            return code;
        }
    }
    v->verified = fx_verified_load(v->state_path == NULL ? "" : v->state_path);
    return FX_OK;
}

static fx_code
save_state(const fx_verification *v, fx_err *err)
{
    if (v->state_path == NULL || !v->options->read_data) {
        return FX_OK;
    }
    return fx_verified_save(v->verified, v->state_path, err);
}

/* What is found counts more than a failure to remember it. */
static fx_code
verify_and_remember(fx_verification *v, fx_err *err)
{
    fx_err later = {0};
    if (load_state(v, err) != FX_OK) {
        return err->code;
    }
    v->repository->is_writing = true; /* what writers count on is asked for at the end */
    fx_code code = verify_all(v, err);
    vouch(v);
    if (save_state(v, &later) != FX_OK && code == FX_OK) {
        *err = later;
        code = later.code;
    }
    return code;
}

fx_code
fx_repository_verify_with(
    fx_repository *repository,
    const fx_verify_options *options,
    fx_verify_report *out_report,
    fx_err *err)
{
    if (fx_repository_need_read(repository, err) != FX_OK) {
        return err->code;
    }
    fx_verification v = {.repository = repository, .options = options};
    v.seen_trees = calloc(repository->key->scope_count + 1, sizeof *v.seen_trees);
    FX_ASSERT(v.seen_trees != NULL);
    int result = pthread_mutex_init(&v.lock, NULL);
    FX_ASSERT(result == 0);
    repository->progress = options->progress;
    repository->progress_ctx = options->ctx;
    fx_code code = verify_and_remember(&v, err);
    repository->progress = NULL;
    (void)pthread_mutex_destroy(&v.lock);
    while (v.checkers != NULL) {
        fx_pack_checker *checker = v.checkers;
        v.checkers = checker->next;
        fx_pack_checker_free(checker);
    }
    fx_verified_free(v.verified);
    free(v.state_path);
    free(v.packs);
    for (size_t i = 0; i < repository->key->scope_count; i++) {
        fx_id_set_free(&v.seen_trees[i]);
    }
    free(v.seen_trees);
    fx_id_set_free(&v.opened);
    fx_id_set_free(&v.missing);
    fx_id_set_free(&v.needed);
    fx_id_set_free(&v.wanted);
    *out_report = v.report;
    if (v.first.code != FX_OK) {
        *err = v.first;
        return v.first.code;
    }
    if (code != FX_OK) {
        return fx_err_wrap(err, "verifying the repository");
    }
    return FX_OK;
}

fx_code
fx_repository_verify(
    fx_repository *repository,
    bool read_data,
    fx_verify_finding finding,
    void *ctx,
    fx_verify_report *out_report,
    fx_err *err)
{
    const fx_verify_options options = {.read_data = read_data, .finding = finding, .ctx = ctx};
    return fx_repository_verify_with(repository, &options, out_report, err);
}
