/* fortress-agent forget */
#include "agent/verbs/options.h"
#include "agent/verbs/report.h"
#include "agent/verbs/session.h"
#include "agent/verbs/verb.h"
#include "common/repository/hold.h"

#include <string.h>

static const fx_usage usage = {
    .text = "Usage: fortress-agent forget [--dry-run] --keep-… N … [OPTION…]\n"
            "       fortress-agent forget [--dry-run] SNAPSHOT… [OPTION…]\n"
            "Removes snapshots that the policy does not keep, or the named ones, and says of each "
            "why.\n"
            "Room comes back with the next collect. Snapshots of one host, data set and tags are\n"
            "decided for themselves. Held ones stay. Needs no key.\n"
            "\n"
            "  --dry-run            remove nothing\n"
            "  --keep-last N        the newest N\n"
            "  --keep-hourly N      the first of each of the newest N hours; likewise\n"
            "  --keep-daily N, --keep-weekly N, --keep-monthly N, --keep-yearly N\n"
            "  --keep-within TIME   all that are younger: 36h, 30d\n"
            "  --claim-window TIME  a snapshot that was stored so long after its claimed end is "
            "judged\n"
            "                       apart from the others (default 1h)\n"
            "  --host NAME          of this host only\n"
            "  --source NAME        of this data set only: \"files:app-data\" or \"app-data\"\n"
            "  --tag NAME           with this tag only; several: with all of them\n"
            "  --repo URL           or FORTRESS_REPO\n"
            "  --json               events as JSON, one a line\n",
    .accepts = "dry-run keep-last keep-hourly keep-daily keep-weekly keep-monthly keep-yearly "
               "keep-within claim-window host source tag ",
    .rest_max = 1024,
};

typedef struct forgetting {
    const fx_options *options;
    fx_report *report;
    fx_repository *repository;
    fx_snapshot_list list;
    fx_hold_list holds;
    fx_verdict *verdicts; /* one a snapshot of the list */
    int64_t forgotten_count;
    int64_t kept_count;
    int64_t held_count;
    int64_t clamped_count;
} forgetting;

/* ---- telling ------------------------------------------------------------------------------------
 */

static const char *
claim_name(fx_claim claim)
{
    switch (claim) {
    case FX_CLAIM_BELIEVED:
        return "believed";
    case FX_CLAIM_UNCHECKED:
        return "unchecked";
    case FX_CLAIM_LATER:
        return "later";
    case FX_CLAIM_EARLIER:
        return "earlier";
    }
    return "";
}

static fx_json *
periods_json(const fx_verdict *verdict, const fx_retention *policy)
{
    fx_json *periods = fx_json_object();
    for (unsigned kind = 0; kind < FX_PERIOD_KINDS; kind++) {
        const char *name = NULL;
        char period[FX_PERIOD_TEXT_BYTES];
        if (fx_verdict_period(verdict, policy, kind, &name, period)) {
            const fx_snapshot *standing = verdict->standing[kind];
            fx_json *one = fx_json_object();
            fx_json_set_text(one, "period", period);
            fx_json_set_text(one, "snapshot", standing == NULL ? "" : standing->id);
            fx_json_set(periods, name, one);
        }
    }
    return periods;
}

/* By policy; of named ones only the hold is told. */
static void
tell_json(
    const forgetting *work, size_t index, const char *verdict, const char *why, bool is_by_policy)
{
    const fx_snapshot *snapshot = &work->list.items[index];
    const fx_verdict *decided = &work->verdicts[index];
    fx_json *event = fx_snapshot_json(snapshot);
    fx_json_set_text(event, "verdict", verdict);
    fx_json_set_text(event, "reasons", why);
    const fx_hold *held = fx_hold_find(&work->holds, snapshot->id);
    if (held != NULL) {
        fx_json *hold = fx_json_object();
        fx_json_set_int(hold, "serial", held->serial);
        fx_json_set_text(hold, "kind", held->kind);
        fx_json_set_text(hold, "reason", held->reason);
        fx_json_set(event, "hold", hold);
    }
    if (is_by_policy) {
        char when[FX_WALL_TEXT_BYTES];
        fx_wall_format(decided->time, when);
        fx_json_set_text(event, "judged_as_of", when);
        fx_json_set_text(event, "claim", claim_name(decided->claim));
        fx_json_set(event, "periods", periods_json(decided, &work->options->retention));
    }
    fx_report_event(work->report, "verdict", event);
}

static void
tell(const forgetting *work, size_t index, bool is_by_policy)
{
    const fx_snapshot *snapshot = &work->list.items[index];
    const fx_hold *held = fx_hold_find(&work->holds, snapshot->id);
    char why[FX_VERDICT_TEXT_BYTES + FX_HOLD_TEXT_BYTES] = "";
    char began[FX_WALL_TEXT_BYTES];
    bool is_kept = held != NULL || work->verdicts[index].keep != 0;
    const char *verdict = is_kept ? "keep" : work->options->dry_run ? "would forget" : "forget";
    if (is_by_policy) {
        fx_verdict_format(&work->verdicts[index], &work->options->retention, why);
    }
    if (held != NULL) {
        fx_hold_format(held, why);
    }
    if (work->report->is_json) {
        tell_json(work, index, verdict, why, is_by_policy);
        return;
    }
    fx_wall_format(snapshot->began, began);
    (void)printf(
        "%-12s  %.12s  %.19sZ  %-16s  ", verdict, snapshot->id, began, snapshot->host.text);
    fx_print_safe(stdout, snapshot->source);
    (void)printf(
        "%s%s%s",
        snapshot->tags[0] == '\0' ? "" : "  #",
        snapshot->tags,
        why[0] == '\0' ? "" : "  (");
    fx_print_safe(stdout, why);
    (void)printf("%s\n", why[0] == '\0' ? "" : ")");
}

/* ---- forgetting ---------------------------------------------------------------------------------
 */

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

/* Each word must name one snapshot that nobody holds: before anything is removed. */
static fx_code
check_names(const forgetting *work, fx_err *err)
{
    for (int index = 0; index < work->options->rest_count; index++) {
        fx_snapshot found;
        const char *word = work->options->rest[index];
        if (strcmp(word, "latest") == 0) {
            return fx_fail(
                err, FX_ERR_INVALID, "could not forget \"latest\": name snapshots by their ids");
        }
        if (fx_repository_find(work->repository, word, NULL, NULL, (fx_wall){0}, &found, err) !=
            FX_OK) {
            return err->code;
        }
        const fx_hold *held = fx_hold_find(&work->holds, found.id);
        if (held != NULL) {
            char text[FX_HOLD_TEXT_BYTES];
            fx_hold_format(held, text);
            return fx_fail(
                err, FX_ERR_HELD, "could not forget snapshot %.12s: %.180s", found.id, text);
        }
    }
    return FX_OK;
}

/* One that was held since the holds were read stays, like those that were held before. */
static fx_code
forget_one(forgetting *work, size_t index, fx_err *err)
{
    const fx_snapshot *snapshot = &work->list.items[index];
    fx_err failure = {0};
    fx_code code = fx_repository_forget(work->repository, snapshot->id, &failure);
    if (code == FX_ERR_HELD && work->options->rest_count == 0) {
        fx_hold_list_free(&work->holds);
        return fx_hold_list_all(work->repository, NULL, &work->holds, err);
    }
    if (code != FX_OK) {
        *err = failure;
        return code;
    }
    return FX_OK;
}

static fx_code
forget_all(forgetting *work, fx_err *err)
{
    bool is_by_policy = work->options->rest_count == 0;
    if (is_by_policy) {
        fx_retention_decide(
            work->list.items,
            work->list.count,
            &work->options->retention,
            fx_clock_wall(),
            work->verdicts);
    }
    for (size_t index = 0; index < work->list.count; index++) {
        const fx_snapshot *snapshot = &work->list.items[index];
        const fx_verdict *verdict = &work->verdicts[index];
        if (is_by_policy ? !fx_session_wants(work->options, snapshot)
                         : !is_named(snapshot, work->options)) {
            continue;
        }
        bool goes = verdict->keep == 0 && fx_hold_find(&work->holds, snapshot->id) == NULL;
        if (goes && !work->options->dry_run && forget_one(work, index, err) != FX_OK) {
            return err->code;
        }
        bool is_held = fx_hold_find(&work->holds, snapshot->id) != NULL;
        tell(work, index, is_by_policy);
        work->held_count += is_held;
        work->clamped_count +=
            verdict->claim == FX_CLAIM_LATER || verdict->claim == FX_CLAIM_EARLIER;
        work->forgotten_count += goes && !is_held;
        work->kept_count += !goes || is_held;
    }
    return FX_OK;
}

static fx_code
check_usage(const fx_options *options, fx_err *err)
{
    bool is_empty = fx_retention_is_empty(&options->retention);
    if (options->rest_count == 0 && is_empty) {
        return fx_fail(
            err,
            FX_ERR_INVALID,
            "could not forget: say what to keep (--keep-last 3), or name snapshots");
    }
    if (options->rest_count > 0 && !is_empty) {
        return fx_fail(
            err, FX_ERR_INVALID, "could not forget: name snapshots or say what to keep, not both");
    }
    return FX_OK;
}

static fx_code
forget(forgetting *work, fx_err *err)
{
    size_t unreadable_count = 0;
    if (check_usage(work->options, err) != FX_OK ||
        fx_repository_open(work->options->repo, NULL, &work->repository, err) != FX_OK ||
        fx_hold_list_all(work->repository, NULL, &work->holds, err) != FX_OK ||
        check_names(work, err) != FX_OK ||
        fx_repository_list(work->repository, &work->list, &unreadable_count, err) != FX_OK) {
        return err->code;
    }
    work->verdicts = calloc(work->list.count + 1, sizeof *work->verdicts);
    FX_ASSERT(work->verdicts != NULL);
    return forget_all(work, err);
}

static void
print_counts(const forgetting *work)
{
    (void)printf(
        "%lld snapshots %s",
        (long long)work->forgotten_count,
        work->options->dry_run ? "would be forgotten" : "forgotten; collect gives the room back");
    if (work->held_count > 0) {
        (void)printf("; %lld are held", (long long)work->held_count);
    }
    if (work->clamped_count > 0) {
        (void)printf(
            "; %lld claim times that cannot be and were judged apart",
            (long long)work->clamped_count);
    }
    (void)putchar('\n');
}

int
fx_verb_forget(int argc, char **argv)
{
    fx_options options;
    fx_report report;
    fx_err err = {0};
    int status = 0;
    if (!fx_options_read(argc, argv, &usage, &options, &status)) {
        return status;
    }
    fx_report_init(&report, options.is_json);
    forgetting work = {.options = &options, .report = &report};
    fx_json *summary = fx_json_object();
    fx_code code = forget(&work, &err);
    fx_json_set_int(summary, "forgotten_count", options.dry_run ? 0 : work.forgotten_count);
    fx_json_set_int(summary, "would_forget_count", options.dry_run ? work.forgotten_count : 0);
    fx_json_set_int(summary, "kept_count", work.kept_count);
    fx_json_set_int(summary, "held_count", work.held_count);
    fx_json_set_int(summary, "clamped_count", work.clamped_count);
    if (code == FX_OK && !options.is_json) {
        print_counts(&work);
    }
    free(work.verdicts);
    fx_snapshot_list_free(&work.list);
    fx_hold_list_free(&work.holds);
    fx_repository_free(work.repository);
    return fx_report_end(&report, &err, summary);
}
