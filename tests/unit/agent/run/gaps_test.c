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

static char path[64];

static int
begin(void **state)
{
    (void)state;
    (void)snprintf(path, sizeof(path), "/tmp/fx_gaps_test_XXXXXX");
    int fd = mkstemp(path);
    (void)close(fd);
    return unlink(path);
}

static int
end(void **state)
{
    (void)state;
    (void)unlink(path);
    return 0;
}

static fx_gaps *
open_gaps(void)
{
    fx_err err = {0};
    fx_gaps *gaps = NULL;
    if (fx_gaps_open(path, &gaps, &err) != FX_OK) {
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

static void
a_damaged_file_is_no_empty_list(void **state)
{
    (void)state;
    fx_err err = {0};
    fx_gaps *gaps = NULL;
    static const char nonsense[] = "\xff\xff\xff no message";
    assert_int_equal(
        fx_file_replace(
            path, (fx_bytes){.data = nonsense, .size_bytes = sizeof(nonsense)}, 0600, &err),
        FX_OK);
    assert_int_equal(fx_gaps_open(path, &gaps, &err), FX_ERR_DAMAGED);
    if (strstr(err.context, path) == NULL) {
        fail_msg("%s", err.message);
    }
    assert_null(gaps);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_gap_outlives_the_process, begin, end),
        cmocka_unit_test_setup_teardown(too_many_are_joined_and_none_is_forgotten, begin, end),
        cmocka_unit_test_setup_teardown(a_damaged_file_is_no_empty_list, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
