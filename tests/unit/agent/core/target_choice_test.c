#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agent/core/target_choice.h"

static fx_target_choice
three_regions(void)
{
    return (fx_target_choice){
        .count = 3, .own = {true, false, false}, .retry_own = FX_DUR_MS(10000)};
}

static void
begins_with_its_own_region(void **state)
{
    (void)state;
    fx_target_choice choice = three_regions();
    assert_int_equal(fx_target_choose(&choice, FX_MONO_MS(1)), 0);
    fx_target_succeeded(&choice, 0);
    assert_int_equal(fx_target_choose(&choice, FX_MONO_MS(60000)), 0);
}

/* A failure turns to the next at once, and after the last to the first. */
static void
goes_round(void **state)
{
    (void)state;
    fx_target_choice choice = three_regions();
    for (size_t i = 0; i < 7; i++) {
        assert_int_equal(fx_target_choose(&choice, FX_MONO_MS(1)), i % 3);
        assert_int_equal(fx_target_choice_is_first_round(&choice), i < 3);
        fx_target_failed(&choice, i % 3);
    }
}

/* With another region: the own is tried after ten seconds, not before, and stays if it answers. */
static void
comes_home(void **state)
{
    (void)state;
    fx_target_choice choice = three_regions();
    assert_int_equal(fx_target_choose(&choice, FX_MONO_MS(1000)), 0);
    fx_target_failed(&choice, 0);
    assert_int_equal(fx_target_choose(&choice, FX_MONO_MS(2000)), 1);
    fx_target_succeeded(&choice, 1);
    assert_int_equal(fx_target_choose(&choice, FX_MONO_MS(11000)), 1);
    assert_int_equal(fx_target_choose(&choice, FX_MONO_MS(11001)), 0);
    fx_target_succeeded(&choice, 0);
    assert_int_equal(fx_target_choose(&choice, FX_MONO_MS(11002)), 0);
}

/* If it does not answer, what worked is used at once, and the own tried again ten seconds later. */
static void
a_failed_return_costs_one_call(void **state)
{
    (void)state;
    fx_target_choice choice = three_regions();
    (void)fx_target_choose(&choice, FX_MONO_MS(1000));
    fx_target_failed(&choice, 0);
    fx_target_succeeded(&choice, 1);
    assert_int_equal(fx_target_choose(&choice, FX_MONO_MS(12000)), 0);
    fx_target_failed(&choice, 0);
    assert_int_equal(fx_target_choose(&choice, FX_MONO_MS(12001)), 1);
    fx_target_succeeded(&choice, 1);
    assert_int_equal(fx_target_choose(&choice, FX_MONO_MS(22000)), 1);
    assert_int_equal(fx_target_choose(&choice, FX_MONO_MS(22001)), 0);
}

/* While nothing works, the list is gone through in order; there is no jump home. */
static void
does_not_jump_while_all_fail(void **state)
{
    (void)state;
    fx_target_choice choice = three_regions();
    (void)fx_target_choose(&choice, FX_MONO_MS(1000));
    fx_target_failed(&choice, 0);
    assert_int_equal(fx_target_choose(&choice, FX_MONO_MS(50000)), 1);
}

static void
works_without_an_own_region(void **state)
{
    (void)state;
    fx_target_choice choice = {.count = 2, .retry_own = FX_DUR_MS(10000)};
    assert_int_equal(fx_target_choose(&choice, FX_MONO_MS(50000)), 0);
    fx_target_failed(&choice, 0);
    fx_target_succeeded(&choice, 1);
    assert_int_equal(fx_target_choose(&choice, FX_MONO_MS(90000)), 1);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(begins_with_its_own_region),
        cmocka_unit_test(goes_round),
        cmocka_unit_test(comes_home),
        cmocka_unit_test(a_failed_return_costs_one_call),
        cmocka_unit_test(does_not_jump_while_all_fail),
        cmocka_unit_test(works_without_an_own_region),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
