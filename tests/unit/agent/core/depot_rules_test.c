#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agent/core/depot_rules.h"

static void
most_objects_are_put_freely(void **state)
{
    (void)state;
    static const char *const keys[] = {
        "config",
        "packs/0a/0a1b",
        "snapshots/0a",
        "leases/1",
        "tmpx",
        "marksman",
        "a/b/c/d/e/f/g/h"};
    const char *lease = NULL;
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        assert_int_equal(fx_depot_put_rule(keys[i], &lease), FX_DEPOT_PUT_FREELY);
    }
    assert_null(lease);
}

static void
what_ends_a_backup_is_its_writers(void **state)
{
    (void)state;
    const char *lease = NULL;
    assert_int_equal(fx_depot_put_rule("leases-over/12-ab", &lease), FX_DEPOT_PUT_OWN_LEASE);
    assert_string_equal(lease, "12-ab");
    assert_int_equal(fx_depot_put_rule("revocations/34-cd", &lease), FX_DEPOT_PUT_OWN_LEASE);
    assert_string_equal(lease, "34-cd");
}

static void
what_hides_others_work_is_the_collectors(void **state)
{
    (void)state;
    const char *lease = NULL;
    assert_int_equal(fx_depot_put_rule("settled/12-ab", &lease), FX_DEPOT_PUT_COLLECTOR);
    assert_int_equal(fx_depot_put_rule("marks/12-ab", &lease), FX_DEPOT_PUT_COLLECTOR);
}

/* A key deeper than a list goes would break the lists of everyone. */
static void
some_keys_are_never_put(void **state)
{
    (void)state;
    const char *lease = NULL;
    assert_int_equal(fx_depot_put_rule("tmp/depot-1", &lease), FX_DEPOT_PUT_NEVER);
    assert_int_equal(fx_depot_put_rule("a/b/c/d/e/f/g/h/i", &lease), FX_DEPOT_PUT_NEVER);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(most_objects_are_put_freely),
        cmocka_unit_test(what_ends_a_backup_is_its_writers),
        cmocka_unit_test(what_hides_others_work_is_the_collectors),
        cmocka_unit_test(some_keys_are_never_put),
    };
    return cmocka_run_group_tests_name("depot_rules", tests, NULL, NULL);
}
