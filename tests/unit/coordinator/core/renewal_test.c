#include "core_world.h"

#include "coordinator/core/renewal.h"

static fx_renewal
ask(core_world *w, fx_mono granted_at)
{
    return fx_renewal_decide(
        &w->ledger, &w->view.hosts[0], &w->self.name, &w->policy, granted_at, NOW);
}

static void
a_due_lease_is_renewed_once_a_renewal(void **state)
{
    (void)state;
    core_world *w = world_new();
    assert_int_equal(ask(w, AGO(1499)).act, FX_RENEWAL_NONE);
    fx_renewal due = ask(w, AGO(1500));
    assert_int_equal(due.act, FX_RENEWAL_RENEW);
    assert_int_equal(due.lease.renewal, 8);
    assert_int_equal(due.lease.revision.value, 90);
    assert_string_equal(due.lease.renewed_by.text, "use1-co");
    /* What another coordinator committed may never have reached the host. */
    assert_int_equal(ask(w, (fx_mono){0}).act, FX_RENEWAL_RENEW);
    w->view.hosts[0].wants_lease = false;
    assert_int_equal(ask(w, (fx_mono){0}).act, FX_RENEWAL_NONE);
    free(w);
}

static void
what_the_ledger_does_not_give_is_refused(void **state)
{
    (void)state;
    core_world *w = world_new();
    w->ledger.leases[0].open = false;
    assert_int_equal(ask(w, (fx_mono){0}).act, FX_RENEWAL_REFUSE);
    w->ledger.leases[0].open = true;
    world_state(w, 0)->epoch_seen.value = 2; /* a primary of an older epoch */
    assert_int_equal(ask(w, (fx_mono){0}).act, FX_RENEWAL_REFUSE);
    world_state(w, 0)->role = FX_ROLE_NONE; /* not running, and an older epoch on disk */
    assert_int_equal(ask(w, (fx_mono){0}).act, FX_RENEWAL_REFUSE);
    world_state(w, 0)->epoch_seen.value = 3; /* not running yet, with the right epoch on disk */
    assert_int_equal(ask(w, (fx_mono){0}).act, FX_RENEWAL_RENEW);
    w->ledger.lease_count = 0;
    assert_int_equal(ask(w, (fx_mono){0}).act, FX_RENEWAL_REFUSE);
    free(w);
}

static void
a_host_that_is_being_replaced_is_not_renewed(void **state)
{
    (void)state;
    core_world *w = world_new();
    w->ledger.plan_count = 1;
    w->ledger.plans[0] = (fx_plan){
        .kind = FX_PLAN_FAILOVER,
        .from_host = fx_name_of("usw2-db"),
        .steps = {{.kind = FX_STEP_FENCE}, {.kind = FX_STEP_TAKE_OVER}, {.kind = FX_STEP_PROMOTE}},
        .step_count = 3,
    };
    fx_plan *plan = &w->ledger.plans[0];
    assert_int_equal(ask(w, (fx_mono){0}).act, FX_RENEWAL_REFUSE);
    plan->kind = FX_PLAN_SWITCHOVER;
    assert_int_equal(ask(w, (fx_mono){0}).act, FX_RENEWAL_RENEW);
    plan->kind = FX_PLAN_FAILOVER;
    plan->from_host = fx_name_of("use1-db");
    assert_int_equal(ask(w, (fx_mono){0}).act, FX_RENEWAL_RENEW);
    plan->from_host = fx_name_of("usw2-db");
    plan->steps[0].state = FX_STEP_DONE;
    plan->steps[1].state = FX_STEP_DONE;
    assert_int_equal(ask(w, (fx_mono){0}).act, FX_RENEWAL_RENEW);
    plan->steps[2].state = FX_STEP_DONE;
    assert_int_equal(ask(w, (fx_mono){0}).act, FX_RENEWAL_RENEW);
    free(w);
}

static void
fencing_is_proved_by_record_host_or_time(void **state)
{
    (void)state;
    core_world *w = world_new();
    fx_plan plan = {
        .service = fx_name_of("orders-db"), .from_host = fx_name_of("usw2-db"), .from_epoch = {3}};
    w->ledger.leases[0].seen_since = AGO(9000);
    assert_int_equal(
        fx_fence_proved(&w->ledger, &w->view, &w->policy, &plan, NOW), FX_FENCE_NOT_YET);
    w->ledger.leases[0].seen_since.ns -= 1;
    assert_int_equal(
        fx_fence_proved(&w->ledger, &w->view, &w->policy, &plan, NOW), FX_FENCE_BY_TIME);
    w->ledger.leases[0].seen_since = AGO(0);
    world_state(w, 0)->fenced_epoch.value = 3; /* still a primary: no proof */
    assert_int_equal(
        fx_fence_proved(&w->ledger, &w->view, &w->policy, &plan, NOW), FX_FENCE_NOT_YET);
    world_state(w, 0)->role = FX_ROLE_HELD;
    assert_int_equal(
        fx_fence_proved(&w->ledger, &w->view, &w->policy, &plan, NOW), FX_FENCE_BY_HOST);
    world_state(w, 0)->fenced_epoch.value = 2;
    assert_int_equal(
        fx_fence_proved(&w->ledger, &w->view, &w->policy, &plan, NOW), FX_FENCE_NOT_YET);
    w->view.hosts[0].service_count = 0;
    assert_int_equal(
        fx_fence_proved(&w->ledger, &w->view, &w->policy, &plan, NOW), FX_FENCE_NOT_YET);
    w->ledger.leases[0].held[0].epoch.value = 4;
    assert_int_equal(
        fx_fence_proved(&w->ledger, &w->view, &w->policy, &plan, NOW), FX_FENCE_NOT_HELD);
    w->ledger.lease_count = 0;
    assert_int_equal(
        fx_fence_proved(&w->ledger, &w->view, &w->policy, &plan, NOW), FX_FENCE_NOT_HELD);
    free(w);
}

/* A host with several services has one lease for all of them. */
static void
every_primary_of_a_host_must_be_held(void **state)
{
    (void)state;
    core_world *w = world_new();
    fx_host_view *host = &w->view.hosts[0];
    host->service_count = 2;
    host->services[1] = host->services[0];
    host->services[1].service = fx_name_of("other-db");
    assert_int_equal(ask(w, (fx_mono){0}).act, FX_RENEWAL_REFUSE);
    host->services[1].role = FX_ROLE_STANDBY;
    assert_int_equal(ask(w, (fx_mono){0}).act, FX_RENEWAL_RENEW);
    fx_lease *lease = &w->ledger.leases[0];
    lease->held[lease->held_count++] = (fx_held){.service = fx_name_of("other-db"), .epoch = {3}};
    host->services[1].role = FX_ROLE_PRIMARY;
    assert_int_equal(ask(w, (fx_mono){0}).act, FX_RENEWAL_RENEW);
    free(w);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_due_lease_is_renewed_once_a_renewal),
        cmocka_unit_test(what_the_ledger_does_not_give_is_refused),
        cmocka_unit_test(a_host_that_is_being_replaced_is_not_renewed),
        cmocka_unit_test(fencing_is_proved_by_record_host_or_time),
        cmocka_unit_test(every_primary_of_a_host_must_be_held),
    };
    return cmocka_run_group_tests_name("renewal", tests, NULL, NULL);
}
