/* What may have happened is observed before it is done again: DNS, orders, transactions. */
#include "core_world.h"

#include "coordinator/core/observe.h"
#include "coordinator/core/outcome.h"

static const fx_step *
step_now(const core_world *w)
{
    const fx_step *step = fx_plan_step(&w->ledger.plans[0]);
    assert_non_null(step);
    return step;
}

static const fx_command *
decide_and_apply(core_world *w)
{
    const fx_command *command = world_decide(w);
    assert_non_null(command);
    assert_int_equal(command->kind, FX_COMMAND_COMMIT);
    world_apply(w, command);
    return command;
}

/* Ends what was just decided. */
static void
finish(core_world *w, fx_command_kind kind, fx_attempt outcome, int64_t ago_ms)
{
    const fx_command *command = &w->commands.items[0];
    assert_int_equal(w->commands.count, 1);
    assert_int_equal(command->kind, kind);
    fx_attempt_begin(w->attempts, &w->attempt_count, command);
    outcome.finished_at = AGO(ago_ms);
    fx_attempt_end(w->attempts, &w->attempt_count, command, &outcome);
}

/* Some other leader, who remembers nothing. */
static void
change_leader(core_world *w)
{
    w->ledger.leader.revision.value++;
    w->ledger.leader.term++;
    w->self.incarnation[0]++;
    w->ledger.leader.incarnation[0]++;
}

/* use1-db took over in epoch 4 and waits for its promotion, which is signed as "p1". */
static core_world *
world_promoting(void)
{
    core_world *w = world_new();
    world_silence(w, 0, 6000);
    w->view.coordinators[0].heard_at = AGO(6000);
    (void)decide_and_apply(w);
    w->ledger.leases[0].seen_since = AGO(9001);
    (void)decide_and_apply(w);
    assert_int_equal(step_now(w)->kind, FX_STEP_PROMOTE);
    w->ledger.services[0].promotion = (fx_signed_order){.size_bytes = 1, .id = {"p1"}};
    w->view.hosts[1].wants_lease = false;
    return w;
}

static void
set_up(core_world *w)
{
    world_state(w, 1)->role = FX_ROLE_PRIMARY;
    world_state(w, 1)->epoch_seen.value = 4;
}

static core_world *
world_redirecting(void)
{
    core_world *w = world_promoting();
    set_up(w);
    (void)decide_and_apply(w);
    assert_int_equal(step_now(w)->kind, FX_STEP_DNS);
    return w;
}

static void
set_result(core_world *w, fx_order_state state)
{
    w->view.hosts[1].results[0] =
        (fx_order_result){.order = {"p1"}, .state = state, .detail = "it was killed"};
    w->view.hosts[1].result_count = 1;
}

/* The last of the decision's evidence. */
static const char *
last_fact(const fx_command *command)
{
    assert_true(command->has_decision);
    assert_true(command->decision.evidence_count > 0);
    return command->decision.evidence[command->decision.evidence_count - 1].fact;
}

/* ---- DNS
 * --------------------------------------------------------------------------------------------- */

static core_world *
world_with_unknown_dns(void)
{
    core_world *w = world_redirecting();
    assert_non_null(world_decide(w));
    finish(
        w,
        FX_COMMAND_DNS,
        (fx_attempt){.state = FX_ATTEMPT_UNKNOWN, .detail = "no answer came"},
        5000);
    const fx_command *mark = decide_and_apply(w);
    assert_string_equal(mark->decision.verdict, "observe first");
    assert_non_null(strstr(mark->decision.reason, "no answer came"));
    assert_int_equal(step_now(w)->state, FX_STEP_UNKNOWN);
    assert_int_equal(step_now(w)->finished.ns, 0);
    assert_int_equal(step_now(w)->attempts, 1);
    assert_non_null(world_decide(w));
    return w;
}

static void
a_change_of_dns_without_an_answer_is_observed_and_passed(void **state)
{
    (void)state;
    core_world *w = world_with_unknown_dns();
    finish(
        w,
        FX_COMMAND_OBSERVE_DNS,
        (fx_attempt){.state = FX_ATTEMPT_DONE, .is_so = true, .detail = "it says epoch 4"},
        10);
    const fx_command *pass = decide_and_apply(w);
    assert_string_equal(pass->decision.verdict, "observed done");
    assert_string_equal(last_fact(pass), "it says epoch 4");
    assert_int_equal(w->ledger.services[0].dns_epoch.value, 4);
    assert_int_equal(step_now(w)->kind, FX_STEP_VALIDATE);
    assert_string_equal(w->ledger.plans[0].steps[3].detail, "it says epoch 4");
    free(w);
}

static void
a_change_of_dns_that_was_observed_missing_is_done_again(void **state)
{
    (void)state;
    core_world *w = world_with_unknown_dns();
    finish(
        w,
        FX_COMMAND_OBSERVE_DNS,
        (fx_attempt){.state = FX_ATTEMPT_DONE, .is_so = false, .detail = "it says epoch 3"},
        10);
    const fx_command *again = decide_and_apply(w);
    assert_string_equal(again->decision.verdict, "act again");
    assert_string_equal(last_fact(again), "it says epoch 3");
    assert_int_equal(step_now(w)->state, FX_STEP_RUNNING);
    assert_int_equal(step_now(w)->attempts, 2);
    assert_non_null(world_decide(w));
    finish(w, FX_COMMAND_DNS, (fx_attempt){.state = FX_ATTEMPT_UNKNOWN}, 0);
    assert_int_equal(w->attempts[0].failure_count, 2);
    /* The observation was before this try: it says nothing of it. */
    (void)decide_and_apply(w);
    assert_int_equal(step_now(w)->state, FX_STEP_UNKNOWN);
    free(w);
}

static void
an_observation_that_fails_is_repeated_until_the_plan_gives_up(void **state)
{
    (void)state;
    core_world *w = world_with_unknown_dns();
    finish(w, FX_COMMAND_OBSERVE_DNS, (fx_attempt){.state = FX_ATTEMPT_FAILED}, 999);
    assert_null(world_decide(w));
    w->attempts[1].finished_at = AGO(1000);
    assert_int_equal(world_decide(w)->kind, FX_COMMAND_OBSERVE_DNS);
    w->ledger.plans[0].step_since = AGO(60001);
    const fx_command *off = world_decide(w);
    assert_int_equal(off->plan.state, FX_PLAN_STATE_FAILED);
    assert_string_equal(off->plan.outcome, "no answer came");
    /* Nobody saw how it ended. */
    assert_int_equal(off->plan.steps[3].state, FX_STEP_UNKNOWN);
    assert_int_not_equal(off->plan.steps[3].finished.ns, 0);
    free(w);
}

static void
what_another_leader_began_is_observed_first(void **state)
{
    (void)state;
    core_world *w = world_redirecting();
    assert_int_equal(world_decide(w)->kind, FX_COMMAND_DNS);
    finish(w, FX_COMMAND_DNS, (fx_attempt){.state = FX_ATTEMPT_FAILED}, 0);
    change_leader(w);
    const fx_command *mark = decide_and_apply(w);
    assert_non_null(strstr(mark->decision.reason, "use1-co led when it began"));
    assert_int_equal(world_decide(w)->kind, FX_COMMAND_OBSERVE_DNS);
    w->ledger.plans[0].step_since = AGO(60001);
    assert_string_equal(world_decide(w)->plan.outcome, "it could not be begun in time");
    free(w);
}

/* What is unknown stays so in the ledger: the next leader observes, too. */
static void
an_unknown_outcome_outlives_its_leader(void **state)
{
    (void)state;
    core_world *w = world_with_unknown_dns();
    change_leader(w);
    assert_int_equal(world_decide(w)->kind, FX_COMMAND_OBSERVE_DNS);
    finish(w, FX_COMMAND_OBSERVE_DNS, (fx_attempt){.state = FX_ATTEMPT_DONE, .is_so = true}, 10);
    (void)decide_and_apply(w);
    assert_int_equal(step_now(w)->kind, FX_STEP_VALIDATE);
    free(w);
}

/* A name that an observation finds right needs no plan in doubt: the settled service, too. */
static void
without_a_plan_dns_is_observed_first(void **state)
{
    (void)state;
    core_world *w = world_new();
    w->ledger.services[0].dns_epoch.value = 2;
    assert_int_equal(world_decide(w)->kind, FX_COMMAND_OBSERVE_DNS);
    finish(
        w,
        FX_COMMAND_OBSERVE_DNS,
        (fx_attempt){.state = FX_ATTEMPT_DONE, .is_so = true, .detail = "it says epoch 3"},
        100);
    const fx_command *settled = world_decide(w);
    assert_string_equal(last_fact(settled), "it says epoch 3");
    assert_int_equal(settled->service.dns_epoch.value, 3);
    w->attempts[0].is_so = false;
    assert_int_equal(world_decide(w)->kind, FX_COMMAND_DNS);
    finish(w, FX_COMMAND_DNS, (fx_attempt){.state = FX_ATTEMPT_DONE}, 50);
    const fx_command *told = world_decide(w);
    assert_int_equal(told->service.dns_epoch.value, 3);
    assert_false(told->has_decision);
    free(w);
}

static void
the_fact_of_an_observation_is_empty_before_there_is_one(void **state)
{
    (void)state;
    core_world *w = world_new();
    fx_situation situation = {.ledger = &w->ledger};
    assert_string_equal(fx_outcome_dns_fact(&situation, &w->ledger.services[0]), "");
    assert_int_equal(fx_outcome_of_dns(&situation, &w->ledger.services[0], false), FX_OUTCOME_OPEN);
    free(w);
}

/* ---- promotion and fence
 * ----------------------------------------------------------------------------- */

static core_world *
world_with_unknown_promotion(void)
{
    core_world *w = world_promoting();
    assert_null(world_decide(w));
    set_result(w, FX_ORDER_UNKNOWN);
    const fx_command *mark = decide_and_apply(w);
    assert_string_equal(mark->decision.verdict, "observe first");
    assert_non_null(strstr(mark->decision.reason, "it was killed"));
    assert_int_equal(step_now(w)->state, FX_STEP_UNKNOWN);
    return w;
}

static void
a_promotion_of_unknown_outcome_is_left_alone_while_its_host_acts_on_it(void **state)
{
    (void)state;
    core_world *w = world_with_unknown_promotion();
    w->view.hosts[1].wants_lease = true;
    world_state(w, 1)->epoch_seen.value = 4;
    assert_null(world_decide(w));
    set_up(w);
    const fx_command *pass = decide_and_apply(w);
    assert_string_equal(pass->decision.verdict, "observed done");
    assert_string_equal(
        last_fact(pass),
        "reports primary, in health, epoch seen 4, fenced up to 0, asks for a lease");
    assert_int_equal(step_now(w)->kind, FX_STEP_DNS);
    free(w);
}

static void
a_promotion_that_its_host_does_not_act_on_is_signed_again(void **state)
{
    (void)state;
    core_world *w = world_with_unknown_promotion();
    world_state(w, 1)->healthy = false;
    const fx_command *again = world_decide(w);
    assert_int_equal(again->kind, FX_COMMAND_SIGN_PROMOTION);
    assert_string_equal(again->decision.verdict, "act again");
    assert_string_equal(
        last_fact(again),
        "reports standby, not in health, epoch seen 3, fenced up to 0, asks for no lease");
    assert_int_equal(again->plan_touch, FX_TOUCH_PUT);
    assert_int_equal(again->plan.steps[2].state, FX_STEP_RUNNING);
    assert_int_equal(again->plan.steps[2].attempts, 2);
    assert_string_not_equal(again->order.id.text, "p1");
    free(w);
}

/* A fence is ordered once; its host's proof, or time, ends it. */
static void
a_fence_of_unknown_outcome_waits_for_its_proof(void **state)
{
    (void)state;
    core_world *w = world_new();
    world_silence(w, 0, 6000);
    (void)decide_and_apply(w);
    world_silence(w, 0, 100);
    world_state(w, 0)->healthy = false;
    w->ledger.plans[0].steps[0].order = (fx_signed_order){.size_bytes = 1, .id = {"f1"}};
    w->view.hosts[0].results[0] = (fx_order_result){.order = {"f1"}, .state = FX_ORDER_UNKNOWN};
    w->view.hosts[0].result_count = 1;
    (void)decide_and_apply(w);
    assert_int_equal(step_now(w)->kind, FX_STEP_FENCE);
    assert_int_equal(step_now(w)->state, FX_STEP_UNKNOWN);
    assert_null(world_decide(w));
    world_state(w, 0)->role = FX_ROLE_HELD;
    world_state(w, 0)->fenced_epoch.value = 3;
    const fx_command *take = decide_and_apply(w);
    assert_string_equal(take->decision.verdict, "take over");
    assert_int_equal(take->plan.steps[0].state, FX_STEP_DONE);
    free(w);
}

static void
reports_are_put_into_words(void **state)
{
    (void)state;
    core_world *w = world_new();
    fx_name service = fx_name_of("orders-db");
    char fact[FX_REASON_BYTES];
    world_state(w, 0)->role = FX_ROLE_NONE;
    fx_report_fact(&w->view.hosts[0], &service, fact);
    assert_string_equal(
        fact, "reports not running, in health, epoch seen 3, fenced up to 0, asks for a lease");
    world_state(w, 0)->role = FX_ROLE_HELD;
    fx_report_fact(&w->view.hosts[0], &service, fact);
    assert_non_null(strstr(fact, "held down"));
    fx_report_fact(NULL, &service, fact);
    assert_string_equal(fact, "does not report the service");
    free(w);
}

static void
a_promotion_is_taken_up_by_a_host_of_that_epoch_alone(void **state)
{
    (void)state;
    core_world *w = world_new();
    fx_service *service = &w->ledger.services[0];
    fx_host_view *host = &w->view.hosts[1];
    assert_false(fx_promotion_is_taken_up(NULL, service));
    assert_false(fx_promotion_is_taken_up(host, service));
    host->wants_lease = true;
    assert_true(fx_promotion_is_taken_up(host, service));
    host->services[0].epoch_seen.value = 2;
    assert_false(fx_promotion_is_taken_up(host, service));
    host->services[0].epoch_seen.value = 3;
    host->wants_lease = false;
    host->services[0].role = FX_ROLE_PRIMARY;
    assert_true(fx_promotion_is_taken_up(host, service));
    free(w);
}

static void
only_an_order_that_is_there_can_be_unknown(void **state)
{
    (void)state;
    core_world *w = world_new();
    fx_signed_order order = {.id = {"p1"}};
    set_result(w, FX_ORDER_UNKNOWN);
    assert_false(fx_order_is_unknown(&w->view.hosts[1], &order));
    order.size_bytes = 1;
    assert_true(fx_order_is_unknown(&w->view.hosts[1], &order));
    set_result(w, FX_ORDER_RUNNING);
    assert_false(fx_order_is_unknown(&w->view.hosts[1], &order));
    assert_false(fx_order_is_unknown(&w->view.hosts[0], &order));
    free(w);
}

/* ---- transactions
 * ------------------------------------------------------------------------------------ */

/* Ends a take-over without an answer. It took effect, or did not. */
static core_world *
world_with_unknown_take_over(bool took_effect)
{
    core_world *w = world_new();
    world_silence(w, 0, 6000);
    w->view.coordinators[0].heard_at = AGO(6000);
    (void)decide_and_apply(w);
    w->ledger.leases[0].seen_since = AGO(9001);
    const fx_command *take = world_decide(w);
    assert_string_equal(take->decision.verdict, "take over");
    finish(
        w,
        FX_COMMAND_COMMIT,
        (fx_attempt){.state = FX_ATTEMPT_UNKNOWN, .detail = "etcd did not answer"},
        200);
    if (took_effect) {
        world_apply(w, take);
    }
    return w;
}

static void
after_a_lost_answer_the_ledger_is_read_by_a_later_question(void **state)
{
    (void)state;
    core_world *w = world_with_unknown_take_over(true);
    w->ledger.read_at = AGO(100); /* arrived after it, but was asked before */
    w->ledger.asked_at = AGO(200);
    assert_null(world_decide(w));
    w->ledger.asked_at = AGO(199);
    const fx_command *sign = world_decide(w);
    assert_int_equal(sign->kind, FX_COMMAND_SIGN_PROMOTION);
    assert_string_equal(sign->decision.verdict, "go on after observing");
    assert_string_equal(
        sign->decision.evidence[0].fact,
        "a transaction's outcome was unknown (etcd did not answer)");
    assert_non_null(strstr(last_fact(sign), "epoch 4, primary use1-db, plan failover"));
    free(w);
}

static void
a_take_over_that_did_not_happen_is_decided_anew_with_evidence(void **state)
{
    (void)state;
    core_world *w = world_with_unknown_take_over(false);
    w->ledger.asked_at = AGO(50);
    const fx_command *take = world_decide(w);
    assert_string_equal(take->decision.verdict, "take over");
    assert_non_null(strstr(last_fact(take), "epoch 3, primary usw2-db, plan failover"));
    /* Once a later one was answered, nothing is in doubt any more. */
    finish(w, FX_COMMAND_COMMIT, (fx_attempt){.state = FX_ATTEMPT_DONE}, 10);
    w->ledger.asked_at = AGO(5);
    w->ledger.read_at = AGO(5);
    assert_null(strstr(last_fact(world_decide(w)), "epoch 3, primary"));
    free(w);
}

static void
a_lost_creation_is_explained_without_service_or_plan(void **state)
{
    (void)state;
    core_world *w = world_new();
    w->ledger.service_count = 0;
    assert_string_equal(world_decide(w)->decision.verdict, "create service");
    finish(w, FX_COMMAND_COMMIT, (fx_attempt){.state = FX_ATTEMPT_UNKNOWN}, 200);
    w->ledger.asked_at = AGO(50);
    assert_string_equal(last_fact(world_decide(w)), "read again at revision 100, no plan");
    /* It is there after all, and its members are to be changed. */
    w->ledger.service_count = 1;
    w->wanted.members[2].port = 5433;
    assert_string_equal(
        last_fact(world_decide(w)),
        "read again at revision 100: epoch 3, primary usw2-db, no plan");
    free(w);
}

static void
a_lost_signature_without_a_plan_is_explained_in_a_decision(void **state)
{
    (void)state;
    core_world *w = world_new();
    w->ledger.services[0].promotion.size_bytes = 0;
    world_state(w, 0)->healthy = false;
    fx_command other = *world_decide(w);
    assert_int_equal(other.kind, FX_COMMAND_SIGN_PROMOTION);
    other.subject = fx_name_of("other-db");
    fx_attempt_begin(w->attempts, &w->attempt_count, &other);
    finish(w, FX_COMMAND_SIGN_PROMOTION, (fx_attempt){.state = FX_ATTEMPT_UNKNOWN}, 2000);
    fx_command older = {.kind = FX_COMMAND_VALIDATE, .subject = fx_name_of("orders-db")};
    fx_attempt before = {.state = FX_ATTEMPT_FAILED, .finished_at = AGO(9000)};
    fx_attempt_end(w->attempts, &w->attempt_count, &older, &before);
    w->ledger.asked_at = AGO(50);
    const fx_command *sign = world_decide(w);
    assert_int_equal(sign->kind, FX_COMMAND_SIGN_PROMOTION);
    assert_string_equal(sign->decision.verdict, "go on after observing");
    assert_string_equal(sign->decision.plan.text, "");
    free(w);
}

/* Requests are no services: nothing to say of epochs. */
static void
a_request_is_answered_without_an_explanation(void **state)
{
    (void)state;
    core_world *w = world_new();
    w->ledger.request_count = 1;
    w->ledger.requests[0] = (fx_request){.id = {"r"}, .service = fx_name_of("other-db")};
    assert_string_equal(world_decide(w)->request.result_detail, "no such service");
    finish(w, FX_COMMAND_COMMIT, (fx_attempt){.state = FX_ATTEMPT_UNKNOWN}, 200);
    w->ledger.asked_at = AGO(50);
    assert_false(world_decide(w)->has_decision);
    free(w);
}

static void
kinds_of_commands_are_told_apart(void **state)
{
    (void)state;
    assert_true(fx_command_is_transaction(FX_COMMAND_COMMIT));
    assert_true(fx_command_is_transaction(FX_COMMAND_SIGN_FENCE));
    assert_true(fx_command_is_transaction(FX_COMMAND_SIGN_PROMOTION));
    assert_false(fx_command_is_transaction(FX_COMMAND_DNS));
    assert_false(fx_command_is_transaction(FX_COMMAND_OBSERVE_DNS));
    assert_false(fx_command_is_transaction(FX_COMMAND_VALIDATE));
}

static void
a_validation_is_repeated_until_the_plan_gives_up(void **state)
{
    (void)state;
    core_world *w = world_redirecting();
    assert_non_null(world_decide(w));
    finish(w, FX_COMMAND_DNS, (fx_attempt){.state = FX_ATTEMPT_DONE}, 10);
    (void)decide_and_apply(w);
    w->ledger.plans[0].step_since = AGO(60001);
    assert_string_equal(world_decide(w)->plan.outcome, "it could not be begun in time");
    w->ledger.plans[0].step_since = AGO(0);
    assert_int_equal(world_decide(w)->kind, FX_COMMAND_VALIDATE);
    finish(
        w,
        FX_COMMAND_VALIDATE,
        (fx_attempt){.state = FX_ATTEMPT_FAILED, .detail = "no connection"},
        999);
    assert_null(world_decide(w));
    w->attempts[1].finished_at = AGO(1000);
    assert_int_equal(world_decide(w)->kind, FX_COMMAND_VALIDATE);
    w->ledger.plans[0].step_since = AGO(60001);
    assert_string_equal(world_decide(w)->plan.outcome, "no connection");
    free(w);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_change_of_dns_without_an_answer_is_observed_and_passed),
        cmocka_unit_test(a_change_of_dns_that_was_observed_missing_is_done_again),
        cmocka_unit_test(an_observation_that_fails_is_repeated_until_the_plan_gives_up),
        cmocka_unit_test(what_another_leader_began_is_observed_first),
        cmocka_unit_test(an_unknown_outcome_outlives_its_leader),
        cmocka_unit_test(without_a_plan_dns_is_observed_first),
        cmocka_unit_test(the_fact_of_an_observation_is_empty_before_there_is_one),
        cmocka_unit_test(a_promotion_of_unknown_outcome_is_left_alone_while_its_host_acts_on_it),
        cmocka_unit_test(a_promotion_that_its_host_does_not_act_on_is_signed_again),
        cmocka_unit_test(a_fence_of_unknown_outcome_waits_for_its_proof),
        cmocka_unit_test(reports_are_put_into_words),
        cmocka_unit_test(a_promotion_is_taken_up_by_a_host_of_that_epoch_alone),
        cmocka_unit_test(only_an_order_that_is_there_can_be_unknown),
        cmocka_unit_test(after_a_lost_answer_the_ledger_is_read_by_a_later_question),
        cmocka_unit_test(a_take_over_that_did_not_happen_is_decided_anew_with_evidence),
        cmocka_unit_test(a_lost_creation_is_explained_without_service_or_plan),
        cmocka_unit_test(a_lost_signature_without_a_plan_is_explained_in_a_decision),
        cmocka_unit_test(a_request_is_answered_without_an_explanation),
        cmocka_unit_test(kinds_of_commands_are_told_apart),
        cmocka_unit_test(a_validation_is_repeated_until_the_plan_gives_up),
    };
    return cmocka_run_group_tests_name("outcome", tests, NULL, NULL);
}
