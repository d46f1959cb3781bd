#include "core_world.h"

#include "coordinator/core/observe.h"

static void
what_is_not_there_is_not_found(void **state)
{
    (void)state;
    core_world *w = world_new();
    fx_name other = fx_name_of("other");
    fx_id id = {"other"};
    w->ledger.plan_count = 1;
    w->ledger.plans[0].service = fx_name_of("orders-db");
    w->view.hosts[0].result_count = 1;
    w->view.hosts[0].results[0].order = (fx_id){"o1"};
    assert_null(fx_ledger_service(&w->ledger, &other));
    assert_null(fx_ledger_lease(&w->ledger, &other));
    assert_null(fx_ledger_plan(&w->ledger, &other));
    assert_null(fx_view_host(&w->view, &other));
    assert_null(fx_host_service(&w->view.hosts[0], &other));
    assert_null(fx_host_service(NULL, &other));
    assert_null(fx_host_result(&w->view.hosts[0], &id));
    assert_null(fx_host_result(NULL, &id));
    assert_null(fx_service_member(&w->ledger.services[0], &other));
    free(w);
}

static void
the_last_of_several_is_found(void **state)
{
    (void)state;
    core_world *w = world_new();
    fx_name name = fx_name_of("other-db");
    fx_id id = {"o2"};
    w->ledger.plan_count = 2;
    w->ledger.plans[0].service = fx_name_of("orders-db");
    w->ledger.plans[1].service = name;
    w->view.hosts[0].service_count = 2;
    w->view.hosts[0].services[1].service = name;
    w->view.hosts[0].result_count = 2;
    w->view.hosts[0].results[1].order = id;
    assert_ptr_equal(fx_ledger_plan(&w->ledger, &name), &w->ledger.plans[1]);
    assert_ptr_equal(fx_host_service(&w->view.hosts[0], &name), &w->view.hosts[0].services[1]);
    assert_ptr_equal(fx_host_result(&w->view.hosts[0], &id), &w->view.hosts[0].results[1]);
    free(w);
}

static void
a_lease_holds_a_service_in_one_epoch(void **state)
{
    (void)state;
    core_world *w = world_new();
    const fx_lease *lease = &w->ledger.leases[0];
    fx_name name = fx_name_of("orders-db");
    fx_name other = fx_name_of("other-db");
    assert_true(fx_lease_holds(lease, &name, (fx_epoch){3}));
    assert_false(fx_lease_holds(lease, &name, (fx_epoch){2}));
    assert_false(fx_lease_holds(lease, &name, (fx_epoch){4}));
    assert_false(fx_lease_holds(lease, &other, (fx_epoch){3}));
    free(w);
}

/* ---- folding a read
 * --------------------------------------------------------------------------------- */

/* A read of the same ledger that arrives now; the one before arrived `ms` ago. */
static fx_ledger *
read_again(core_world *w, int64_t ms)
{
    w->ledger.read_at = AGO(ms);
    fx_ledger *fresh = malloc(sizeof *fresh);
    assert_non_null(fresh);
    *fresh = w->ledger;
    fresh->read_at = NOW;
    fresh->steady_since = (fx_mono){0};
    fresh->beat_seen_since = (fx_mono){0};
    fresh->leases[0].seen_since = (fx_mono){0};
    return fresh;
}

static void
of_the_first_read_all_is_new(void **state)
{
    (void)state;
    core_world *w = world_new();
    w->ledger.plan_count = 1;
    fx_ledger *fresh = read_again(w, 100);
    fx_ledger_observe(fresh, NULL, &w->policy);
    assert_int_equal(fresh->steady_since.ns, NOW.ns);
    assert_int_equal(fresh->beat_seen_since.ns, NOW.ns);
    assert_int_equal(fresh->leases[0].seen_since.ns, NOW.ns);
    assert_int_equal(fresh->plans[0].seen_since.ns, NOW.ns);
    assert_int_equal(fresh->plans[0].step_since.ns, NOW.ns);
    free(fresh);
    free(w);
}

static void
what_did_not_change_keeps_its_age(void **state)
{
    (void)state;
    core_world *w = world_new();
    fx_ledger *fresh = read_again(w, 100);
    fx_ledger_observe(fresh, &w->ledger, &w->policy);
    assert_int_equal(fresh->steady_since.ns, AGO(100000).ns);
    assert_int_equal(fresh->beat_seen_since.ns, AGO(300).ns);
    assert_int_equal(fresh->leases[0].seen_since.ns, AGO(500).ns);
    free(fresh);
    free(w);
}

/* Its age is what proves that the lease has ended: any change makes it new. */
static void
a_changed_lease_or_beat_is_new(void **state)
{
    (void)state;
    core_world *w = world_new();
    fx_ledger *fresh = read_again(w, 100);
    fresh->leases[0].revision.value++;
    fresh->beat.revision.value++;
    fx_ledger_observe(fresh, &w->ledger, &w->policy);
    assert_int_equal(fresh->leases[0].seen_since.ns, NOW.ns);
    assert_int_equal(fresh->beat_seen_since.ns, NOW.ns);
    fresh->leases[0] = w->ledger.leases[0];
    fresh->leases[0].host = fx_name_of("use1-db");
    fx_ledger_observe(fresh, &w->ledger, &w->policy);
    assert_int_equal(fresh->leases[0].seen_since.ns, NOW.ns);
    free(fresh);
    free(w);
}

static void
a_gap_between_reads_ends_the_steady_time(void **state)
{
    (void)state;
    core_world *w = world_new();
    fx_ledger *fresh = read_again(w, 3000);
    fx_ledger_observe(fresh, &w->ledger, &w->policy);
    assert_int_equal(fresh->steady_since.ns, AGO(100000).ns);
    w->ledger.read_at = AGO(3001);
    fx_ledger_observe(fresh, &w->ledger, &w->policy);
    assert_int_equal(fresh->steady_since.ns, NOW.ns);
    free(fresh);
    free(w);
}

static void
a_plans_step_is_new_when_step_kind_or_plan_changes(void **state)
{
    (void)state;
    core_world *w = world_new();
    fx_plan *before = &w->ledger.plans[0];
    w->ledger.plan_count = 1;
    *before = (fx_plan){
        .id = {"p1"},
        .kind = FX_PLAN_SWITCHOVER,
        .service = fx_name_of("orders-db"),
        .steps = {{.kind = FX_STEP_FENCE}, {.kind = FX_STEP_TAKE_OVER}},
        .step_count = 2,
        .seen_since = AGO(9000),
        .step_since = AGO(8000),
    };
    fx_ledger *fresh = read_again(w, 100);
    fx_plan *plan = &fresh->plans[0];
    fx_ledger_observe(fresh, &w->ledger, &w->policy);
    assert_int_equal(plan->seen_since.ns, AGO(9000).ns);
    assert_int_equal(plan->step_since.ns, AGO(8000).ns);
    plan->steps[0].state = FX_STEP_DONE;
    fx_ledger_observe(fresh, &w->ledger, &w->policy);
    assert_int_equal(plan->seen_since.ns, AGO(9000).ns);
    assert_int_equal(plan->step_since.ns, NOW.ns);
    plan->steps[1].state = FX_STEP_DONE; /* no step is left */
    fx_ledger_observe(fresh, &w->ledger, &w->policy);
    assert_int_equal(plan->step_since.ns, NOW.ns);
    *plan = *before;
    plan->kind = FX_PLAN_FAILOVER;
    fx_ledger_observe(fresh, &w->ledger, &w->policy);
    assert_int_equal(plan->seen_since.ns, AGO(9000).ns);
    assert_int_equal(plan->step_since.ns, NOW.ns);
    *plan = *before;
    plan->id = (fx_id){"p2"};
    fx_ledger_observe(fresh, &w->ledger, &w->policy);
    assert_int_equal(plan->seen_since.ns, NOW.ns);
    assert_int_equal(plan->step_since.ns, NOW.ns);
    free(fresh);
    free(w);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_not_there_is_not_found),
        cmocka_unit_test(the_last_of_several_is_found),
        cmocka_unit_test(a_lease_holds_a_service_in_one_epoch),
        cmocka_unit_test(of_the_first_read_all_is_new),
        cmocka_unit_test(what_did_not_change_keeps_its_age),
        cmocka_unit_test(a_changed_lease_or_beat_is_new),
        cmocka_unit_test(a_gap_between_reads_ends_the_steady_time),
        cmocka_unit_test(a_plans_step_is_new_when_step_kind_or_plan_changes),
    };
    return cmocka_run_group_tests_name("observe", tests, NULL, NULL);
}
