#include "core_world.h"

#include "coordinator/core/target.h"

static const char *
refused(core_world *w, size_t member)
{
    const fx_service *service = &w->ledger.services[0];
    return fx_target_refused(
        &w->view, &w->policy, service, &service->primary, &service->members[member], NOW);
}

static fx_target
choose(core_world *w)
{
    const fx_service *service = &w->ledger.services[0];
    return fx_target_choose(&w->view, &w->policy, service, &service->primary, false, NOW);
}

static const char *
upstream_of(core_world *w, size_t host)
{
    const fx_member *upstream = fx_upstream_for(
        &w->ledger, &w->view, &w->policy, &w->ledger.services[0], &w->view.hosts[host].host, NOW);
    return upstream == NULL ? "" : upstream->host.text;
}

static void
a_standby_must_be_heard_run_and_be_healthy(void **state)
{
    (void)state;
    core_world *w = world_new();
    assert_null(refused(w, 1));
    assert_string_equal(refused(w, 0), "it is the primary");
    w->view.hosts[1].reported_at = AGO(5000);
    assert_null(refused(w, 1));
    w->view.hosts[1].reported_at = AGO(5001);
    assert_string_equal(refused(w, 1), "it is not heard");
    w->view.hosts[1].host = fx_name_of("gone");
    assert_string_equal(refused(w, 1), "it is not heard");
    world_state(w, 2)->role = FX_ROLE_HELD;
    assert_string_equal(refused(w, 2), "it runs no standby");
    w->view.hosts[2].service_count = 0;
    assert_string_equal(refused(w, 2), "it runs no standby");
    w->view.hosts[2].service_count = 1;
    world_state(w, 2)->role = FX_ROLE_STANDBY;
    world_state(w, 2)->healthy = false;
    assert_string_equal(refused(w, 2), "it is not healthy");
    free(w);
}

static void
a_standby_too_far_behind_the_most_advanced_is_refused(void **state)
{
    (void)state;
    core_world *w = world_new();
    world_state(w, 2)->write_lsn.value = 1000000 + w->policy.lag_max_bytes;
    assert_null(refused(w, 1));
    world_state(w, 2)->write_lsn.value++;
    assert_string_equal(refused(w, 1), "it is too far behind the most advanced standby");
    assert_null(refused(w, 2));
    free(w);
}

static void
a_standby_of_an_older_timeline_is_behind_by_any_position(void **state)
{
    (void)state;
    core_world *w = world_new();
    world_state(w, 2)->timeline = 4;
    world_state(w, 2)->write_lsn.value = 5;
    assert_string_equal(refused(w, 1), "it is too far behind the most advanced standby");
    world_state(w, 1)->timeline = 4;
    assert_null(refused(w, 1));
    free(w);
}

/* What the old primary had written counts as far as anybody heard of it. */
static void
a_primary_that_nobody_ever_heard_holds_nobody_back(void **state)
{
    (void)state;
    core_world *w = world_new();
    world_state(w, 0)->write_lsn.value = 1000001 + w->policy.lag_max_bytes;
    assert_string_equal(
        refused(w, 1), "it is too far behind what the primary was last heard to have written");
    w->view.hosts[0].service_count = 0;
    assert_null(refused(w, 1));
    free(w);
}

static void
without_a_candidate_the_first_reason_is_told(void **state)
{
    (void)state;
    core_world *w = world_new();
    world_state(w, 1)->healthy = false;
    world_state(w, 2)->role = FX_ROLE_HELD;
    assert_null(choose(w).member);
    assert_string_equal(choose(w).reason, "use1-db cannot take over: it is not healthy");
    w->ledger.services[0].member_count = 1;
    assert_null(choose(w).member);
    assert_string_equal(choose(w).reason, "no member but the primary is configured");
    free(w);
}

/* Gathering is for a failover that has no successor yet, if there is anybody to gather at. */
static void
standbys_gather_only_while_a_failover_looks_for_a_successor(void **state)
{
    (void)state;
    core_world *w = world_new();
    world_state(w, 2)->write_lsn.value = 1000001;
    assert_string_equal(upstream_of(w, 1), "usw2-db");
    w->ledger.plan_count = 1;
    fx_plan *plan = &w->ledger.plans[0];
    *plan = (fx_plan){
        .kind = FX_PLAN_FAILOVER,
        .service = fx_name_of("orders-db"),
        .steps = {{.kind = FX_STEP_TAKE_OVER}},
        .step_count = 1,
    };
    assert_string_equal(upstream_of(w, 1), "euw1-db");
    plan->kind = FX_PLAN_SWITCHOVER;
    assert_string_equal(upstream_of(w, 1), "usw2-db");
    plan->kind = FX_PLAN_FAILOVER;
    plan->steps[0].state = FX_STEP_DONE;
    assert_string_equal(upstream_of(w, 1), "usw2-db");
    plan->steps[0].state = FX_STEP_RUNNING;
    world_state(w, 1)->healthy = false;
    world_state(w, 2)->healthy = false;
    assert_string_equal(upstream_of(w, 1), "usw2-db");
    free(w);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_standby_must_be_heard_run_and_be_healthy),
        cmocka_unit_test(a_standby_too_far_behind_the_most_advanced_is_refused),
        cmocka_unit_test(a_standby_of_an_older_timeline_is_behind_by_any_position),
        cmocka_unit_test(a_primary_that_nobody_ever_heard_holds_nobody_back),
        cmocka_unit_test(without_a_candidate_the_first_reason_is_told),
        cmocka_unit_test(standbys_gather_only_while_a_failover_looks_for_a_successor),
    };
    return cmocka_run_group_tests_name("target", tests, NULL, NULL);
}
