#include "core_world.h"

#include "coordinator/core/goals.h"
#include "coordinator/core/target.h"

static void
goals_say_who_is_primary_and_whom_to_follow(void **state)
{
    (void)state;
    core_world *w = world_new();
    fx_goals primary = fx_goals_for(&w->ledger, &w->view, &w->policy, &w->view.hosts[0], NOW);
    assert_int_equal(primary.count, 1);
    assert_int_equal(primary.items[0].role, FX_ROLE_PRIMARY);
    assert_int_equal(primary.items[0].epoch.value, 3);
    assert_int_equal(fx_dur_ms(primary.next_report), 1000);
    fx_goals standby = fx_goals_for(&w->ledger, &w->view, &w->policy, &w->view.hosts[1], NOW);
    assert_int_equal(standby.items[0].role, FX_ROLE_STANDBY);
    assert_string_equal(standby.items[0].upstream.host.text, "usw2-db");
    assert_int_equal(fx_dur_ms(standby.next_report), 2000);
    w->ledger.services[0].dns_epoch.value = 2;
    standby = fx_goals_for(&w->ledger, &w->view, &w->policy, &w->view.hosts[1], NOW);
    assert_int_equal(fx_dur_ms(standby.next_report), 500);
    w->view.hosts[1].host = fx_name_of("stranger");
    fx_goals none = fx_goals_for(&w->ledger, &w->view, &w->policy, &w->view.hosts[1], NOW);
    assert_int_equal(none.count, 0);
    assert_int_equal(fx_dur_ms(none.next_report), 5000);
    free(w);
}

static void
while_a_failover_waits_standbys_gather_at_the_most_advanced(void **state)
{
    (void)state;
    core_world *w = world_new();
    world_state(w, 2)->write_lsn.value = 1000001;
    w->ledger.plan_count = 1;
    w->ledger.plans[0] = (fx_plan){
        .kind = FX_PLAN_FAILOVER,
        .service = fx_name_of("orders-db"),
        .steps = {{.kind = FX_STEP_FENCE}},
        .step_count = 1,
    };
    fx_goals first = fx_goals_for(&w->ledger, &w->view, &w->policy, &w->view.hosts[1], NOW);
    assert_string_equal(first.items[0].upstream.host.text, "euw1-db");
    fx_goals ahead = fx_goals_for(&w->ledger, &w->view, &w->policy, &w->view.hosts[2], NOW);
    assert_string_equal(ahead.items[0].upstream.host.text, "usw2-db");
    w->ledger.plans[0].steps[0].kind = FX_STEP_PROMOTE;
    first = fx_goals_for(&w->ledger, &w->view, &w->policy, &w->view.hosts[1], NOW);
    assert_string_equal(first.items[0].upstream.host.text, "usw2-db");
    free(w);
}

static void
the_preferred_standby_is_waited_for_unless_in_a_hurry(void **state)
{
    (void)state;
    core_world *w = world_new();
    const fx_service *service = &w->ledger.services[0];
    world_state(w, 2)->write_lsn.value = 1000001;
    fx_target wait = fx_target_choose(&w->view, &w->policy, service, &service->primary, false, NOW);
    assert_true(wait.wait);
    fx_target hurry = fx_target_choose(&w->view, &w->policy, service, &service->primary, true, NOW);
    assert_false(hurry.wait);
    assert_string_equal(hurry.member->host.text, "euw1-db");
    world_state(w, 2)->timeline = 2; /* a higher number on an older timeline is not ahead */
    fx_target preferred =
        fx_target_choose(&w->view, &w->policy, service, &service->primary, false, NOW);
    assert_string_equal(preferred.member->host.text, "use1-db");
    assert_false(preferred.wait);
    free(w);
}

static void
promotions_are_delivered_until_done_and_results_then_forgotten(void **state)
{
    (void)state;
    core_world *w = world_new();
    fx_host_view *host = &w->view.hosts[0];
    host->results[0] = (fx_order_result){.order = {"promote-e3-r40"}, .state = FX_ORDER_DONE};
    host->results[1] = (fx_order_result){.order = {"other"}, .state = FX_ORDER_RUNNING};
    host->result_count = 2;
    fx_orders done = fx_orders_for(&w->ledger, host);
    assert_int_equal(done.deliver_count, 0);
    assert_int_equal(done.acknowledge_count, 1);
    world_state(w, 0)->role = FX_ROLE_NONE;
    fx_orders again = fx_orders_for(&w->ledger, host);
    assert_int_equal(again.deliver_count, 1);
    assert_int_equal(again.acknowledge_count, 0);
    w->ledger.request_count = 1;
    w->ledger.requests[0] =
        (fx_request){.host = host->host, .order = {.size_bytes = 1, .id = {"other"}}};
    assert_int_equal(fx_orders_for(&w->ledger, host).deliver_count, 2);
    w->ledger.requests[0].result_state[0] = 'd';
    assert_int_equal(fx_orders_for(&w->ledger, host).deliver_count, 1);
    w->ledger.plan_count = 1;
    w->ledger.plans[0] = (fx_plan){
        .from_host = host->host,
        .steps = {{.kind = FX_STEP_FENCE, .order = {.size_bytes = 1, .id = {"f"}}}},
        .step_count = 1,
    };
    assert_int_equal(fx_orders_for(&w->ledger, host).deliver_count, 2);
    free(w);
}

static void
who_has_nobody_to_follow_is_told_nobody(void **state)
{
    (void)state;
    core_world *w = world_new();
    w->ledger.services[0].primary = fx_name_of("removed-db");
    fx_goals goals = fx_goals_for(&w->ledger, &w->view, &w->policy, &w->view.hosts[1], NOW);
    assert_int_equal(goals.items[0].role, FX_ROLE_STANDBY);
    assert_string_equal(goals.items[0].upstream.host.text, "");
    free(w);
}

static void
a_promotion_is_for_the_primary_until_it_is_one_in_that_epoch(void **state)
{
    (void)state;
    core_world *w = world_new();
    assert_int_equal(fx_orders_for(&w->ledger, &w->view.hosts[0]).deliver_count, 0);
    assert_int_equal(fx_orders_for(&w->ledger, &w->view.hosts[1]).deliver_count, 0);
    world_state(w, 0)->epoch_seen.value = 2;
    assert_int_equal(fx_orders_for(&w->ledger, &w->view.hosts[0]).deliver_count, 1);
    w->view.hosts[0].service_count = 0;
    assert_int_equal(fx_orders_for(&w->ledger, &w->view.hosts[0]).deliver_count, 1);
    w->ledger.services[0].promotion.size_bytes = 0; /* not signed yet */
    assert_int_equal(fx_orders_for(&w->ledger, &w->view.hosts[0]).deliver_count, 0);
    free(w);
}

static void
a_fence_is_for_the_host_and_the_step_that_it_is_of(void **state)
{
    (void)state;
    core_world *w = world_new();
    w->ledger.plan_count = 1;
    fx_plan *plan = &w->ledger.plans[0];
    *plan = (fx_plan){
        .from_host = fx_name_of("usw2-db"),
        .steps = {{.kind = FX_STEP_FENCE, .order = {.size_bytes = 1, .id = {"f"}}}},
        .step_count = 1,
    };
    assert_int_equal(fx_orders_for(&w->ledger, &w->view.hosts[0]).deliver_count, 1);
    assert_int_equal(fx_orders_for(&w->ledger, &w->view.hosts[1]).deliver_count, 0);
    plan->steps[0].kind = FX_STEP_TAKE_OVER;
    assert_int_equal(fx_orders_for(&w->ledger, &w->view.hosts[0]).deliver_count, 0);
    plan->steps[0] = (fx_step){.kind = FX_STEP_FENCE, .state = FX_STEP_DONE};
    assert_int_equal(fx_orders_for(&w->ledger, &w->view.hosts[0]).deliver_count, 0);
    free(w);
}

static void
orders_of_other_hosts_are_not_delivered_and_no_more_than_fit(void **state)
{
    (void)state;
    core_world *w = world_new();
    fx_request order = {.host = fx_name_of("use1-db"), .order = {.size_bytes = 1, .id = {"r"}}};
    for (size_t i = 0; i < FX_ORDERS_MAX + 1; i++) {
        w->ledger.requests[i] = order;
    }
    w->ledger.request_count = FX_ORDERS_MAX - 1;
    assert_int_equal(fx_orders_for(&w->ledger, &w->view.hosts[1]).deliver_count, FX_ORDERS_MAX - 1);
    assert_int_equal(fx_orders_for(&w->ledger, &w->view.hosts[2]).deliver_count, 0);
    w->ledger.request_count = FX_ORDERS_MAX + 1;
    assert_int_equal(fx_orders_for(&w->ledger, &w->view.hosts[1]).deliver_count, FX_ORDERS_MAX);
    free(w);
}

static void
only_results_that_are_final_may_be_forgotten(void **state)
{
    (void)state;
    core_world *w = world_new();
    fx_host_view *host = &w->view.hosts[1];
    host->result_count = 1;
    host->results[0] = (fx_order_result){.order = {"x"}, .state = FX_ORDER_NONE};
    const size_t acknowledged[] = {
        [FX_ORDER_NONE] = 0,
        [FX_ORDER_RUNNING] = 0,
        [FX_ORDER_DONE] = 1,
        [FX_ORDER_FAILED] = 1,
        [FX_ORDER_UNKNOWN] = 1,
        [FX_ORDER_REFUSED] = 1,
    };
    for (size_t i = 0; i < sizeof acknowledged / sizeof acknowledged[0]; i++) {
        host->results[0].state = (fx_order_state)i;
        assert_int_equal(fx_orders_for(&w->ledger, host).acknowledge_count, acknowledged[i]);
    }
    free(w);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(goals_say_who_is_primary_and_whom_to_follow),
        cmocka_unit_test(while_a_failover_waits_standbys_gather_at_the_most_advanced),
        cmocka_unit_test(the_preferred_standby_is_waited_for_unless_in_a_hurry),
        cmocka_unit_test(promotions_are_delivered_until_done_and_results_then_forgotten),
        cmocka_unit_test(who_has_nobody_to_follow_is_told_nobody),
        cmocka_unit_test(a_promotion_is_for_the_primary_until_it_is_one_in_that_epoch),
        cmocka_unit_test(a_fence_is_for_the_host_and_the_step_that_it_is_of),
        cmocka_unit_test(orders_of_other_hosts_are_not_delivered_and_no_more_than_fit),
        cmocka_unit_test(only_results_that_are_final_may_be_forgotten),
    };
    return cmocka_run_group_tests_name("goals", tests, NULL, NULL);
}
