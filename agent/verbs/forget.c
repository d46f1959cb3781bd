/* fortress-agent forget */
#include "agent/verbs/options.h"
#include "agent/verbs/report.h"
#include "agent/verbs/session.h"
#include "agent/verbs/verb.h"
#include "common/repository/hold.h"

#include <string.h>

static const fx_usage usage = {
    .text =
        "Usage: fortress-agent forget [--dry-run] --keep-… N … [OPTION…]\n"
        "       fortress-agent forget [--dry-run] SNAPSHOT… [OPTION…]\n"
        "Removes snapshots that the policy does not keep, or the named ones, and says of each "
        "why.\n"
        "Room comes back with the next collect. Each data set of each host is decided for itself.\n"
        "\n"
        "  --dry-run            remove nothing\n"
        "  --keep-last N        the newest N\n"
        "  --keep-hourly N      the newest of each of the newest N hours; likewise\n"
        "  --keep-daily N, --keep-weekly N, --keep-monthly N, --keep-yearly N\n"
        "  --keep-within TIME   all that are younger: 36h, 30d\n"
        "  --host NAME          of this host only\n"
        "  --source NAME        of this data set only: \"files:app-data\" or \"app-data\"\n"
        "  --tag NAME           with this tag only; several: with all of them\n"
        "  --repo URL           or FORTRESS_REPO\n"
        "  --key-file FILE      the repository's key; or FORTRESS_KEY_FILE\n"
        "  --json               events as JSON, one a line\n",
    .accepts = "dry-run keep-last keep-hourly keep-daily keep-weekly keep-monthly keep-yearly "
               "keep-within host source tag ",
    .rest_max = 1024,
};

static void
tell(
    fx_report *report,
    const fx_options *options,
    const fx_snapshot *snapshot,
    unsigned keep,
    const fx_hold *held)
{
    char why[FX_HOLD_TEXT_BYTES];
    char began[FX_WALL_TEXT_BYTES];
    bool is_kept = keep != 0 || held != NULL;
    const char *verdict = is_kept ? "keep" : options->dry_run ? "would forget" : "forget";
    fx_keep_format(keep, why);
    if (held != NULL) {
        fx_hold_format(held, why);
    }
    if (report->is_json) {
        fx_json *event = fx_snapshot_json(snapshot);
        fx_json_set_text(event, "verdict", verdict);
        fx_json_set_text(event, "reasons", why);
        fx_report_event(report, "verdict", event);
        return;
    }
    fx_wall_format(snapshot->began, began);
    (void)printf(
        "%-12s  %.12s  %.19sZ  %-16s  ", verdict, snapshot->id, began, snapshot->host.text);
    fx_print_safe(stdout, snapshot->source);
    (void)printf("%s", is_kept ? "  (" : "");
    fx_print_safe(stdout, why);
    (void)printf("%s\n", is_kept ? ")" : "");
}

static bool
is_named(const fx_snapshot *snapshot, const fx_options *options)
{
    for (int index = 0; index < options->rest_count; index++) {
        if (strncmp(snapshot->id, options->rest[index], strlen(options->rest[index])) == 0) {
            return true;
        }
    }
    return false;
}

/* Each word must name one snapshot: before anything is removed. */
static fx_code
check_names(
    fx_repository *repository, const fx_options *options, const fx_hold_list *holds, fx_err *err)
{
    for (int index = 0; index < options->rest_count; index++) {
        fx_snapshot found;
        if (strcmp(options->rest[index], "latest") == 0) {
            return fx_fail(
                err, FX_ERR_INVALID, "could not forget \"latest\": name snapshots by their ids");
        }
        if (fx_repository_find(
                repository, options->rest[index], NULL, NULL, (fx_wall){0}, &found, err) != FX_OK) {
            return err->code;
        }
        const fx_hold *held = fx_hold_find(holds, found.id);
        if (held != NULL) {
            char text[FX_HOLD_TEXT_BYTES];
            fx_hold_format(held, text);
            return fx_fail(
                err, FX_ERR_HELD, "could not forget snapshot %.12s: %.180s", found.id, text);
        }
    }
    return FX_OK;
}

/* A policy decides over all snapshots of a data set, or a word names those that go. */
static void
decide(const fx_options *options, const fx_snapshot_list *list, unsigned *keep)
{
    if (options->rest_count == 0) {
        fx_retention_decide(list->items, list->count, &options->retention, fx_clock_wall(), keep);
    }
    for (size_t index = 0; options->rest_count > 0 && index < list->count; index++) {
        keep[index] = is_named(&list->items[index], options) ? 0 : FX_KEEP_LAST;
    }
}

static fx_code
forget_all(
    fx_repository *repository,
    const fx_options *options,
    fx_report *report,
    const fx_snapshot_list *list,
    const fx_hold_list *holds,
    uint64_t *out_count,
    fx_err *err)
{
    unsigned *keep = calloc(list->count + 1, sizeof *keep);
    FX_ASSERT(keep != NULL);
    decide(options, list, keep);
    fx_code code = FX_OK;
    for (size_t index = 0; code == FX_OK && index < list->count; index++) {
        const fx_snapshot *snapshot = &list->items[index];
        bool is_shown =
            options->rest_count > 0 ? keep[index] == 0 : fx_session_wants(options, snapshot);
        if (!is_shown) {
            continue;
        }
        const fx_hold *held = fx_hold_find(holds, snapshot->id);
        bool is_kept = keep[index] != 0 || held != NULL;
        if (!is_kept && !options->dry_run) {
            code = fx_repository_forget(repository, snapshot->id, err);
        }
        if (code == FX_OK) {
            tell(report, options, snapshot, keep[index], held);
            *out_count += !is_kept;
        }
    }
    free(keep);
    return code;
}

static fx_code
forget(const fx_options *options, fx_report *report, uint64_t *out_count, fx_err *err)
{
    fx_session session;
    fx_snapshot_list list = {0};
    size_t unreadable_count = 0;
    if (options->rest_count == 0 && fx_retention_is_empty(&options->retention)) {
        return fx_fail(
            err,
            FX_ERR_INVALID,
            "could not forget: say what to keep (--keep-last 3), or name snapshots");
    }
    if (options->rest_count > 0 && !fx_retention_is_empty(&options->retention)) {
        return fx_fail(
            err, FX_ERR_INVALID, "could not forget: name snapshots or say what to keep, not both");
    }
    if (fx_session_open(options, &session, err) != FX_OK) {
        return err->code;
    }
    fx_hold_list holds = {0};
    fx_code code = fx_hold_list_all(session.repository, NULL, &holds, err);
    if (code == FX_OK) {
        code = check_names(session.repository, options, &holds, err);
    }
    if (code == FX_OK) {
        code = fx_repository_list(session.repository, &list, &unreadable_count, err);
    }
    if (code == FX_OK) {
        code = forget_all(session.repository, options, report, &list, &holds, out_count, err);
        fx_snapshot_list_free(&list);
    }
    fx_hold_list_free(&holds);
    fx_session_close(&session);
    return code;
}

int
fx_verb_forget(int argc, char **argv)
{
    fx_options options;
    fx_report report;
    uint64_t count = 0;
    fx_err err = {0};
    int status = 0;
    if (!fx_options_read(argc, argv, &usage, &options, &status)) {
        return status;
    }
    fx_report_init(&report, options.is_json);
    fx_json *summary = fx_json_object();
    fx_code code = forget(&options, &report, &count, &err);
    fx_json_set_int(summary, "forgotten_count", options.dry_run ? 0 : (int64_t)count);
    if (code == FX_OK && !options.is_json) {
        (void)printf(
            "%llu snapshots %s\n",
            (unsigned long long)count,
            options.dry_run ? "would be forgotten" : "forgotten; collect gives the room back");
    }
    return fx_report_end(&report, &err, summary);
}
