/* fortress-agent verify */
#include "agent/verbs/options.h"
#include "agent/verbs/report.h"
#include "agent/verbs/session.h"
#include "agent/verbs/verb.h"

#include <limits.h>

static const fx_usage usage = {
    .text = "Usage: fortress-agent verify [--read-data[=N/M|=SHARE%]] [OPTION…]\n"
            "Checks that a repository is complete; lists all damage (exit status 4).\n"
            "\n"
            "  --read-data      also read, decrypt and compare every stored byte; or of it\n"
            "    =N/M           only part N of M: after the parts 1 to M all was read\n"
            "    =SHARE%        only this share, what was not read for the longest: "
            "FORTRESS_CACHE_DIR\n"
            "                   or the user's cache remembers that\n"
            "  --repo URL       a path or posix:PATH; or FORTRESS_REPO\n"
            "  --key-file FILE  the repository's key; or FORTRESS_KEY_FILE\n"
            "  --json           events as JSON, one a line\n"
            "  --no-progress    do not show how far it has come\n",
    .accepts = "read-data no-progress ",
};

static fx_code
verify(const fx_options *options, fx_report *report, fx_verify_report *out_result, fx_err *err)
{
    fx_session session;
    if (fx_session_open(options, &session, err) != FX_OK) {
        return err->code;
    }
    char cache[PATH_MAX];
    const fx_verify_options verifying = {
        .read_data = options->read_data,
        .part = options->read_part,
        .part_count = options->read_part_count,
        .share_ppm = options->read_share_ppm,
        .state_folder = fx_session_cache_folder(cache, sizeof cache) ? cache : NULL,
        .finding = fx_report_damage,
        .progress = report->events.progress,
        .ctx = report,
        .cancel = report->events.cancel,
    };
    fx_code code = fx_repository_verify_with(session.repository, &verifying, out_result, err);
    fx_session_close(&session);
    return code;
}

int
fx_verb_verify(int argc, char **argv)
{
    fx_options options;
    fx_report report;
    fx_verify_report result = {0};
    fx_err err = {0};
    int status = 0;
    if (!fx_options_read(argc, argv, &usage, &options, &status)) {
        return status;
    }
    fx_report_init(&report, options.is_json);
    fx_report_show_progress(&report, &options);
    fx_json *summary = fx_json_object();
    fx_code code = verify(&options, &report, &result, &err);
    fx_report_end_progress(&report);
    fx_json_set_int(summary, "snapshot_count", (int64_t)result.snapshot_count);
    fx_json_set_int(summary, "pack_count", (int64_t)result.pack_count);
    fx_json_set_int(summary, "chunk_count", (int64_t)result.chunk_count);
    fx_json_set_int(summary, "named_count", (int64_t)result.named_count);
    fx_json_set_int(summary, "locked_count", (int64_t)result.locked_count);
    fx_json_set_int(summary, "read_pack_count", (int64_t)result.read_pack_count);
    fx_json_set_int(summary, "read_bytes", (int64_t)result.read_bytes);
    fx_json_set_int(summary, "vouched_pack_count", (int64_t)result.vouched_pack_count);
    fx_json_set_int(summary, "remnant_count", (int64_t)result.remnant_count);
    fx_json_set_int(summary, "damage_count", (int64_t)result.damage_count);
    if (result.vouch_failure.code != FX_OK) {
        report.events.warning(report.events.ctx, options.repo, result.vouch_failure.message);
    }
    if (code == FX_OK && result.remnant_count > 0) {
        char reason[192];
        (void)snprintf(
            reason,
            sizeof reason,
            "%llu packs that an index object names are not there, and nothing needs them: most "
            "likely a revoked backup named them late; the next collect removes their names",
            (unsigned long long)result.remnant_count);
        report.events.warning(report.events.ctx, options.repo, reason);
    }
    if (code == FX_OK && result.locked_count > 0) {
        char reason[128];
        (void)snprintf(
            reason,
            sizeof reason,
            "%llu snapshots and named objects are of scopes whose key is not here: not verified",
            (unsigned long long)result.locked_count);
        report.events.warning(report.events.ctx, options.repo, reason);
    }
    if (code == FX_OK && !options.is_json) {
        char read[FX_SIZE_TEXT_BYTES];
        fx_size_format(result.read_bytes, read);
        (void)printf(
            "No damage: %llu snapshots, %llu packs (data of %llu read), %llu chunks, %llu named "
            "objects; %s read\n",
            (unsigned long long)result.snapshot_count,
            (unsigned long long)result.pack_count,
            (unsigned long long)result.read_pack_count,
            (unsigned long long)result.chunk_count,
            (unsigned long long)result.named_count,
            read);
    }
    return fx_report_end(&report, &err, summary);
}
