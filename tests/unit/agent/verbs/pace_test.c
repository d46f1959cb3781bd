#include "agent/verbs/pace.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <string.h>

#define MIB (UINT64_C(1024) * 1024)

static fx_progress
saved(uint64_t count, uint64_t done_bytes, uint64_t total_bytes)
{
    return (fx_progress){
        .step = "saving",
        .what = "files",
        .count = count,
        .done_bytes = done_bytes,
        .total_bytes = total_bytes};
}

static void
note(fx_pace *pace, fx_progress progress, int64_t at_ms)
{
    fx_pace_note(pace, &progress, FX_MONO_MS(at_ms));
}

static bool
is_near(double value, double wanted)
{
    return fabs(value - wanted) <= wanted / 1000;
}

static void
sizes_have_units(void **state)
{
    char text[FX_SIZE_TEXT_BYTES];
    (void)state;
    fx_size_format(0, text);
    assert_string_equal(text, "0 B");
    fx_size_format(1023, text);
    assert_string_equal(text, "1023 B");
    fx_size_format(1536, text);
    assert_string_equal(text, "1.5 KiB");
    fx_size_format(UINT64_MAX, text);
    assert_string_equal(text, "16.0 EiB");
}

static void
the_first_seconds_give_the_plain_mean(void **state)
{
    (void)state;
    fx_pace pace = {0};
    note(&pace, saved(0, 0, 0), 1000);
    assert_true(pace.bytes_per_s <= 0);
    note(&pace, saved(1, 10 * MIB, 0), 2000);
    assert_true(is_near(pace.bytes_per_s, 10.0 * (double)MIB));
    note(&pace, saved(3, 10 * MIB, 0), 3000); /* nothing in this second */
    assert_true(is_near(pace.bytes_per_s, 5.0 * (double)MIB));
    note(&pace, saved(6, 15 * MIB, 0), 4000);
    assert_true(is_near(pace.bytes_per_s, 5.0 * (double)MIB));
    assert_true(is_near(pace.count_per_s, 2));
}

static void
later_the_newest_count_most(void **state)
{
    (void)state;
    fx_pace pace = {0};
    uint64_t done = 0;
    int64_t at_ms = 0;
    for (int second = 0; second <= 60; second++, at_ms += 1000, done += 100 * MIB) {
        note(&pace, saved(0, done, 0), at_ms);
    }
    assert_true(is_near(pace.bytes_per_s, 100.0 * (double)MIB));
    for (int second = 0; second < 30; second++, at_ms += 1000, done += 10 * MIB) {
        note(&pace, saved(0, done, 0), at_ms);
    }
    assert_true(pace.bytes_per_s > 10.0 * (double)MIB);
    assert_true(pace.bytes_per_s < 20.0 * (double)MIB); /* the mean since the beginning: 70 */
}

static void
the_same_instant_changes_nothing(void **state)
{
    (void)state;
    fx_pace pace = {0};
    note(&pace, saved(0, 0, 0), 0);
    note(&pace, saved(1, MIB, 0), 1000);
    note(&pace, saved(2, 2 * MIB, 0), 1000);
    assert_true(is_near(pace.bytes_per_s, (double)MIB));
    note(&pace, saved(2, 2 * MIB, 0), 2000); /* and is not lost */
    assert_true(is_near(pace.bytes_per_s, (double)MIB));
}

static void
what_was_there_before_is_not_speed(void **state)
{
    (void)state;
    fx_pace pace = {0};
    note(&pace, saved(100, 500 * MIB, 0), 0);
    note(&pace, saved(101, 501 * MIB, 0), 1000);
    assert_true(is_near(pace.bytes_per_s, (double)MIB));
}

static void
another_step_begins_anew(void **state)
{
    (void)state;
    fx_pace pace = {0};
    fx_progress removed = {.step = "removing", .what = "packs"};
    note(&pace, saved(0, 0, 0), 0);
    note(&pace, saved(9, 50 * MIB, 0), 1000);
    note(&pace, removed, 2000);
    assert_true(pace.bytes_per_s <= 0);
    removed.count = 4;
    note(&pace, removed, 4000);
    assert_true(is_near(pace.count_per_s, 2));
    note(&pace, (fx_progress){.step = "removing", .what = "packs", .count = 1}, 5000);
    assert_true(pace.count_per_s <= 0); /* counts that shrink: likewise */
}

static void
time_left_is_known_with_a_total_only(void **state)
{
    (void)state;
    fx_pace pace = {0};
    fx_progress progress = saved(0, 0, 100 * MIB);
    assert_int_equal(fx_pace_left_s(&pace, &progress), -1);
    note(&pace, progress, 0);
    assert_int_equal(fx_pace_left_s(&pace, &progress), -1); /* no speed yet */
    progress = saved(1, 10 * MIB, 100 * MIB);
    note(&pace, progress, 1000);
    assert_int_equal(fx_pace_left_s(&pace, &progress), 9);
    progress.total_bytes = 0;
    assert_int_equal(fx_pace_left_s(&pace, &progress), -1);
    progress.total_count = 61;
    assert_int_equal(fx_pace_left_s(&pace, &progress), 60);
    progress = saved(1, 10 * MIB, 5 * MIB); /* more than was expected */
    assert_int_equal(fx_pace_left_s(&pace, &progress), -1);
    progress = saved(1, 10 * MIB, UINT64_MAX);
    assert_int_equal(fx_pace_left_s(&pace, &progress), -1); /* longer than anyone waits */
}

static void
percent_is_never_a_guess(void **state)
{
    (void)state;
    fx_progress progress = saved(0, 0, 0);
    assert_int_equal(fx_progress_percent(&progress), -1);
    progress = saved(0, 999, 1000);
    assert_int_equal(fx_progress_percent(&progress), 99);
    progress = saved(0, 1000, 1000);
    assert_int_equal(fx_progress_percent(&progress), 100);
    progress = saved(0, 1001, 1000);
    assert_int_equal(fx_progress_percent(&progress), -1);
    progress = saved(0, UINT64_MAX, UINT64_MAX);
    assert_int_equal(fx_progress_percent(&progress), 100);
    progress = (fx_progress){.count = 1, .total_count = 3};
    assert_int_equal(fx_progress_percent(&progress), 33);
}

static void
the_line_tells_all_that_is_known(void **state)
{
    (void)state;
    char line[FX_PROGRESS_LINE_BYTES];
    fx_pace pace = {0};
    note(&pace, saved(0, 0, 0), 0);
    note(&pace, saved(12, 10 * MIB, 0), 1000);
    fx_progress progress = saved(12, 10 * MIB, 0);
    fx_progress_line(&progress, &pace, 200, line);
    assert_string_equal(line, "saving: 12 files, 10.0 MiB, 10.0 MiB/s, time left unknown");
    progress.total_bytes = 20 * MIB;
    progress.total_is_estimate = true;
    fx_progress_line(&progress, &pace, 200, line);
    assert_string_equal(
        line,
        "[===============>              ] ~ 50% saving: 12 files, 10.0 MiB of about 20.0 MiB, "
        "10.0 MiB/s, 0:01 left");
    progress.total_is_estimate = false;
    progress.total_bytes = 10 * MIB;
    fx_progress_line(&progress, &pace, 200, line);
    assert_string_equal(
        line,
        "[==============================]  100% saving: 12 files, 10.0 MiB of 10.0 MiB, "
        "10.0 MiB/s, 0:00 left");
}

static void
counts_alone_have_a_speed_too(void **state)
{
    (void)state;
    char line[FX_PROGRESS_LINE_BYTES];
    fx_pace pace = {0};
    fx_progress progress = {.step = "removing", .what = "packs", .total_count = 8000};
    note(&pace, progress, 0);
    progress.count = 2;
    note(&pace, progress, 1000);
    fx_progress_line(&progress, &pace, 60, line);
    assert_string_equal(line, "removing: 2 of 8000 packs, 2/s, 1:06:39 left");
    progress.total_count = 800000;
    fx_progress_line(&progress, &pace, 70, line);
    assert_string_equal(
        line, "[>            ]    0% removing: 2 of 800000 packs, 2/s, 4 d 15 h left");
}

static void
no_line_is_wider_than_the_terminal(void **state)
{
    (void)state;
    char line[FX_PROGRESS_LINE_BYTES];
    fx_pace pace = {0};
    fx_progress progress = saved(UINT64_MAX, UINT64_MAX / 2, UINT64_MAX);
    progress.total_count = UINT64_MAX;
    progress.total_is_estimate = true;
    note(&pace, saved(0, 0, 0), 0);
    note(&pace, progress, 1);
    for (unsigned columns = 0; columns < 400; columns++) {
        fx_progress_line(&progress, &pace, columns, line);
        assert_true(strlen(line) < (columns == 0 ? 1 : columns));
        assert_true(columns < 20 || strlen(line) > 0);
    }
    progress = saved(1, 1, 2);
    for (unsigned columns = 1; columns < 200; columns++) {
        fx_progress_line(&progress, &pace, columns, line);
        assert_true(strlen(line) < columns);
    }
    assert_true(line[0] == '[');
    fx_progress_line(&progress, &pace, 12, line);
    assert_string_equal(line, "saving: 1 f");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_have_units),
        cmocka_unit_test(the_first_seconds_give_the_plain_mean),
        cmocka_unit_test(later_the_newest_count_most),
        cmocka_unit_test(the_same_instant_changes_nothing),
        cmocka_unit_test(what_was_there_before_is_not_speed),
        cmocka_unit_test(another_step_begins_anew),
        cmocka_unit_test(time_left_is_known_with_a_total_only),
        cmocka_unit_test(percent_is_never_a_guess),
        cmocka_unit_test(the_line_tells_all_that_is_known),
        cmocka_unit_test(counts_alone_have_a_speed_too),
        cmocka_unit_test(no_line_is_wider_than_the_terminal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
