/* Steps of a plan, one at a time: when each may be passed, and when it waits. */
#include "core_world.h"

#include "coordinator/core/observe.h"
#include "coordinator/core/plan.h"

static fx_situation
situation_of(const core_world *w)
{
    return (fx_situation){
        .ledger = &w->ledger,
        .view = &w->view,
        .policy = &w->policy,
        .self = &w->self,
        .attempts = w->attempts,
        .attempt_count = w->attempt_count,
        .now = NOW,
    };
}

/* A plan from usw2-db to use1-db that is at `step`, since now. */
static fx_plan *
put_plan(core_world *w, fx_plan_kind kind, fx_step_kind step)
{
    w->ledger.plan_count = 1;
    fx_plan *plan = &w->ledger.plans[0];
    *plan = (fx_plan){
        .revision = {96},
        .id = {"p1"},
        .kind = kind,
        .state = FX_PLAN_STATE_RUNNING,
        .service = fx_name_of("orders-db"),
        .from_host = fx_name_of("usw2-db"),
        .to_host = fx_name_of("use1-db"),
        .from_epoch = {3},
        .steps = {{.kind = step, .state = FX_STEP_RUNNING}},
        .step_count = 1,
        .seen_since = NOW,
        .step_since = NOW,
    };
    return plan;
}

/* The old primary has stopped and been fenced; its lease is closed on that proof. */
static fx_plan *
put_take_over(core_world *w, fx_plan_kind kind)
{
    world_state(w, 0)->role = FX_ROLE_HELD;
    world_state(w, 0)->fenced_epoch.value = 3;
    world_state(w, 0)->stopped_lsn.value = 1000000;
    w->ledger.leases[0].held_count = 0;
    w->ledger.leases[0].open = false;
    return put_plan(w, kind, FX_STEP_TAKE_OVER);
}

static const char *
successor(core_world *w)
{
    const fx_command *command = world_decide(w);
    return command == NULL ? "" : command->service.primary.text;
}

static void
put_attempt(core_world *w, fx_command_kind kind, fx_attempt_state state, int64_t ago_ms)
{
    w->ledger.read_at = NOW;
    w->ledger.asked_at = NOW;
    w->attempt_count = 1;
    w->attempts[0] = (fx_attempt){
        .kind = kind,
        .subject = fx_name_of("orders-db"),
        .epoch = {3},
        .leader_revision = {10},
        .state = state,
        .finished_at = AGO(ago_ms),
        .failure_count = 1,
    };
}

/* ---- attempts
 * --------------------------------------------------------------------------------------- */

static void
an_attempt_counts_for_its_kind_subject_epoch_and_leadership(void **state)
{
    (void)state;
    core_world *w = world_new();
    put_attempt(w, FX_COMMAND_DNS, FX_ATTEMPT_DONE, 0);
    fx_situation situation = situation_of(w);
    fx_name name = fx_name_of("orders-db");
    fx_name other = fx_name_of("other-db");
    assert_non_null(fx_attempt_find(&situation, &name, FX_COMMAND_DNS, (fx_epoch){3}));
    assert_null(fx_attempt_find(&situation, &name, FX_COMMAND_VALIDATE, (fx_epoch){3}));
    assert_null(fx_attempt_find(&situation, &other, FX_COMMAND_DNS, (fx_epoch){3}));
    assert_null(fx_attempt_find(&situation, &name, FX_COMMAND_DNS, (fx_epoch){4}));
    w->attempts[0].leader_revision.value = 9;
    assert_null(fx_attempt_find(&situation, &name, FX_COMMAND_DNS, (fx_epoch){3}));
    free(w);
}

static void
pauses_between_attempts_double_up_to_the_longest(void **state)
{
    (void)state;
    core_world *w = world_new();
    fx_situation situation = situation_of(w);
    assert_true(fx_attempt_due(&situation, NULL));
    static const int64_t pauses_ms[] = {1000, 1000, 2000, 4000, 8000, 15000, 15000};
    fx_attempt attempt = {.state = FX_ATTEMPT_FAILED};
    for (uint32_t i = 0; i < sizeof pauses_ms / sizeof pauses_ms[0]; i++) {
        attempt.failure_count = i;
        attempt.finished_at = AGO(pauses_ms[i] - 1);
        assert_false(fx_attempt_due(&situation, &attempt));
        attempt.finished_at = AGO(pauses_ms[i]);
        assert_true(fx_attempt_due(&situation, &attempt));
    }
    attempt.state = FX_ATTEMPT_RUNNING;
    assert_false(fx_attempt_due(&situation, &attempt));
    free(w);
}

static void
orders_are_signed_again_after_a_pause(void **state)
{
    (void)state;
    core_world *w = world_new();
    put_plan(w, FX_PLAN_SWITCHOVER, FX_STEP_FENCE);
    put_attempt(w, FX_COMMAND_SIGN_FENCE, FX_ATTEMPT_FAILED, 999);
    assert_null(world_decide(w));
    put_attempt(w, FX_COMMAND_SIGN_FENCE, FX_ATTEMPT_FAILED, 1000);
    assert_int_equal(world_decide(w)->kind, FX_COMMAND_SIGN_FENCE);
    w->ledger.plan_count = 0;
    w->ledger.services[0].promotion.size_bytes = 0;
    world_state(w, 0)->role = FX_ROLE_NONE;
    put_attempt(w, FX_COMMAND_SIGN_PROMOTION, FX_ATTEMPT_FAILED, 999);
    assert_null(world_decide(w));
    put_attempt(w, FX_COMMAND_SIGN_PROMOTION, FX_ATTEMPT_FAILED, 1000);
    assert_int_equal(world_decide(w)->kind, FX_COMMAND_SIGN_PROMOTION);
    free(w);
}

/* ---- FENCE
 * ------------------------------------------------------------------------------------------ */

/* A coordinator that has just begun to listen has not heard the host itself. */
static void
a_fence_is_signed_for_a_host_that_was_heard_itself(void **state)
{
    (void)state;
    core_world *w = world_new();
    put_plan(w, FX_PLAN_FAILOVER, FX_STEP_FENCE);
    world_state(w, 0)->healthy = false;
    assert_int_equal(world_decide(w)->kind, FX_COMMAND_SIGN_FENCE);
    fx_name host = w->view.hosts[0].host;
    w->view.hosts[0].host = fx_name_of("another");
    assert_null(world_decide(w));
    w->view.hosts[0].host = host;
    w->view.coordinators[0].hosts[0].reported_at = AGO(5000);
    assert_int_equal(world_decide(w)->kind, FX_COMMAND_SIGN_FENCE);
    w->view.coordinators[0].hosts[0].reported_at = AGO(5001);
    assert_null(world_decide(w));
    free(w);
}

static void
a_primary_is_up_in_the_ledgers_epoch_alone(void **state)
{
    (void)state;
    core_world *w = world_new();
    fx_situation situation = situation_of(w);
    const fx_service *service = &w->ledger.services[0];
    assert_true(fx_primary_is_up(&situation, service));
    world_state(w, 0)->epoch_seen.value = 2;
    assert_false(fx_primary_is_up(&situation, service));
    world_state(w, 0)->epoch_seen.value = 3;
    w->view.hosts[0].reported_at = AGO(5000);
    assert_true(fx_primary_is_up(&situation, service));
    w->view.hosts[0].reported_at = AGO(5001);
    assert_false(fx_primary_is_up(&situation, service));
    free(w);
}

/* ---- TAKE_OVER
 * -------------------------------------------------------------------------------------- */

static void
a_switchover_waits_until_its_target_has_replayed_what_the_old_primary_wrote(void **state)
{
    (void)state;
    core_world *w = world_new();
    (void)put_take_over(w, FX_PLAN_SWITCHOVER);
    assert_string_equal(successor(w), "use1-db");
    world_state(w, 1)->replay_lsn.value = 999999;
    assert_string_equal(successor(w), "");
    world_state(w, 1)->replay_lsn.value = 1000000;
    world_state(w, 0)->stopped_lsn.value = 0; /* nobody knows where it stopped */
    assert_string_equal(successor(w), "");
    world_state(w, 0)->stopped_lsn.value = 1000000;
    world_state(w, 0)->fenced_epoch.value = 2; /* or not of this stop */
    assert_string_equal(successor(w), "");
    world_state(w, 0)->fenced_epoch.value = 3;
    w->view.hosts[1].service_count = 0;
    assert_string_equal(successor(w), "");
    w->view.hosts[1].service_count = 1;
    w->view.hosts[0].service_count = 0;
    assert_string_equal(successor(w), "");
    free(w);
}

/* Late, and the old primary is gone by now: like a failover, whoever can. */
static void
a_late_switchover_goes_on_without_the_old_primary(void **state)
{
    (void)state;
    core_world *w = world_new();
    fx_plan *plan = put_take_over(w, FX_PLAN_SWITCHOVER);
    plan->to_host = fx_name_of("euw1-db");
    world_state(w, 2)->replay_lsn.value = 1;
    plan->step_since = AGO(30000);
    assert_string_equal(successor(w), "");
    plan->step_since = AGO(30001);
    assert_string_equal(successor(w), "usw2-db");
    w->view.hosts[0].reported_at = AGO(5000);
    assert_string_equal(successor(w), "usw2-db");
    w->view.hosts[0].reported_at = AGO(5001);
    assert_string_equal(successor(w), "use1-db");
    w->view.hosts[0].host = fx_name_of("another");
    assert_string_equal(successor(w), "use1-db");
    free(w);
}

static void
a_failover_waits_for_the_preferred_standby_to_gather(void **state)
{
    (void)state;
    core_world *w = world_new();
    fx_plan *plan = put_take_over(w, FX_PLAN_FAILOVER);
    world_state(w, 2)->write_lsn.value = 1000001;
    assert_string_equal(successor(w), "");
    plan->step_since = AGO(30001); /* late, but somebody can: the old primary is not asked */
    assert_string_equal(successor(w), "");
    plan->seen_since = AGO(3000);
    assert_string_equal(successor(w), "");
    plan->seen_since = AGO(3001);
    assert_string_equal(successor(w), "euw1-db");
    plan->seen_since = NOW;
    world_state(w, 1)->write_lsn.value = 1000001;
    assert_string_equal(successor(w), "use1-db");
    free(w);
}

static void
positions_are_told_of_members_that_report_one(void **state)
{
    (void)state;
    core_world *w = world_new();
    (void)put_take_over(w, FX_PLAN_FAILOVER);
    size_t all = world_decide(w)->decision.evidence_count;
    w->view.hosts[2].service_count = 0;
    assert_int_equal(world_decide(w)->decision.evidence_count, all - 1);
    free(w);
}

/* ---- leases
 * ----------------------------------------------------------------------------------------- */

static void
a_lease_holds_a_service_once_and_no_more_than_fit(void **state)
{
    (void)state;
    fx_lease lease = {.held_count = 0};
    fx_name name = fx_name_of("a-db");
    for (size_t i = 0; i < FX_MEMBER_MAX; i++) {
        name.text[0] = (char)('a' + i);
        fx_lease_hold(&lease, &name, (fx_epoch){1});
    }
    fx_lease_hold(&lease, &name, (fx_epoch){2});
    assert_int_equal(lease.held_count, FX_MEMBER_MAX);
    assert_true(fx_lease_holds(&lease, &name, (fx_epoch){2}));
    fx_name other = fx_name_of("other-db");
    fx_lease_hold(&lease, &other, (fx_epoch){1});
    assert_int_equal(lease.held_count, FX_MEMBER_MAX);
    assert_false(fx_lease_holds(&lease, &other, (fx_epoch){1}));
}

/* ---- the end
 * ---------------------------------------------------------------------------------------- */

static void
a_plan_without_a_step_left_is_done(void **state)
{
    (void)state;
    core_world *w = world_new();
    fx_plan *plan = put_plan(w, FX_PLAN_FAILOVER, FX_STEP_RECORD);
    const fx_command *record = world_decide(w);
    assert_int_equal(record->plan_touch, FX_TOUCH_DELETE);
    assert_int_equal(record->plan.state, FX_PLAN_STATE_DONE);
    assert_int_equal(record->plan.steps[0].state, FX_STEP_DONE);
    plan->steps[0].state = FX_STEP_DONE;
    assert_int_equal(world_decide(w)->plan.state, FX_PLAN_STATE_DONE);
    free(w);
}

/* Written by a newer release: nothing is done that this one does not understand. */
static void
a_step_of_a_kind_that_there_is_not_is_left_alone(void **state)
{
    (void)state;
    core_world *w = world_new();
    (void)put_plan(w, FX_PLAN_FAILOVER, (fx_step_kind)99);
    assert_null(world_decide(w));
    free(w);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_attempt_counts_for_its_kind_subject_epoch_and_leadership),
        cmocka_unit_test(pauses_between_attempts_double_up_to_the_longest),
        cmocka_unit_test(orders_are_signed_again_after_a_pause),
        cmocka_unit_test(a_fence_is_signed_for_a_host_that_was_heard_itself),
        cmocka_unit_test(a_primary_is_up_in_the_ledgers_epoch_alone),
        cmocka_unit_test(
            a_switchover_waits_until_its_target_has_replayed_what_the_old_primary_wrote),
        cmocka_unit_test(a_late_switchover_goes_on_without_the_old_primary),
        cmocka_unit_test(a_failover_waits_for_the_preferred_standby_to_gather),
        cmocka_unit_test(positions_are_told_of_members_that_report_one),
        cmocka_unit_test(a_lease_holds_a_service_once_and_no_more_than_fit),
        cmocka_unit_test(a_plan_without_a_step_left_is_done),
        cmocka_unit_test(a_step_of_a_kind_that_there_is_not_is_left_alone),
    };
    return cmocka_run_group_tests_name("plan", tests, NULL, NULL);
}
