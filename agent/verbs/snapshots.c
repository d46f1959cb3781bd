/* fortress-agent snapshots */
#include "agent/verbs/options.h"
#include "agent/verbs/report.h"
#include "agent/verbs/session.h"
#include "agent/verbs/verb.h"

#include <string.h>

static const fx_usage usage = {
    .text = "Usage: fortress-agent snapshots [OPTION…]\n"
            "Lists the snapshots in a repository, oldest first. Needs no key.\n"
            "\n"
            "  --source NAME    only of this source: \"files:app-data\" or \"app-data\"\n"
            "  --host NAME      only of this host\n"
            "  --tag NAME       only with this tag; may be given several times: with all of them\n"
            "  --repo URL       a path or posix:PATH; or FORTRESS_REPO\n"
            "  --json           events as JSON, one a line\n",
    .accepts = "source host tag ",
};

static void
print_row(const fx_snapshot *snapshot)
{
    char began[FX_WALL_TEXT_BYTES];
    char size[FX_SIZE_TEXT_BYTES];
    char added[FX_SIZE_TEXT_BYTES];
    fx_wall_format(snapshot->began, began);
    fx_size_format(snapshot->size_bytes, size);
    fx_size_format(snapshot->added_bytes, added);
    (void)printf(
        "%.12s  %.19sZ  %-16s  %10llu  %10s  %10s  %8u  ",
        snapshot->id,
        began,
        snapshot->host.text,
        (unsigned long long)snapshot->file_count,
        size,
        added,
        snapshot->warning_count);
    fx_print_safe(stdout, snapshot->source);
    (void)printf("%s%s\n", snapshot->tags[0] == '\0' ? "" : "  #", snapshot->tags);
}

static size_t
show(fx_report *report, const fx_options *options, const fx_snapshot_list *list)
{
    size_t count = 0;
    if (!options->is_json) {
        (void)printf(
            "%-12s  %-20s  %-16s  %10s  %10s  %10s  %8s  %s\n",
            "SNAPSHOT",
            "BEGAN",
            "HOST",
            "FILES",
            "SIZE",
            "NEW",
            "WARNINGS",
            "SOURCE  #TAGS");
    }
    for (size_t index = 0; index < list->count; index++) {
        const fx_snapshot *snapshot = &list->items[index];
        if (!fx_session_wants(options, snapshot)) {
            continue;
        }
        count++;
        if (options->is_json) {
            fx_report_event(report, "snapshot", fx_snapshot_json(snapshot));
        } else {
            print_row(snapshot);
        }
    }
    return count;
}

int
fx_verb_snapshots(int argc, char **argv)
{
    fx_options options;
    fx_report report;
    fx_err err = {0};
    fx_snapshot_list list = {0};
    size_t unreadable_count = 0;
    FX_AUTO(fx_repository) repository = NULL;
    int status = 0;
    if (!fx_options_read(argc, argv, &usage, &options, &status)) {
        return status;
    }
    fx_report_init(&report, options.is_json);
    fx_json *summary = fx_json_object();
    if (fx_repository_open(options.repo, NULL, &repository, &err) == FX_OK &&
        fx_repository_list(repository, &list, &unreadable_count, &err) == FX_OK) {
        fx_json_set_int(summary, "snapshot_count", (int64_t)show(&report, &options, &list));
        fx_snapshot_list_free(&list);
        if (unreadable_count > 0) {
            char reason[96];
            (void)snprintf(
                reason,
                sizeof reason,
                "%zu snapshots cannot be read; run verify",
                unreadable_count);
            report.events.warning(report.events.ctx, options.repo, reason);
        }
    }
    return fx_report_end(&report, &err, summary);
}
