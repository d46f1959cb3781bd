#include "coordinator/core/outcome.h"

#include "coordinator/core/down.h"
#include "coordinator/core/observe.h"
#include "coordinator/core/plan.h"
#include "coordinator/core/text.h"

bool
fx_command_is_transaction(fx_command_kind kind)
{
    return kind == FX_COMMAND_COMMIT || kind == FX_COMMAND_SIGN_FENCE ||
           kind == FX_COMMAND_SIGN_PROMOTION;
}

/* ---- DNS
 * --------------------------------------------------------------------------------------------- */

fx_outcome
fx_outcome_of_dns(const fx_situation *situation, const fx_service *service, bool of_others)
{
    const fx_attempt *acted =
        fx_attempt_find(situation, &service->name, FX_COMMAND_DNS, service->epoch);
    const fx_attempt *looked =
        fx_attempt_find(situation, &service->name, FX_COMMAND_OBSERVE_DNS, service->epoch);
    if (acted != NULL && acted->state == FX_ATTEMPT_DONE) {
        return FX_OUTCOME_DONE;
    }
    bool looked_since = looked != NULL && looked->state == FX_ATTEMPT_DONE &&
                        (acted == NULL || looked->finished_at.ns > acted->finished_at.ns);
    if (looked_since) {
        return looked->is_so ? FX_OUTCOME_OBSERVED : FX_OUTCOME_OPEN;
    }
    bool may_be = acted == NULL ? of_others : acted->state == FX_ATTEMPT_UNKNOWN;
    return may_be ? FX_OUTCOME_UNKNOWN : FX_OUTCOME_OPEN;
}

const char *
fx_outcome_dns_fact(const fx_situation *situation, const fx_service *service)
{
    const fx_attempt *looked =
        fx_attempt_find(situation, &service->name, FX_COMMAND_OBSERVE_DNS, service->epoch);
    return looked == NULL ? "" : looked->detail;
}

/* ---- orders
 * ------------------------------------------------------------------------------------------ */

bool
fx_order_is_unknown(const fx_host_view *host, const fx_signed_order *order)
{
    const fx_order_result *result = fx_host_result(host, &order->id);
    return order->size_bytes > 0 && result != NULL && result->state == FX_ORDER_UNKNOWN;
}

bool
fx_promotion_is_taken_up(const fx_host_view *host, const fx_service *service)
{
    const fx_service_state *state = fx_host_service(host, &service->name);
    return state != NULL && state->epoch_seen.value == service->epoch.value &&
           (host->wants_lease || state->role == FX_ROLE_PRIMARY);
}

static const char *const role_texts[] = {
    [FX_ROLE_NONE] = "not running",
    [FX_ROLE_PRIMARY] = "primary",
    [FX_ROLE_STANDBY] = "standby",
    [FX_ROLE_HELD] = "held down",
};

void
fx_report_fact(const fx_host_view *host, const fx_name *service, char out_fact[FX_REASON_BYTES])
{
    const fx_service_state *state = fx_host_service(host, service);
    fx_text text = fx_text_on(out_fact, FX_REASON_BYTES);
    if (state == NULL) {
        fx_text_add(&text, "does not report the service");
        return;
    }
    fx_text_add(&text, "reports ");
    fx_text_add(&text, role_texts[state->role]);
    fx_text_add(&text, state->healthy ? ", in health" : ", not in health");
    fx_text_add(&text, ", epoch seen ");
    fx_text_add_number(&text, state->epoch_seen.value);
    fx_text_add(&text, ", fenced up to ");
    fx_text_add_number(&text, state->fenced_epoch.value);
    fx_text_add(&text, host->wants_lease ? ", asks for a lease" : ", asks for no lease");
}

/* ---- transactions
 * ---------------------------------------------------------------------------------- */

/* The last of the subject's attempts if it was a transaction of unknown outcome, else NULL. */
static const fx_attempt *
unknown_transaction(const fx_situation *situation, const fx_name *subject)
{
    const fx_attempt *last = NULL;
    for (size_t i = 0; i < situation->attempt_count; i++) {
        const fx_attempt *attempt = &situation->attempts[i];
        if (fx_same(&attempt->subject, subject) &&
            (last == NULL || attempt->finished_at.ns > last->finished_at.ns)) {
            last = attempt;
        }
    }
    bool unknown =
        last != NULL && last->state == FX_ATTEMPT_UNKNOWN && fx_command_is_transaction(last->kind);
    return unknown ? last : NULL;
}

static void
describe_read(const fx_ledger *ledger, const fx_name *subject, fx_text *text)
{
    const fx_service *service = fx_ledger_service(ledger, subject);
    const fx_plan *plan = fx_ledger_plan(ledger, subject);
    fx_text_add(text, "read again at revision ");
    fx_text_add_number(text, (uint64_t)ledger->revision.value);
    if (service != NULL) {
        fx_text_add(text, ": epoch ");
        fx_text_add_number(text, service->epoch.value);
        fx_text_add(text, ", primary ");
        fx_text_add(text, service->primary.text);
    }
    fx_text_add(text, plan == NULL ? ", no plan" : ", plan ");
    fx_text_add(text, plan == NULL ? "" : plan->id.text);
}

void
fx_outcome_explain(const fx_situation *situation, fx_commands *commands)
{
    for (size_t i = 0; i < commands->count; i++) {
        fx_command *command = &commands->items[i];
        if (!fx_command_is_transaction(command->kind) || command->service_touch == FX_TOUCH_NONE) {
            continue;
        }
        const fx_attempt *lost = unknown_transaction(situation, &command->subject);
        if (lost == NULL) {
            continue;
        }
        const fx_plan *plan = fx_ledger_plan(situation->ledger, &command->subject);
        if (!command->has_decision) {
            fx_command_decision(
                situation, command, "go on after observing", plan == NULL ? NULL : &plan->id);
        }
        char fact[FX_REASON_BYTES];
        fx_text text = fx_text_on(fact, sizeof fact);
        fx_text_add(&text, "a transaction's outcome was unknown (");
        fx_text_add(&text, lost->detail);
        fx_text_add(&text, ")");
        fx_evidence_add(&command->decision, NULL, &situation->self->name, fact);
        text = fx_text_on(fact, sizeof fact);
        describe_read(situation->ledger, &command->subject, &text);
        fx_evidence_add(&command->decision, NULL, &command->subject, fact);
    }
}
