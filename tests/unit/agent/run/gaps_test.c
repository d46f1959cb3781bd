#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "agent/run/gaps.h"
#include "common/base/file.h"
#include "tests/support/scratch.h"

static fx_gaps *
open_gaps(void)
{
    fx_err err = {0};
    fx_gaps *gaps = NULL;
    if (fx_gaps_open(test_scratch_path, &gaps, &err) != FX_OK) {
        fail_msg("%s", err.message);
    }
    return gaps;
}

static void
add(fx_gaps *gaps, const char *service, uint64_t from, uint64_t to)
{
    fx_err err = {0};
    fx_gap gap = {
        .service = fx_name_of(service), .from = {from}, .to = {to}, .since = {.ns = (int64_t)from}};
    (void)snprintf(gap.reason, sizeof(gap.reason), "slot lost");
    if (fx_gaps_add(gaps, &gap, &err) != FX_OK) {
        fail_msg("%s", err.message);
    }
}

static void
a_gap_outlives_the_process(void **state)
{
    (void)state;
    fx_gap list[FX_GAP_MAX];
    fx_gaps *gaps = open_gaps();
    assert_int_equal(fx_gaps_list(gaps, list), 0);
    add(gaps, "orders-db", 0x1000000, 0x3000000);
    fx_gaps_free(gaps);
    gaps = open_gaps();
    assert_int_equal(fx_gaps_list(gaps, list), 1);
    assert_string_equal(list[0].service.text, "orders-db");
    assert_true(list[0].from.value == 0x1000000 && list[0].to.value == 0x3000000);
    assert_true(list[0].since.ns == 0x1000000);
    assert_string_equal(list[0].reason, "slot lost");
    fx_gaps_free(gaps);
}

/* However many there are: each position that was ever told missing is within one of them. */
static void
too_many_are_joined_and_none_is_forgotten(void **state)
{
    (void)state;
    fx_gap list[FX_GAP_MAX];
    fx_gaps *gaps = open_gaps();
    add(gaps, "other", 1, 2);
    for (uint64_t i = 1; i <= 50; i++) {
        add(gaps, "orders-db", i * 100, i * 100 + 50);
    }
    fx_gaps_free(gaps);
    gaps = open_gaps();
    size_t count = fx_gaps_list(gaps, list);
    assert_int_equal(count, FX_GAP_MAX);
    assert_string_equal(list[0].service.text, "other");
    for (uint64_t i = 1; i <= 50; i++) {
        bool found = false;
        for (size_t j = 1; j < count; j++) {
            found = found || (list[j].from.value <= i * 100 && list[j].to.value >= i * 100 + 50);
        }
        assert_true(found);
    }
    assert_true(list[count - 1].from.value == 5000); /* the newest is told as it is */
    fx_gaps_free(gaps);
}

static size_t
cover(fx_gaps *gaps, const char *service, uint64_t start, int64_t began_ns)
{
    fx_err err = {0};
    size_t count = 99;
    fx_gap_cover by = {
        .service = fx_name_of(service),
        .start = {start},
        .began = {.ns = began_ns},
        .now = {.ns = 7777},
        .snapshot = "abcdef0123456789"};
    if (fx_gaps_close(gaps, &by, &count, &err) != FX_OK) {
        fail_msg("%s", err.message);
    }
    return count;
}

static void
add_of_system(fx_gaps *gaps, const char *system, uint64_t from, uint64_t to)
{
    fx_err err = {0};
    fx_gap gap = {
        .service = fx_name_of("orders-db"),
        .from = {from},
        .to = {to},
        .since = {.ns = (int64_t)from},
        .timeline = 2,
        .segment_bytes = 1 << 24};
    (void)snprintf(gap.system, sizeof(gap.system), "%s", system);
    assert_int_equal(fx_gaps_add(gaps, &gap, &err), FX_OK);
}

/* The agent may end between any two puts. */
static void
what_the_repository_lacks_is_remembered(void **state)
{
    (void)state;
    fx_err err = {0};
    fx_gap gap;
    fx_gaps *gaps = open_gaps();
    add(gaps, "other", 1, 2); /* as agents before wrote it: nobody knows of which server it is */
    assert_false(fx_gaps_find_unstored(gaps, &gap));
    add_of_system(gaps, "7000000000000000001", 100, 200);
    add_of_system(gaps, "7000000000000000001", 300, 400);
    assert_int_equal(cover(gaps, "orders-db", 200, 100), 1);
    fx_gaps_free(gaps);
    gaps = open_gaps();
    assert_true(fx_gaps_find_unstored(gaps, &gap));
    assert_int_equal(gap.from.value, 300);
    assert_string_equal(gap.system, "7000000000000000001");
    assert_int_equal(gap.timeline, 2);
    assert_int_equal(gap.segment_bytes, 1 << 24);
    assert_int_equal(fx_gaps_mark_stored(gaps, &gap, &err), FX_OK);
    assert_true(fx_gaps_find_unstored(gaps, &gap)); /* a closed one is told, too */
    assert_int_equal(gap.from.value, 100);
    assert_int_equal(fx_gaps_mark_stored(gaps, &gap, &err), FX_OK);
    fx_gaps_free(gaps);
    gaps = open_gaps();
    assert_false(fx_gaps_find_unstored(gaps, &gap));
    fx_gaps_free(gaps);
}

static void
a_gap_that_is_found_again_is_the_same(void **state)
{
    (void)state;
    fx_gap list[FX_GAP_MAX];
    fx_gaps *gaps = open_gaps();
    add_of_system(gaps, "1", 100, 200);
    add_of_system(gaps, "1", 100, 200);
    assert_int_equal(fx_gaps_list(gaps, list), 1);
    add_of_system(gaps, "1", 100, 300);
    add_of_system(gaps, "2", 100, 200);
    assert_int_equal(fx_gaps_list(gaps, list), 3);
    fx_gaps_free(gaps);
}

static void
joined_gaps_are_told_where_the_repository_lacks_one_of_them(void **state)
{
    (void)state;
    fx_err err = {0};
    fx_gap gap;
    fx_gap list[FX_GAP_MAX];
    fx_gaps *gaps = open_gaps();
    for (uint64_t i = 1; i <= FX_GAP_MAX; i++) {
        add_of_system(gaps, i % 2 == 0 ? "1" : "2", i * 100, i * 100 + 50);
    }
    add_of_system(gaps, "1", 10000, 10050);
    assert_int_equal(fx_gaps_list(gaps, list), FX_GAP_MAX);
    assert_string_equal(list[0].system, "2");
    assert_int_equal(list[0].from.value, 100);
    assert_int_equal(list[0].to.value, 350); /* with the next of the same server */
    size_t count = 0;
    while (fx_gaps_find_unstored(gaps, &gap)) {
        assert_int_equal(fx_gaps_mark_stored(gaps, &gap, &err), FX_OK);
        assert_true(++count <= FX_GAP_MAX);
    }
    assert_int_equal(count, FX_GAP_MAX);
    add_of_system(gaps, "2", 20000, 20050);
    assert_true(fx_gaps_find_unstored(gaps, &gap));
    assert_int_equal(gap.from.value, 20000); /* those that it has are joined first */
    fx_gaps_free(gaps);
}

static void
a_base_backup_that_starts_after_a_gap_closes_it(void **state)
{
    (void)state;
    fx_gap list[FX_GAP_MAX];
    fx_gaps *gaps = open_gaps();
    add(gaps, "orders-db", 100, 200);
    add(gaps, "other", 100, 150);
    add(gaps, "orders-db", 300, 400);
    assert_int_equal(cover(gaps, "orders-db", 199, 1000), 0); /* starts within it */
    assert_int_equal(cover(gaps, "orders-db", 200, 99), 0);   /* began before it was found */
    assert_int_equal(cover(gaps, "orders-db", 200, 100), 1);
    fx_gaps_free(gaps);
    gaps = open_gaps();
    assert_int_equal(fx_gaps_list(gaps, list), 2);
    assert_string_equal(list[0].service.text, "other");
    assert_true(list[1].from.value == 300);
    assert_int_equal(fx_gaps_list_closed(gaps, list), 1);
    assert_true(list[0].from.value == 100 && list[0].to.value == 200);
    assert_string_equal(list[0].closed_by, "abcdef0123456789");
    assert_int_equal(list[0].closed.ns, 7777);
    assert_string_equal(list[0].reason, "slot lost");
    fx_gaps_free(gaps);
}

static void
the_newest_closed_gaps_are_kept(void **state)
{
    (void)state;
    fx_gap list[FX_GAP_MAX];
    fx_gaps *gaps = open_gaps();
    for (uint64_t i = 1; i <= FX_GAP_CLOSED_MAX + 3; i++) {
        add(gaps, "orders-db", i * 10, i * 10 + 5);
        assert_int_equal(cover(gaps, "orders-db", i * 10 + 5, 100000), 1);
    }
    fx_gaps_free(gaps);
    gaps = open_gaps();
    assert_int_equal(fx_gaps_list(gaps, list), 0);
    assert_int_equal(fx_gaps_list_closed(gaps, list), FX_GAP_CLOSED_MAX);
    assert_true(list[0].from.value == 40);
    assert_true(list[FX_GAP_CLOSED_MAX - 1].from.value == (uint64_t)(FX_GAP_CLOSED_MAX + 3) * 10);
    fx_gaps_free(gaps);
}

/* What was not made durable is not said to be over. */
static void
a_gap_stays_open_when_its_end_cannot_be_written(void **state)
{
    (void)state;
    fx_err err = {0};
    fx_gap list[FX_GAP_MAX];
    fx_gaps *gaps = NULL;
    char folder[] = "/tmp/fx_gaps_folder_XXXXXX";
    char file[64];
    assert_non_null(mkdtemp(folder));
    (void)snprintf(file, sizeof(file), "%s/gaps", folder);
    assert_int_equal(fx_gaps_open(file, &gaps, &err), FX_OK);
    add(gaps, "orders-db", 100, 200);
    assert_int_equal(unlink(file), 0);
    assert_int_equal(rmdir(folder), 0);
    size_t count = 99;
    fx_gap_cover by = {
        .service = fx_name_of("orders-db"),
        .start = {500},
        .began = {.ns = 1000},
        .snapshot = "abcdef0123456789"};
    assert_int_not_equal(fx_gaps_close(gaps, &by, &count, &err), FX_OK);
    assert_int_equal(count, 99);
    assert_int_equal(fx_gaps_list(gaps, list), 1);
    assert_int_equal(fx_gaps_list_closed(gaps, list), 0);
    fx_gaps_free(gaps);
}

static void
a_damaged_file_is_no_empty_list(void **state)
{
    (void)state;
    fx_err err = {0};
    fx_gaps *gaps = NULL;
    static const char nonsense[] = "\xff\xff\xff no message";
    assert_int_equal(
        fx_file_replace(
            test_scratch_path,
            (fx_bytes){.data = nonsense, .size_bytes = sizeof(nonsense)},
            0600,
            &err),
        FX_OK);
    assert_int_equal(fx_gaps_open(test_scratch_path, &gaps, &err), FX_ERR_DAMAGED);
    if (strstr(err.context, test_scratch_path) == NULL) {
        fail_msg("%s", err.message);
    }
    assert_null(gaps);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            a_gap_outlives_the_process, test_scratch_begin, test_scratch_end),
        cmocka_unit_test_setup_teardown(
            too_many_are_joined_and_none_is_forgotten, test_scratch_begin, test_scratch_end),
        cmocka_unit_test_setup_teardown(
            a_base_backup_that_starts_after_a_gap_closes_it, test_scratch_begin, test_scratch_end),
        cmocka_unit_test_setup_teardown(
            what_the_repository_lacks_is_remembered, test_scratch_begin, test_scratch_end),
        cmocka_unit_test_setup_teardown(
            a_gap_that_is_found_again_is_the_same, test_scratch_begin, test_scratch_end),
        cmocka_unit_test_setup_teardown(
            joined_gaps_are_told_where_the_repository_lacks_one_of_them,
            test_scratch_begin,
            test_scratch_end),
        cmocka_unit_test_setup_teardown(
            the_newest_closed_gaps_are_kept, test_scratch_begin, test_scratch_end),
        cmocka_unit_test_setup_teardown(
            a_gap_stays_open_when_its_end_cannot_be_written, test_scratch_begin, test_scratch_end),
        cmocka_unit_test_setup_teardown(
            a_damaged_file_is_no_empty_list, test_scratch_begin, test_scratch_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
