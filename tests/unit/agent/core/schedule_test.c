#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agent/core/schedule.h"

static const int64_t second = INT64_C(1000000000);

static bool
is_due(fx_schedule_entry entry, int64_t wall_s, int64_t now_s)
{
    return fx_schedule_is_due(
        &entry, (fx_wall){.ns = wall_s * second}, (fx_mono){.ns = now_s * second});
}

static fx_schedule_entry
hourly(int64_t last_began_s)
{
    return (fx_schedule_entry){
        .interval = {.ns = 3600 * second}, .last_began = {.ns = last_began_s * second}};
}

static void
due_at_once_and_then_after_the_interval(void **state)
{
    (void)state;
    assert_true(is_due(hourly(0), 1000000, 5));
    assert_false(is_due(hourly(1000000), 1000000 + 3599, 5));
    assert_true(is_due(hourly(1000000), 1000000 + 3601, 5));
}

static void
never_without_an_interval_nor_twice_at_a_time(void **state)
{
    (void)state;
    assert_false(is_due((fx_schedule_entry){.interval = {0}}, 1000000, 5));
    fx_schedule_entry entry = hourly(0);
    entry.running = true;
    assert_false(is_due(entry, 1000000, 5));
}

static void
a_clock_set_back_does_not_stop_it(void **state)
{
    (void)state;
    assert_true(is_due(hourly(2000000), 1000000, 5));
}

static void
a_failure_is_tried_again_later_and_later(void **state)
{
    (void)state;
    fx_schedule_entry entry = hourly(0);
    entry.last_failed.ns = 100 * second;
    entry.failure_count = 1;
    assert_false(is_due(entry, 1000000, 129));
    assert_true(is_due(entry, 1000000, 131));
    entry.failure_count = 2;
    assert_false(is_due(entry, 1000000, 159));
    assert_true(is_due(entry, 1000000, 161));
    entry.failure_count = 1000; /* an hour at most, however often */
    assert_false(is_due(entry, 1000000, 100 + 3599));
    assert_true(is_due(entry, 1000000, 100 + 3601));
}

static void
a_failed_job_of_a_long_interval_is_tried_again_within_the_hour(void **state)
{
    (void)state;
    fx_schedule_entry daily = {
        .interval = {.ns = 86400 * second},
        .last_failed = {.ns = 100 * second},
        .failure_count = 1000};
    assert_false(is_due(daily, 1000000, 100 + 3599));
    assert_true(is_due(daily, 1000000, 100 + 3600));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(due_at_once_and_then_after_the_interval),
        cmocka_unit_test(never_without_an_interval_nor_twice_at_a_time),
        cmocka_unit_test(a_clock_set_back_does_not_stop_it),
        cmocka_unit_test(a_failure_is_tried_again_later_and_later),
        cmocka_unit_test(a_failed_job_of_a_long_interval_is_tried_again_within_the_hour),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
