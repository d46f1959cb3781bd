#include "coordinator/core/plan.h"

#include "coordinator/core/down.h"
#include "coordinator/core/observe.h"
#include "coordinator/core/outcome.h"
#include "coordinator/core/renewal.h"
#include "coordinator/core/target.h"
#include "coordinator/core/text.h"

fx_command *
fx_command_add(
    const fx_situation *situation,
    fx_commands *commands,
    fx_command_kind kind,
    const fx_name *subject,
    const char *reason)
{
    FX_ASSERT(commands->count < FX_COMMAND_MAX);
    fx_command *command = &commands->items[commands->count++];
    memset(command, 0, sizeof *command);
    command->kind = kind;
    command->subject = *subject;
    command->leader_revision = situation->ledger->leader.revision;
    FX_TEXT_SET(command->reason, reason, NULL, NULL);
    return command;
}

fx_id
fx_id_compose(const char *prefix, fx_epoch epoch, fx_revision record, fx_revision ledger)
{
    fx_id id;
    fx_text text = fx_text_on(id.text, sizeof id.text);
    fx_text_add(&text, prefix);
    fx_text_add(&text, "-e");
    fx_text_add_number(&text, epoch.value);
    fx_text_add(&text, "-r");
    fx_text_add_number(&text, (uint64_t)record.value);
    if (ledger.value != 0) {
        fx_text_add(&text, "-");
        fx_text_add_number(&text, (uint64_t)ledger.value);
    }
    return id;
}

fx_decision *
fx_command_decision(
    const fx_situation *situation, fx_command *command, const char *verdict, const fx_id *plan)
{
    const fx_ledger *ledger = situation->ledger;
    command->has_decision = true;
    fx_decision *decision = &command->decision;
    decision->id =
        fx_id_compose("d", command->service.epoch, command->service.revision, ledger->revision);
    decision->decided = situation->wall;
    decision->coordinator = situation->self->name;
    decision->term = ledger->leader.term;
    decision->ledger_revision = ledger->revision;
    decision->service = command->subject;
    FX_TEXT_SET(decision->verdict, verdict, NULL, NULL);
    FX_TEXT_SET(decision->reason, command->reason, NULL, NULL);
    if (plan != NULL) {
        decision->plan = *plan;
    }
    return decision;
}

const fx_attempt *
fx_attempt_find(
    const fx_situation *situation, const fx_name *subject, fx_command_kind kind, fx_epoch epoch)
{
    for (size_t i = 0; i < situation->attempt_count; i++) {
        const fx_attempt *attempt = &situation->attempts[i];
        if (attempt->kind == kind && attempt->epoch.value == epoch.value &&
            attempt->leader_revision.value == situation->ledger->leader.revision.value &&
            fx_same(&attempt->subject, subject)) {
            return attempt;
        }
    }
    return NULL;
}

bool
fx_attempt_due(const fx_situation *situation, const fx_attempt *attempt)
{
    if (attempt == NULL) {
        return true;
    }
    if (attempt->state == FX_ATTEMPT_RUNNING) {
        return false;
    }
    int64_t pause = situation->policy->retry_min.ns;
    for (uint32_t i = 1; i < attempt->failure_count && pause < situation->policy->retry_max.ns;
         i++) {
        pause *= 2;
    }
    if (pause > situation->policy->retry_max.ns) {
        pause = situation->policy->retry_max.ns;
    }
    return fx_mono_since(situation->now, attempt->finished_at).ns >= pause;
}

bool
fx_primary_is_up(const fx_situation *situation, const fx_service *service)
{
    const fx_host_view *host = fx_view_host(situation->view, &service->primary);
    const fx_service_state *state = fx_host_service(host, &service->name);
    return state != NULL && state->role == FX_ROLE_PRIMARY && state->healthy &&
           state->epoch_seen.value == service->epoch.value &&
           !fx_dur_over(
               fx_mono_since(situation->now, host->reported_at), situation->policy->silence_max);
}

/* ---- writing plans -----------------------------------------------------------------------------
 */

static fx_command *
commit_plan(
    const fx_situation *situation,
    const fx_service *service,
    const fx_plan *plan,
    const char *reason,
    fx_commands *commands)
{
    fx_command *command =
        fx_command_add(situation, commands, FX_COMMAND_COMMIT, &service->name, reason);
    command->service_touch = FX_TOUCH_COMPARE;
    command->service = *service;
    command->plan_touch = FX_TOUCH_PUT;
    command->plan = *plan;
    return command;
}

static void
set_step(
    const fx_situation *situation,
    fx_plan *plan,
    fx_step_kind kind,
    fx_step_state state,
    const char *detail)
{
    for (size_t i = 0; i < plan->step_count; i++) {
        fx_step *step = &plan->steps[i];
        if (step->kind != kind) {
            continue;
        }
        step->state = state;
        step->by = situation->self->name;
        step->term = situation->ledger->leader.term;
        if (state == FX_STEP_RUNNING) {
            step->started = step->attempts == 0 ? situation->wall : step->started;
            step->attempts++;
        } else if (state != FX_STEP_UNKNOWN || plan->state != FX_PLAN_STATE_RUNNING) {
            step->finished = situation->wall;
        }
        FX_TEXT_SET(step->detail, detail, NULL, NULL);
    }
}

/* Marks a step done and lets the next begin. */
static void
pass_step(const fx_situation *situation, fx_plan *plan, fx_step_kind kind, const char *detail)
{
    set_step(situation, plan, kind, FX_STEP_DONE, detail);
    const fx_step *next = fx_plan_step(plan);
    if (next != NULL) {
        set_step(situation, plan, next->kind, FX_STEP_RUNNING, "");
    }
}

/* It may have happened: that is written down, and from now on it is observed. */
static void
mark_unknown(
    const fx_situation *situation,
    const fx_service *service,
    const fx_plan *plan,
    const char *why,
    fx_commands *commands)
{
    const fx_step *step = fx_plan_step(plan);
    fx_command *command = commit_plan(situation, service, plan, why, commands);
    set_step(situation, &command->plan, step->kind, FX_STEP_UNKNOWN, why);
    fx_command_decision(situation, command, "observe first", &plan->id);
}

/* Marks in `command` that the step was observed: what was seen becomes evidence, and its detail. */
static void
note_observed(
    const fx_situation *situation,
    const fx_step *step,
    const fx_name *subject,
    const char *fact,
    fx_command *command)
{
    if (step->state == FX_STEP_UNKNOWN) {
        const fx_plan *plan = &command->plan;
        fx_decision *decision = fx_command_decision(situation, command, "observed done", &plan->id);
        fx_evidence_add(decision, NULL, subject, step->detail);
        fx_evidence_add(decision, NULL, subject, fact);
    }
}

/* Observed not to have happened: it is done again. */
static void
repeat_step(
    const fx_situation *situation,
    const fx_step *step,
    const fx_name *subject,
    const char *fact,
    fx_command *command)
{
    fx_plan *plan = &command->plan;
    fx_decision *decision = fx_command_decision(situation, command, "act again", &plan->id);
    fx_evidence_add(decision, NULL, subject, step->detail);
    fx_evidence_add(decision, NULL, subject, fact);
    set_step(situation, plan, step->kind, FX_STEP_RUNNING, fact);
}

static void
finish_plan(
    const fx_situation *situation,
    const fx_service *service,
    const fx_plan *plan,
    fx_plan_state state,
    const char *outcome,
    fx_commands *commands)
{
    fx_command *command = commit_plan(situation, service, plan, outcome, commands);
    command->plan_touch = FX_TOUCH_DELETE;
    command->plan.state = state;
    command->plan.finished = situation->wall;
    FX_TEXT_SET(command->plan.outcome, outcome, NULL, NULL);
    if (state == FX_PLAN_STATE_DONE) {
        pass_step(situation, &command->plan, FX_STEP_VALIDATE, "a client's write went through");
        set_step(situation, &command->plan, FX_STEP_RECORD, FX_STEP_DONE, "");
    } else {
        const fx_step *step = fx_plan_step(plan);
        bool unknown = step->state == FX_STEP_UNKNOWN; /* and stays so: nobody saw the end */
        set_step(
            situation,
            &command->plan,
            step->kind,
            unknown ? FX_STEP_UNKNOWN : FX_STEP_FAILED,
            outcome);
        fx_command_decision(
            situation, command, state == FX_PLAN_STATE_FAILED ? "give up" : "call off", &plan->id);
    }
}

static bool
is_overdue(const fx_situation *situation, const fx_plan *plan, fx_dur limit)
{
    return fx_dur_over(fx_mono_since(situation->now, plan->step_since), limit);
}

/* ---- FENCE
 * --------------------------------------------------------------------------------------- */

static const char *const proof_texts[] = {
    [FX_FENCE_NOT_YET] = "not fenced",
    [FX_FENCE_NOT_HELD] = "its lease was closed on proof",
    [FX_FENCE_BY_HOST] = "the host itself proves that nothing of the epoch is left",
    [FX_FENCE_BY_TIME] = "its lease was seen unchanged for lease and margin",
};

static void
sign_fence(
    const fx_situation *situation,
    const fx_service *service,
    const fx_plan *plan,
    fx_commands *commands)
{
    const fx_attempt *attempt =
        fx_attempt_find(situation, &service->name, FX_COMMAND_SIGN_FENCE, plan->from_epoch);
    if (!fx_attempt_due(situation, attempt)) {
        return;
    }
    fx_command *command = fx_command_add(
        situation, commands, FX_COMMAND_SIGN_FENCE, &service->name, "the old primary is heard");
    command->service_touch = FX_TOUCH_COMPARE;
    command->service = *service;
    command->plan_touch = FX_TOUCH_PUT;
    command->plan = *plan;
    command->order = (fx_order_spec){
        .id = fx_id_compose("fence", plan->from_epoch, plan->revision, situation->ledger->revision),
        .kind = FX_ORDER_FENCE,
        .host = plan->from_host,
        .service = plan->service,
        .epoch = plan->from_epoch,
        .ledger_revision = situation->ledger->revision,
        .plan = plan->id,
        .orderly = plan->kind == FX_PLAN_SWITCHOVER,
    };
    FX_TEXT_SET(command->order.reason, "plan ", plan->id.text, NULL);
}

static bool
order_failed(const fx_host_view *host, const fx_signed_order *order)
{
    const fx_order_result *result = fx_host_result(host, &order->id);
    return order->size_bytes > 0 && result != NULL &&
           (result->state == FX_ORDER_FAILED || result->state == FX_ORDER_REFUSED);
}

/* The stop may still happen after it: then the service is down with proof, and a failover follows.
 */
static bool
calls_off_switchover(
    const fx_situation *situation,
    const fx_service *service,
    const fx_plan *plan,
    const fx_step *step,
    fx_commands *commands)
{
    const fx_host_view *host = fx_view_host(situation->view, &plan->from_host);
    if (order_failed(host, &step->order)) {
        finish_plan(
            situation,
            service,
            plan,
            FX_PLAN_STATE_ABANDONED,
            "the primary refused to stop",
            commands);
        return true;
    }
    if (is_overdue(situation, plan, situation->policy->fence_max)) {
        finish_plan(
            situation,
            service,
            plan,
            FX_PLAN_STATE_ABANDONED,
            "the primary did not stop in time",
            commands);
        return true;
    }
    return false;
}

static void
wait_for_fence(
    const fx_situation *situation,
    const fx_service *service,
    const fx_plan *plan,
    const fx_step *step,
    fx_commands *commands)
{
    fx_silence silence =
        fx_host_silence(situation->view, situation->policy, &plan->from_host, situation->now);
    bool heard = !fx_dur_over(
        fx_mono_since(situation->now, silence.last_heard), situation->policy->silence_max);
    if (plan->kind == FX_PLAN_SWITCHOVER && silence.silent) {
        const char *why = "the primary fell silent while it was to stop: failing over";
        fx_command *command = commit_plan(situation, service, plan, why, commands);
        command->plan.kind = FX_PLAN_FAILOVER;
        fx_command_decision(situation, command, "make it a failover", &plan->id);
        return;
    }
    if (plan->kind == FX_PLAN_SWITCHOVER &&
        calls_off_switchover(situation, service, plan, step, commands)) {
        return;
    }
    bool signed_already = step->order.size_bytes > 0;
    if (plan->kind == FX_PLAN_FAILOVER && !signed_already && fx_primary_is_up(situation, service)) {
        finish_plan(
            situation,
            service,
            plan,
            FX_PLAN_STATE_ABANDONED,
            "the primary is heard again and works",
            commands);
        return;
    }
    /* Proof by the host or by time is the observation that ends it: a fence is not ordered twice.
     */
    const fx_host_view *host = fx_view_host(situation->view, &plan->from_host);
    if (step->state == FX_STEP_RUNNING && fx_order_is_unknown(host, &step->order)) {
        mark_unknown(
            situation,
            service,
            plan,
            "the host does not know whether it fenced: waiting for its proof, or its lease's end",
            commands);
        return;
    }
    bool heard_itself = host != NULL && heard;
    if (heard_itself && !signed_already) {
        sign_fence(situation, service, plan, commands);
    }
}

/* ---- TAKE_OVER
 * ----------------------------------------------------------------------------------- */

static bool
has_replayed_all(const fx_situation *situation, const fx_plan *plan)
{
    const fx_service_state *old =
        fx_host_service(fx_view_host(situation->view, &plan->from_host), &plan->service);
    const fx_service_state *target =
        fx_host_service(fx_view_host(situation->view, &plan->to_host), &plan->service);
    return old != NULL && target != NULL && old->fenced_epoch.value >= plan->from_epoch.value &&
           old->stopped_lsn.value != 0 && target->replay_lsn.value >= old->stopped_lsn.value;
}

/* The old primary itself, in a new epoch: when nobody else can. Its data is the newest there is. */
static const fx_member *
old_primary(const fx_situation *situation, const fx_service *service, const fx_plan *plan)
{
    const fx_host_view *host = fx_view_host(situation->view, &plan->from_host);
    if (host == NULL ||
        fx_dur_over(
            fx_mono_since(situation->now, host->reported_at), situation->policy->silence_max)) {
        return NULL;
    }
    return fx_service_member(service, &plan->from_host);
}

static const fx_member *
choose_successor(
    const fx_situation *situation,
    const fx_service *service,
    const fx_plan *plan,
    const fx_step *step,
    char out_reason[FX_REASON_BYTES])
{
    const fx_policy *policy = situation->policy;
    bool late =
        step->kind == FX_STEP_TAKE_OVER && is_overdue(situation, plan, policy->take_over_max);
    const fx_member *old = late ? old_primary(situation, service, plan) : NULL;
    if (plan->kind == FX_PLAN_SWITCHOVER && !late) {
        fx_text_set(out_reason, FX_REASON_BYTES, plan->to_host.text, " has replayed all", NULL);
        return has_replayed_all(situation, plan) ? fx_service_member(service, &plan->to_host)
                                                 : NULL;
    }
    if (plan->kind == FX_PLAN_SWITCHOVER && old != NULL) {
        fx_text_set(
            out_reason,
            FX_REASON_BYTES,
            plan->to_host.text,
            " did not catch up: back to ",
            old->host.text);
        return old;
    }
    bool hurry = fx_dur_over(fx_mono_since(situation->now, plan->seen_since), policy->gather_max);
    fx_target target =
        fx_target_choose(situation->view, policy, service, &plan->from_host, hurry, situation->now);
    memcpy(out_reason, target.reason, FX_REASON_BYTES);
    if (target.member != NULL && !target.wait) {
        return target.member;
    }
    if (target.member == NULL && old != NULL) {
        fx_text_set(out_reason, FX_REASON_BYTES, "no standby can: back to ", old->host.text, NULL);
        return old;
    }
    return NULL;
}

fx_lease
fx_lease_of(const fx_ledger *ledger, const fx_name *host)
{
    const fx_lease *lease = fx_ledger_lease(ledger, host);
    return lease != NULL ? *lease : (fx_lease){.host = *host};
}

static void
release_lease(fx_lease *lease, const fx_name *service)
{
    size_t kept = 0;
    for (size_t i = 0; i < lease->held_count; i++) {
        if (!fx_same(&lease->held[i].service, service)) {
            lease->held[kept++] = lease->held[i];
        }
    }
    lease->held_count = kept;
    lease->open = kept > 0;
}

void
fx_lease_hold(fx_lease *lease, const fx_name *service, fx_epoch epoch)
{
    release_lease(lease, service);
    if (lease->held_count < FX_MEMBER_MAX) {
        lease->held[lease->held_count++] = (fx_held){.service = *service, .epoch = epoch};
    }
    lease->open = true;
}

static void
add_position_evidence(
    const fx_situation *situation, const fx_service *service, fx_decision *decision)
{
    char fact[FX_REASON_BYTES];
    for (size_t i = 0; i < service->member_count; i++) {
        const fx_host_view *host = fx_view_host(situation->view, &service->members[i].host);
        const fx_service_state *state = fx_host_service(host, &service->name);
        if (state == NULL) {
            continue;
        }
        fx_text text = fx_text_on(fact, sizeof fact);
        fx_text_add(&text, "at ");
        fx_text_add_lsn(&text, state->write_lsn);
        fx_text_add(&text, ", reported ");
        fx_text_add_ms(&text, fx_mono_since(situation->now, host->reported_at));
        fx_text_add(&text, " ago");
        fx_evidence_add(decision, NULL, &host->host, fact);
    }
}

typedef struct succession {
    fx_fence_proof proof;
    const fx_member *successor;
    char reason[FX_REASON_BYTES];
} succession;

static void
take_over(
    const fx_situation *situation,
    const fx_service *service,
    const fx_plan *plan,
    const succession *next,
    fx_commands *commands)
{
    const fx_member *successor = next->successor;
    fx_command *command = commit_plan(situation, service, plan, next->reason, commands);
    fx_lease old = fx_lease_of(situation->ledger, &plan->from_host);
    fx_epoch epoch = {.value = service->epoch.value + 1};
    fx_decision *decision = fx_command_decision(situation, command, "take over", &plan->id);
    fx_text text = fx_text_on(command->reason, sizeof command->reason);
    fx_text_add(&text, proof_texts[next->proof]);
    fx_text_add(&text, " (");
    fx_text_add_ms(&text, fx_mono_since(situation->now, old.seen_since));
    fx_text_add(&text, ")");
    fx_evidence_add(decision, NULL, &plan->from_host, command->reason);
    add_position_evidence(situation, service, decision);

    pass_step(situation, &command->plan, FX_STEP_FENCE, proof_texts[next->proof]);
    pass_step(situation, &command->plan, FX_STEP_TAKE_OVER, next->reason);
    command->plan.to_host = successor->host;
    command->plan.to_epoch = epoch;

    command->service_touch = FX_TOUCH_PUT;
    command->service.epoch = epoch;
    command->service.primary = successor->host;
    command->service.changed_at = situation->wall;
    command->service.last_plan = plan->id;
    command->service.promotion = (fx_signed_order){0};

    command->lease_touch[0] = FX_TOUCH_PUT;
    if (fx_same(&successor->host, &plan->from_host)) {
        fx_lease_hold(&old, &service->name, epoch);
        command->leases[0] = old;
        return;
    }
    release_lease(&old, &service->name);
    command->leases[0] = old;
    command->lease_touch[1] = FX_TOUCH_PUT;
    command->leases[1] = fx_lease_of(situation->ledger, &successor->host);
    fx_lease_hold(&command->leases[1], &service->name, epoch);
}

/* Closes the old lease on proof, so that no later leader needs to wait anew. */
static void
record_fence(
    const fx_situation *situation,
    const fx_service *service,
    const fx_plan *plan,
    fx_fence_proof proof,
    fx_commands *commands)
{
    fx_command *command = commit_plan(situation, service, plan, proof_texts[proof], commands);
    pass_step(situation, &command->plan, FX_STEP_FENCE, proof_texts[proof]);
    command->lease_touch[0] = FX_TOUCH_PUT;
    command->leases[0] = fx_lease_of(situation->ledger, &plan->from_host);
    release_lease(&command->leases[0], &service->name);
}

static void
fence_and_take_over(
    const fx_situation *situation,
    const fx_service *service,
    const fx_plan *plan,
    const fx_step *step,
    fx_commands *commands)
{
    fx_fence_proof proof = fx_fence_proved(
        situation->ledger, situation->view, situation->policy, plan, situation->now);
    if (proof == FX_FENCE_NOT_YET) {
        wait_for_fence(situation, service, plan, step, commands);
        return;
    }
    succession next = {.proof = proof};
    next.successor = choose_successor(situation, service, plan, step, next.reason);
    if (next.successor != NULL) {
        take_over(situation, service, plan, &next, commands);
    } else if (step->kind == FX_STEP_FENCE) {
        record_fence(situation, service, plan, proof, commands);
    }
}

/* ---- PROMOTE, DNS, VALIDATE
 * ------------------------------------------------------------------------ */

void
fx_promotion_decide(const fx_situation *situation, const fx_service *service, fx_commands *commands)
{
    const fx_host_view *host = fx_view_host(situation->view, &service->primary);
    bool ignored =
        fx_order_is_unknown(host, &service->promotion) && !fx_promotion_is_taken_up(host, service);
    bool is_signed = service->promotion.size_bytes > 0;
    if (is_signed && !ignored && !order_failed(host, &service->promotion)) {
        return;
    }
    const fx_attempt *attempt =
        fx_attempt_find(situation, &service->name, FX_COMMAND_SIGN_PROMOTION, service->epoch);
    if (!fx_attempt_due(situation, attempt)) {
        return;
    }
    const char *why = ignored     ? "the last promotion is not acted on"
                      : is_signed ? "the last promotion failed"
                                  : "no promotion is signed";
    fx_command *command =
        fx_command_add(situation, commands, FX_COMMAND_SIGN_PROMOTION, &service->name, why);
    command->service_touch = FX_TOUCH_PUT;
    command->service = *service;
    command->order = (fx_order_spec){
        .id = fx_id_compose("promote", service->epoch, service->revision, (fx_revision){0}),
        .kind = FX_ORDER_PROMOTE,
        .host = service->primary,
        .service = service->name,
        .epoch = service->epoch,
        .ledger_revision = situation->ledger->revision,
        .plan = service->last_plan,
    };
    FX_TEXT_SET(command->order.reason, command->reason, NULL, NULL);
}

/* Signs anew what failed or, after an unknown outcome, was observed not to be acted on. */
static void
promote_again(
    const fx_situation *situation,
    const fx_service *service,
    const fx_plan *plan,
    const fx_step *step,
    fx_commands *commands)
{
    size_t before = commands->count;
    fx_promotion_decide(situation, service, commands);
    if (step->state != FX_STEP_UNKNOWN || commands->count == before) {
        return;
    }
    char fact[FX_REASON_BYTES];
    fx_report_fact(fx_view_host(situation->view, &service->primary), &service->name, fact);
    fx_command *command = &commands->items[before];
    command->plan_touch = FX_TOUCH_PUT;
    command->plan = *plan;
    repeat_step(situation, step, &service->primary, fact, command);
}

static void
advance_promote(
    const fx_situation *situation,
    const fx_service *service,
    const fx_plan *plan,
    const fx_step *step,
    fx_commands *commands)
{
    const fx_host_view *host = fx_view_host(situation->view, &service->primary);
    if (fx_primary_is_up(situation, service)) {
        const char *detail = "the new primary takes writes";
        fx_command *command = commit_plan(situation, service, plan, detail, commands);
        char fact[FX_REASON_BYTES];
        fx_report_fact(host, &service->name, fact);
        note_observed(situation, step, &service->primary, fact, command);
        pass_step(situation, &command->plan, FX_STEP_PROMOTE, detail);
        return;
    }
    fx_silence silence =
        fx_host_silence(situation->view, situation->policy, &service->primary, situation->now);
    if (silence.silent || is_overdue(situation, plan, situation->policy->promote_max)) {
        finish_plan(
            situation,
            service,
            plan,
            FX_PLAN_STATE_FAILED,
            silence.silent ? "the new primary fell silent"
                           : "the new primary did not come up in time",
            commands);
        return;
    }
    if (step->state == FX_STEP_RUNNING && fx_order_is_unknown(host, &service->promotion)) {
        const fx_order_result *result = fx_host_result(host, &service->promotion.id);
        char why[FX_REASON_BYTES];
        FX_TEXT_SET(why, "the host does not know whether it was promoted: ", result->detail, NULL);
        mark_unknown(situation, service, plan, why, commands);
        return;
    }
    promote_again(situation, service, plan, step, commands);
}

void
fx_dns_decide(
    const fx_situation *situation,
    const fx_service *service,
    fx_command_kind kind,
    fx_commands *commands)
{
    const fx_attempt *attempt = fx_attempt_find(situation, &service->name, kind, service->epoch);
    if (!fx_attempt_due(situation, attempt)) {
        return;
    }
    fx_command *command = fx_command_add(
        situation,
        commands,
        kind,
        &service->name,
        kind == FX_COMMAND_DNS ? "DNS does not say this epoch yet" : "DNS may say it already");
    command->service = *service;
    command->plan.id = service->last_plan;
}

/* `fact`: what an observation found, NULL if an answer said that it is done. */
static void
pass_dns(
    const fx_situation *situation,
    const fx_service *service,
    const fx_plan *plan,
    const char *fact,
    fx_commands *commands)
{
    const fx_attempt *attempt =
        fx_attempt_find(situation, &service->name, FX_COMMAND_DNS, service->epoch);
    const char *detail = fact != NULL ? fact : attempt->detail;
    fx_command *command = commit_plan(situation, service, plan, detail, commands);
    if (fact != NULL) {
        note_observed(situation, fx_plan_step(plan), &service->name, fact, command);
    }
    pass_step(situation, &command->plan, FX_STEP_DNS, detail);
    command->service_touch = FX_TOUCH_PUT;
    command->service.dns_epoch = service->epoch;
}

/* The attempt's own words, or whose attempt it was. */
static void
dns_is_unknown(
    const fx_situation *situation,
    const fx_service *service,
    const fx_plan *plan,
    const fx_step *step,
    fx_commands *commands)
{
    const fx_attempt *attempt =
        fx_attempt_find(situation, &service->name, FX_COMMAND_DNS, service->epoch);
    char why[FX_REASON_BYTES];
    if (attempt != NULL) {
        FX_TEXT_SET(why, "no answer says whether it happened: ", attempt->detail, NULL);
    } else {
        FX_TEXT_SET(why, step->by.text, " led when it began, and may have done it", NULL);
    }
    mark_unknown(situation, service, plan, why, commands);
}

static void
advance_dns(
    const fx_situation *situation,
    const fx_service *service,
    const fx_plan *plan,
    const fx_step *step,
    fx_commands *commands)
{
    bool is_unknown = step->state == FX_STEP_UNKNOWN;
    bool of_others = is_unknown || step->term != situation->ledger->leader.term;
    fx_outcome outcome = fx_outcome_of_dns(situation, service, of_others);
    const char *fact = fx_outcome_dns_fact(situation, service);
    if (outcome == FX_OUTCOME_DONE || outcome == FX_OUTCOME_OBSERVED) {
        pass_dns(situation, service, plan, outcome == FX_OUTCOME_DONE ? NULL : fact, commands);
        return;
    }
    if (is_overdue(situation, plan, situation->policy->dns_max)) {
        const fx_attempt *attempt =
            fx_attempt_find(situation, &service->name, FX_COMMAND_DNS, service->epoch);
        const char *why = attempt != NULL ? attempt->detail : "it could not be begun in time";
        finish_plan(situation, service, plan, FX_PLAN_STATE_FAILED, why, commands);
    } else if (outcome == FX_OUTCOME_UNKNOWN && !is_unknown) {
        dns_is_unknown(situation, service, plan, step, commands);
    } else if (outcome == FX_OUTCOME_UNKNOWN) {
        fx_dns_decide(situation, service, FX_COMMAND_OBSERVE_DNS, commands);
    } else if (is_unknown) {
        fx_command *command = commit_plan(situation, service, plan, fact, commands);
        repeat_step(situation, step, &service->name, fact, command);
    } else {
        fx_dns_decide(situation, service, FX_COMMAND_DNS, commands);
    }
}

/* It is an observation itself: repeated until it is good, or for too long. */
static void
advance_validate(
    const fx_situation *situation,
    const fx_service *service,
    const fx_plan *plan,
    fx_commands *commands)
{
    const fx_attempt *attempt =
        fx_attempt_find(situation, &service->name, FX_COMMAND_VALIDATE, service->epoch);
    if (attempt != NULL && attempt->state == FX_ATTEMPT_DONE) {
        finish_plan(
            situation, service, plan, FX_PLAN_STATE_DONE, "the service has moved", commands);
        return;
    }
    if (is_overdue(situation, plan, situation->policy->validate_max)) {
        finish_plan(
            situation,
            service,
            plan,
            FX_PLAN_STATE_FAILED,
            attempt != NULL ? attempt->detail : "it could not be begun in time",
            commands);
        return;
    }
    if (fx_attempt_due(situation, attempt)) {
        fx_command *command = fx_command_add(
            situation, commands, FX_COMMAND_VALIDATE, &service->name, "as a client would");
        command->service = *service;
        command->plan = *plan;
    }
}

void
fx_plan_advance(
    const fx_situation *situation,
    const fx_service *service,
    const fx_plan *plan,
    fx_commands *commands)
{
    const fx_step *step = fx_plan_step(plan);
    switch (step == NULL ? FX_STEP_RECORD : step->kind) {
    case FX_STEP_FENCE:
    case FX_STEP_TAKE_OVER:
        fence_and_take_over(situation, service, plan, step, commands);
        break;
    case FX_STEP_PROMOTE:
        advance_promote(situation, service, plan, step, commands);
        break;
    case FX_STEP_DNS:
        advance_dns(situation, service, plan, step, commands);
        break;
    case FX_STEP_VALIDATE:
        advance_validate(situation, service, plan, commands);
        break;
    case FX_STEP_RECORD:
    case FX_STEP_NONE:
        finish_plan(
            situation, service, plan, FX_PLAN_STATE_DONE, "the service has moved", commands);
        break;
    }
}
