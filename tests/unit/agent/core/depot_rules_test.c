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
        "gaps/0a",
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
    assert_int_equal(fx_depot_put_rule("settled/12-ab", &lease), FX_DEPOT_PUT_SETTLEMENT);
    assert_string_equal(lease, "12-ab");
    static const char *const keys[] = {
        "marks/12-ab", "holds/0a", "forgotten/0a", "repairs/packs/0a"};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        assert_int_equal(fx_depot_put_rule(keys[i], &lease), FX_DEPOT_PUT_COLLECTOR);
    }
}

static void
what_comes_from_another_tier_is_the_replicators(void **state)
{
    (void)state;
    const char *lease = NULL;
    assert_int_equal(fx_depot_put_rule("arriving/0a", &lease), FX_DEPOT_PUT_REPLICATOR);
    assert_int_equal(fx_depot_put_rule("erasures/0a/1", &lease), FX_DEPOT_PUT_REPLICATOR);
}

/* Nothing that a snapshot rests on, or that hides one, is taken away without a ticket. */
static void
what_keeps_nothing_is_passing(void **state)
{
    (void)state;
    static const char *const lasting[] = {
        "packs/0a/0a1b",
        "indexes/0a",
        "snapshots/0a",
        "leases-over/1",
        "revocations/1",
        "settled/1",
        "forgotten/0a",
        "holds/0a",
        "verified/1/0a",
        "streams/a",
        "marks",
        "config"};
    for (size_t i = 0; i < sizeof lasting / sizeof lasting[0]; i++) {
        assert_false(fx_depot_is_passing(lasting[i]));
    }
    assert_true(fx_depot_is_passing("leases/1"));
    assert_true(fx_depot_is_passing("marks/1.1"));
    assert_true(fx_depot_is_passing("arriving/0a"));
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
        cmocka_unit_test(what_comes_from_another_tier_is_the_replicators),
        cmocka_unit_test(what_keeps_nothing_is_passing),
        cmocka_unit_test(some_keys_are_never_put),
    };
    return cmocka_run_group_tests_name("depot_rules", tests, NULL, NULL);
}
