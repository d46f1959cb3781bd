/* The room of the ledger's store: what is trouble, and what is done about it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "coordinator/core/upkeep.h"

static const fx_mono now = {.ns = INT64_C(10000) * 1000000000};

static fx_mono
seconds_ago(int64_t seconds)
{
    return (fx_mono){now.ns - seconds * 1000000000};
}

/* Three members of 10 bytes, all used; the quota is 1000; the first leads. */
static fx_store_health
three(void)
{
    return (fx_store_health){
        .quota_bytes = 1000,
        .member_count = 3,
        .members =
            {
                {.answers = true, .leads = true, .size_bytes = 10, .in_use_bytes = 10},
                {.answers = true, .size_bytes = 10, .in_use_bytes = 10},
                {.answers = true, .size_bytes = 10, .in_use_bytes = 10},
            },
    };
}

static fx_upkeep_act
act_on(const fx_store_health *health)
{
    fx_upkeep_past past = {.compacted_at = {0}};
    return fx_upkeep_decide(health, &past, now).act;
}

static void
a_database_beyond_most_of_its_quota_is_trouble(void **state)
{
    (void)state;
    fx_store_health health = three();
    assert_int_equal(fx_store_judge(&health), FX_STORE_WELL);
    health.members[1].size_bytes = 600;
    assert_int_equal(fx_store_judge(&health), FX_STORE_WELL);
    health.members[1].size_bytes = 601;
    assert_int_equal(fx_store_judge(&health), FX_STORE_FILLING);
    assert_ptr_equal(fx_store_largest(&health), &health.members[1]);
    health.members[1].answers = false;
    assert_int_equal(fx_store_judge(&health), FX_STORE_WELL);
    health.no_space = true;
    assert_int_equal(fx_store_judge(&health), FX_STORE_NO_SPACE);
    health.corrupt = true;
    assert_int_equal(fx_store_judge(&health), FX_STORE_CORRUPT);
}

static void
of_a_store_that_nobody_saw_nothing_is_said(void **state)
{
    (void)state;
    fx_store_health health = {.quota_bytes = 1000};
    assert_null(fx_store_largest(&health));
    assert_int_equal(fx_store_judge(&health), FX_STORE_WELL);
    assert_int_equal(act_on(&health), FX_UPKEEP_NOTHING);
}

static void
a_sparse_file_is_defragmented_followers_first(void **state)
{
    (void)state;
    fx_store_health health = three();
    fx_upkeep_past past = {.compacted_at = {0}};
    assert_int_equal(act_on(&health), FX_UPKEEP_NOTHING);
    for (size_t i = 0; i < 3; i++) {
        health.members[i].size_bytes = 252;
        health.members[i].in_use_bytes = 125;
    }
    health.members[2].leads = true;
    health.members[0].leads = false;
    assert_int_equal(fx_upkeep_decide(&health, &past, now).member, 1);
    health.members[2].leads = false;
    health.members[0].leads = true;
    const size_t order[] = {2, 1, 0};
    for (size_t i = 0; i < 3; i++) {
        fx_upkeep next = fx_upkeep_decide(&health, &past, now);
        assert_int_equal(next.act, FX_UPKEEP_DEFRAGMENT);
        assert_int_equal(next.member, order[i]);
        past.defragmented_at[next.member] = seconds_ago(600);
    }
    assert_int_equal(fx_upkeep_decide(&health, &past, now).act, FX_UPKEEP_NOTHING);
    past.defragmented_at[1] = seconds_ago(601);
    assert_int_equal(fx_upkeep_decide(&health, &past, now).member, 1);
    health.members[1].in_use_bytes = 126; /* half of it is used */
    assert_int_equal(fx_upkeep_decide(&health, &past, now).act, FX_UPKEEP_NOTHING);
    health.members[1].size_bytes = 250; /* not worth a pause */
    health.members[1].in_use_bytes = 10;
    assert_int_equal(fx_upkeep_decide(&health, &past, now).act, FX_UPKEEP_NOTHING);
}

static void
nobody_stands_still_while_a_member_is_down_or_members_disagree(void **state)
{
    (void)state;
    fx_store_health health = three();
    health.members[0].size_bytes = 900;
    assert_int_equal(act_on(&health), FX_UPKEEP_DEFRAGMENT);
    health.members[2].answers = false;
    assert_int_equal(act_on(&health), FX_UPKEEP_NOTHING);
    health.members[2].answers = true;
    health.corrupt = true;
    assert_int_equal(act_on(&health), FX_UPKEEP_NOTHING);
}

static void
without_space_it_compacts_then_defragments_then_disarms(void **state)
{
    (void)state;
    fx_store_health health = three();
    fx_upkeep_past past = {.compacted_at = {0}};
    health.no_space = true;
    health.members[0].size_bytes = 1000;
    health.members[0].in_use_bytes = 1000; /* free pages are told of late */
    health.members[2].size_bytes = 601;
    assert_int_equal(fx_upkeep_decide(&health, &past, now).act, FX_UPKEEP_COMPACT);
    past.compacted_at = seconds_ago(20);
    fx_upkeep next = fx_upkeep_decide(&health, &past, now);
    assert_int_equal(next.act, FX_UPKEEP_DEFRAGMENT);
    assert_int_equal(next.member, 2);
    health.members[2].size_bytes = 10;
    next = fx_upkeep_decide(&health, &past, now);
    assert_int_equal(next.act, FX_UPKEEP_DEFRAGMENT);
    assert_int_equal(next.member, 0);
    past.defragmented_at[0] =
        seconds_ago(1); /* it did not help: no disarming into the next alarm */
    assert_int_equal(fx_upkeep_decide(&health, &past, now).act, FX_UPKEEP_NOTHING);
    health.members[0].size_bytes = 600;
    assert_int_equal(fx_upkeep_decide(&health, &past, now).act, FX_UPKEEP_DISARM);
    past.compacted_at = seconds_ago(21);
    assert_int_equal(fx_upkeep_decide(&health, &past, now).act, FX_UPKEEP_COMPACT);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_database_beyond_most_of_its_quota_is_trouble),
        cmocka_unit_test(of_a_store_that_nobody_saw_nothing_is_said),
        cmocka_unit_test(a_sparse_file_is_defragmented_followers_first),
        cmocka_unit_test(nobody_stands_still_while_a_member_is_down_or_members_disagree),
        cmocka_unit_test(without_space_it_compacts_then_defragments_then_disarms),
    };
    return cmocka_run_group_tests_name("upkeep", tests, NULL, NULL);
}
