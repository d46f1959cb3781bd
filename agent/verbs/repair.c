/* fortress-agent repair, fortress-agent repair index */
#include "common/repository/repair.h"
#include "agent/verbs/exit_code.h"
#include "agent/verbs/options.h"
#include "agent/verbs/report.h"
#include "agent/verbs/session.h"
#include "agent/verbs/verb.h"

static const fx_usage repair_usage = {
    .text =
        "Usage: fortress-agent repair --repo URL [--from URL…] [--dry-run] [OPTION…]\n"
        "Reads every object of a repository and replaces what is damaged by a good one of another\n"
        "tier. With the key also what is missing; and it names the snapshots that need what "
        "cannot\n"
        "be healed (exit status 4).\n"
        "\n"
        "  --from URL           another tier; once for each, asked in this order\n"
        "  --dry-run            change nothing\n"
        "  --jobs N             objects at a time (default 4, at most 64)\n"
        "  --repo URL           or FORTRESS_REPO\n"
        "  --key-file FILE      the repository's key; or FORTRESS_KEY_FILE\n"
        "  --json               events as JSON, one a line\n"
        "  --no-progress        do not show how far it has come\n",
    .accepts = "from jobs dry-run no-progress ",
};

static const fx_usage index_usage = {
    .text = "Usage: fortress-agent repair index --repo URL [--dry-run] [OPTION…]\n"
            "Makes index objects anew of packs that no readable one names, and removes those that\n"
            "cannot be read. Backups may run meanwhile.\n"
            "\n"
            "  --dry-run            change nothing\n"
            "  --repo URL           or FORTRESS_REPO\n"
            "  --key-file FILE      the repository's key; or FORTRESS_KEY_FILE\n"
            "  --json               events as JSON, one a line\n"
            "  --no-progress        do not show how far it has come\n",
    .accepts = "dry-run no-progress ",
};

static void
on_healed(void *ctx, const char *text)
{
    fx_report_tell(ctx, "healed", text);
}

static fx_code
repair(const fx_options *options, fx_report *report, fx_repair_report *out, fx_err *err)
{
    FX_AUTO(fx_repository_key) key = NULL;
    if (options->key_file != NULL && fx_session_load_key(options, &key, err) != FX_OK) {
        return err->code;
    }
    if (options->jobs > FX_COPY_JOBS_MAX) {
        return fx_fail(
            err,
            FX_ERR_INVALID,
            "could not use %u jobs: at most %d",
            options->jobs,
            FX_COPY_JOBS_MAX);
    }
    const fx_repair_options repairing = {
        .key = key,
        .job_count = options->jobs,
        .dry_run = options->dry_run,
        .finding = fx_report_damage,
        .healed = on_healed,
        .progress = report->events.progress,
        .ctx = report,
        .cancel = report->events.cancel,
    };
    return fx_repository_repair(
        options->repo, options->tiers, options->tier_count, &repairing, out, err);
}

static void
print_result(const fx_options *options, const fx_repair_report *result)
{
    char size[FX_SIZE_TEXT_BYTES];
    fx_size_format(result->checked_bytes, size);
    (void)printf(
        "%llu objects read, %s; %llu damaged or missing, %llu of them %s\n",
        (unsigned long long)result->checked_count,
        size,
        (unsigned long long)result->damaged_count,
        (unsigned long long)result->healed_count,
        options->dry_run ? "can be healed" : "healed");
    if (options->key_file == NULL) {
        (void)puts("Without the key nobody can tell what is missing, nor whether WAL and other "
                   "streams are whole inside: name it with --key-file.");
    }
}

int
fx_verb_repair(int argc, char **argv)
{
    fx_options options;
    fx_report report;
    fx_repair_report result = {0};
    fx_err err = {0};
    int status = 0;
    if (!fx_options_read(argc, argv, &repair_usage, &options, &status)) {
        return status;
    }
    fx_report_init(&report, options.is_json);
    fx_report_show_progress(&report, &options);
    fx_json *summary = fx_json_object();
    fx_code code = repair(&options, &report, &result, &err);
    fx_report_end_progress(&report);
    fx_json_set_int(summary, "checked_count", (int64_t)result.checked_count);
    fx_json_set_int(summary, "checked_bytes", (int64_t)result.checked_bytes);
    fx_json_set_int(summary, "damaged_count", (int64_t)result.damaged_count);
    fx_json_set_int(summary, "healed_count", (int64_t)result.healed_count);
    fx_json_set_int(summary, "affected_snapshot_count", (int64_t)result.affected_snapshot_count);
    fx_json_set_bool(summary, "has_key", options.key_file != NULL);
    if ((code == FX_OK || code == FX_ERR_DAMAGED) && !options.is_json) {
        print_result(&options, &result);
    }
    return fx_report_end(&report, &err, summary);
}

static fx_code
repair_index(const fx_options *options, fx_report *report, fx_reindex_report *out, fx_err *err)
{
    FX_AUTO(fx_repository_key) key = NULL;
    if (fx_session_load_key(options, &key, err) != FX_OK) {
        return err->code;
    }
    const fx_reindex_options reindexing = {
        .key = key,
        .dry_run = options->dry_run,
        .progress = report->events.progress,
        .ctx = report,
    };
    return fx_repository_reindex(options->repo, &reindexing, out, err);
}

int
fx_verb_repair_index(int argc, char **argv)
{
    fx_options options;
    fx_report report;
    fx_reindex_report result = {0};
    fx_err err = {0};
    int status = 0;
    if (!fx_options_read(argc, argv, &index_usage, &options, &status)) {
        return status;
    }
    fx_report_init(&report, options.is_json);
    fx_report_show_progress(&report, &options);
    fx_json *summary = fx_json_object();
    fx_code code = repair_index(&options, &report, &result, &err);
    fx_report_end_progress(&report);
    fx_json_set_int(summary, "pack_count", (int64_t)result.pack_count);
    fx_json_set_int(summary, "chunk_count", (int64_t)result.chunk_count);
    fx_json_set_int(summary, "index_count", (int64_t)result.index_count);
    fx_json_set_int(summary, "removed_count", (int64_t)result.removed_count);
    fx_json_set_int(summary, "kept_count", (int64_t)result.kept_count);
    if (code == FX_OK && result.kept_count > 0) {
        report.events.warning(
            report.events.ctx,
            options.repo,
            "index objects that cannot be read are kept: they may be of a scope whose key is not "
            "here, or of a newer version");
    }
    if (code == FX_OK && !options.is_json) {
        (void)printf(
            "%llu packs with %llu chunks had no index%s; %llu unreadable index objects %s\n",
            (unsigned long long)result.pack_count,
            (unsigned long long)result.chunk_count,
            options.dry_run ? "" : " and have one now",
            (unsigned long long)result.removed_count,
            options.dry_run ? "would be removed" : "removed");
    }
    return fx_report_end(&report, &err, summary);
}
