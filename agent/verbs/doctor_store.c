/* fortress-agent doctor store */
#include "agent/verbs/options.h"
#include "agent/verbs/report.h"
#include "agent/verbs/verb.h"
#include "common/base/clock.h"
#include "common/repository/hiding.h"
#include "common/store/store.h"

#include <inttypes.h>
#include <stdio.h>

enum { EXAMINE_MAX_MS = 60000, SKEW_MAX_S = 60 };

static const fx_usage usage = {
    .text =
        "Usage: fortress-agent doctor store --repo URL [--json]\n"
        "Tries what a store can do and how well it protects what is in it, with objects of its\n"
        "own that it removes where it may. It needs no key and no repository there. Run it with\n"
        "the credentials of the hosts: what these may do a thief of theirs may.\n"
        "\n"
        "  --repo URL  a path, posix:PATH, s3:… or azure:…; or FORTRESS_REPO\n"
        "  --json      events as JSON, one a line\n"
        "\n"
        "Exit status 3 where the store lacks something that every repository needs\n"
        "(docs/stores.md says what to do about each).\n",
    .accepts = "",
};

static const char *
finding_text(fx_store_finding finding)
{
    switch (finding) {
    case FX_STORE_NOT_KNOWN:
        return "not known";
    case FX_STORE_NO:
        return "no";
    case FX_STORE_YES:
        return "yes";
    }
    FX_ASSERT(false);
}

/* The findings that are a plain yes or no, with their names for people and for programs. */
typedef struct line {
    const char *text;
    const char *key;
    fx_store_finding finding;
} line;

enum { LINE_COUNT = 11 };

typedef struct findings {
    fx_store_examination store;
    fx_store_finding can_hide; /* snapshots of others */
} findings;

static void
fill_lines(const findings *all, line out_lines[LINE_COUNT])
{
    const fx_store_examination *found = &all->store;
    const line lines[LINE_COUNT] = {
        {"stores objects", "can_put", found->can_put},
        {"gives them back", "can_get", found->can_get},
        {"lists them", "can_list", found->can_list},
        {"removes them", "can_remove", found->can_remove},
        {"adds to them", "can_append", found->can_append},
        {"refuses to replace them", "refuses_replacement", found->refuses_replacement},
        {"lists consistently", "lists_consistently", found->lists_consistently},
        {"keeps old versions", "versioning", found->versioning},
        {"has Object Lock", "object_lock", found->object_lock},
        {"has unfinished uploads", "leftovers", found->leftovers},
        {"lets snapshots be hidden", "can_hide", all->can_hide},
    };
    for (size_t i = 0; i < LINE_COUNT; i++) {
        out_lines[i] = lines[i];
    }
}

/* Can whoever holds these credentials, and so a stolen host, destroy what is stored? */
static fx_store_finding
withstands_thief(const findings *all)
{
    const fx_store_examination *found = &all->store;
    bool is_retained = found->object_lock == FX_STORE_YES && found->versioning == FX_STORE_YES &&
                       found->lock_days > 0;
    if (is_retained) {
        return FX_STORE_YES;
    }
    if (found->can_remove == FX_STORE_YES || found->refuses_replacement == FX_STORE_NO ||
        all->can_hide == FX_STORE_YES) {
        return FX_STORE_NO;
    }
    /* That this program cannot remove is no proof: only a policy that binds the credentials is. */
    return found->can_remove == FX_STORE_NO && found->refuses_replacement == FX_STORE_YES &&
                   all->can_hide == FX_STORE_NO
               ? FX_STORE_YES
               : FX_STORE_NOT_KNOWN;
}

/* What he hides from lists goes with the next collection of an honest host. */
static void
try_hiding(fx_store *store, findings *all)
{
    fx_err err = {0};
    if (all->store.can_put != FX_STORE_YES) {
        return;
    }
    if (fx_hiding_try(store, &all->can_hide, &err) != FX_OK) {
        fx_store_note(&all->store, "%.180s", err.message);
    } else if (all->can_hide == FX_STORE_YES && all->store.can_remove != FX_STORE_YES) {
        fx_store_note(
            &all->store,
            "who has these credentials can hide snapshots, and the next collection removes them: "
            "docs/stores.md, \"Objects that hosts must not put\"");
    }
}

static void
print_findings(const char *repo, const findings *all)
{
    const fx_store_examination *found = &all->store;
    line lines[LINE_COUNT];
    fill_lines(all, lines);
    (void)fputs("Store ", stdout);
    fx_print_safe(stdout, repo);
    (void)puts("");
    for (size_t i = 0; i < LINE_COUNT; i++) {
        (void)printf("  %-26s %s", lines[i].text, finding_text(lines[i].finding));
        if (i == 0 && found->can_put == FX_STORE_YES) {
            (void)printf(" (%" PRId64 " ms)", fx_dur_ms(found->put_took));
        } else if (i == 1 && found->can_get == FX_STORE_YES) {
            (void)printf(" (%" PRId64 " ms)", fx_dur_ms(found->get_took));
        } else if (lines[i].finding == FX_STORE_YES && i == 8) {
            (void)printf(
                found->lock_days > 0 ? " (%s, %" PRIu32 " days by default)"
                                     : " (%.0snothing is retained by default%.0" PRIu32 ")",
                found->lock_mode,
                found->lock_days);
        } else if (found->leftover_count > 0 && i == 9) {
            (void)printf(" (%" PRIu32 ")", found->leftover_count);
        }
        (void)puts("");
    }
    if (found->knows_clock_skew) {
        (void)printf(
            "  %-26s %" PRId64 " s\n",
            "clock, less this host's",
            found->clock_skew.ns / 1000000000);
    }
    (void)printf("  %-26s %s\n", "withstands a stolen host", finding_text(withstands_thief(all)));
    for (uint32_t i = 0; i < found->note_count; i++) {
        (void)fputs("  - ", stdout);
        fx_print_safe(stdout, found->notes[i]);
        (void)puts("");
    }
}

static void
fill_summary(const findings *all, fx_json *summary)
{
    const fx_store_examination *found = &all->store;
    line lines[LINE_COUNT];
    fill_lines(all, lines);
    for (size_t i = 0; i < LINE_COUNT; i++) {
        fx_json_set_text(summary, lines[i].key, finding_text(lines[i].finding));
    }
    fx_json_set_text(summary, "withstands_stolen_host", finding_text(withstands_thief(all)));
    fx_json_set_text(summary, "lock_mode", found->lock_mode);
    fx_json_set_int(summary, "lock_days", found->lock_days);
    fx_json_set_int(summary, "leftover_count", found->leftover_count);
    fx_json_set_int(summary, "put_ms", fx_dur_ms(found->put_took));
    fx_json_set_int(summary, "get_ms", fx_dur_ms(found->get_took));
    if (found->knows_clock_skew) {
        fx_json_set_int(summary, "clock_skew_s", found->clock_skew.ns / 1000000000);
    }
    fx_json *notes = fx_json_array();
    for (uint32_t i = 0; i < found->note_count; i++) {
        fx_json_append(notes, fx_json_text_new(found->notes[i]));
    }
    fx_json_set(summary, "notes", notes);
}

/* What a repository cannot do without, or what costs money or safety in silence. */
static void
warn(fx_report *report, const char *repo, const fx_store_examination *found)
{
    const fx_dur skew = found->clock_skew;
    const int64_t skew_max_ns = (int64_t)SKEW_MAX_S * 1000000000;
    const struct {
        bool is_so;
        const char *reason;
    } reasons[] = {
        {found->can_put != FX_STORE_YES, "objects cannot be stored with these credentials"},
        {found->can_get == FX_STORE_NO, "objects cannot be read with these credentials"},
        {found->can_list == FX_STORE_NO, "objects cannot be listed with these credentials"},
        {found->refuses_replacement == FX_STORE_NO,
         "the server lets an object be replaced: keep versions, and let one writer at a time use "
         "it"},
        {found->lists_consistently == FX_STORE_NO,
         "lists do not show what was stored or removed before: garbage collection is not safe "
         "here"},
        {found->knows_clock_skew && (skew.ns > skew_max_ns || skew.ns < -skew_max_ns),
         "the server's clock and this host's differ by more than a minute"},
        {found->leftover_count > 0 && found->leftovers == FX_STORE_YES,
         "there are unfinished uploads, which cost room; a lifecycle rule can remove them"},
    };
    for (size_t i = 0; i < sizeof reasons / sizeof reasons[0]; i++) {
        if (reasons[i].is_so) {
            report->events.warning(report->events.ctx, repo, reasons[i].reason);
        }
    }
}

int
fx_verb_doctor_store(int argc, char **argv)
{
    fx_options options;
    fx_report report;
    fx_err err = {0};
    FX_AUTO(fx_store) store = NULL;
    findings found = {0};
    int status = 0;
    if (!fx_options_read(argc, argv, &usage, &options, &status)) {
        return status;
    }
    fx_report_init(&report, options.is_json);
    fx_json *summary = fx_json_object();
    fx_mono deadline = fx_mono_after(fx_clock_mono(), FX_DUR_MS(EXAMINE_MAX_MS));
    if (fx_store_open(options.repo, &store, &err) == FX_OK &&
        fx_store_examine(store, deadline, &found.store, &err) == FX_OK) {
        try_hiding(store, &found);
        if (options.is_json) {
            fill_summary(&found, summary);
        } else {
            print_findings(options.repo, &found);
        }
        warn(&report, options.repo, &found.store);
    }
    return fx_report_end(&report, &err, summary);
}
