#include "coordinator/core/decide.h"

#include "coordinator/core/down.h"
#include "coordinator/core/observe.h"
#include "coordinator/core/outcome.h"
#include "coordinator/core/plan.h"
#include "coordinator/core/target.h"
#include "coordinator/core/text.h"

/* ---- attempts
 * ------------------------------------------------------------------------------------ */

static fx_attempt *
slot_of(fx_attempt *attempts, size_t *count, const fx_command *command)
{
    for (size_t i = 0; i < *count; i++) {
        if (attempts[i].kind == command->kind && fx_same(&attempts[i].subject, &command->subject)) {
            return &attempts[i];
        }
    }
    if (*count < FX_ATTEMPT_MAX) {
        attempts[*count] = (fx_attempt){.kind = command->kind, .subject = command->subject};
        return &attempts[(*count)++];
    }
    size_t oldest = FX_ATTEMPT_MAX;
    for (size_t i = 0; i < *count; i++) {
        bool ended = attempts[i].state != FX_ATTEMPT_RUNNING;
        if (ended && (oldest == FX_ATTEMPT_MAX ||
                      attempts[i].finished_at.ns < attempts[oldest].finished_at.ns)) {
            oldest = i;
        }
    }
    FX_ASSERT(oldest < FX_ATTEMPT_MAX); /* far fewer subjects have a command under way */
    attempts[oldest] = (fx_attempt){.kind = command->kind, .subject = command->subject};
    return &attempts[oldest];
}

void
fx_attempt_begin(fx_attempt *attempts, size_t *count, const fx_command *command)
{
    fx_attempt *attempt = slot_of(attempts, count, command);
    if (attempt->epoch.value != command->service.epoch.value) {
        attempt->epoch = command->service.epoch;
        attempt->failure_count = 0;
    }
    attempt->leader_revision = command->leader_revision;
    attempt->state = FX_ATTEMPT_RUNNING;
}

void
fx_attempt_end(
    fx_attempt *attempts, size_t *count, const fx_command *command, const fx_attempt *outcome)
{
    fx_attempt *attempt = slot_of(attempts, count, command);
    attempt->epoch = command->service.epoch;
    attempt->leader_revision = command->leader_revision;
    attempt->state = outcome->state;
    attempt->is_so = outcome->is_so;
    attempt->finished_at = outcome->finished_at;
    attempt->committed = outcome->committed;
    attempt->failure_count = outcome->state == FX_ATTEMPT_DONE ? 0 : attempt->failure_count + 1;
    memcpy(attempt->detail, outcome->detail, sizeof attempt->detail);
}

/* Must the ledger be read before the next thing is decided? After an unknown outcome by a question
 * that was sent later: the read is the observation. */
static bool
is_unread(const fx_ledger *ledger, const fx_attempt *attempt)
{
    switch (attempt->state) {
    case FX_ATTEMPT_FAILED:
        return fx_command_is_transaction(attempt->kind) &&
               ledger->read_at.ns <= attempt->finished_at.ns;
    case FX_ATTEMPT_UNKNOWN:
        return fx_command_is_transaction(attempt->kind) &&
               ledger->asked_at.ns <= attempt->finished_at.ns;
    case FX_ATTEMPT_DONE:
        return attempt->committed.value > ledger->revision.value;
    case FX_ATTEMPT_RUNNING:
        break;
    }
    return true;
}

/* One thing of a subject at a time, and the next only on a read that shows the last. */
static bool
is_busy(const fx_situation *situation, const fx_name *subject)
{
    for (size_t i = 0; i < situation->attempt_count; i++) {
        const fx_attempt *attempt = &situation->attempts[i];
        if (fx_same(&attempt->subject, subject) && is_unread(situation->ledger, attempt)) {
            return true;
        }
    }
    return false;
}

/* ---- services that are configured and not there yet
 * -------------------------------------------------- */

static void
create_service(const fx_situation *situation, size_t index, fx_commands *commands)
{
    const fx_service *wanted = &situation->wanted[index];
    FX_ASSERT(wanted->member_count > 0);
    fx_command *command = fx_command_add(
        situation,
        commands,
        FX_COMMAND_COMMIT,
        &wanted->name,
        "the configuration has a new service");
    command->service_touch = FX_TOUCH_PUT;
    command->service = *wanted;
    command->service.revision = (fx_revision){0};
    command->service.epoch = (fx_epoch){1};
    command->service.dns_epoch = (fx_epoch){0};
    command->service.primary = wanted->members[0].host;
    command->service.changed_at = situation->wall;
    command->lease_touch[0] = FX_TOUCH_PUT;
    command->leases[0] = fx_lease_of(situation->ledger, &wanted->members[0].host);
    fx_lease_hold(&command->leases[0], &wanted->name, command->service.epoch);
    fx_decision *decision = fx_command_decision(situation, command, "create service", NULL);
    decision->id = fx_id_compose(
        "create",
        command->service.epoch,
        (fx_revision){(int64_t)index},
        situation->ledger->revision);
}

static bool
has_same_members(const fx_service *left, const fx_service *right)
{
    if (left->member_count != right->member_count) {
        return false;
    }
    for (size_t i = 0; i < left->member_count; i++) {
        const fx_member *a = &left->members[i];
        const fx_member *b = &right->members[i];
        if (!fx_same(&a->host, &b->host) || !fx_same(&a->region, &b->region) ||
            strcmp(a->address, b->address) != 0 || a->port != b->port) {
            return false;
        }
    }
    return true;
}

static void
note(fx_commands *commands, const fx_service *service, const char *a, const char *b)
{
    if (commands->note_count < FX_SERVICE_MAX) {
        fx_note *added = &commands->notes[commands->note_count++];
        added->service = service->name;
        FX_TEXT_SET(added->text, a, b, NULL);
    }
}

/* Gives true if a command was added. */
static bool
follow_configuration(
    const fx_situation *situation, const fx_service *service, fx_commands *commands)
{
    for (size_t i = 0; i < situation->wanted_count; i++) {
        const fx_service *wanted = &situation->wanted[i];
        if (!fx_same(&wanted->name, &service->name) || has_same_members(wanted, service)) {
            continue;
        }
        if (fx_service_member(wanted, &service->primary) == NULL) {
            note(
                commands,
                service,
                "the configuration has no member for the present primary: switch over first: ",
                service->primary.text);
            return false;
        }
        fx_command *command = fx_command_add(
            situation,
            commands,
            FX_COMMAND_COMMIT,
            &service->name,
            "the configuration has other members");
        command->service_touch = FX_TOUCH_PUT;
        command->service = *service;
        memcpy(command->service.members, wanted->members, sizeof wanted->members);
        command->service.member_count = wanted->member_count;
        fx_command_decision(situation, command, "change members", NULL);
        return true;
    }
    return false;
}

/* ---- beginning plans
 * ----------------------------------------------------------------------------- */

static void
set_steps(const fx_situation *situation, fx_plan *plan)
{
    const fx_policy *policy = situation->policy;
    const fx_step steps[] = {
        {.kind = FX_STEP_FENCE, .state = FX_STEP_RUNNING, .deadline = policy->fence_max},
        {.kind = FX_STEP_TAKE_OVER, .deadline = policy->take_over_max},
        {.kind = FX_STEP_PROMOTE, .deadline = policy->promote_max},
        {.kind = FX_STEP_DNS, .deadline = policy->dns_max},
        {.kind = FX_STEP_VALIDATE, .deadline = policy->validate_max},
        {.kind = FX_STEP_RECORD},
    };
    plan->step_count = sizeof steps / sizeof steps[0];
    for (size_t i = 0; i < plan->step_count; i++) {
        plan->steps[i] = steps[i];
    }
    plan->steps[0].started = situation->wall;
    plan->steps[0].attempts = 1;
    plan->steps[0].term = situation->ledger->leader.term;
}

static fx_command *
begin_plan(
    const fx_situation *situation,
    const fx_service *service,
    fx_plan_kind kind,
    const char *reason,
    fx_commands *commands)
{
    fx_command *command =
        fx_command_add(situation, commands, FX_COMMAND_COMMIT, &service->name, reason);
    bool is_failover = kind == FX_PLAN_FAILOVER;
    command->service_touch = FX_TOUCH_COMPARE;
    command->service = *service;
    command->plan_touch = FX_TOUCH_PUT;
    fx_plan *plan = &command->plan;
    plan->id = fx_id_compose(
        is_failover ? "failover" : "switchover",
        service->epoch,
        service->revision,
        situation->ledger->revision);
    plan->kind = kind;
    plan->state = FX_PLAN_STATE_RUNNING;
    plan->service = service->name;
    plan->from_host = service->primary;
    plan->from_epoch = service->epoch;
    plan->started = situation->wall;
    set_steps(situation, plan);
    const fx_decision *decision = fx_command_decision(
        situation, command, is_failover ? "begin failover" : "begin switchover", &plan->id);
    plan->decision = decision->id;
    return command;
}

static void
begin_failover(const fx_situation *situation, const fx_service *service, fx_commands *commands)
{
    const fx_down down = fx_service_down(
        situation->ledger, situation->view, situation->policy, service, situation->now);
    if (down.cause == FX_NOT_DOWN) {
        return;
    }
    int64_t age_ns = situation->wall.ns - service->changed_at.ns;
    if (service->epoch.value > 1 && age_ns < situation->policy->cool_down.ns) {
        note(commands, service, "no failover so soon after the last: ", down.reason);
        return;
    }
    const fx_target target = fx_target_choose(
        situation->view, situation->policy, service, &service->primary, true, situation->now);
    if (target.member == NULL) {
        note(commands, service, "no failover: ", target.reason);
        return;
    }
    fx_command *command = begin_plan(situation, service, FX_PLAN_FAILOVER, down.reason, commands);
    command->plan.lost_since =
        (fx_wall){situation->wall.ns - fx_mono_since(situation->now, down.since).ns};
    fx_down_evidence(
        situation->view,
        situation->policy,
        service,
        &service->primary,
        situation->now,
        &command->decision);
    fx_evidence_add(&command->decision, NULL, &target.member->host, target.reason);
}

static const char *
switchover_refused(
    const fx_situation *situation,
    const fx_service *service,
    const fx_member *member,
    fx_down_cause down)
{
    if (member == NULL) {
        return "no such member of the service";
    }
    if (down != FX_NOT_DOWN || !fx_primary_is_up(situation, service)) {
        return "the primary does not work: a switchover needs it to stop in order";
    }
    const char *refused = fx_target_refused(
        situation->view, situation->policy, service, &service->primary, member, situation->now);
    if (refused != NULL) {
        return refused;
    }
    const fx_service_state *state =
        fx_host_service(fx_view_host(situation->view, &member->host), &service->name);
    return state->streaming ? NULL : "it does not stream from the primary";
}

/* The one asked for, else the first that can. */
static const fx_member *
switchover_target(
    const fx_situation *situation,
    const fx_service *service,
    const fx_request *request,
    const char **out_refused)
{
    const fx_down down = fx_service_down(
        situation->ledger, situation->view, situation->policy, service, situation->now);
    if (!fx_name_is_none(&request->to_host)) {
        const fx_member *member = fx_service_member(service, &request->to_host);
        *out_refused = switchover_refused(situation, service, member, down.cause);
        return member;
    }
    *out_refused = "no member can take over";
    for (size_t i = 0; i < service->member_count; i++) {
        const fx_member *member = &service->members[i];
        const char *refused = switchover_refused(situation, service, member, down.cause);
        if (refused == NULL) {
            *out_refused = NULL;
            return member;
        }
        if (!fx_same(&member->host, &service->primary)) {
            *out_refused = refused;
        }
    }
    return NULL;
}

static void
answer_request(
    const fx_situation *situation,
    const fx_request *request,
    const char *state,
    const char *detail,
    fx_commands *commands)
{
    fx_name subject = request->service;
    if (fx_name_is_none(&subject)) {
        memcpy(subject.text, request->id.text, sizeof subject.text);
    }
    fx_command *command = fx_command_add(situation, commands, FX_COMMAND_COMMIT, &subject, detail);
    command->request_touch = FX_TOUCH_PUT;
    command->request = *request;
    FX_TEXT_SET(command->request.result_state, state, NULL, NULL);
    FX_TEXT_SET(command->request.result_detail, detail, NULL, NULL);
}

static void
begin_switchover(
    const fx_situation *situation,
    const fx_service *service,
    const fx_request *request,
    fx_commands *commands)
{
    const char *refused = NULL;
    const fx_member *member = switchover_target(situation, service, request, &refused);
    if (refused != NULL) {
        answer_request(situation, request, "refused", refused, commands);
        return;
    }
    fx_command *command = begin_plan(
        situation,
        service,
        FX_PLAN_SWITCHOVER,
        request->reason[0] != '\0' ? request->reason : "an operator asked for it",
        commands);
    command->plan.id = request->id;
    command->decision.plan = request->id;
    command->plan.to_host = member->host;
    command->plan.requested_by = request->requested_by;
    command->request_touch = FX_TOUCH_DELETE;
    command->request = *request;
    fx_down_evidence(
        situation->view,
        situation->policy,
        service,
        &service->primary,
        situation->now,
        &command->decision);
}

/* ---- one service
 * --------------------------------------------------------------------------------- */

static const fx_request *
switchover_request(const fx_ledger *ledger, const fx_name *service)
{
    for (size_t i = 0; i < ledger->request_count; i++) {
        const fx_request *request = &ledger->requests[i];
        if (fx_name_is_none(&request->host) && request->result_state[0] == '\0' &&
            fx_same(&request->service, service)) {
            return request;
        }
    }
    return NULL;
}

static void
record_dns(
    const fx_situation *situation,
    const fx_service *service,
    fx_outcome outcome,
    fx_commands *commands)
{
    fx_command *command = fx_command_add(
        situation, commands, FX_COMMAND_COMMIT, &service->name, "DNS says this epoch");
    command->service_touch = FX_TOUCH_PUT;
    command->service = *service;
    command->service.dns_epoch = service->epoch;
    if (outcome == FX_OUTCOME_OBSERVED) {
        fx_decision *decision = fx_command_decision(situation, command, "observed done", NULL);
        fx_evidence_add(decision, NULL, &service->name, fx_outcome_dns_fact(situation, service));
    }
}

/* Without a plan: the first start of a service, and what a failed plan left behind. Whoever led
 * before may have made DNS say it already. */
static void
settle(const fx_situation *situation, const fx_service *service, fx_commands *commands)
{
    if (!fx_primary_is_up(situation, service)) {
        fx_promotion_decide(situation, service, commands);
        return;
    }
    if (service->dns_epoch.value == service->epoch.value) {
        return;
    }
    fx_outcome outcome = fx_outcome_of_dns(situation, service, true);
    switch (outcome) { /* FX_UNCOVERED: the implied default: each of our own outcomes has a case */
    case FX_OUTCOME_DONE:
    case FX_OUTCOME_OBSERVED:
        record_dns(situation, service, outcome, commands);
        break;
    case FX_OUTCOME_UNKNOWN:
        fx_dns_decide(situation, service, FX_COMMAND_OBSERVE_DNS, commands);
        break;
    case FX_OUTCOME_OPEN:
        fx_dns_decide(situation, service, FX_COMMAND_DNS, commands);
        break;
    }
}

static void
decide_service(const fx_situation *situation, const fx_service *service, fx_commands *commands)
{
    const fx_plan *plan = fx_ledger_plan(situation->ledger, &service->name);
    const fx_request *request = switchover_request(situation->ledger, &service->name);
    if (plan != NULL && request != NULL) {
        answer_request(situation, request, "refused", "a plan is in flight", commands);
        return;
    }
    if (plan != NULL) {
        fx_plan_advance(situation, service, plan, commands);
        return;
    }
    if (follow_configuration(situation, service, commands)) {
        return;
    }
    if (request != NULL) {
        begin_switchover(situation, service, request, commands);
        return;
    }
    size_t before = commands->count;
    begin_failover(situation, service, commands);
    if (commands->count == before) {
        settle(situation, service, commands);
    }
}

/* ---- requests
 * ------------------------------------------------------------------------------------ */

static const char *
result_text(fx_order_state state)
{
    switch (state) {
    case FX_ORDER_DONE:
        return "done";
    case FX_ORDER_FAILED:
        return "failed";
    case FX_ORDER_REFUSED:
        return "refused";
    case FX_ORDER_UNKNOWN:
        return "unknown";
    case FX_ORDER_NONE:
    case FX_ORDER_RUNNING:
        break;
    }
    return NULL;
}

static void
forget_request(const fx_situation *situation, const fx_request *request, fx_commands *commands)
{
    fx_name subject = {0};
    memcpy(subject.text, request->id.text, sizeof subject.text);
    fx_command *command = fx_command_add(
        situation, commands, FX_COMMAND_COMMIT, &subject, "its result was there for long enough");
    command->request_touch = FX_TOUCH_DELETE;
    command->request = *request;
}

static void
decide_request(const fx_situation *situation, const fx_request *request, fx_commands *commands)
{
    fx_name subject = {0};
    memcpy(subject.text, request->id.text, sizeof subject.text);
    if (is_busy(situation, &subject) || is_busy(situation, &request->service)) {
        return;
    }
    bool finished = request->result_state[0] != '\0';
    if (finished && situation->wall.ns - request->asked.ns > situation->policy->request_keep.ns) {
        forget_request(situation, request, commands);
        return;
    }
    if (finished || fx_name_is_none(&request->host)) {
        if (!finished && fx_ledger_service(situation->ledger, &request->service) == NULL) {
            answer_request(situation, request, "refused", "no such service", commands);
        }
        return;
    }
    const fx_order_result *result =
        fx_host_result(fx_view_host(situation->view, &request->host), &request->order.id);
    const char *state = result == NULL ? NULL : result_text(result->state);
    if (state != NULL) {
        answer_request(
            situation,
            request,
            state,
            result->output[0] != '\0' ? result->output : result->detail,
            commands);
    }
}

void
fx_decide(const fx_situation *situation, fx_commands *out_commands)
{
    out_commands->count = 0;
    out_commands->note_count = 0;
    const fx_ledger *ledger = situation->ledger;
    if (!fx_leads(ledger, situation->self)) {
        return;
    }
    for (size_t i = 0; i < ledger->service_count; i++) {
        if (!is_busy(situation, &ledger->services[i].name)) {
            decide_service(situation, &ledger->services[i], out_commands);
        }
    }
    size_t service_count = ledger->service_count;
    for (size_t i = 0; i < situation->wanted_count && service_count < FX_SERVICE_MAX; i++) {
        const fx_name *name = &situation->wanted[i].name;
        if (fx_ledger_service(ledger, name) == NULL && !is_busy(situation, name)) {
            create_service(situation, i, out_commands);
            service_count++;
        }
    }
    for (size_t i = 0; i < ledger->request_count; i++) {
        decide_request(situation, &ledger->requests[i], out_commands);
    }
    fx_outcome_explain(situation, out_commands);
}
