/* fortress-agent snapshots */
#include "agent/source/postgres/wal_gaps.h"
#include "agent/verbs/options.h"
#include "agent/verbs/report.h"
#include "agent/verbs/session.h"
#include "agent/verbs/verb.h"

#include <string.h>

static const fx_usage usage = {
    .text = "Usage: fortress-agent snapshots [OPTION…]\n"
            "Lists the snapshots in a repository, oldest first, and warns of WAL that is missing "
            "behind\n"
            "the newest base backup. Needs no key.\n"
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

static fx_json *
gap_json(const fx_gap_verdict *verdict)
{
    const fx_gap_object *gap = &verdict->gap;
    char from[FX_PG_LSN_TEXT_BYTES];
    char to[FX_PG_LSN_TEXT_BYTES];
    char found[FX_WALL_TEXT_BYTES];
    fx_pg_lsn_format(gap->from, from);
    fx_pg_lsn_format(gap->to, to);
    fx_wall_format(gap->found, found);
    fx_json *event = fx_json_object();
    fx_json_set_text(event, "id", gap->id);
    fx_json_set_text(event, "state", fx_gap_state_name(verdict->state));
    fx_json_set_text(event, "covered_by", verdict->covered_by);
    fx_json_set_text(event, "stream", gap->stream);
    fx_json_set_int(event, "timeline", gap->timeline);
    fx_json_set_text(event, "from_lsn", from);
    fx_json_set_text(event, "to_lsn", to);
    fx_json_set_text(event, "found", found);
    fx_json_set_text(event, "service", gap->service.text);
    fx_json_set_text(event, "host", gap->host.text);
    fx_json_set_text(event, "reason", gap->reason);
    return event;
}

/* All as events; for people those that matter. Whatever is chosen of the snapshots: a filter must
 * not hide them. */
static void
show_gaps(fx_report *report, const char *repo, const fx_gap_verdicts *gaps)
{
    for (size_t i = 0; i < gaps->count; i++) {
        char text[FX_GAP_TEXT_BYTES];
        const fx_gap_verdict *verdict = &gaps->items[i];
        if (report->is_json) {
            fx_report_event(report, "gap", gap_json(verdict));
        }
        if (verdict->state == FX_GAP_OPEN) {
            fx_gap_format(&verdict->gap, text);
            report->events.warning(report->events.ctx, verdict->gap.stream, text);
        }
    }
    if (gaps->unreadable_count > 0) {
        char reason[96];
        (void)snprintf(
            reason,
            sizeof reason,
            "%zu gaps that were recorded cannot be read; run verify",
            gaps->unreadable_count);
        report->events.warning(report->events.ctx, repo, reason);
    }
}

static void
tell_gaps(
    fx_report *report,
    const char *repo,
    fx_repository *repository,
    const fx_snapshot_list *snapshots)
{
    fx_err err = {0};
    fx_gap_verdicts gaps = {0};
    if (fx_gaps_judge(repository, snapshots, &gaps, &err) != FX_OK) {
        report->events.warning(report->events.ctx, "gaps", err.message);
        return;
    }
    show_gaps(report, repo, &gaps);
    fx_gap_verdicts_free(&gaps);
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
        tell_gaps(&report, options.repo, repository, &list);
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
