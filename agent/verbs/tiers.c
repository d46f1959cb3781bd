/* fortress-agent replicate, fortress-agent tiers status */
#include "agent/verbs/exit_code.h"
#include "agent/verbs/options.h"
#include "agent/verbs/report.h"
#include "agent/verbs/session.h"
#include "agent/verbs/verb.h"
#include "common/repository/replicate.h"

static const fx_usage replicate_usage = {
    .text =
        "Usage: fortress-agent replicate --repo FROM --to URL [OPTION…]\n"
        "Copies what a tier lacks, snapshots last; makes the tier where it is not there yet.\n"
        "Needs no key. Run again, it goes on where it was. What was forgotten in the tier stays\n"
        "forgotten there.\n"
        "\n"
        "  --to URL             the tier\n"
        "  --bandwidth BYTES    a second, at most: 500000, 800K, 8M, 1G\n"
        "  --jobs N             objects at a time (default 4, at most 64)\n"
        "  --dry-run            say what would be copied\n"
        "  --repo URL           the source; or FORTRESS_REPO\n"
        "  --key-file FILE      if given, WAL and other streams are checked whole, too\n"
        "  --json               events as JSON, one a line\n"
        "  --no-progress        do not show how far it has come\n",
    .accepts = "to bandwidth jobs dry-run no-progress ",
};

static const fx_usage status_usage = {
    .text = "Usage: fortress-agent tiers status --repo FROM --to URL… [OPTION…]\n"
            "Says how far each tier is behind a repository. Needs no key.\n"
            "\n"
            "  --to URL             a tier; once for each\n"
            "  --repo URL           the source; or FORTRESS_REPO\n"
            "  --json               events as JSON, one a line\n",
    .accepts = "to ",
};

static fx_code
replicate(const fx_options *options, fx_report *report, fx_replicate_report *out, fx_err *err)
{
    FX_AUTO(fx_repository_key) key = NULL;
    if (options->key_file != NULL && fx_session_load_key(options, &key, err) != FX_OK) {
        return err->code;
    }
    const fx_replicate_options replicating = {
        .key = key,
        .job_count = options->jobs,
        .limit_bytes_s = options->bandwidth_bytes_s,
        .dry_run = options->dry_run,
        .finding = fx_report_damage,
        .progress = report->events.progress,
        .ctx = report,
        .cancel = report->events.cancel,
    };
    return fx_repository_replicate(options->repo, options->tiers[0], &replicating, out, err);
}

/* 0, or the exit status of wrong usage. */
static int
check_tiers(const char *verb, const fx_options *options, unsigned most)
{
    if (options->tier_count >= 1 && options->tier_count <= most &&
        options->jobs <= FX_COPY_JOBS_MAX) {
        return 0;
    }
    (void)fprintf(
        stderr,
        "fortress-agent: %s; see fortress-agent %s --help\n",
        options->jobs > FX_COPY_JOBS_MAX ? "--jobs takes at most 64"
        : most == 1                      ? "name one tier with --to"
                                         : "name the tiers with --to",
        verb);
    return FX_EXIT_USAGE;
}

int
fx_verb_replicate(int argc, char **argv)
{
    fx_options options;
    fx_report report;
    fx_replicate_report result = {0};
    fx_err err = {0};
    int status = 0;
    if (!fx_options_read(argc, argv, &replicate_usage, &options, &status)) {
        return status;
    }
    status = check_tiers(argv[0], &options, 1);
    if (status != 0) {
        return status;
    }
    fx_report_init(&report, options.is_json);
    fx_report_show_progress(&report, &options);
    fx_json *summary = fx_json_object();
    fx_code code = replicate(&options, &report, &result, &err);
    fx_report_end_progress(&report);
    fx_json_set_int(summary, "copied_count", (int64_t)result.copied_count);
    fx_json_set_int(summary, "copied_bytes", (int64_t)result.copied_bytes);
    fx_json_set_int(summary, "snapshot_count", (int64_t)result.snapshot_count);
    fx_json_set_int(summary, "held_snapshot_count", (int64_t)result.held_snapshot_count);
    fx_json_set_int(summary, "damaged_count", (int64_t)result.damaged_count);
    if ((code == FX_OK || code == FX_ERR_DAMAGED) && !options.is_json) {
        char size[FX_SIZE_TEXT_BYTES];
        fx_size_format(result.copied_bytes, size);
        (void)printf(
            "%llu objects %s, %s; %llu of them snapshots\n",
            (unsigned long long)result.copied_count,
            options.dry_run ? "would be copied" : "copied",
            size,
            (unsigned long long)result.snapshot_count);
    }
    return fx_report_end(&report, &err, summary);
}

/* ---- status
 * ----------------------------------------------------------------------------------------- */

/* Seconds since then; 0 for what claims to be of the future. */
static int64_t
age_s(fx_wall then)
{
    int64_t age_ns = fx_clock_wall().ns - then.ns;
    return then.ns == 0 || age_ns < 0 ? 0 : age_ns / 1000000000;
}

static void
tell_status(fx_report *report, const char *url, const fx_tier_status *tier)
{
    char size[FX_SIZE_TEXT_BYTES];
    char newest[FX_WALL_TEXT_BYTES] = "-";
    if (tier->newest.ns != 0) {
        fx_wall_format(tier->newest, newest);
    }
    if (report->is_json) {
        fx_json *event = fx_json_object();
        fx_json_set_text(event, "tier", url);
        fx_json_set_bool(event, "is_there", tier->is_there);
        fx_json_set_int(event, "snapshot_count", (int64_t)tier->snapshot_count);
        fx_json_set_int(event, "behind_snapshot_count", (int64_t)tier->missing_snapshot_count);
        fx_json_set_int(event, "behind_count", (int64_t)tier->missing_count);
        fx_json_set_int(event, "behind_bytes", (int64_t)tier->missing_bytes);
        fx_json_set_int(event, "behind_s", age_s(tier->oldest_missing));
        if (tier->newest.ns != 0) {
            fx_json_set_text(event, "newest", newest);
        }
        fx_report_event(report, "tier", event);
        return;
    }
    fx_size_format(tier->missing_bytes, size);
    (void)printf(
        "%9llu  %9llu  %8llu  %10s  %9lld  %-20.19s  ",
        (unsigned long long)tier->snapshot_count,
        (unsigned long long)tier->missing_snapshot_count,
        (unsigned long long)tier->missing_count,
        size,
        (long long)age_s(tier->oldest_missing),
        newest);
    fx_print_safe(stdout, url);
    (void)fputs(tier->is_there ? "\n" : "  (not there yet)\n", stdout);
}

int
fx_verb_tiers_status(int argc, char **argv)
{
    fx_options options;
    fx_report report;
    fx_err err = {0};
    int status = 0;
    if (!fx_options_read(argc, argv, &status_usage, &options, &status)) {
        return status;
    }
    status = check_tiers(argv[0], &options, FX_OPTIONS_TIERS_MAX);
    if (status != 0) {
        return status;
    }
    fx_report_init(&report, options.is_json);
    if (!options.is_json) {
        (void)puts(
            "                 behind by\n"
            "snapshots  snapshots   objects       bytes    seconds  newest               tier");
    }
    fx_code code = FX_OK;
    for (unsigned i = 0; code == FX_OK && i < options.tier_count; i++) {
        fx_tier_status tier;
        code = fx_repository_tier_status(options.repo, options.tiers[i], &tier, &err);
        if (code == FX_OK) {
            tell_status(&report, options.tiers[i], &tier);
        }
    }
    return fx_report_end(&report, &err, fx_json_object());
}
