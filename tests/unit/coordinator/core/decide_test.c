#include "core_world.h"

#include "coordinator/core/observe.h"

static fx_step_kind
step_now(const core_world *w)
{
    const fx_step *step = fx_plan_step(&w->ledger.plans[0]);
    return step == NULL ? FX_STEP_NONE : step->kind;
}

static const fx_command *
decide_and_apply(core_world *w)
{
    const fx_command *command = world_decide(w);
    assert_non_null(command);
    assert_int_equal(command->kind, FX_COMMAND_COMMIT);
    assert_int_equal(command->leader_revision.value, 10);
    world_apply(w, command);
    return command;
}

static void
finish(core_world *w, fx_command_kind kind, fx_attempt_state state)
{
    const fx_command *command = &w->commands.items[0];
    assert_int_equal(command->kind, kind);
    fx_attempt_begin(w->attempts, &w->attempt_count, command);
    fx_attempt outcome = {.state = state, .finished_at = AGO(0), .detail = "as told"};
    fx_attempt_end(w->attempts, &w->attempt_count, command, &outcome);
}

/* A region is gone: the plan is begun and its fence still waits. */
static core_world *
world_failing_over(void)
{
    core_world *w = world_new();
    world_silence(w, 0, 6000);
    w->view.coordinators[0].heard_at = AGO(6000);
    const fx_command *begin = decide_and_apply(w);
    assert_string_equal(begin->decision.verdict, "begin failover");
    assert_int_equal(begin->plan.revision.value, 0);
    assert_int_equal(begin->service_touch, FX_TOUCH_COMPARE);
    assert_int_equal(begin->service.revision.value, 50);
    assert_true(begin->decision.evidence_count > 0);
    assert_int_equal(step_now(w), FX_STEP_FENCE);
    return w;
}

static void
nothing_is_done_in_health_or_by_a_follower(void **state)
{
    (void)state;
    core_world *w = world_new();
    assert_null(world_decide(w));
    world_silence(w, 0, 6000);
    w->self.incarnation[0] = 9;
    assert_null(world_decide(w));
    free(w);
}

static void
a_failover_goes_through_its_steps(void **state)
{
    (void)state;
    core_world *w = world_failing_over();
    assert_null(world_decide(w)); /* the lease may still be live */
    w->ledger.leases[0].seen_since = AGO(9001);
    const fx_command *take = decide_and_apply(w);
    assert_int_equal(take->service.epoch.value, 4);
    assert_string_equal(take->service.primary.text, "use1-db");
    assert_int_equal(take->service.promotion.size_bytes, 0);
    assert_int_equal(take->leases[0].revision.value, 90);
    assert_false(take->leases[0].open);
    assert_int_equal(take->leases[1].revision.value, 0);
    assert_true(take->leases[1].open);
    assert_int_equal(step_now(w), FX_STEP_PROMOTE);

    const fx_command *sign = world_decide(w);
    assert_int_equal(sign->kind, FX_COMMAND_SIGN_PROMOTION);
    assert_int_equal(sign->order.kind, FX_ORDER_PROMOTE);
    assert_int_equal(sign->order.epoch.value, 4);
    w->ledger.services[0].promotion = (fx_signed_order){.size_bytes = 1, .id = sign->order.id};
    assert_null(world_decide(w));

    world_state(w, 1)->role = FX_ROLE_PRIMARY;
    world_state(w, 1)->epoch_seen.value = 4;
    (void)decide_and_apply(w);
    assert_int_equal(step_now(w), FX_STEP_DNS);
    assert_non_null(world_decide(w));
    finish(w, FX_COMMAND_DNS, FX_ATTEMPT_DONE);
    (void)decide_and_apply(w);
    assert_int_equal(w->ledger.services[0].dns_epoch.value, 4);
    assert_int_equal(step_now(w), FX_STEP_VALIDATE);
    assert_non_null(world_decide(w));
    finish(w, FX_COMMAND_VALIDATE, FX_ATTEMPT_DONE);
    const fx_command *done = decide_and_apply(w);
    assert_int_equal(done->plan_touch, FX_TOUCH_DELETE);
    assert_int_equal(done->plan.state, FX_PLAN_STATE_DONE);
    assert_null(fx_plan_step(&done->plan));
    assert_null(world_decide(w));
    free(w);
}

static void
no_second_failover_within_the_cool_down(void **state)
{
    (void)state;
    core_world *w = world_new();
    world_silence(w, 0, 6000);
    int64_t wall_ns = INT64_C(1000000) * 1000000000;
    w->ledger.services[0].changed_at.ns = wall_ns - w->policy.cool_down.ns + 1;
    assert_null(world_decide(w));
    assert_int_equal(w->commands.note_count, 1);
    w->ledger.services[0].changed_at.ns = wall_ns - w->policy.cool_down.ns;
    assert_non_null(world_decide(w));
    free(w);
}

static void
no_failover_to_a_standby_that_is_too_far_behind(void **state)
{
    (void)state;
    core_world *w = world_new();
    world_silence(w, 0, 6000);
    world_state(w, 0)->write_lsn.value = 1000000 + w->policy.lag_max_bytes + 1;
    assert_null(world_decide(w));
    assert_int_equal(w->commands.note_count, 1);
    world_state(w, 0)->write_lsn.value = 1000000 + w->policy.lag_max_bytes;
    assert_non_null(world_decide(w));
    free(w);
}

static void
a_failover_is_called_off_when_the_primary_works_again(void **state)
{
    (void)state;
    core_world *w = world_failing_over();
    world_silence(w, 0, 100);
    const fx_command *off = decide_and_apply(w);
    assert_int_equal(off->plan.state, FX_PLAN_STATE_ABANDONED);
    assert_int_equal(w->ledger.plan_count, 0);
    assert_int_equal(w->ledger.services[0].epoch.value, 3);
    free(w);
}

static void
a_primary_that_is_heard_but_does_not_work_is_told_to_fence(void **state)
{
    (void)state;
    core_world *w = world_failing_over();
    world_silence(w, 0, 100);
    world_state(w, 0)->healthy = false;
    const fx_command *sign = world_decide(w);
    assert_int_equal(sign->kind, FX_COMMAND_SIGN_FENCE);
    assert_false(sign->order.orderly);
    assert_string_equal(sign->order.host.text, "usw2-db");
    finish(w, FX_COMMAND_SIGN_FENCE, FX_ATTEMPT_FAILED);
    assert_null(world_decide(w)); /* not at once again */
    w->attempts[0].finished_at = AGO(1000);
    assert_non_null(world_decide(w));
    world_state(w, 0)->role = FX_ROLE_HELD;
    world_state(w, 0)->fenced_epoch.value = 3;
    const fx_command *take = decide_and_apply(w);
    assert_int_equal(take->service.epoch.value, 4);
    free(w);
}

static void
a_fence_with_no_successor_ready_closes_the_lease(void **state)
{
    (void)state;
    core_world *w = world_failing_over();
    w->ledger.leases[0].seen_since = AGO(9001);
    world_state(w, 1)->healthy = false;
    world_state(w, 2)->healthy = false;
    const fx_command *record = decide_and_apply(w);
    assert_false(record->leases[0].open);
    assert_int_equal(step_now(w), FX_STEP_TAKE_OVER);
    assert_null(world_decide(w));
    /* When nobody else can, the old primary itself goes on, in the next epoch. */
    world_silence(w, 0, 100);
    w->ledger.plans[0].step_since = AGO(30000);
    assert_null(world_decide(w));
    w->ledger.plans[0].step_since = AGO(30001);
    const fx_command *take = decide_and_apply(w);
    assert_string_equal(take->service.primary.text, "usw2-db");
    assert_int_equal(take->lease_touch[1], FX_TOUCH_NONE);
    assert_true(take->leases[0].open);
    free(w);
}

static core_world *
world_switching_over(const char *to)
{
    core_world *w = world_new();
    w->ledger.request_count = 1;
    w->ledger.requests[0] = (fx_request){
        .revision = {95},
        .id = {"switchover-1"},
        .service = fx_name_of("orders-db"),
        .requested_by = fx_name_of("alice"),
    };
    if (to != NULL) {
        w->ledger.requests[0].to_host = fx_name_of(to);
    }
    return w;
}

static void
a_switchover_stops_in_order_and_waits_for_the_target(void **state)
{
    (void)state;
    core_world *w = world_switching_over("euw1-db");
    const fx_command *begin = decide_and_apply(w);
    assert_int_equal(begin->plan.kind, FX_PLAN_SWITCHOVER);
    assert_string_equal(begin->plan.id.text, "switchover-1");
    assert_int_equal(begin->request_touch, FX_TOUCH_DELETE);
    w->ledger.request_count = 0;
    const fx_command *sign = world_decide(w);
    assert_int_equal(sign->kind, FX_COMMAND_SIGN_FENCE);
    assert_true(sign->order.orderly);
    w->ledger.plans[0].steps[0].order = (fx_signed_order){.size_bytes = 1, .id = sign->order.id};
    assert_null(world_decide(w));
    world_state(w, 0)->role = FX_ROLE_HELD;
    world_state(w, 0)->fenced_epoch.value = 3;
    world_state(w, 0)->stopped_lsn.value = 1000001;
    (void)decide_and_apply(w); /* fenced, but the target has not replayed all */
    assert_int_equal(step_now(w), FX_STEP_TAKE_OVER);
    assert_null(world_decide(w));
    world_state(w, 2)->replay_lsn.value = 1000001;
    const fx_command *take = decide_and_apply(w);
    assert_string_equal(take->service.primary.text, "euw1-db");
    free(w);
}

static void
a_switchover_whose_target_never_catches_up_goes_back(void **state)
{
    (void)state;
    core_world *w = world_switching_over(NULL);
    (void)decide_and_apply(w);
    w->ledger.request_count = 0;
    assert_string_equal(w->ledger.plans[0].to_host.text, "use1-db");
    world_state(w, 0)->role = FX_ROLE_HELD;
    world_state(w, 0)->fenced_epoch.value = 3;
    world_state(w, 0)->stopped_lsn.value = 1000001;
    (void)decide_and_apply(w);
    w->ledger.plans[0].step_since = AGO(30001);
    const fx_command *take = decide_and_apply(w);
    assert_string_equal(take->service.primary.text, "usw2-db");
    assert_int_equal(take->service.epoch.value, 4);
    free(w);
}

static void
a_switchover_that_cannot_stop_is_called_off_or_becomes_a_failover(void **state)
{
    (void)state;
    core_world *w = world_switching_over(NULL);
    (void)decide_and_apply(w);
    w->ledger.request_count = 0;
    w->ledger.plans[0].step_since = AGO(30001);
    const fx_command *off = world_decide(w);
    assert_int_equal(off->plan.state, FX_PLAN_STATE_ABANDONED);
    w->ledger.plans[0].step_since = AGO(100);
    w->ledger.plans[0].steps[0].order = (fx_signed_order){.size_bytes = 1, .id = {"f1"}};
    w->view.hosts[0].results[0] = (fx_order_result){.order = {"f1"}, .state = FX_ORDER_REFUSED};
    w->view.hosts[0].result_count = 1;
    const fx_command *refused = world_decide(w);
    assert_int_equal(refused->plan.state, FX_PLAN_STATE_ABANDONED);
    world_silence(w, 0, 6000);
    const fx_command *failover = world_decide(w);
    assert_int_equal(failover->plan.kind, FX_PLAN_FAILOVER);
    free(w);
}

static void
requests_that_cannot_be_met_are_refused_with_a_reason(void **state)
{
    (void)state;
    core_world *w = world_switching_over("nobody");
    assert_string_equal(world_decide(w)->request.result_state, "refused");
    free(w);
    w = world_switching_over("usw2-db");
    assert_string_equal(world_decide(w)->request.result_detail, "it is the primary");
    free(w);
    w = world_switching_over(NULL);
    world_state(w, 1)->streaming = false;
    world_state(w, 2)->streaming = false;
    assert_string_equal(
        world_decide(w)->request.result_detail, "it does not stream from the primary");
    world_state(w, 0)->healthy = false;
    assert_string_equal(world_decide(w)->request.result_state, "refused");
    w->ledger.requests[0].service = fx_name_of("other-db");
    assert_string_equal(world_decide(w)->request.result_detail, "no such service");
    free(w);
    w = world_failing_over();
    w->ledger.request_count = 1;
    w->ledger.requests[0] =
        (fx_request){.id = {"r"}, .service = fx_name_of("orders-db"), .asked = {1}};
    assert_string_equal(world_decide(w)->request.result_detail, "a plan is in flight");
    free(w);
}

static void
single_orders_get_their_result_and_are_forgotten_later(void **state)
{
    (void)state;
    core_world *w = world_new();
    int64_t wall_ns = INT64_C(1000000) * 1000000000;
    w->ledger.request_count = 1;
    fx_request *request = &w->ledger.requests[0];
    *request = (fx_request){
        .revision = {97},
        .id = {"backup-1"},
        .host = fx_name_of("use1-db"),
        .order = {.size_bytes = 1, .id = {"backup-1"}},
        .asked = {wall_ns},
    };
    assert_null(world_decide(w));
    fx_order_result *result = &w->view.hosts[1].results[0];
    *result = (fx_order_result){.order = {"backup-1"}, .state = FX_ORDER_RUNNING};
    w->view.hosts[1].result_count = 1;
    assert_null(world_decide(w));
    const char *const names[] = {"done", "failed", "unknown", "refused"};
    for (size_t i = 0; i < 4; i++) {
        result->state = (fx_order_state)(FX_ORDER_DONE + (int)i);
        assert_string_equal(world_decide(w)->request.result_state, names[i]);
    }
    memcpy(request->result_state, "done", 5);
    assert_null(world_decide(w));
    request->asked.ns = wall_ns - w->policy.request_keep.ns;
    assert_null(world_decide(w));
    request->asked.ns -= 1;
    assert_int_equal(world_decide(w)->request_touch, FX_TOUCH_DELETE);
    free(w);
}

static void
a_new_service_is_created_signed_and_given_its_name(void **state)
{
    (void)state;
    core_world *w = world_new();
    w->ledger.service_count = 0;
    w->ledger.lease_count = 0;
    const fx_command *create = decide_and_apply(w);
    assert_int_equal(create->service.epoch.value, 1);
    assert_int_equal(create->service.revision.value, 0);
    assert_string_equal(create->service.primary.text, "usw2-db");
    assert_true(create->leases[0].open);
    w->ledger.services[0].promotion.size_bytes = 0;
    world_state(w, 0)->role = FX_ROLE_NONE;
    world_state(w, 0)->healthy = false;
    const fx_command *sign = world_decide(w);
    assert_int_equal(sign->kind, FX_COMMAND_SIGN_PROMOTION);
    w->ledger.services[0].promotion = (fx_signed_order){.size_bytes = 1, .id = {"p1"}};
    assert_null(world_decide(w));
    w->view.hosts[0].results[0] = (fx_order_result){.order = {"p1"}, .state = FX_ORDER_FAILED};
    w->view.hosts[0].result_count = 1;
    assert_int_equal(world_decide(w)->kind, FX_COMMAND_SIGN_PROMOTION);
    world_state(w, 0)->role = FX_ROLE_PRIMARY;
    world_state(w, 0)->healthy = true;
    world_state(w, 0)->epoch_seen.value = 1;
    assert_int_equal(world_decide(w)->kind, FX_COMMAND_OBSERVE_DNS); /* whoever led before */
    finish(w, FX_COMMAND_OBSERVE_DNS, FX_ATTEMPT_DONE);
    assert_int_equal(world_decide(w)->kind, FX_COMMAND_DNS);
    finish(w, FX_COMMAND_DNS, FX_ATTEMPT_DONE);
    (void)decide_and_apply(w);
    assert_int_equal(w->ledger.services[0].dns_epoch.value, 1);
    free(w);
}

static void
members_follow_the_configuration_unless_the_primary_would_go(void **state)
{
    (void)state;
    core_world *w = world_new();
    w->wanted.members[2].port = 5433;
    assert_int_equal(world_decide(w)->service.members[2].port, 5433);
    w->wanted.member_count = 2;
    assert_int_equal(world_decide(w)->service.member_count, 2);
    w->wanted.members[0].host = fx_name_of("new-db");
    assert_null(world_decide(w));
    assert_int_equal(w->commands.note_count, 1);
    free(w);
}

static void
a_promotion_that_does_not_come_fails_the_plan(void **state)
{
    (void)state;
    core_world *w = world_failing_over();
    w->ledger.leases[0].seen_since = AGO(9001);
    (void)decide_and_apply(w);
    w->ledger.services[0].promotion = (fx_signed_order){.size_bytes = 1, .id = {"p1"}};
    w->ledger.plans[0].step_since = AGO(60000);
    assert_null(world_decide(w));
    w->ledger.plans[0].step_since = AGO(60001);
    assert_int_equal(world_decide(w)->plan.state, FX_PLAN_STATE_FAILED);
    w->ledger.plans[0].step_since = AGO(0);
    w->view.self_region = fx_name_of("eu-west-1"); /* use1-co is the witness then */
    w->view.hosts[1].wants_lease = true;
    world_silence(w, 1, 5001);
    assert_int_equal(world_decide(w)->plan.state, FX_PLAN_STATE_FAILED);
    free(w);
}

static void
dns_that_fails_is_tried_again_and_gives_up_in_the_end(void **state)
{
    (void)state;
    core_world *w = world_failing_over();
    w->ledger.leases[0].seen_since = AGO(9001);
    (void)decide_and_apply(w);
    world_state(w, 1)->role = FX_ROLE_PRIMARY;
    world_state(w, 1)->epoch_seen.value = 4;
    (void)decide_and_apply(w);
    assert_int_equal(world_decide(w)->kind, FX_COMMAND_DNS);
    finish(w, FX_COMMAND_DNS, FX_ATTEMPT_FAILED);
    assert_null(world_decide(w));
    w->attempts[0].finished_at = AGO(999);
    assert_null(world_decide(w));
    w->attempts[0].finished_at = AGO(1000);
    assert_int_equal(world_decide(w)->kind, FX_COMMAND_DNS);
    w->attempts[0].failure_count = 3;
    w->attempts[0].finished_at = AGO(3999);
    assert_null(world_decide(w));
    w->attempts[0].failure_count = 20;
    w->attempts[0].finished_at = AGO(15000);
    assert_int_equal(world_decide(w)->kind, FX_COMMAND_DNS);
    w->ledger.plans[0].step_since = AGO(60001);
    assert_int_equal(world_decide(w)->plan.state, FX_PLAN_STATE_FAILED);
    free(w);
}

static void
one_thing_of_a_service_at_a_time(void **state)
{
    (void)state;
    core_world *w = world_new();
    world_silence(w, 0, 6000);
    fx_command command = *world_decide(w);
    fx_attempt_begin(w->attempts, &w->attempt_count, &command);
    assert_null(world_decide(w));
    fx_attempt done = {.state = FX_ATTEMPT_DONE, .finished_at = AGO(0), .committed = {101}};
    fx_attempt_end(w->attempts, &w->attempt_count, &command, &done);
    assert_null(world_decide(w)); /* the read does not show it yet */
    w->ledger.revision.value = 101;
    assert_non_null(world_decide(w));
    fx_attempt failed = {.state = FX_ATTEMPT_FAILED, .finished_at = AGO(100)};
    fx_attempt_end(w->attempts, &w->attempt_count, &command, &failed);
    assert_null(world_decide(w)); /* read_at is as old */
    w->ledger.read_at = AGO(99);
    assert_non_null(world_decide(w));
    free(w);
}

/* Signing ends with a transaction, which may have happened: first a read that began after it. */
static void
a_failed_signing_waits_for_a_newer_read(void **state)
{
    (void)state;
    core_world *w = world_failing_over();
    world_silence(w, 0, 100);
    world_state(w, 0)->healthy = false;
    fx_command command = *world_decide(w);
    assert_int_equal(command.kind, FX_COMMAND_SIGN_FENCE);
    fx_attempt failed = {.state = FX_ATTEMPT_FAILED, .finished_at = AGO(5000)};
    fx_attempt_end(w->attempts, &w->attempt_count, &command, &failed);
    w->ledger.read_at = AGO(5001);
    assert_null(world_decide(w));
    w->ledger.read_at = AGO(4999);
    assert_non_null(world_decide(w));
    free(w);
}

static void
attempts_are_bounded(void **state)
{
    (void)state;
    core_world *w = world_new();
    fx_command *command = calloc(1, sizeof *command);
    assert_non_null(command);
    for (size_t i = 0; i < FX_ATTEMPT_MAX + 3; i++) {
        command->subject.text[0] = 'a';
        command->subject.text[1] = (char)('a' + i % 26);
        command->subject.text[2] = (char)('a' + i / 26);
        fx_attempt_begin(w->attempts, &w->attempt_count, command);
        fx_attempt done = {.state = FX_ATTEMPT_DONE, .finished_at = {(int64_t)i + 1}};
        fx_attempt_end(w->attempts, &w->attempt_count, command, &done);
    }
    assert_int_equal(w->attempt_count, FX_ATTEMPT_MAX);
    free(command);
    free(w);
}

/* What is under way is not forgotten, however old: it would be begun a second time. */
static void
an_attempt_under_way_is_never_pushed_out(void **state)
{
    (void)state;
    core_world *w = world_new();
    fx_command *command = calloc(1, sizeof *command);
    assert_non_null(command);
    command->subject = fx_name_of("orders-db");
    fx_attempt_begin(w->attempts, &w->attempt_count, command);
    for (size_t i = 1; i < FX_ATTEMPT_MAX; i++) {
        command->subject.text[0] = (char)('a' + i % 26);
        command->subject.text[1] = (char)('a' + i / 26);
        fx_attempt done = {.state = FX_ATTEMPT_DONE, .finished_at = FX_MONO_MS(1000 - (int64_t)i)};
        fx_attempt_end(w->attempts, &w->attempt_count, command, &done);
    }
    command->subject = fx_name_of("newer-db");
    fx_attempt_begin(w->attempts, &w->attempt_count, command);
    assert_int_equal(w->attempt_count, FX_ATTEMPT_MAX);
    assert_string_equal(w->attempts[0].subject.text, "orders-db");
    assert_string_equal(w->attempts[FX_ATTEMPT_MAX - 1].subject.text, "newer-db");
    free(command);
    free(w);
}

/*
 * How many services are created when FX_SERVICE_MAX are configured, and of `there` in the ledger
 * all but one are among them.
 */
static size_t
creations_with(size_t there)
{
    core_world *w = world_new();
    fx_service *wanted = calloc(FX_SERVICE_MAX, sizeof *wanted);
    assert_non_null(wanted);
    for (size_t i = 0; i < FX_SERVICE_MAX; i++) {
        wanted[i] = w->wanted;
        wanted[i].name.text[0] = (char)('A' + i);
    }
    memcpy(w->ledger.services, wanted, there * sizeof *wanted);
    w->ledger.services[0].name = fx_name_of("unconfigured-db");
    w->ledger.service_count = there;
    fx_situation situation = {
        .ledger = &w->ledger,
        .view = &w->view,
        .policy = &w->policy,
        .self = &w->self,
        .wanted = wanted,
        .wanted_count = FX_SERVICE_MAX,
        .now = NOW,
    };
    fx_decide(&situation, &w->commands);
    size_t count = w->commands.count;
    for (size_t i = 0; i < count; i++) {
        assert_string_equal(w->commands.items[i].decision.verdict, "create service");
    }
    free(wanted);
    free(w);
    return count;
}

/* Also those at the end of a long configuration. */
static void
services_are_created_until_the_ledger_is_full(void **state)
{
    (void)state;
    const size_t there[] = {0, 1, FX_SERVICE_MAX / 2, FX_SERVICE_MAX - 1, FX_SERVICE_MAX};
    for (size_t i = 0; i < sizeof there / sizeof there[0]; i++) {
        assert_int_equal(creations_with(there[i]), FX_SERVICE_MAX - there[i]);
    }
}

/* Members are compared by all that clients and standbys use of them. */
static void
any_difference_of_a_member_is_followed(void **state)
{
    (void)state;
    core_world *w = world_new();
    fx_service same = w->wanted;
    w->wanted.members[2].host = fx_name_of("new-db");
    assert_string_equal(world_decide(w)->service.members[2].host.text, "new-db");
    w->wanted = same;
    w->wanted.members[2].region = fx_name_of("eu-central-1");
    assert_string_equal(world_decide(w)->service.members[2].region.text, "eu-central-1");
    w->wanted = same;
    memcpy(w->wanted.members[2].address, "10.0.0.3", 9);
    assert_string_equal(world_decide(w)->service.members[2].address, "10.0.0.3");
    w->wanted = same;
    assert_null(world_decide(w));
    free(w);
}

/* Two of each service are due here: one that its primary is not configured, one that it is down. */
static void
notes_are_bounded(void **state)
{
    (void)state;
    core_world *w = world_new();
    world_silence(w, 0, 6000);
    world_state(w, 1)->healthy = false;
    world_state(w, 2)->healthy = false;
    fx_service *wanted = calloc(FX_SERVICE_MAX, sizeof *wanted);
    assert_non_null(wanted);
    for (size_t i = 0; i < FX_SERVICE_MAX; i++) {
        w->ledger.services[i] = w->ledger.services[0];
        w->ledger.services[i].name.text[0] = (char)('A' + i);
        wanted[i] = w->ledger.services[i];
        wanted[i].members[0].host = fx_name_of("new-db");
    }
    w->ledger.service_count = FX_SERVICE_MAX;
    fx_situation situation = {
        .ledger = &w->ledger,
        .view = &w->view,
        .policy = &w->policy,
        .self = &w->self,
        .wanted = wanted,
        .wanted_count = FX_SERVICE_MAX,
        .now = NOW,
    };
    fx_decide(&situation, &w->commands);
    assert_int_equal(w->commands.count, 0);
    assert_int_equal(w->commands.note_count, FX_SERVICE_MAX);
    assert_string_equal(w->commands.notes[FX_SERVICE_MAX - 1].service.text, "Prders-db");
    free(wanted);
    free(w);
}

/* There was no failover before it that it could follow too soon. */
static void
the_first_failover_of_a_service_needs_no_cool_down(void **state)
{
    (void)state;
    core_world *w = world_new();
    world_silence(w, 0, 6000);
    w->ledger.services[0].changed_at.ns = INT64_C(1000000) * 1000000000;
    assert_null(world_decide(w));
    w->ledger.services[0].epoch.value = 1;
    assert_string_equal(world_decide(w)->decision.verdict, "begin failover");
    free(w);
}

static void
a_switchover_tells_its_own_reason_and_needs_a_working_primary(void **state)
{
    (void)state;
    core_world *w = world_switching_over(NULL);
    assert_string_equal(world_decide(w)->decision.reason, "an operator asked for it");
    memcpy(w->ledger.requests[0].reason, "maintenance", 12);
    assert_string_equal(world_decide(w)->decision.reason, "maintenance");
    world_silence(w, 0, 6000);
    assert_string_equal(world_decide(w)->request.result_state, "refused");
    /* Once answered it is no request for a switchover any more: the failover goes on. */
    memcpy(w->ledger.requests[0].result_state, "refused", 8);
    w->ledger.requests[0].asked.ns = INT64_C(1000000) * 1000000000;
    assert_string_equal(world_decide(w)->decision.verdict, "begin failover");
    free(w);
}

static void
an_answer_tells_the_output_if_there_is_any(void **state)
{
    (void)state;
    core_world *w = world_new();
    w->ledger.request_count = 1;
    w->ledger.requests[0] = (fx_request){
        .id = {"backup-1"},
        .host = fx_name_of("use1-db"),
        .order = {.size_bytes = 1, .id = {"backup-1"}},
    };
    fx_order_result *result = &w->view.hosts[1].results[0];
    *result = (fx_order_result){.order = {"backup-1"}, .state = FX_ORDER_DONE, .detail = "in 5 s"};
    w->view.hosts[1].result_count = 1;
    assert_string_equal(world_decide(w)->request.result_detail, "in 5 s");
    memcpy(result->output, "snapshot 7", 11);
    assert_string_equal(world_decide(w)->request.result_detail, "snapshot 7");
    result->state = (fx_order_state)99; /* no state that there is */
    assert_null(world_decide(w));
    free(w);
}

/* Either name that its commands go under: its own, or its service's. */
static void
a_request_waits_for_what_is_under_way(void **state)
{
    (void)state;
    core_world *w = world_new();
    w->ledger.request_count = 1;
    w->ledger.requests[0] = (fx_request){.id = {"r1"}, .service = fx_name_of("other-db")};
    assert_int_equal(world_decide(w)->request_touch, FX_TOUCH_PUT);
    w->attempt_count = 1;
    w->attempts[0] = (fx_attempt){.subject = fx_name_of("r1"), .state = FX_ATTEMPT_RUNNING};
    assert_null(world_decide(w));
    w->attempts[0].subject = fx_name_of("other-db");
    assert_null(world_decide(w));
    w->attempts[0].state = (fx_attempt_state)99; /* no state that there is: nothing is done on it */
    assert_null(world_decide(w));
    w->attempts[0].state = FX_ATTEMPT_DONE;
    assert_non_null(world_decide(w));
    free(w);
}

static void
a_service_is_not_created_twice(void **state)
{
    (void)state;
    core_world *w = world_new();
    w->ledger.service_count = 0;
    const fx_command *create = world_decide(w);
    assert_string_equal(create->decision.verdict, "create service");
    fx_attempt_begin(w->attempts, &w->attempt_count, create);
    assert_null(world_decide(w));
    free(w);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_done_in_health_or_by_a_follower),
        cmocka_unit_test(a_failover_goes_through_its_steps),
        cmocka_unit_test(no_second_failover_within_the_cool_down),
        cmocka_unit_test(no_failover_to_a_standby_that_is_too_far_behind),
        cmocka_unit_test(a_failover_is_called_off_when_the_primary_works_again),
        cmocka_unit_test(a_primary_that_is_heard_but_does_not_work_is_told_to_fence),
        cmocka_unit_test(a_fence_with_no_successor_ready_closes_the_lease),
        cmocka_unit_test(a_switchover_stops_in_order_and_waits_for_the_target),
        cmocka_unit_test(a_switchover_whose_target_never_catches_up_goes_back),
        cmocka_unit_test(a_switchover_that_cannot_stop_is_called_off_or_becomes_a_failover),
        cmocka_unit_test(requests_that_cannot_be_met_are_refused_with_a_reason),
        cmocka_unit_test(single_orders_get_their_result_and_are_forgotten_later),
        cmocka_unit_test(a_new_service_is_created_signed_and_given_its_name),
        cmocka_unit_test(members_follow_the_configuration_unless_the_primary_would_go),
        cmocka_unit_test(a_promotion_that_does_not_come_fails_the_plan),
        cmocka_unit_test(dns_that_fails_is_tried_again_and_gives_up_in_the_end),
        cmocka_unit_test(one_thing_of_a_service_at_a_time),
        cmocka_unit_test(a_failed_signing_waits_for_a_newer_read),
        cmocka_unit_test(attempts_are_bounded),
        cmocka_unit_test(an_attempt_under_way_is_never_pushed_out),
        cmocka_unit_test(services_are_created_until_the_ledger_is_full),
        cmocka_unit_test(any_difference_of_a_member_is_followed),
        cmocka_unit_test(notes_are_bounded),
        cmocka_unit_test(the_first_failover_of_a_service_needs_no_cool_down),
        cmocka_unit_test(a_switchover_tells_its_own_reason_and_needs_a_working_primary),
        cmocka_unit_test(an_answer_tells_the_output_if_there_is_any),
        cmocka_unit_test(a_request_waits_for_what_is_under_way),
        cmocka_unit_test(a_service_is_not_created_twice),
    };
    return cmocka_run_group_tests_name("decide", tests, NULL, NULL);
}
