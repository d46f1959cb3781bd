#include "coordinator/plan/executor.h"

#include <stdio.h>
#include <string.h>

#include "common/base/clock.h"
#include "coordinator/ledger/record.h"

enum {
    COMMIT_MS = 2000,
    ENDORSE_MS = 1500,
    DNS_MS = 5000,
    VALIDATE_MS = 8000,
    SIGNED_MAX_BYTES = FX_ORDER_MAX_BYTES + 32,
};

static fx_mono
in_ms(int64_t ms)
{
    return fx_mono_after(fx_clock_mono(), FX_DUR_MS(ms));
}

fx_code
fx_order_signed_bytes(fx_bytes order, fx_buf *out, fx_err *err)
{
    static const char label[] = "fortress order 1"; /* with its NUL */
    if (fx_buf_append(out, label, sizeof label, err) != FX_OK) {
        return err->code;
    }
    return fx_buf_append(out, order.data, order.size_bytes, err);
}

/* ---- endorsements
 * ---------------------------------------------------------------------------------- */

static void
add_endorsement(
    fx_signed_order *order,
    const fx_name *coordinator,
    const fx_name *region,
    const unsigned char *signature)
{
    FX_ASSERT(order->endorsement_count < FX_ENDORSEMENT_MAX);
    fx_endorsement *added = &order->endorsements[order->endorsement_count++];
    added->coordinator = *coordinator;
    added->region = *region;
    memcpy(added->signature, signature, FX_SIGNATURE_BYTES);
}

static fx_code
ask_peer(
    const fx_executor *executor,
    size_t index,
    fx_bytes signed_bytes,
    fx_signed_order *order,
    fx_err *err)
{
    const fx_executor_peer *peer = &executor->peers[index];
    unsigned char signature[FX_SIGN_BYTES];
    fx_bytes bytes = {.data = order->bytes, .size_bytes = order->size_bytes};
    if (executor->doors.endorse(
            executor->doors.ctx, index, bytes, in_ms(ENDORSE_MS), signature, err) != FX_OK) {
        return err->code;
    }
    if (!fx_verify(peer->key, signed_bytes, signature)) {
        return fx_fail(
            err,
            FX_ERR_DENIED,
            "could not use the endorsement of %s: it is not by the key pinned for it",
            peer->name.text);
    }
    add_endorsement(order, &peer->name, &peer->region, signature);
    return FX_OK;
}

/* One of another region is enough; those that were heard lately first. */
static fx_code
gather(
    const fx_executor *executor,
    uint32_t first,
    fx_bytes signed_bytes,
    fx_signed_order *order,
    fx_err *err)
{
    fx_err last = {0};
    fx_ignore(
        fx_fail(&last, FX_ERR_NOT_FOUND, "no coordinator of another region is configured"),
        "said if none is");
    for (unsigned round = 0; round < 2; round++) {
        for (size_t i = 0; i < executor->peer_count; i++) {
            bool is_first = (first >> i & 1U) != 0;
            if (is_first != (round == 0) ||
                fx_same(&executor->peers[i].region, &executor->region)) {
                continue;
            }
            if (ask_peer(executor, i, signed_bytes, order, &last) == FX_OK) {
                return FX_OK;
            }
            FX_LOG(
                executor->log,
                WARN,
                "order.unendorsed",
                FX_STR("order", order->id.text),
                FX_STR("peer", executor->peers[i].name.text),
                FX_ERR_FIELD(&last));
        }
    }
    *err = last;
    return fx_err_wrap(err, "gathering endorsements of two regions for %s", order->id.text);
}

static fx_code
sign(const fx_executor *executor, fx_command *command, uint32_t first, fx_err *err)
{
    bool fence = command->kind == FX_COMMAND_SIGN_FENCE;
    FX_ASSERT(!fence || command->plan.step_count > 0);
    fx_signed_order *order = fence ? &command->plan.steps[0].order : &command->service.promotion;
    FX_BUF_AUTO bytes;
    FX_BUF_AUTO signed_bytes;
    fx_buf_init(&bytes, FX_ORDER_MAX_BYTES);
    fx_buf_init(&signed_bytes, SIGNED_MAX_BYTES);
    if (fx_record_encode_order(
            &command->order, executor->cluster.text, fx_clock_wall(), &bytes, err) != FX_OK ||
        fx_order_signed_bytes(fx_buf_bytes(&bytes), &signed_bytes, err) != FX_OK) {
        return err->code;
    }
    *order = (fx_signed_order){.size_bytes = bytes.size_bytes, .id = command->order.id};
    memcpy(order->bytes, bytes.data, bytes.size_bytes);
    unsigned char own[FX_SIGN_BYTES];
    fx_sign(executor->key, fx_buf_bytes(&signed_bytes), own);
    add_endorsement(order, &executor->self, &executor->region, own);
    return gather(executor, first, fx_buf_bytes(&signed_bytes), order, err);
}

/* ---- one command
 * ------------------------------------------------------------------------------------- */

/* Whatever became of it: it may be repeated as if it had failed. */
static fx_code
changed_nothing(fx_err *err)
{
    if (err->outcome == FX_CLASS_UNKNOWN) {
        err->outcome = FX_CLASS_TRANSIENT;
    }
    return err->code;
}

static fx_code
carry_out(
    const fx_executor *executor,
    fx_command *command,
    uint32_t first,
    fx_attempt *outcome,
    fx_err *err)
{
    const fx_executor_doors *doors = &executor->doors;
    fx_observation observation = {.is_so = false};
    switch (command->kind) {
    case FX_COMMAND_DNS:
        return doors->redirect(doors->ctx, &command->service, in_ms(DNS_MS), err);
    case FX_COMMAND_OBSERVE_DNS:
        if (doors->observe(doors->ctx, &command->service, in_ms(DNS_MS), &observation, err) ==
            FX_OK) {
            outcome->is_so = observation.is_so;
            memcpy(outcome->detail, observation.fact, sizeof outcome->detail);
            return FX_OK;
        }
        return changed_nothing(err);
    case FX_COMMAND_VALIDATE:
        if (doors->validate(doors->ctx, &command->service, in_ms(VALIDATE_MS), err) == FX_OK) {
            return FX_OK;
        }
        return changed_nothing(err);
    case FX_COMMAND_SIGN_FENCE:
    case FX_COMMAND_SIGN_PROMOTION:
        if (sign(executor, command, first, err) != FX_OK) {
            return changed_nothing(err);
        }
        break;
    case FX_COMMAND_COMMIT:
        break;
    }
    return fx_ledger_commit(executor->ledger, command, in_ms(COMMIT_MS), &outcome->committed, err);
}

static const char *
kind_text(fx_command_kind kind)
{
    switch (kind) {
    case FX_COMMAND_COMMIT:
        return "commit";
    case FX_COMMAND_SIGN_FENCE:
        return "sign fence";
    case FX_COMMAND_SIGN_PROMOTION:
        return "sign promotion";
    case FX_COMMAND_DNS:
        return "dns";
    case FX_COMMAND_OBSERVE_DNS:
        return "observe dns";
    case FX_COMMAND_VALIDATE:
        return "validate";
    }
    return "?";
}

static fx_attempt_state
state_of(fx_code code, const fx_err *err)
{
    if (code == FX_OK) {
        return FX_ATTEMPT_DONE;
    }
    return err->outcome == FX_CLASS_UNKNOWN ? FX_ATTEMPT_UNKNOWN : FX_ATTEMPT_FAILED;
}

fx_attempt
fx_execute(const fx_executor *executor, fx_command *command, uint32_t first)
{
    fx_err err = {0};
    fx_mono began = fx_clock_mono();
    fx_attempt outcome = {.is_so = false};
    (void)snprintf(outcome.detail, sizeof outcome.detail, "%s", command->reason);
    fx_code code = carry_out(executor, command, first, &outcome, &err);
    outcome.state = state_of(code, &err);
    outcome.finished_at = fx_clock_mono();
    if (code != FX_OK) {
        (void)snprintf(outcome.detail, sizeof outcome.detail, "%s", err.message);
    }
    if (code == FX_OK) {
        FX_LOG(
            executor->log,
            INFO,
            "command.done",
            FX_STR("kind", kind_text(command->kind)),
            FX_STR("subject", command->subject.text),
            FX_INT("epoch", command->service.epoch.value),
            FX_STR("plan", command->plan.id.text),
            FX_STR("verdict", command->decision.verdict),
            FX_STR("reason", command->reason),
            FX_STR("detail", outcome.detail),
            FX_DUR("took_ms", fx_mono_since(outcome.finished_at, began)));
    } else {
        FX_LOG(
            executor->log,
            WARN,
            outcome.state == FX_ATTEMPT_UNKNOWN ? "command.unknown" : "command.failed",
            FX_STR("kind", kind_text(command->kind)),
            FX_STR("subject", command->subject.text),
            FX_INT("epoch", command->service.epoch.value),
            FX_STR("plan", command->plan.id.text),
            FX_STR("reason", command->reason),
            FX_DUR("took_ms", fx_mono_since(outcome.finished_at, began)),
            FX_ERR_FIELD(&err));
    }
    return outcome;
}
