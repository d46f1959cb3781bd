#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agent/service/fork.h"

static const char history[] = "1\t0/3000148\tno recovery target specified\n"
                              "\n"
                              "# a comment\n"
                              "2\t1/00000000\tno recovery target specified\n";

static bool
check(uint32_t timeline, uint64_t lsn, bool is_begin)
{
    fx_err err = {0};
    bool diverged = false;
    fx_fork_position position = {.timeline = timeline, .lsn = {lsn}, .is_begin = is_begin};
    assert_int_equal(fx_fork_check(history, 3, &position, &diverged, &err), FX_OK);
    return diverged;
}

static void
past_the_fork_is_diverged(void **state)
{
    (void)state;
    assert_false(check(1, 0x3000148, false)); /* has all that the timelines share */
    assert_true(check(1, 0x3000149, false));
    assert_true(check(1, 0x3000148, true)); /* a record that begins where the other one begins */
    assert_false(check(1, 0x3000147, true));
    assert_false(check(2, UINT64_C(0x100000000), false));
    assert_true(check(2, UINT64_C(0x100000001), false));
}

static void
its_own_timeline_and_none_are_not(void **state)
{
    (void)state;
    assert_false(check(3, UINT64_C(0x500000000), false));
    assert_false(check(0, 0x5000000, false));
}

static void
a_timeline_that_the_upstream_never_was_on_is(void **state)
{
    (void)state;
    assert_true(check(4, 1, false));
    fx_err err = {0};
    bool diverged = false;
    fx_fork_position position = {.timeline = 2, .lsn = {1}};
    assert_int_equal(fx_fork_check("", 1, &position, &diverged, &err), FX_OK);
    assert_true(diverged);
}

static void
nonsense_is_an_error(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "x\t0/1\n", "1\t0-1\n", "1\n", "0\t0/1\n", "1\t0/1FFFFFFFF\n"};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        fx_err err = {0};
        bool diverged = true;
        fx_fork_position position = {.timeline = 1, .lsn = {1}};
        assert_int_equal(fx_fork_check(texts[i], 2, &position, &diverged, &err), FX_ERR_INVALID);
        assert_false(diverged);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(past_the_fork_is_diverged),
        cmocka_unit_test(its_own_timeline_and_none_are_not),
        cmocka_unit_test(a_timeline_that_the_upstream_never_was_on_is),
        cmocka_unit_test(nonsense_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
