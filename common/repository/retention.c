#include "common/repository/retention.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static const int64_t ns_per_s = 1000000000;
static const int64_t hour_s = 3600;
static const int64_t day_s = INT64_C(24) * 3600;

typedef struct candidate {
    const fx_snapshot *snapshot;
    size_t place;
    fx_claim claim;
    int lane; /* candidates of one lane take the place of each other */
    fx_wall time;
} candidate;

/* ---- what a snapshot claims ---------------------------------------------------------------------
 */

/* Differences of claimed times could overflow: claims are numbers that anybody wrote. */
static int64_t
seconds(fx_wall when)
{
    return when.ns / ns_per_s - (when.ns % ns_per_s < 0);
}

static fx_claim
judge_claim(const fx_snapshot *snapshot, const fx_retention *policy, fx_wall now, fx_wall *out_time)
{
    int64_t window_s = policy->claim_window.ns > 0 ? policy->claim_window.ns / ns_per_s
                                                   : FX_RETENTION_CLAIM_WINDOW_S;
    int64_t began_s = seconds(snapshot->began);
    int64_t ended_s = seconds(snapshot->ended);
    if (snapshot->stored.ns == 0) {
        *out_time = snapshot->began.ns < now.ns ? snapshot->began : now;
        return FX_CLAIM_UNCHECKED;
    }
    int64_t stored_s = seconds(snapshot->stored);
    *out_time = snapshot->stored;
    if (began_s > stored_s + FX_RETENTION_SKEW_S || ended_s > stored_s + FX_RETENTION_SKEW_S) {
        return FX_CLAIM_LATER;
    }
    if (ended_s < stored_s - window_s || began_s < ended_s - FX_RETENTION_BACKUP_MAX_S) {
        *out_time = snapshot->began;
        return FX_CLAIM_EARLIER;
    }
    return FX_CLAIM_BELIEVED;
}

static int
lane_of(fx_claim claim)
{
    return claim == FX_CLAIM_EARLIER ? 2 : claim == FX_CLAIM_LATER ? 1 : 0;
}

/* ---- sets ---------------------------------------------------------------------------------------
 */

static int
by_set(const candidate *one, const candidate *two)
{
    int order = strcmp(one->snapshot->host.text, two->snapshot->host.text);
    if (order == 0) {
        order = strcmp(one->snapshot->source, two->snapshot->source);
    }
    if (order == 0) {
        order = strcmp(one->snapshot->tags, two->snapshot->tags);
    }
    return order == 0 ? one->lane - two->lane : order;
}

/* Sets side by side, each from new to old. Equal times: by id, so that the order is one. */
static int
by_set_and_age(const void *left, const void *right)
{
    const candidate *one = left;
    const candidate *two = right;
    int order = by_set(one, two);
    if (order != 0) {
        return order;
    }
    if (one->time.ns != two->time.ns) {
        return one->time.ns > two->time.ns ? -1 : 1;
    }
    if (one->snapshot->stored.ns != two->snapshot->stored.ns) {
        return one->snapshot->stored.ns > two->snapshot->stored.ns ? -1 : 1;
    }
    if (one->snapshot->began.ns != two->snapshot->began.ns) {
        return one->snapshot->began.ns > two->snapshot->began.ns ? -1 : 1;
    }
    return strcmp(one->snapshot->id, two->snapshot->id);
}

/* ---- periods ------------------------------------------------------------------------------------
 */

static const fx_keep period_kinds[FX_PERIOD_KINDS] = {
    FX_KEEP_HOURLY, FX_KEEP_DAILY, FX_KEEP_WEEKLY, FX_KEEP_MONTHLY, FX_KEEP_YEARLY};

static unsigned
count_of(const fx_retention *policy, unsigned kind)
{
    const unsigned counts[FX_PERIOD_KINDS] = {
        policy->hourly, policy->daily, policy->weekly, policy->monthly, policy->yearly};
    FX_ASSERT(kind < FX_PERIOD_KINDS);
    return counts[kind];
}

static int64_t
floor_div(int64_t value, int64_t by)
{
    return value / by - (value % by < 0);
}

/* A number that is the same for all instants of one period. */
static int64_t
period_of(fx_wall time, fx_keep kind)
{
    struct tm parts;
    int64_t time_s = seconds(time);
    time_t when = (time_t)time_s;
    if (kind == FX_KEEP_HOURLY) {
        return floor_div(time_s, hour_s);
    }
    if (kind == FX_KEEP_DAILY) {
        return floor_div(time_s, day_s);
    }
    if (kind == FX_KEEP_WEEKLY) {
        return floor_div(floor_div(time_s, day_s) + 3, 7); /* 1970 began on a Thursday */
    }
    FX_ASSERT(kind == FX_KEEP_MONTHLY || kind == FX_KEEP_YEARLY);
    if (gmtime_r(&when, &parts) == NULL) {
        return 0;
    }
    return kind == FX_KEEP_YEARLY ? parts.tm_year : parts.tm_year * INT64_C(12) + parts.tm_mon;
}

/* Where the run of candidates with the period of the first one ends. */
static size_t
end_of_period(const candidate *set, size_t set_count, size_t first, fx_keep kind)
{
    size_t end = first + 1;
    int64_t period = period_of(set[first].time, kind);
    while (end < set_count && period_of(set[end].time, kind) == period) {
        end++;
    }
    return end;
}

/*
 * Of each of the newest `count` periods the oldest stands for it: what comes later into a period
 * changes nothing in it.
 */
static void
keep_periods(
    const candidate *set,
    size_t set_count,
    const fx_retention *policy,
    unsigned kind,
    fx_verdict *out_verdicts)
{
    unsigned left = count_of(policy, kind);
    for (size_t first = 0; first < set_count && left > 0; left--) {
        size_t end = end_of_period(set, set_count, first, period_kinds[kind]);
        out_verdicts[set[end - 1].place].keep |= (unsigned)period_kinds[kind];
        while (first < end) {
            out_verdicts[set[first++].place].standing[kind] = set[end - 1].snapshot;
        }
    }
}

/* A count is what many snapshots made at once push through: of 2 and more, hours count as well. */
static void
keep_last(
    const candidate *set, size_t set_count, const fx_retention *policy, fx_verdict *out_verdicts)
{
    for (size_t i = 0; i < set_count && i < policy->last; i++) {
        out_verdicts[set[i].place].keep |= FX_KEEP_LAST;
    }
    unsigned left = policy->last > 1 ? policy->last : 0;
    for (size_t first = 0; first < set_count && left > 0; left--) {
        first = end_of_period(set, set_count, first, FX_KEEP_HOURLY);
        out_verdicts[set[first - 1].place].keep |= FX_KEEP_LAST_HOURS;
    }
}

static void
decide_set(
    const candidate *set,
    size_t set_count,
    const fx_retention *policy,
    fx_wall now,
    fx_verdict *out_verdicts)
{
    for (size_t i = 0; i < set_count; i++) {
        int64_t age_s = seconds(now) - seconds(set[i].time);
        fx_verdict *verdict = &out_verdicts[set[i].place];
        *verdict = (fx_verdict){.claim = set[i].claim, .time = set[i].time};
        if (policy->within.ns > 0 && age_s < policy->within.ns / ns_per_s) {
            verdict->keep |= FX_KEEP_WITHIN;
        }
    }
    keep_last(set, set_count, policy, out_verdicts);
    for (unsigned kind = 0; kind < FX_PERIOD_KINDS; kind++) {
        keep_periods(set, set_count, policy, kind, out_verdicts);
    }
    if (out_verdicts[set[0].place].keep == 0) {
        out_verdicts[set[0].place].keep = FX_KEEP_NEWEST;
    }
}

bool
fx_retention_is_empty(const fx_retention *policy)
{
    return policy->last + policy->hourly + policy->daily + policy->weekly + policy->monthly +
                   policy->yearly ==
               0 &&
           policy->within.ns <= 0;
}

void
fx_retention_decide(
    const fx_snapshot *items,
    size_t count,
    const fx_retention *policy,
    fx_wall now,
    fx_verdict *out_verdicts)
{
    candidate *all = calloc(count + 1, sizeof *all);
    FX_ASSERT(all != NULL);
    for (size_t i = 0; i < count; i++) {
        all[i] = (candidate){.snapshot = &items[i], .place = i};
        all[i].claim = judge_claim(&items[i], policy, now, &all[i].time);
        all[i].lane = lane_of(all[i].claim);
    }
    qsort(all, count, sizeof *all, by_set_and_age);
    for (size_t first = 0; first < count;) {
        size_t end = first + 1;
        while (end < count && by_set(&all[first], &all[end]) == 0) {
            end++;
        }
        decide_set(all + first, end - first, policy, now, out_verdicts);
        first = end;
    }
    free(all);
}

/* ---- words --------------------------------------------------------------------------------------
 */

const char *
fx_claim_text(fx_claim claim)
{
    switch (claim) {
    case FX_CLAIM_BELIEVED:
    case FX_CLAIM_UNCHECKED:
        return "";
    case FX_CLAIM_LATER:
        return "claims to be of after it was stored";
    case FX_CLAIM_EARLIER:
        return "claims to be of long before it was stored";
    }
    return "";
}

static size_t
write_period(const struct tm *parts, fx_keep kind, char out_period[FX_PERIOD_TEXT_BYTES])
{
    switch (kind) {
    case FX_KEEP_HOURLY:
        return strftime(out_period, FX_PERIOD_TEXT_BYTES, "%Y-%m-%dT%H", parts);
    case FX_KEEP_DAILY:
        return strftime(out_period, FX_PERIOD_TEXT_BYTES, "%Y-%m-%d", parts);
    case FX_KEEP_WEEKLY:
        return strftime(out_period, FX_PERIOD_TEXT_BYTES, "%G-W%V", parts);
    case FX_KEEP_MONTHLY:
        return strftime(out_period, FX_PERIOD_TEXT_BYTES, "%Y-%m", parts);
    case FX_KEEP_YEARLY:
        return strftime(out_period, FX_PERIOD_TEXT_BYTES, "%Y", parts);
    case FX_KEEP_LAST:
    case FX_KEEP_WITHIN:
    case FX_KEEP_LAST_HOURS:
    case FX_KEEP_NEWEST:
        break;
    }
    return 0;
}

bool
fx_verdict_period(
    const fx_verdict *verdict,
    const fx_retention *policy,
    unsigned kind,
    const char **out_name,
    char out_period[FX_PERIOD_TEXT_BYTES])
{
    static const char *const names[FX_PERIOD_KINDS] = {
        "hourly", "daily", "weekly", "monthly", "yearly"};
    struct tm parts;
    time_t when = (time_t)seconds(verdict->time);
    if (count_of(policy, kind) == 0) {
        return false;
    }
    if (gmtime_r(&when, &parts) == NULL ||
        write_period(&parts, period_kinds[kind], out_period) == 0) {
        (void)snprintf(out_period, FX_PERIOD_TEXT_BYTES, "?");
    }
    *out_name = names[kind];
    return true;
}

typedef struct words {
    char *text;
    size_t used;
} words;

FX_PRINTF(2, 3)
static void
add_words(words *to, const char *fmt, ...)
{
    va_list args;
    size_t room = FX_VERDICT_TEXT_BYTES - to->used;
    int separator = snprintf(to->text + to->used, room, "%s", to->used == 0 ? "" : ", ");
    FX_ASSERT(separator >= 0 && (size_t)separator < room);
    to->used += (size_t)separator;
    va_start(args, fmt);
    /* NOLINTNEXTLINE(clang-analyzer-valist.Uninitialized): va_start is above */
    int length = vsnprintf(to->text + to->used, room - (size_t)separator, fmt, args);
    va_end(args);
    FX_ASSERT(length >= 0 && (size_t)length < room - (size_t)separator);
    to->used += (size_t)length;
}

static void
add_periods(words *to, const fx_verdict *verdict, const fx_retention *policy)
{
    for (unsigned kind = 0; kind < FX_PERIOD_KINDS; kind++) {
        const char *name = NULL;
        char period[FX_PERIOD_TEXT_BYTES];
        if (!fx_verdict_period(verdict, policy, kind, &name, period)) {
            continue;
        }
        if ((verdict->keep & (unsigned)period_kinds[kind]) != 0) {
            add_words(to, "%s %s", name, period);
        } else if (verdict->keep == 0 && verdict->standing[kind] != NULL) {
            add_words(to, "%s %s is %.12s", name, period, verdict->standing[kind]->id);
        } else if (verdict->keep == 0) {
            add_words(to, "%s %s is too old", name, period);
        }
    }
}

void
fx_verdict_format(
    const fx_verdict *verdict, const fx_retention *policy, char out_text[FX_VERDICT_TEXT_BYTES])
{
    words to = {.text = out_text};
    out_text[0] = '\0';
    if ((verdict->keep & FX_KEEP_NEWEST) != 0) {
        add_words(&to, "newest");
    }
    if ((verdict->keep & FX_KEEP_LAST) != 0) {
        add_words(&to, "last");
    } else if ((verdict->keep & FX_KEEP_LAST_HOURS) != 0) {
        add_words(&to, "first of one of the last hours");
    } else if (verdict->keep == 0 && policy->last > 0) {
        add_words(&to, "not among the last %u", policy->last);
    }
    add_periods(&to, verdict, policy);
    if ((verdict->keep & FX_KEEP_WITHIN) != 0) {
        add_words(&to, "within");
    } else if (verdict->keep == 0 && policy->within.ns > 0) {
        add_words(&to, "too old");
    }
    const char *claim = fx_claim_text(verdict->claim);
    if (claim[0] != '\0') {
        add_words(&to, "%s", claim);
    }
}
