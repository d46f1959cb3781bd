/* fortress-agent collect */
#include "common/repository/collect.h"
#include "agent/verbs/options.h"
#include "agent/verbs/report.h"
#include "agent/verbs/session.h"
#include "agent/verbs/verb.h"
#include "common/repository/sweep.h"

#include <errno.h>

static const fx_usage usage = {
    .text =
        "Usage: fortress-agent collect [--dry-run] [--wait TIME] [OPTION…]\n"
        "Removes packs that no snapshot needs, and writes anew those of which little is needed.\n"
        "Backups may run meanwhile. With --erased, removes instead what is left of scopes that "
        "were\n"
        "erased: nobody with this key file can open it. Other copies of the key file can, until "
        "then.\n"
        "\n"
        "  --dry-run            say what would go\n"
        "  --out FILE           with it: write its keys, for a ticket of a depot\n"
        "  --live-percent N     write packs anew of which fewer chunks are needed (default 50)\n"
        "  --compression N      level of zstd for those that are compressed (default 1)\n"
        "  --wait TIME          for backups that are at work (default 0s): 90s, 10m, 2h\n"
        "  --revoke             then take their right to commit: such a backup fails\n"
        "  --take-over          from another collector that is known to be gone\n"
        "  --erased             of scopes that were erased, all but the proof of it\n"
        "  --repo URL           or FORTRESS_REPO\n"
        "  --key-file FILE      the repository's key; or FORTRESS_KEY_FILE\n"
        "  --json               events as JSON, one a line\n"
        "  --no-progress        do not show how far it has come\n",
    .accepts = "dry-run out live-percent compression wait revoke take-over erased no-progress ",
};

enum { LIVE_PERCENT = 50 };

static void
on_removal(void *ctx, const char *store_key)
{
    (void)fprintf(ctx, "%s\n", store_key);
}

/* The list of a dry run: whole, or not there. */
static fx_code
open_list(const fx_options *options, FILE **out_list, fx_err *err)
{
    if (options->out == NULL) {
        return FX_OK;
    }
    if (!options->dry_run || options->erased) {
        return fx_fail(
            err, FX_ERR_INVALID, "could not write a list: --out belongs to collect --dry-run");
    }
    FILE *list = fopen(options->out, "wex");
    if (list == NULL) {
        return fx_fail_errno(err, errno, "could not make the list \"%.200s\"", options->out);
    }
    *out_list = list;
    return FX_OK;
}

static fx_code
close_list(const fx_options *options, FILE *list, fx_code code, fx_err *err)
{
    if (list == NULL) {
        return code;
    }
    bool is_whole = ferror(list) == 0;
    int failure = fclose(list) == 0 ? EIO : errno;
    is_whole = is_whole && failure == EIO;
    if (code != FX_OK || !is_whole) {
        (void)remove(options->out);
    }
    return code != FX_OK || is_whole
               ? code
               : fx_fail_errno(err, failure, "could not write the list \"%.200s\"", options->out);
}

static fx_code
collect(const fx_options *options, fx_report *report, fx_collect_report *out_result, fx_err *err)
{
    FX_AUTO(fx_repository_key) key = NULL;
    FILE *list = NULL;
    fx_collect_options collecting = {
        .live_percent = options->live_percent == 0 ? LIVE_PERCENT : options->live_percent,
        .compression = options->compression,
        .wait = options->wait,
        .revoke = options->revoke,
        .take_over = options->take_over,
        .dry_run = options->dry_run,
        .progress = report->events.progress,
        .ctx = report,
    };
    if (options->compression == FX_ZIP_NONE) {
        return fx_fail(
            err,
            FX_ERR_INVALID,
            "could not collect with --compression none: what is stored uncompressed stays so, the "
            "rest needs a level");
    }
    if (fx_session_load_key(options, &key, err) != FX_OK) {
        return err->code;
    }
    if (open_list(options, &list, err) != FX_OK) {
        return err->code;
    }
    collecting.removal = list == NULL ? NULL : on_removal;
    collecting.removal_ctx = list;
    fx_code code = fx_repository_collect(options->repo, key, &collecting, out_result, err);
    return close_list(options, list, code, err);
}

static void
print_result(const fx_options *options, const fx_collect_report *result)
{
    char removed[FX_SIZE_TEXT_BYTES];
    fx_size_format(result->removed_bytes, removed);
    (void)printf(
        "%llu of %llu packs %s, %s; of %llu chunks %llu are needed",
        (unsigned long long)result->removed_pack_count,
        (unsigned long long)result->pack_count,
        options->dry_run ? "would go" : "removed",
        removed,
        (unsigned long long)result->chunk_count,
        (unsigned long long)result->live_chunk_count);
    if (result->rewritten_chunk_count > 0) {
        (void)printf(", %llu were written anew", (unsigned long long)result->rewritten_chunk_count);
    }
    if (result->revoked_count > 0) {
        (void)printf(
            "; %llu backups lost their right to commit", (unsigned long long)result->revoked_count);
    }
    if (result->spared_pack_count > 0) {
        (void)printf(
            "; %llu more stay: no ticket names them",
            (unsigned long long)result->spared_pack_count);
    }
    (void)putchar('\n');
}

static fx_code
sweep(const fx_options *options, fx_report *report, fx_sweep_report *out_result, fx_err *err)
{
    FX_AUTO(fx_keyring) keyring = NULL;
    const fx_sweep_options sweeping = {
        .dry_run = options->dry_run, .progress = report->events.progress, .ctx = report};
    if (options->key_file == NULL) {
        return fx_fail(
            err, FX_ERR_INVALID, "could not tell what was erased: name the key file (--key-file)");
    }
    if (fx_keyring_load(options->key_file, &keyring, err) != FX_OK) {
        return err->code;
    }
    return fx_repository_sweep_erased(options->repo, keyring, &sweeping, out_result, err);
}

static int
run_sweep(const fx_options *options, fx_report *report)
{
    fx_err err = {0};
    fx_sweep_report result = {0};
    fx_json *summary = fx_json_object();
    fx_code code = sweep(options, report, &result, &err);
    fx_report_end_progress(report);
    fx_json_set_int(summary, "scope_count", (int64_t)result.scope_count);
    fx_json_set_int(summary, "removed_snapshot_count", (int64_t)result.snapshot_count);
    fx_json_set_int(summary, "removed_pack_count", (int64_t)result.pack_count);
    fx_json_set_int(summary, "removed_other_count", (int64_t)result.other_count);
    fx_json_set_int(summary, "removed_bytes", (int64_t)result.removed_bytes);
    if (code == FX_OK && !options->is_json) {
        char removed[FX_SIZE_TEXT_BYTES];
        fx_size_format(result.removed_bytes, removed);
        (void)printf(
            "Of %llu erased scopes, %llu snapshots, %llu packs and %llu other objects %s, %s\n",
            (unsigned long long)result.scope_count,
            (unsigned long long)result.snapshot_count,
            (unsigned long long)result.pack_count,
            (unsigned long long)result.other_count,
            options->dry_run ? "would go" : "removed",
            removed);
    }
    return fx_report_end(report, &err, summary);
}

int
fx_verb_collect(int argc, char **argv)
{
    fx_options options;
    fx_report report;
    fx_collect_report result = {0};
    fx_err err = {0};
    int status = 0;
    if (!fx_options_read(argc, argv, &usage, &options, &status)) {
        return status;
    }
    fx_report_init(&report, options.is_json);
    fx_report_show_progress(&report, &options);
    if (options.erased && options.out == NULL) {
        return run_sweep(&options, &report);
    }
    fx_json *summary = fx_json_object();
    fx_code code = collect(&options, &report, &result, &err);
    fx_report_end_progress(&report);
    fx_json_set_int(summary, "pack_count", (int64_t)result.pack_count);
    fx_json_set_int(summary, "chunk_count", (int64_t)result.chunk_count);
    fx_json_set_int(summary, "live_chunk_count", (int64_t)result.live_chunk_count);
    fx_json_set_int(summary, "removed_pack_count", (int64_t)result.removed_pack_count);
    fx_json_set_int(summary, "removed_bytes", (int64_t)result.removed_bytes);
    fx_json_set_int(summary, "rewritten_chunk_count", (int64_t)result.rewritten_chunk_count);
    fx_json_set_int(summary, "spared_pack_count", (int64_t)result.spared_pack_count);
    fx_json_set_int(summary, "revoked_count", (int64_t)result.revoked_count);
    if (code == FX_OK && !options.is_json) {
        print_result(&options, &result);
    }
    return fx_report_end(&report, &err, summary);
}
