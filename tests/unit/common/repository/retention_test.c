#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/clock.h"
#include "common/repository/retention.h"

enum { SNAPSHOTS_MAX = 32 };

static fx_snapshot items[SNAPSHOTS_MAX];
static size_t item_count;
static unsigned keep[SNAPSHOTS_MAX];

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
}

static void
expect(const fx_retention *policy, const char *now, const unsigned *expected)
{
    fx_retention_decide(items, item_count, policy, at(now), keep);
    for (size_t i = 0; i < item_count; i++) {
        if (keep[i] != expected[i]) {
            print_error("snapshot %zu: %u instead of %u\n", i, keep[i], expected[i]);
        }
        assert_int_equal(keep[i], expected[i]);
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
    const unsigned expected[] = {0, FX_KEEP_LAST, FX_KEEP_LAST, FX_KEEP_LAST, FX_KEEP_LAST};
    expect(&policy, "2026-11-23T00:00:00Z", expected);
}

static void
the_newest_of_each_period_stands_for_it(void **state)
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
        0, 0, FX_KEEP_DAILY, 0, FX_KEEP_HOURLY, FX_KEEP_HOURLY | FX_KEEP_DAILY};
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
    const unsigned expected[] = {FX_KEEP_WEEKLY, 0, FX_KEEP_WEEKLY};
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
        FX_KEEP_YEARLY, 0, FX_KEEP_MONTHLY, FX_KEEP_MONTHLY | FX_KEEP_YEARLY};
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

/* A stolen host that claims the year 2100 must not push out what is good for ever. */
static void
the_future_counts_as_now(void **state)
{
    (void)state;
    add("a", "s", "2026-11-21T12:00:00Z");
    add("a", "s", "2026-11-22T12:00:00Z");
    add("a", "s", "2100-01-01T00:00:00Z");
    add("a", "s", "2100-01-02T00:00:00Z");
    const fx_retention policy = {.daily = 3};
    const unsigned expected[] = {FX_KEEP_DAILY, FX_KEEP_DAILY, FX_KEEP_DAILY, 0};
    expect(&policy, "2026-11-23T00:00:00Z", expected);
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
    fx_retention_decide(items, 0, &none, (fx_wall){0}, keep);
}

static void
reasons_are_named(void **state)
{
    (void)state;
    char text[FX_KEEP_TEXT_BYTES];
    fx_keep_format(0, text);
    assert_string_equal(text, "");
    fx_keep_format(FX_KEEP_LAST | FX_KEEP_WEEKLY, text);
    assert_string_equal(text, "last, weekly");
    fx_keep_format(127, text);
    assert_string_equal(text, "last, hourly, daily, weekly, monthly, yearly, within");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(the_last_ones_are_kept_of_each_data_set, forget_items),
        cmocka_unit_test_setup(the_newest_of_each_period_stands_for_it, forget_items),
        cmocka_unit_test_setup(weeks_begin_on_monday, forget_items),
        cmocka_unit_test_setup(months_and_years_follow_the_calendar, forget_items),
        cmocka_unit_test_setup(all_that_is_young_is_kept_up_to_the_border, forget_items),
        cmocka_unit_test_setup(the_future_counts_as_now, forget_items),
        cmocka_unit_test_setup(a_policy_that_keeps_nothing_is_told, forget_items),
        cmocka_unit_test_setup(reasons_are_named, forget_items),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
