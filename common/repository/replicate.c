#include "common/repository/replicate.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/repository/replication.h"

void
fx_replication_find(const fx_replication *work, const char *text)
{
    fx_copier_find(work->copier, text);
}

static fx_code
explain_held(fx_replication *work, fx_err *err)
{
    char text[320];
    work->report->held_snapshot_count = work->candidate_count;
    if (work->is_blocked) {
        return fx_fail(
            err,
            FX_ERR_BUSY,
            "could not copy %zu snapshots: packs that they may need are marked by a collector at "
            "the target; run it again when that is done (if none is at work, run collect there)",
            work->candidate_count);
    }
    (void)snprintf(
        text,
        sizeof text,
        "%zu snapshots are not copied: packs that they may need could not be; repair the source, "
        "then run it again",
        work->candidate_count);
    fx_replication_find(work, text);
    return FX_OK;
}

static fx_code
copy_snapshots(fx_replication *work, fx_err *err)
{
    if (fx_replication_find_candidates(work, err) != FX_OK || work->candidate_count == 0) {
        return err->code;
    }
    if (!work->options->dry_run && fx_replication_announce(work, err) != FX_OK) {
        return err->code;
    }
    if (fx_replication_copy_packs(work, err) != FX_OK ||
        fx_replication_confirm_candidates(work, err) != FX_OK ||
        fx_replication_copy_settlements(work, err) != FX_OK) {
        return err->code;
    }
    if (work->is_held && work->candidate_count > 0) {
        return explain_held(work, err);
    }
    bool is_dry = work->options->dry_run;
    if ((!is_dry && fx_replication_check_lease(work, err) != FX_OK) ||
        fx_replication_copy_indexes(work, err) != FX_OK ||
        (!is_dry && fx_replication_check_lease(work, err) != FX_OK) ||
        fx_replication_copy_prefix(work, "verified/", err) != FX_OK ||
        (!is_dry && fx_replication_check_lease(work, err) != FX_OK)) {
        return err->code;
    }
    return fx_replication_put_snapshots(work, err);
}

static fx_code
replicate(fx_replication *work, fx_err *err)
{
    if (fx_replication_copy_identity(work, err) != FX_OK ||
        fx_replication_copy_prefix(work, "gaps/", err) != FX_OK ||
        fx_replication_copy_streams(work, err) != FX_OK) {
        return err->code;
    }
    fx_code code = copy_snapshots(work, err);
    const fx_err none = {0};
    fx_replication_end_lease(work, code == FX_OK ? &none : err);
    if (code == FX_OK && work->copied.damaged_count > 0) {
        code = fx_fail(
            err,
            FX_ERR_DAMAGED,
            "could not copy %" PRIu64 " objects: they are damaged; all else was copied",
            work->copied.damaged_count);
    }
    return code;
}

static fx_code
open_both(
    const char *from_url,
    const char *to_url,
    bool makes_target,
    fx_store **out_from,
    fx_store **out_to,
    fx_err *err)
{
    if (fx_store_open(from_url, out_from, err) != FX_OK ||
        fx_store_open(to_url, out_to, err) != FX_OK) {
        return err->code;
    }
    return makes_target ? fx_store_prepare(*out_to, err) : FX_OK;
}

fx_code
fx_repository_replicate(
    const char *from_url,
    const char *to_url,
    const fx_replicate_options *options,
    fx_replicate_report *out_report,
    fx_err *err)
{
    FX_AUTO(fx_store) from = NULL;
    FX_AUTO(fx_store) to = NULL;
    FX_AUTO(fx_copier) copier = NULL;
    *out_report = (fx_replicate_report){0};
    if (open_both(from_url, to_url, !options->dry_run, &from, &to, err) != FX_OK) {
        return err->code;
    }
    const fx_copy_options copying = {
        .from = from,
        .to = to,
        .key = options->key,
        .job_count = options->job_count,
        .limit_bytes_s = options->limit_bytes_s,
        .finding = options->finding,
        .progress = options->progress,
        .ctx = options->ctx,
        .cancel = options->cancel,
    };
    copier = fx_copier_new(&copying);
    fx_replication work = {
        .options = options, .report = out_report, .from = from, .to = to, .copier = copier};
    fx_code code = replicate(&work, err);
    out_report->copied_count = work.copied.copied_count;
    out_report->copied_bytes = work.copied.copied_bytes;
    out_report->damaged_count = work.copied.damaged_count;
    while (work.candidate_count > 0) {
        fx_replication_drop_candidate(&work, work.candidate_count - 1);
    }
    free(work.candidates);
    fx_stored_list_free(&work.packs);
    fx_stored_list_free(&work.indexes);
    return code;
}
