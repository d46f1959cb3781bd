/* fortress-agent restore */
#include "agent/restore/restore.h"

#include "agent/verbs/exit_code.h"
#include "agent/verbs/options.h"
#include "agent/verbs/report.h"
#include "agent/verbs/session.h"
#include "agent/verbs/verb.h"

#include <string.h>

static const fx_usage usage = {
    .text =
        "Usage: fortress-agent restore SNAPSHOT|latest --target DIR [OPTION…]\n"
        "Restores a snapshot into a folder that is empty or not there yet. Nothing appears in it\n"
        "before all is complete and checked, and nothing that is there is changed. A restore that\n"
        "was broken off goes on where it was when the same one is started again.\n"
        "\n"
        "  SNAPSHOT         its id, or the first 8 or more digits of it\n"
        "  --target DIR     where to; a folder's path in the snapshot is kept below it\n"
        "  --path PATH      only this file or folder, put directly into the target\n"
        "  --time TIME      with latest: the newest that is not from after 2026-11-23T01:02:03Z;\n"
        "                   a PostgreSQL server then replays up to this time when it starts\n"
        "  --ignore-gaps    with --time: replay as far as it goes, even where WAL on the way to "
        "it\n"
        "                   is known to be missing\n"
        "  --source NAME    with latest: of this source, \"files:app-data\" or \"app-data\"\n"
        "  --host NAME      with latest: of this host\n"
        "  --numeric-owner  owners by number, not by name\n"
        "  --in-place       into a folder that has something in it: only what differs is written,\n"
        "                   and what the snapshot does not have stays\n"
        "  --dry-run        only say what would be restored\n"
        "  --repo URL       a path or posix:PATH; or FORTRESS_REPO\n"
        "  --key-file FILE  the repository's key; or FORTRESS_KEY_FILE\n"
        "  --json           events as JSON, one a line\n"
        "  --no-progress    do not show how far it has come\n",
    .accepts =
        "target path time ignore-gaps source host numeric-owner in-place dry-run no-progress ",
    .rest_min = 1,
    .rest_max = 1,
};

static bool
is_of_source(const fx_snapshot *snapshot, const fx_options *options)
{
    const char *colon = strchr(snapshot->source, ':');
    return (options->host == NULL || strcmp(snapshot->host.text, options->host) == 0) &&
           (options->source == NULL || strcmp(snapshot->source, options->source) == 0 ||
            (colon != NULL && strcmp(colon + 1, options->source) == 0));
}

/* Whether the driver replays on from the snapshot to a time. */
static bool
does_replay(const fx_snapshot *snapshot)
{
    fx_err err = {0};
    const fx_source_driver *driver = NULL;
    return fx_source_find(snapshot->kind, &driver, &err) == FX_OK &&
           (driver->abilities & FX_SOURCE_REPLAYS) != 0;
}

/* What replays can only go forward from its end; the rest is what it was when it began. */
static bool
is_before(const fx_snapshot *snapshot, fx_wall limit)
{
    int64_t at_ns = does_replay(snapshot) ? snapshot->ended.ns : snapshot->began.ns;
    return limit.ns == 0 || at_ns <= limit.ns;
}

static fx_code
choose_latest(
    const fx_snapshot_list *list, const fx_options *options, fx_snapshot *out_snapshot, fx_err *err)
{
    const fx_snapshot *newest = NULL;
    for (size_t index = 0; index < list->count; index++) {
        const fx_snapshot *snapshot = &list->items[index];
        if (!is_of_source(snapshot, options) || !is_before(snapshot, options->time)) {
            continue;
        }
        if (newest != NULL && (strcmp(newest->source, snapshot->source) != 0 ||
                               !fx_name_is(&newest->host, &snapshot->host))) {
            return fx_fail(
                err,
                FX_ERR_INVALID,
                "could not choose the latest snapshot: there are several sources, such as %.60s of "
                "%.40s and %.60s of %.40s; name one with --source and --host",
                newest->source,
                newest->host.text,
                snapshot->source,
                snapshot->host.text);
        }
        newest = snapshot;
    }
    if (newest == NULL) {
        return fx_fail(
            err,
            FX_ERR_NOT_FOUND,
            "could not find a snapshot%s%.100s%s: see fortress-agent snapshots",
            options->source == NULL ? "" : " of ",
            options->source == NULL ? "" : options->source,
            options->time.ns == 0 ? "" : " from before that time");
    }
    *out_snapshot = *newest;
    return FX_OK;
}

/* With unreadable snapshots nobody knows whether the newest is among them. */
static fx_code
find_latest(
    fx_repository *repository, const fx_options *options, fx_snapshot *out_snapshot, fx_err *err)
{
    fx_snapshot_list list = {0};
    size_t unreadable_count = 0;
    if (fx_repository_list(repository, &list, &unreadable_count, err) != FX_OK) {
        return err->code;
    }
    fx_code code = FX_OK;
    if (unreadable_count > 0) {
        code = fx_fail(
            err,
            FX_ERR_DAMAGED,
            "could not tell which snapshot is the latest: %zu cannot be read; name one by its id "
            "(fortress-agent snapshots)",
            unreadable_count);
    } else {
        code = choose_latest(&list, options, out_snapshot, err);
    }
    fx_snapshot_list_free(&list);
    return code;
}

static fx_code
find_snapshot(
    fx_repository *repository, const fx_options *options, fx_snapshot *out_snapshot, fx_err *err)
{
    if (strcmp(options->rest[0], "latest") == 0) {
        return find_latest(repository, options, out_snapshot, err);
    }
    fx_wall any = {0};
    if (fx_repository_find(repository, options->rest[0], NULL, NULL, any, out_snapshot, err) !=
        FX_OK) {
        return err->code;
    }
    if (!is_before(out_snapshot, options->time)) {
        return fx_fail(
            err,
            FX_ERR_INVALID,
            "could not restore snapshot %.12s to that time: it is from later",
            out_snapshot->id);
    }
    return FX_OK;
}

static fx_code
restore(
    const fx_options *options,
    const fx_report *report,
    fx_snapshot *out_snapshot,
    fx_restore_result *out_result,
    fx_err *err)
{
    fx_session session;
    if (fx_session_open(options, &session, err) != FX_OK) {
        return err->code;
    }
    fx_session_use_cache(&session);
    fx_code code = find_snapshot(session.repository, options, out_snapshot, err);
    if (code == FX_OK) {
        const fx_restore_options restoring = {
            .target = options->target,
            .path = options->path,
            .numeric_owner = options->numeric_owner,
            .in_place = options->in_place,
            .dry_run = options->dry_run,
            .target_time = options->time,
            .ignores_gaps = options->ignore_gaps,
            .url = options->repo,
            .key_file = options->key_file,
        };
        code = fx_restore(
            session.repository, out_snapshot, &restoring, &report->events, out_result, err);
    }
    fx_session_close(&session);
    return code;
}

static void
print_result(
    const fx_options *options, const fx_snapshot *snapshot, const fx_restore_result *result)
{
    char size[FX_SIZE_TEXT_BYTES];
    fx_size_format(result->done_bytes, size);
    (void)printf(
        "%s %.12s of %s to %s: %llu files, %s",
        options->dry_run ? "Would restore" : "Restored",
        snapshot->id,
        snapshot->source,
        options->target,
        (unsigned long long)result->file_count,
        size);
    if (result->kept_bytes > 0) {
        fx_size_format(result->kept_bytes, size);
        (void)printf(" (%s of it was there)", size);
    }
    (void)putchar('\n');
    if (result->has_left_owners) {
        (void)puts("Some of it had other owners and is yours now: only root may give it to them.");
    }
}

int
fx_verb_restore(int argc, char **argv)
{
    fx_options options;
    fx_report report;
    fx_snapshot snapshot = {0};
    fx_restore_result result = {0};
    fx_err err = {0};
    int status = 0;
    if (!fx_options_read(argc, argv, &usage, &options, &status)) {
        return status;
    }
    if (options.target == NULL) {
        (void)fputs("fortress-agent: name the folder to restore to with --target\n", stderr);
        return FX_EXIT_USAGE;
    }
    fx_report_init(&report, options.is_json);
    fx_report_show_progress(&report, &options);
    if (restore(&options, &report, &snapshot, &result, &err) != FX_OK) {
        return fx_report_end(&report, &err, NULL);
    }
    fx_json *summary = fx_json_object();
    fx_json_set_text(summary, "target", options.target);
    fx_json_set_int(summary, "file_count", (int64_t)result.file_count);
    fx_json_set_int(summary, "done_bytes", (int64_t)result.done_bytes);
    fx_json_set_int(summary, "kept_bytes", (int64_t)result.kept_bytes);
    fx_json_set_bool(summary, "owners_left", result.has_left_owners);
    fx_json_set_bool(summary, "dry_run", options.dry_run);
    fx_json_set(summary, "snapshot", fx_snapshot_json(&snapshot));
    status = fx_report_end(&report, NULL, summary);
    if (!options.is_json) {
        print_result(&options, &snapshot, &result);
    }
    return status;
}
