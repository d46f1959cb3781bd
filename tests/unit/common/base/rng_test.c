#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/rng.h"

static void
same_seed_gives_same_numbers(void **state)
{
    (void)state;
    fx_rng left;
    fx_rng right;
    fx_rng_init(&left, 42);
    fx_rng_init(&right, 42);
    for (int i = 0; i < 100; i++) {
        assert_true(fx_rng_next(&left) == fx_rng_next(&right));
    }
}

static void
numbers_stay_below_the_bound(void **state)
{
    (void)state;
    fx_rng rng;
    fx_rng_init(&rng, 0);
    bool seen[3] = {false};
    for (int i = 0; i < 200; i++) {
        uint64_t value = fx_rng_below(&rng, 3);
        assert_true(value < 3);
        seen[value] = true;
    }
    assert_true(seen[0] && seen[1] && seen[2]);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_seed_gives_same_numbers),
        cmocka_unit_test(numbers_stay_below_the_bound),
    };
    return cmocka_run_group_tests_name("rng", tests, NULL, NULL);
}
