/* fortress-agent verify */
#include "agent/verbs/options.h"
#include "agent/verbs/report.h"
#include "agent/verbs/session.h"
#include "agent/verbs/verb.h"

static const fx_usage usage = {
    .text = "Usage: fortress-agent verify [--read-data] [OPTION…]\n"
            "Checks that a repository is complete; lists all damage (exit status 4).\n"
            "\n"
            "  --read-data      also read, decrypt and compare every stored byte\n"
            "  --repo URL       a path or posix:PATH; or FORTRESS_REPO\n"
            "  --key-file FILE  the repository's key; or FORTRESS_KEY_FILE\n"
            "  --json           events as JSON, one a line\n",
    .accepts = "read-data ",
};

static void
on_finding(void *ctx, const char *text)
{
    fx_report *report = ctx;
    if (report->is_json) {
        fx_json *event = fx_json_object();
        fx_json_set_text(event, "damage", text);
        fx_report_event(report, "damage", event);
        return;
    }
    (void)fputs("damage: ", stdout);
    fx_print_safe(stdout, text);
    (void)putchar('\n');
}

static fx_code
verify(const fx_options *options, fx_report *report, fx_verify_report *out_result, fx_err *err)
{
    fx_session session;
    if (fx_session_open(options, &session, err) != FX_OK) {
        return err->code;
    }
    fx_code code = fx_repository_verify(
        session.repository, options->read_data, on_finding, report, out_result, err);
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
    fx_json *summary = fx_json_object();
    fx_code code = verify(&options, &report, &result, &err);
    fx_json_set_int(summary, "snapshot_count", (int64_t)result.snapshot_count);
    fx_json_set_int(summary, "pack_count", (int64_t)result.pack_count);
    fx_json_set_int(summary, "chunk_count", (int64_t)result.chunk_count);
    fx_json_set_int(summary, "named_count", (int64_t)result.named_count);
    fx_json_set_int(summary, "locked_count", (int64_t)result.locked_count);
    fx_json_set_int(summary, "read_bytes", (int64_t)result.read_bytes);
    fx_json_set_int(summary, "damage_count", (int64_t)result.damage_count);
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
            "No damage: %llu snapshots, %llu packs, %llu chunks, %llu named objects; %s read\n",
            (unsigned long long)result.snapshot_count,
            (unsigned long long)result.pack_count,
            (unsigned long long)result.chunk_count,
            (unsigned long long)result.named_count,
            read);
    }
    return fx_report_end(&report, &err, summary);
}
