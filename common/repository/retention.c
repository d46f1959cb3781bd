#include "common/repository/retention.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

static const int64_t hour_s = 3600;
static const int64_t day_s = INT64_C(24) * 3600;

typedef struct candidate {
    const fx_snapshot *snapshot;
    size_t place;
    int64_t time_s; /* what it claims, but for the future */
} candidate;

/* Data sets side by side, each from new to old. Equal times: by id, so that the order is one. */
static int
by_set_and_age(const void *left, const void *right)
{
    const candidate *one = left;
    const candidate *two = right;
    int order = strcmp(one->snapshot->host.text, two->snapshot->host.text);
    if (order == 0) {
        order = strcmp(one->snapshot->source, two->snapshot->source);
    }
    if (order != 0) {
        return order;
    }
    if (one->time_s != two->time_s) {
        return one->time_s > two->time_s ? -1 : 1;
    }
    return strcmp(one->snapshot->id, two->snapshot->id);
}

static bool
is_same_set(const candidate *one, const candidate *two)
{
    return strcmp(one->snapshot->host.text, two->snapshot->host.text) == 0 &&
           strcmp(one->snapshot->source, two->snapshot->source) == 0;
}

static int64_t
floor_div(int64_t value, int64_t by)
{
    return value / by - (value % by < 0);
}

/* A number that is the same for all instants of one period. */
static int64_t
period_of(int64_t time_s, fx_keep kind)
{
    struct tm parts;
    time_t when = (time_t)time_s;
    switch (kind) {
    case FX_KEEP_HOURLY:
        return floor_div(time_s, hour_s);
    case FX_KEEP_DAILY:
        return floor_div(time_s, day_s);
    case FX_KEEP_WEEKLY:
        return floor_div(floor_div(time_s, day_s) + 3, 7); /* 1970 began on a Thursday */
    case FX_KEEP_MONTHLY:
    case FX_KEEP_YEARLY:
        if (gmtime_r(&when, &parts) == NULL) {
            return 0;
        }
        return kind == FX_KEEP_YEARLY ? parts.tm_year : parts.tm_year * INT64_C(12) + parts.tm_mon;
    case FX_KEEP_LAST:
    case FX_KEEP_WITHIN:
        break;
    }
    return time_s;
}

/* Keeps the newest of each of the newest `count` periods. */
static void
keep_periods(
    const candidate *set, size_t set_count, fx_keep kind, unsigned count, unsigned *out_keep)
{
    for (size_t i = 0; i < set_count && count > 0; i++) {
        if (i == 0 || period_of(set[i].time_s, kind) != period_of(set[i - 1].time_s, kind)) {
            out_keep[set[i].place] |= (unsigned)kind;
            count--;
        }
    }
}

static void
decide_set(
    const candidate *set,
    size_t set_count,
    const fx_retention *policy,
    fx_wall now,
    unsigned *out_keep)
{
    for (size_t i = 0; i < set_count; i++) {
        int64_t age_s = now.ns / 1000000000 - set[i].time_s;
        if (i < policy->last) {
            out_keep[set[i].place] |= FX_KEEP_LAST;
        }
        if (policy->within.ns > 0 && age_s < policy->within.ns / 1000000000) {
            out_keep[set[i].place] |= FX_KEEP_WITHIN;
        }
    }
    keep_periods(set, set_count, FX_KEEP_HOURLY, policy->hourly, out_keep);
    keep_periods(set, set_count, FX_KEEP_DAILY, policy->daily, out_keep);
    keep_periods(set, set_count, FX_KEEP_WEEKLY, policy->weekly, out_keep);
    keep_periods(set, set_count, FX_KEEP_MONTHLY, policy->monthly, out_keep);
    keep_periods(set, set_count, FX_KEEP_YEARLY, policy->yearly, out_keep);
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
    unsigned *out_keep)
{
    candidate *all = calloc(count + 1, sizeof *all);
    FX_ASSERT(all != NULL);
    for (size_t i = 0; i < count; i++) {
        int64_t claimed_ns = items[i].began.ns < now.ns ? items[i].began.ns : now.ns;
        all[i] = (candidate){&items[i], i, floor_div(claimed_ns, 1000000000)};
        out_keep[i] = 0;
    }
    qsort(all, count, sizeof *all, by_set_and_age);
    for (size_t first = 0; first < count;) {
        size_t end = first + 1;
        while (end < count && is_same_set(&all[first], &all[end])) {
            end++;
        }
        decide_set(all + first, end - first, policy, now, out_keep);
        first = end;
    }
    free(all);
}

void
fx_keep_format(unsigned keep, char out_text[FX_KEEP_TEXT_BYTES])
{
    static const char *const names[] = {
        "last", "hourly", "daily", "weekly", "monthly", "yearly", "within"};
    size_t used = 0;
    out_text[0] = '\0';
    for (unsigned i = 0; i < sizeof names / sizeof *names; i++) {
        if ((keep & (1U << i)) != 0) {
            int length = snprintf(
                out_text + used,
                FX_KEEP_TEXT_BYTES - used,
                "%s%s",
                used == 0 ? "" : ", ",
                names[i]);
            FX_ASSERT(length > 0 && (size_t)length < FX_KEEP_TEXT_BYTES - used);
            used += (size_t)length;
        }
    }
}
