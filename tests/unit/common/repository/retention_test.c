#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/clock.h"
#include "common/repository/retention.h"

enum { SNAPSHOTS_MAX = 1200, GOOD = 30, FAKES = 1000 };

static fx_snapshot items[SNAPSHOTS_MAX];
static size_t item_count;
static fx_verdict verdicts[SNAPSHOTS_MAX];
static const unsigned in_last = FX_KEEP_LAST | FX_KEEP_LAST_HOURS;

static fx_wall
at(const char *text)
{
    fx_err err = {0};
    fx_wall when = {0};
    assert_int_equal(fx_wall_parse(text, &when, &err), FX_OK);
    return when;
}

static int
forget_items(void **state)
{
    (void)state;
    item_count = 0;
    memset(items, 0, sizeof items);
    return 0;
}

static void
add(const char *host, const char *source, const char *when)
{
    assert_true(item_count < SNAPSHOTS_MAX);
    fx_snapshot *item = &items[item_count++];
    (void)snprintf(item->id, sizeof item->id, "%064zu", item_count);
    item->host = fx_name_of(host);
    (void)snprintf(item->source, sizeof item->source, "%s", source);
    item->began = at(when);
    item->ended = item->began;
    item->stored = item->began;
}

static fx_snapshot *
add_claim(const char *stored, const char *claimed)
{
    add("a", "s", claimed);
    fx_snapshot *item = &items[item_count - 1];
    item->stored = at(stored);
    return item;
}

static void
expect(const fx_retention *policy, const char *now, const unsigned *expected)
{
    fx_retention_decide(items, item_count, policy, at(now), verdicts);
    for (size_t i = 0; i < item_count; i++) {
        if (verdicts[i].keep != expected[i]) {
            print_error("snapshot %zu: %u instead of %u\n", i, verdicts[i].keep, expected[i]);
        }
        assert_int_equal(verdicts[i].keep, expected[i]);
    }
}

static void
the_last_ones_are_kept_of_each_data_set(void **state)
{
    (void)state;
    add("a", "files:x", "2026-11-20T00:00:00Z");
    add("a", "files:x", "2026-11-21T00:00:00Z");
    add("a", "files:x", "2026-11-22T00:00:00Z");
    add("b", "files:x", "2026-11-01T00:00:00Z");
    add("a", "files:y", "2026-11-02T00:00:00Z");
    const fx_retention policy = {.last = 2};
    const unsigned expected[] = {0, in_last, in_last, in_last, in_last};
    expect(&policy, "2026-11-23T00:00:00Z", expected);
}

static void
the_first_of_each_period_stands_for_it(void **state)
{
    (void)state;
    add("a", "s", "2026-11-20T23:59:59Z");
    add("a", "s", "2026-11-21T00:00:00Z");
    add("a", "s", "2026-11-21T23:59:59Z");
    add("a", "s", "2026-11-22T10:00:00Z");
    add("a", "s", "2026-11-22T10:59:59Z");
    add("a", "s", "2026-11-22T11:00:00Z");
    const fx_retention policy = {.daily = 2, .hourly = 2};
    const unsigned expected[] = {
        0, FX_KEEP_DAILY, 0, FX_KEEP_HOURLY | FX_KEEP_DAILY, 0, FX_KEEP_HOURLY};
    expect(&policy, "2026-11-23T00:00:00Z", expected);
}

/* 2026-11-22 is a Sunday, 2026-11-23 a Monday. */
static void
weeks_begin_on_monday(void **state)
{
    (void)state;
    add("a", "s", "2026-11-22T23:59:59Z");
    add("a", "s", "2026-11-23T00:00:00Z");
    add("a", "s", "2026-11-29T23:59:59Z");
    const fx_retention policy = {.weekly = 9};
    const unsigned expected[] = {FX_KEEP_WEEKLY, FX_KEEP_WEEKLY, FX_KEEP_NEWEST};
    expect(&policy, "2026-12-01T00:00:00Z", expected);
}

static void
months_and_years_follow_the_calendar(void **state)
{
    (void)state;
    add("a", "s", "2024-12-31T23:59:59Z");
    add("a", "s", "2025-01-01T00:00:00Z");
    add("a", "s", "2025-01-31T23:59:59Z");
    add("a", "s", "2025-02-28T00:00:00Z");
    const fx_retention policy = {.monthly = 2, .yearly = 2};
    const unsigned expected[] = {
        FX_KEEP_YEARLY, FX_KEEP_MONTHLY | FX_KEEP_YEARLY, 0, FX_KEEP_MONTHLY};
    expect(&policy, "2025-03-01T00:00:00Z", expected);
}

static void
all_that_is_young_is_kept_up_to_the_border(void **state)
{
    (void)state;
    add("a", "s", "2026-11-21T00:00:00Z");
    add("a", "s", "2026-11-21T00:00:01Z");
    const fx_retention policy = {.within = {.ns = INT64_C(2) * 24 * 3600 * 1000000000}};
    const unsigned expected[] = {0, FX_KEEP_WITHIN};
    expect(&policy, "2026-11-23T00:00:00Z", expected);
}

/* A stolen host that claims the year 2100 takes the place of nothing. */
static void
the_future_is_judged_apart_by_when_it_was_stored(void **state)
{
    (void)state;
    add_claim("2026-11-21T12:00:00Z", "2026-11-21T12:00:00Z");
    add_claim("2026-11-22T12:00:00Z", "2026-11-22T12:00:00Z");
    add_claim("2026-11-22T13:00:00Z", "2100-01-01T00:00:00Z");
    add_claim("2026-11-22T14:00:00Z", "2100-01-02T00:00:00Z");
    const fx_retention policy = {.daily = 1};
    const unsigned expected[] = {0, FX_KEEP_DAILY, FX_KEEP_DAILY, FX_KEEP_NEWEST};
    expect(&policy, "2026-11-23T00:00:00Z", expected);
    assert_int_equal(verdicts[1].claim, FX_CLAIM_BELIEVED);
    assert_int_equal(verdicts[2].claim, FX_CLAIM_LATER);
    assert_int_equal(verdicts[2].time.ns, at("2026-11-22T13:00:00Z").ns);
}

/* A copy of a repository has all of it stored at once: the policy keeps of it what it kept. */
static void
the_past_is_judged_apart_by_its_claim(void **state)
{
    (void)state;
    add_claim("2026-11-22T12:00:00Z", "2026-11-18T12:00:00Z");
    add_claim("2026-11-22T12:00:01Z", "2026-11-19T11:00:00Z");
    add_claim("2026-11-22T12:00:02Z", "2026-11-19T12:00:00Z");
    add_claim("2026-11-22T12:00:03Z", "2026-11-20T12:00:00Z");
    add_claim("2026-11-22T13:00:03Z", "2026-11-22T13:00:00Z");
    const fx_retention policy = {.daily = 2};
    const unsigned expected[] = {0, FX_KEEP_DAILY, 0, FX_KEEP_DAILY, FX_KEEP_DAILY};
    expect(&policy, "2026-11-23T00:00:00Z", expected);
    assert_int_equal(verdicts[0].claim, FX_CLAIM_EARLIER);
    assert_int_equal(verdicts[4].claim, FX_CLAIM_BELIEVED);
}

static void
claims_are_believed_up_to_the_borders(void **state)
{
    (void)state;
    const struct {
        const char *began;
        const char *ended;
        fx_claim claim;
    } cases[] = {
        {"2026-11-22T12:05:00Z", "2026-11-22T12:05:00Z", FX_CLAIM_BELIEVED},
        {"2026-11-22T12:05:01Z", "2026-11-22T12:00:00Z", FX_CLAIM_LATER},
        {"2026-11-22T12:00:00Z", "2026-11-22T12:05:01Z", FX_CLAIM_LATER},
        {"2026-11-22T11:00:00Z", "2026-11-22T11:00:00Z", FX_CLAIM_BELIEVED},
        {"2026-11-22T10:59:59Z", "2026-11-22T10:59:59Z", FX_CLAIM_EARLIER},
        {"2026-10-23T12:00:00Z", "2026-11-22T12:00:00Z", FX_CLAIM_BELIEVED},
        {"2026-10-23T11:59:59Z", "2026-11-22T12:00:00Z", FX_CLAIM_EARLIER},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        fx_snapshot *item = add_claim("2026-11-22T12:00:00Z", cases[i].began);
        item->ended = at(cases[i].ended);
    }
    items[item_count].host = fx_name_of("a");
    items[item_count].began.ns = INT64_MIN;
    items[item_count].ended.ns = INT64_MAX;
    items[item_count++].stored = at("2026-11-22T12:00:00Z");
    const fx_retention policy = {.daily = 1};
    fx_retention_decide(items, item_count, &policy, at("2026-11-23T00:00:00Z"), verdicts);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(verdicts[i].claim, cases[i].claim);
    }
    assert_int_equal(verdicts[item_count - 1].claim, FX_CLAIM_LATER);
}

static void
a_store_that_tells_no_times_is_asked_for_no_more(void **state)
{
    (void)state;
    add_claim("2026-11-22T12:00:00Z", "2026-11-21T12:00:00Z")->stored.ns = 0;
    add_claim("2026-11-22T12:00:00Z", "2100-11-22T12:00:00Z")->stored.ns = 0;
    const fx_retention policy = {.daily = 2};
    const unsigned expected[] = {FX_KEEP_DAILY, FX_KEEP_DAILY};
    expect(&policy, "2026-11-23T00:00:00Z", expected);
    assert_int_equal(verdicts[0].claim, FX_CLAIM_UNCHECKED);
    assert_int_equal(verdicts[1].time.ns, at("2026-11-23T00:00:00Z").ns);
}

static void
tags_make_sets_of_their_own(void **state)
{
    (void)state;
    add("a", "s", "2026-11-21T12:00:00Z");
    add("a", "s", "2026-11-22T12:00:00Z");
    (void)snprintf(items[0].tags, sizeof items[0].tags, "before-upgrade");
    const fx_retention policy = {.last = 1};
    const unsigned expected[] = {FX_KEEP_LAST, FX_KEEP_LAST};
    expect(&policy, "2026-11-23T00:00:00Z", expected);
}

static void
counts_of_two_and_more_count_hours_as_well(void **state)
{
    (void)state;
    add("a", "s", "2026-11-22T09:10:00Z");
    add("a", "s", "2026-11-22T10:10:00Z");
    add("a", "s", "2026-11-22T10:20:00Z");
    add("a", "s", "2026-11-22T11:10:00Z");
    add("a", "s", "2026-11-22T11:20:00Z");
    add("a", "s", "2026-11-22T11:30:00Z");
    const fx_retention two = {.last = 2};
    const unsigned hours[] = {
        0, FX_KEEP_LAST_HOURS, 0, FX_KEEP_LAST_HOURS, FX_KEEP_LAST, FX_KEEP_LAST};
    expect(&two, "2026-11-23T00:00:00Z", hours);
    const fx_retention one = {.last = 1};
    const unsigned newest[] = {0, 0, 0, 0, 0, FX_KEEP_LAST};
    expect(&one, "2026-11-23T00:00:00Z", newest);
}

/*
 * A good snapshot each day. Then the host is stolen: a thousand snapshots within half an hour, that
 * claim to be of the future, of each hour of the past weeks, of longer backups, or of now.
 */
static void
a_thousand_fakes_push_out_one_of_each_period(void **state)
{
    (void)state;
    const int64_t hour_ns = INT64_C(3600) * 1000000000;
    const fx_wall theft = at("2026-11-23T10:10:00Z");
    const fx_retention policy = {
        .last = 5, .hourly = 12, .daily = 7, .weekly = 4, .monthly = 2, .within = {48 * hour_ns}};
    for (int i = 0; i < GOOD; i++) {
        add("a", "s", "2026-10-24T02:00:00Z");
        fx_snapshot *item = &items[item_count - 1];
        item->stored.ns += 24 * hour_ns * i;
        item->began = item->stored;
        item->ended = item->stored;
    }
    unsigned before[GOOD];
    fx_retention_decide(items, item_count, &policy, theft, verdicts);
    for (int i = 0; i < GOOD; i++) {
        before[i] = verdicts[i].keep;
    }
    for (int i = 0; i < FAKES; i++) {
        add("a", "s", "2026-11-23T10:10:00Z");
        fx_snapshot *item = &items[item_count - 1];
        item->stored.ns += i * INT64_C(1800000000);
        const fx_wall claims[] = {
            {.ns = item->stored.ns + (i + 1) * hour_ns},
            {.ns = item->stored.ns - i * hour_ns},
            {.ns = item->stored.ns - i * hour_ns / 2},
            item->stored};
        item->began = claims[i % 4];
        item->ended = i % 4 == 2 ? item->stored : item->began;
    }
    fx_retention_decide(items, item_count, &policy, (fx_wall){theft.ns + hour_ns / 2}, verdicts);
    const unsigned kinds[] = {
        FX_KEEP_LAST_HOURS,
        FX_KEEP_HOURLY,
        FX_KEEP_DAILY,
        FX_KEEP_WEEKLY,
        FX_KEEP_MONTHLY,
        FX_KEEP_WITHIN};
    for (size_t kind = 0; kind < sizeof kinds / sizeof *kinds; kind++) {
        int lost = 0;
        for (int i = 0; i < GOOD; i++) {
            lost += (before[i] & kinds[kind]) != 0 && (verdicts[i].keep & kinds[kind]) == 0;
        }
        /* The theft was in an hour, a day and a week without a good one; the month had some. */
        int most = kinds[kind] == FX_KEEP_MONTHLY || kinds[kind] == FX_KEEP_WITHIN ? 0 : 1;
        assert_int_equal(lost, most);
    }
}

static void
a_policy_that_keeps_nothing_is_told(void **state)
{
    (void)state;
    const fx_retention none = {0};
    const fx_retention one = {.yearly = 1};
    const fx_retention young = {.within = {.ns = 1}};
    assert_true(fx_retention_is_empty(&none));
    assert_false(fx_retention_is_empty(&one));
    assert_false(fx_retention_is_empty(&young));
    fx_retention_decide(items, 0, &none, (fx_wall){0}, verdicts);
}

static void
reasons_are_named(void **state)
{
    (void)state;
    char text[FX_VERDICT_TEXT_BYTES];
    add_claim("2026-11-20T12:00:00Z", "2026-11-20T12:00:00Z");
    add_claim("2026-11-22T12:00:00Z", "2026-11-22T12:00:00Z");
    add_claim("2026-11-22T13:00:00Z", "2026-11-22T13:00:00Z");
    add_claim("2026-11-22T14:00:00Z", "2026-11-22T14:00:00Z");
    add_claim("2026-11-22T14:00:00Z", "2100-11-22T14:00:00Z");
    const fx_retention policy = {.last = 1, .daily = 1, .weekly = 1};
    fx_retention_decide(items, item_count, &policy, at("2026-11-23T00:00:00Z"), verdicts);
    fx_verdict_format(&verdicts[0], &policy, text);
    assert_string_equal(text, "weekly 2026-W47");
    fx_verdict_format(&verdicts[1], &policy, text);
    assert_string_equal(text, "daily 2026-11-22");
    fx_verdict_format(&verdicts[2], &policy, text);
    assert_string_equal(
        text,
        "not among the last 1, daily 2026-11-22 is 000000000000, weekly 2026-W47 is 000000000000");
    fx_verdict_format(&verdicts[3], &policy, text);
    assert_string_equal(text, "last");
    fx_verdict_format(&verdicts[4], &policy, text);
    assert_string_equal(
        text, "last, daily 2026-11-22, weekly 2026-W47, claims to be of after it was stored");
    const fx_retention within = {.within = {.ns = 1}};
    fx_retention_decide(items, item_count, &within, at("2026-11-23T00:00:00Z"), verdicts);
    fx_verdict_format(&verdicts[0], &within, text);
    assert_string_equal(text, "too old");
    fx_verdict_format(&verdicts[3], &within, text);
    assert_string_equal(text, "newest");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(the_last_ones_are_kept_of_each_data_set, forget_items),
        cmocka_unit_test_setup(the_first_of_each_period_stands_for_it, forget_items),
        cmocka_unit_test_setup(weeks_begin_on_monday, forget_items),
        cmocka_unit_test_setup(months_and_years_follow_the_calendar, forget_items),
        cmocka_unit_test_setup(all_that_is_young_is_kept_up_to_the_border, forget_items),
        cmocka_unit_test_setup(the_future_is_judged_apart_by_when_it_was_stored, forget_items),
        cmocka_unit_test_setup(the_past_is_judged_apart_by_its_claim, forget_items),
        cmocka_unit_test_setup(claims_are_believed_up_to_the_borders, forget_items),
        cmocka_unit_test_setup(a_store_that_tells_no_times_is_asked_for_no_more, forget_items),
        cmocka_unit_test_setup(tags_make_sets_of_their_own, forget_items),
        cmocka_unit_test_setup(counts_of_two_and_more_count_hours_as_well, forget_items),
        cmocka_unit_test_setup(a_thousand_fakes_push_out_one_of_each_period, forget_items),
        cmocka_unit_test_setup(a_policy_that_keeps_nothing_is_told, forget_items),
        cmocka_unit_test_setup(reasons_are_named, forget_items),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
