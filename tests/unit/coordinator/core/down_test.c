#include "core_world.h"

#include "coordinator/core/down.h"

static fx_down
down(core_world *w)
{
    return fx_service_down(&w->ledger, &w->view, &w->policy, &w->ledger.services[0], NOW);
}

static void
silence_needs_its_time_and_a_witness_of_another_region(void **state)
{
    (void)state;
    core_world *w = world_new();
    assert_int_equal(down(w).cause, FX_NOT_DOWN);
    world_silence(w, 0, 5000);
    assert_int_equal(down(w).cause, FX_NOT_DOWN);
    world_silence(w, 0, 5001);
    assert_int_equal(down(w).cause, FX_DOWN_SILENT);
    assert_string_equal(down(w).reason, "nobody has heard usw2-db for 5001 ms; euw1-co agrees");
    w->view.coordinators[0].heard_at = AGO(3001);
    w->view.coordinators[2].heard_at = AGO(3000);
    assert_int_equal(down(w).cause, FX_DOWN_SILENT);
    w->view.coordinators[2].heard_at = AGO(3001);
    assert_int_equal(down(w).cause, FX_NOT_DOWN);
    free(w);
}

/* It may have been told to report every five seconds only. */
static void
a_host_without_a_lease_is_given_three_reports(void **state)
{
    (void)state;
    core_world *w = world_new();
    w->view.hosts[0].wants_lease = false;
    world_silence(w, 0, 15000);
    assert_int_equal(down(w).cause, FX_NOT_DOWN);
    world_silence(w, 0, 15001);
    assert_int_equal(down(w).cause, FX_DOWN_SILENT);
    w->policy.silence_max = FX_DUR_MS(20000);
    assert_int_equal(down(w).cause, FX_NOT_DOWN);
    free(w);
}

static void
whoever_heard_the_host_last_counts(void **state)
{
    (void)state;
    core_world *w = world_new();
    world_silence(w, 0, 20000);
    w->view.coordinators[2].hosts[1].host = fx_name_of("usw2-db");
    w->view.coordinators[2].hosts[1].reported_at = AGO(4999);
    w->view.coordinators[2].host_count = 2;
    assert_int_equal(down(w).cause, FX_NOT_DOWN);
    free(w);
}

static void
silence_before_one_listened_is_no_evidence(void **state)
{
    (void)state;
    core_world *w = world_new();
    world_silence(w, 0, 50000);
    w->view.began_at = AGO(5000);
    assert_int_equal(down(w).cause, FX_NOT_DOWN);
    w->view.began_at = AGO(5001);
    assert_int_equal(down(w).cause, FX_DOWN_SILENT);
    w->view.coordinators[0].listening_since = AGO(5000);
    w->view.coordinators[2].listening_since = AGO(5000);
    assert_int_equal(down(w).cause, FX_NOT_DOWN);
    w->view.coordinators[2].listening_since = AGO(100000);
    w->view.coordinators[2].heard = false;
    assert_int_equal(down(w).cause, FX_NOT_DOWN);
    free(w);
}

static void
make_unhealthy(core_world *w, int64_t ms)
{
    world_state(w, 0)->healthy = false;
    world_state(w, 0)->bad_since = AGO(ms);
    w->view.coordinators[2].sights[0] = (fx_sight){
        .service = fx_name_of("orders-db"),
        .host = fx_name_of("usw2-db"),
        .bad_for = FX_DUR_MS(5001),
    };
    w->view.coordinators[2].sight_count = 1;
}

static void
an_unhealthy_primary_needs_another_regions_sight(void **state)
{
    (void)state;
    core_world *w = world_new();
    make_unhealthy(w, 10000);
    assert_int_equal(down(w).cause, FX_NOT_DOWN);
    make_unhealthy(w, 10001);
    assert_int_equal(down(w).cause, FX_DOWN_UNHEALTHY);
    fx_sight *sight = &w->view.coordinators[2].sights[0];
    sight->bad_for = FX_DUR_MS(5000);
    assert_int_equal(down(w).cause, FX_NOT_DOWN);
    sight->bad_for = FX_DUR_MS(5001);
    sight->reachable = true;
    assert_int_equal(down(w).cause, FX_NOT_DOWN);
    sight->reachable = false;
    sight->host = fx_name_of("use1-db");
    assert_int_equal(down(w).cause, FX_NOT_DOWN);
    sight->host = fx_name_of("usw2-db");
    sight->service = fx_name_of("other-db");
    assert_int_equal(down(w).cause, FX_NOT_DOWN);
    free(w);
}

static void
after_a_gap_and_at_the_first_start_health_is_not_judged(void **state)
{
    (void)state;
    core_world *w = world_new();
    make_unhealthy(w, 20000);
    w->ledger.steady_since = AGO(10000);
    assert_int_equal(down(w).cause, FX_NOT_DOWN);
    w->ledger.steady_since = AGO(10001);
    assert_int_equal(down(w).cause, FX_DOWN_UNHEALTHY);
    w->ledger.services[0].epoch.value = 1;
    w->ledger.services[0].dns_epoch.value = 0;
    assert_int_equal(down(w).cause, FX_NOT_DOWN);
    w->ledger.services[0].dns_epoch.value = 1;
    assert_int_equal(down(w).cause, FX_DOWN_UNHEALTHY);
    free(w);
}

static void
a_service_that_its_host_does_not_report_is_unhealthy(void **state)
{
    (void)state;
    core_world *w = world_new();
    make_unhealthy(w, 0);
    w->view.hosts[0].service_count = 0;
    assert_int_equal(down(w).cause, FX_DOWN_UNHEALTHY);
    w->view.hosts[0].first_heard_at = AGO(9000);
    assert_int_equal(down(w).cause, FX_NOT_DOWN);
    w->view.hosts[0].host = fx_name_of("gone");
    assert_int_equal(down(w).cause, FX_NOT_DOWN);
    free(w);
}

static void
evidence_says_what_each_coordinator_knows_and_is_bounded(void **state)
{
    (void)state;
    core_world *w = world_new();
    make_unhealthy(w, 0);
    w->view.coordinators[0].heard_at = AGO(9000);
    w->view.coordinators[1].hosts[0].host = fx_name_of("usw2-db");
    w->view.coordinators[1].sights[0] = w->view.coordinators[2].sights[0];
    w->view.coordinators[1].sights[0].reachable = true;
    w->view.coordinators[1].sight_count = 1;
    fx_decision *decision = calloc(1, sizeof *decision);
    assert_non_null(decision);
    const fx_service *service = &w->ledger.services[0];
    fx_down_evidence(&w->view, &w->policy, service, &service->primary, NOW, decision);
    assert_int_equal(decision->evidence_count, 3);
    assert_string_equal(decision->evidence[0].fact, "this coordinator itself is not heard");
    assert_string_equal(
        decision->evidence[1].fact, "last heard it 400 ms ago; reaches the service");
    assert_string_equal(
        decision->evidence[2].fact, "never heard it; has not reached the service for 5001 ms");
    for (size_t i = 0; i < FX_EVIDENCE_MAX; i++) {
        fx_evidence_add(decision, NULL, &service->primary, "more");
    }
    assert_int_equal(decision->evidence_count, FX_EVIDENCE_MAX);
    free(decision);
    free(w);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(silence_needs_its_time_and_a_witness_of_another_region),
        cmocka_unit_test(whoever_heard_the_host_last_counts),
        cmocka_unit_test(a_host_without_a_lease_is_given_three_reports),
        cmocka_unit_test(silence_before_one_listened_is_no_evidence),
        cmocka_unit_test(an_unhealthy_primary_needs_another_regions_sight),
        cmocka_unit_test(after_a_gap_and_at_the_first_start_health_is_not_judged),
        cmocka_unit_test(a_service_that_its_host_does_not_report_is_unhealthy),
        cmocka_unit_test(evidence_says_what_each_coordinator_knows_and_is_bounded),
    };
    return cmocka_run_group_tests_name("down", tests, NULL, NULL);
}
