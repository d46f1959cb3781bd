#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/base/rate.h"

static fx_rate
rate_of_two_a_second(void)
{
    return (fx_rate){.burst = 2, .refill = FX_DUR_MS(500)};
}

/* A burst passes, what follows at once does not. */
static void
refuses_after_the_burst(void **state)
{
    (void)state;
    fx_rate rate = rate_of_two_a_second();
    fx_mono now = FX_MONO_MS(1000);
    uint64_t suppressed = 9;

    assert_true(fx_rate_take(&rate, now, &suppressed));
    assert_int_equal(suppressed, 0);
    assert_true(fx_rate_take(&rate, now, &suppressed));
    assert_false(fx_rate_take(&rate, now, &suppressed));
    assert_false(fx_rate_take(&rate, FX_MONO_MS(1499), &suppressed));
}

/* The next that passes tells how many did not. */
static void
counts_what_it_refused(void **state)
{
    (void)state;
    fx_rate rate = rate_of_two_a_second();
    uint64_t suppressed = 0;
    for (int i = 0; i < 7; i++) {
        (void)fx_rate_take(&rate, FX_MONO_MS(1000), &suppressed);
    }

    assert_true(fx_rate_take(&rate, FX_MONO_MS(1500), &suppressed));
    assert_int_equal(suppressed, 5);
    assert_false(fx_rate_take(&rate, FX_MONO_MS(1500), &suppressed));
}

/* A long silence earns one burst, not more. */
static void
never_saves_more_than_a_burst(void **state)
{
    (void)state;
    fx_rate rate = rate_of_two_a_second();
    uint64_t suppressed = 0;
    assert_true(fx_rate_take(&rate, FX_MONO_MS(1000), &suppressed));

    int passed = 0;
    for (int i = 0; i < 10; i++) {
        passed += fx_rate_take(&rate, FX_MONO_MS(3600000), &suppressed) ? 1 : 0;
    }

    assert_int_equal(passed, 2);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refuses_after_the_burst),
        cmocka_unit_test(counts_what_it_refused),
        cmocka_unit_test(never_saves_more_than_a_burst),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
