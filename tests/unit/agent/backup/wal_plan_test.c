#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "agent/backup/wal_plan.h"

enum { SEGMENT = 16 * 1024 * 1024 };

static fx_wal_chain chain;

static fx_code
read_chain(const char *history, uint32_t timeline, fx_err *err)
{
    return fx_wal_chain_read(
        (fx_bytes){.data = history, .size_bytes = strlen(history)}, timeline, &chain, err);
}

static void
histories_become_chains(void **state)
{
    (void)state;
    fx_err err = {0};
    assert_int_equal(
        read_chain("# c\n\n1\t0/5000148\tno recovery target\n2\t0/7000000\tx\n", 4, &err), FX_OK);
    assert_int_equal(chain.count, 3);
    assert_int_equal(chain.items[1].timeline, 2);
    assert_true(chain.items[1].end.value == 0x7000000);
    assert_int_equal(chain.items[2].timeline, 4);
    assert_int_equal(fx_wal_chain_timeline_at(&chain, (fx_lsn){.value = 0x5000147}), 1);
    assert_int_equal(fx_wal_chain_timeline_at(&chain, (fx_lsn){.value = 0x5000148}), 2);
    assert_int_equal(fx_wal_chain_timeline_at(&chain, (fx_lsn){.value = 0x7000000}), 4);
    assert_int_equal(read_chain("", 1, &err), FX_OK);
    assert_int_equal(chain.count, 1);
}

static void
bad_histories_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "1 x\n", "x\n", "1\n", "2\t0/1\tx\n1\t0/2\tx\n", "1\t0/1\n1\t0/2\n", "9\t0/1\tx\n"};
    for (size_t at = 0; at < sizeof bad / sizeof bad[0]; at++) {
        fx_err err = {0};
        assert_int_equal(read_chain(bad[at], 5, &err), FX_ERR_INVALID);
    }
}

static fx_wal_stored stored;

static bool
resume(uint32_t *out_timeline, uint64_t *out_segment)
{
    fx_lsn start = {0};
    if (!fx_wal_resume(&chain, &stored, SEGMENT, out_timeline, &start)) {
        return false;
    }
    assert_true(start.value % SEGMENT == 0);
    *out_segment = start.value / SEGMENT;
    return true;
}

static void
receiving_goes_on_after_the_newest_stored_segment(void **state)
{
    (void)state;
    fx_err err = {0};
    uint32_t timeline = 0;
    uint64_t segment = 0;
    stored.count = 0;
    assert_int_equal(read_chain("", 1, &err), FX_OK);
    assert_false(resume(&timeline, &segment));
    assert_int_equal(fx_wal_stored_note(&stored, 1, 3, &err), FX_OK);
    assert_int_equal(fx_wal_stored_note(&stored, 1, 2, &err), FX_OK);
    assert_true(resume(&timeline, &segment));
    assert_int_equal(timeline, 1);
    assert_true(segment == 4);
}

static void
a_switch_of_timeline_is_taken_from_the_start_of_its_segment(void **state)
{
    (void)state;
    fx_err err = {0};
    uint32_t timeline = 0;
    uint64_t segment = 0;
    stored.count = 0;
    /* timeline 2 branches off inside segment 5 */
    assert_int_equal(read_chain("1\t0/5000148\tx\n", 2, &err), FX_OK);
    assert_int_equal(fx_wal_stored_note(&stored, 1, 3, &err), FX_OK);
    assert_true(resume(&timeline, &segment));
    assert_int_equal(timeline, 1);
    assert_true(segment == 4);
    assert_int_equal(fx_wal_stored_note(&stored, 1, 4, &err), FX_OK);
    assert_true(resume(&timeline, &segment)); /* segment 5 of timeline 1 begins before the end */
    assert_int_equal(timeline, 1);
    assert_true(segment == 5);
    /* the lost primary had sent more than the new one took over */
    assert_int_equal(fx_wal_stored_note(&stored, 1, 6, &err), FX_OK);
    assert_true(resume(&timeline, &segment));
    assert_int_equal(timeline, 2);
    assert_true(segment == 5);
    assert_int_equal(fx_wal_stored_note(&stored, 2, 5, &err), FX_OK);
    assert_true(resume(&timeline, &segment));
    assert_int_equal(timeline, 2);
    assert_true(segment == 6);
}

static void
timelines_outside_of_the_chain_do_not_count(void **state)
{
    (void)state;
    fx_err err = {0};
    uint32_t timeline = 0;
    uint64_t segment = 0;
    stored.count = 0;
    assert_int_equal(read_chain("1\t0/5000148\tx\n", 3, &err), FX_OK);
    assert_int_equal(fx_wal_stored_note(&stored, 2, 9, &err), FX_OK);
    assert_false(resume(&timeline, &segment));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(histories_become_chains),
        cmocka_unit_test(bad_histories_are_refused),
        cmocka_unit_test(receiving_goes_on_after_the_newest_stored_segment),
        cmocka_unit_test(a_switch_of_timeline_is_taken_from_the_start_of_its_segment),
        cmocka_unit_test(timelines_outside_of_the_chain_do_not_count),
    };
    return cmocka_run_group_tests_name("wal_plan", tests, NULL, NULL);
}
