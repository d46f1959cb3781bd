#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "agent/core/order_check.h"
#include "agent/run/agent.h"
#include "common/base/clock.h"

enum { PROMOTE_MS = 60000, FENCE_MS = 60000, RUNNING_MAX = 8 };

/* An order under way: the loop's, but for the time that a worker carries it out. */
typedef struct running {
    fx_agent *agent;
    fx_link_order *order;
    fx_buf signed_bytes; /* the serialised SignedOrder */
    fx_service *service;
    fx_wall started;
    fx_err err;
    fx_code code;
    char detail[FX_LINK_TEXT_MAX_BYTES + 1];
    char output[FX_LINK_ID_MAX_BYTES + 1];
} running;

static bool
is_known_kind(Fortress__Link__OrderKind kind)
{
    return kind == FORTRESS__LINK__ORDER_KIND__ORDER_BACKUP ||
           kind == FORTRESS__LINK__ORDER_KIND__ORDER_RESTORE || fx_link_order_is_endorsed(kind);
}

static bool
needs_service(Fortress__Link__OrderKind kind)
{
    return kind == FORTRESS__LINK__ORDER_KIND__ORDER_PROMOTE ||
           kind == FORTRESS__LINK__ORDER_KIND__ORDER_FENCE;
}

/* Names in a checked order are names, or "". */
static fx_name
name_or_none(const char *text)
{
    fx_err err;
    fx_name name = {.text = ""};
    fx_ignore(fx_name_parse(text, "name", &name, &err), "no name matches nothing");
    return name;
}

static fx_order_verdict
check(fx_agent *agent, const Fortress__Link__SignedOrder *signed_order, const fx_link_order *order)
{
    fx_service *service = fx_agent_find_service(agent, order->service);
    fx_service_report report = {.epoch_seen = 0};
    if (service != NULL) {
        fx_service_get_report(service, &report);
    }
    fx_order_claim claim = {
        .cluster = name_or_none(order->cluster),
        .host = name_or_none(order->host),
        .service = name_or_none(order->service),
        .epoch = order->epoch,
        .kind_known = is_known_kind(order->kind),
        .needs_endorsement = fx_link_order_is_endorsed(order->kind),
        .needs_service = needs_service(order->kind),
    };
    fx_order_place place = {
        .cluster = agent->cluster,
        .host = agent->host,
        .id_known = fx_journal_find(agent->journal, order->id) != NULL,
        .service_known = service != NULL,
        .epoch_seen = report.epoch_seen,
        .regions = fx_endorsers_count_regions(&agent->endorsers, signed_order),
    };
    return fx_order_check(&claim, &place);
}

static fx_code
put_record(fx_agent *agent, const fx_link_order *order, fx_order_record *record, fx_err *err)
{
    record->order = order->id;
    return fx_journal_put(agent->journal, record, err);
}

static void
refuse(fx_agent *agent, const fx_link_order *order, fx_order_verdict verdict)
{
    fx_err err;
    fx_order_record record;
    fortress__link__order_result__init(&record);
    record.state = FORTRESS__LINK__ORDER_STATE__ORDER_STATE_REFUSED;
    record.code = verdict == FX_ORDER_STALE ? FX_ERR_STALE : FX_ERR_DENIED;
    record.detail = fx_link_text(fx_order_verdict_text(verdict));
    record.started_wall_ns = fx_clock_wall().ns;
    record.finished_wall_ns = record.started_wall_ns;
    FX_LOG(
        agent->log,
        WARN,
        "order.refused",
        FX_STR("order", order->id),
        FX_INT("epoch", order->epoch),
        FX_STR("reason", record.detail));
    if (put_record(agent, order, &record, &err) != FX_OK) {
        FX_LOG(agent->log, ERROR, "order.not_recorded", FX_ERR_FIELD(&err));
    }
}

/* ---- on a worker thread --------------------------------------------------------------------- */

static fx_code
back_up(running *one)
{
    fx_snapshot snapshot;
    if (fx_jobs_run(one->agent->jobs, one->order->job, &snapshot, &one->err) != FX_OK) {
        return one->err.code;
    }
    (void)snprintf(one->output, sizeof one->output, "%s", snapshot.id);
    (void)snprintf(one->detail, sizeof one->detail, "%u warnings", snapshot.warning_count);
    return FX_OK;
}

static fx_code
fence(running *one)
{
    fx_lsn stopped = {0};
    fx_mono deadline = fx_mono_after(fx_clock_mono(), FX_DUR_MS(FENCE_MS));
    if (fx_service_fence(
            one->service, one->order->epoch, one->order->orderly, deadline, &stopped, &one->err) !=
        FX_OK) {
        return one->err.code;
    }
    (void)snprintf(one->output, sizeof one->output, "%" PRIu64, stopped.value);
    (void)snprintf(one->detail, sizeof one->detail, "no process of the server is left");
    return FX_OK;
}

static fx_code
carry_out(running *one)
{
    const fx_link_order *order = one->order;
    fx_mono deadline = fx_mono_after(fx_clock_mono(), FX_DUR_MS(PROMOTE_MS));
    switch (order->kind) {
    case FORTRESS__LINK__ORDER_KIND__ORDER_BACKUP:
        return back_up(one);
    case FORTRESS__LINK__ORDER_KIND__ORDER_RESTORE:
        return fx_jobs_restore(
            one->agent->jobs, order->snapshot, order->target_folder, order->path, &one->err);
    case FORTRESS__LINK__ORDER_KIND__ORDER_PROMOTE:
        return fx_service_promote(
            one->service, order->epoch, fx_buf_bytes(&one->signed_bytes), deadline, &one->err);
    case FORTRESS__LINK__ORDER_KIND__ORDER_FENCE:
        return fence(one);
    case FORTRESS__LINK__ORDER_KIND__ORDER_RESTORE_IN_PLACE:
    case FORTRESS__LINK__ORDER_KIND__ORDER_DELETE:
    case FORTRESS__LINK__ORDER_KIND__ORDER_RELEASE_KEY:
    case FORTRESS__LINK__ORDER_KIND__ORDER_NONE:
    case _FORTRESS__LINK__ORDER_KIND_IS_INT_SIZE:
        break;
    }
    return fx_fail(
        &one->err, FX_ERR_UNSUPPORTED, "this agent does not carry out orders of that kind");
}

static void
work(void *ctx)
{
    running *one = ctx;
    one->code = carry_out(one);
}

/* ---- on the loop ---------------------------------------------------------------------------- */

static Fortress__Link__OrderState
state_of(const running *one)
{
    if (one->code == FX_OK) {
        return FORTRESS__LINK__ORDER_STATE__ORDER_STATE_DONE;
    }
    if (one->err.outcome == FX_CLASS_UNKNOWN) {
        return FORTRESS__LINK__ORDER_STATE__ORDER_STATE_UNKNOWN;
    }
    return one->code == FX_ERR_UNSUPPORTED || one->code == FX_ERR_STALE
               ? FORTRESS__LINK__ORDER_STATE__ORDER_STATE_REFUSED
               : FORTRESS__LINK__ORDER_STATE__ORDER_STATE_FAILED;
}

static void
free_running(running *one)
{
    fx_link_order_free(one->order);
    fx_buf_free(&one->signed_bytes);
    free(one);
}

static void
finish(void *ctx)
{
    running *one = ctx;
    fx_agent *agent = one->agent;
    fx_err err;
    fx_order_record record;
    fortress__link__order_result__init(&record);
    record.state = state_of(one);
    record.code = (uint32_t)one->code;
    if (one->code != FX_OK) {
        (void)snprintf(one->detail, sizeof one->detail, "%.250s", one->err.message);
    }
    record.detail = one->detail;
    record.output = one->output;
    record.started_wall_ns = one->started.ns;
    record.finished_wall_ns = fx_clock_wall().ns;
    fx_log_write(
        agent->log,
        one->code == FX_OK ? FX_INFO : FX_ERROR,
        "order.ended",
        FX_STR("order", one->order->id),
        FX_STR("result", one->code == FX_OK ? "done" : fx_code_name(one->code)),
        FX_STR("detail", one->detail),
        FX_FIELD_LAST);
    if (put_record(agent, one->order, &record, &err) != FX_OK) {
        FX_LOG(agent->log, ERROR, "order.not_recorded", FX_ERR_FIELD(&err));
    }
    agent->running_order_count--;
    if (agent->reporter != NULL) {
        fx_reporter_wake(agent->reporter);
    }
    free_running(one);
}

static void
start(fx_agent *agent, const Fortress__Link__SignedOrder *signed_order, fx_link_order *order)
{
    fx_err err;
    fx_order_record record;
    fortress__link__order_result__init(&record);
    record.state = FORTRESS__LINK__ORDER_STATE__ORDER_STATE_RUNNING;
    record.started_wall_ns = fx_clock_wall().ns;
    if (agent->running_order_count >= RUNNING_MAX ||
        put_record(agent, order, &record, &err) != FX_OK) {
        /* not known then: it comes again with the next reply */
        FX_LOG(agent->log, WARN, "order.put_off", FX_STR("order", order->id));
        fx_link_order_free(order);
        return;
    }
    running *one = calloc(1, sizeof *one);
    FX_ASSERT(one != NULL);
    one->agent = agent;
    one->order = order;
    one->service = fx_agent_find_service(agent, order->service);
    one->started = (fx_wall){.ns = record.started_wall_ns};
    fx_buf_init(&one->signed_bytes, FX_LINK_MESSAGE_MAX_BYTES);
    unsigned char *bytes = NULL;
    size_t size_bytes = fortress__link__signed_order__get_packed_size(signed_order);
    fx_code code = fx_buf_extend(&one->signed_bytes, size_bytes, &bytes, &err);
    FX_ASSERT(code == FX_OK); /* it came in a message of that size */
    (void)fortress__link__signed_order__pack(signed_order, bytes);
    FX_LOG(
        agent->log,
        INFO,
        "order.begun",
        FX_STR("order", order->id),
        FX_INT("kind", order->kind),
        FX_INT("epoch", order->epoch),
        FX_STR("plan", order->plan),
        FX_STR("reason", order->reason));
    agent->running_order_count++;
    fx_loop_work(agent->loop, work, finish, one);
}

void
fx_agent_take_order(fx_agent *agent, const Fortress__Link__SignedOrder *signed_order)
{
    fx_err err;
    FX_AUTO(fx_link_order) order = NULL;
    fx_bytes bytes = {.data = signed_order->order.data, .size_bytes = signed_order->order.len};
    if (fx_link_order_unpack(bytes, &order, &err) != FX_OK) {
        FX_LOG(agent->log, WARN, "order.unreadable", FX_ERR_FIELD(&err));
        return;
    }
    fx_order_verdict verdict = check(agent, signed_order, order);
    if (verdict == FX_ORDER_MAY_RUN) {
        start(agent, signed_order, FX_TAKE(order));
    } else if (verdict != FX_ORDER_KNOWN) {
        refuse(agent, order, verdict);
    }
}

/* ---- after a restart ------------------------------------------------------------------------ */

static bool
is_valid_promotion(
    const fx_agent *agent,
    const Fortress__Link__SignedOrder *signed_order,
    const fx_link_order *order,
    const char *service)
{
    return order->kind == FORTRESS__LINK__ORDER_KIND__ORDER_PROMOTE &&
           strcmp(order->cluster, agent->cluster.text) == 0 &&
           strcmp(order->host, agent->host.text) == 0 && strcmp(order->service, service) == 0 &&
           fx_endorsers_count_regions(&agent->endorsers, signed_order) >= FX_ORDER_REGIONS_LEAST;
}

static void
trust_promotion(fx_agent *agent, size_t index)
{
    fx_err err;
    const char *name = agent->config->services[index].name;
    FX_BUF_AUTO text;
    fx_buf_init(&text, FX_LINK_MESSAGE_MAX_BYTES);
    if (fx_service_load_promotion(agent->services[index], &text, &err) != FX_OK) {
        if (err.code != FX_ERR_NOT_FOUND) {
            FX_LOG(agent->log, ERROR, "promotion.unreadable", FX_ERR_FIELD(&err));
        }
        return;
    }
    Fortress__Link__SignedOrder *signed_order =
        fortress__link__signed_order__unpack(NULL, text.size_bytes, text.data);
    FX_AUTO(fx_link_order) order = NULL;
    bool valid = false;
    if (signed_order != NULL) {
        fx_bytes bytes = {.data = signed_order->order.data, .size_bytes = signed_order->order.len};
        valid = fx_link_order_unpack(bytes, &order, &err) == FX_OK &&
                is_valid_promotion(agent, signed_order, order, name);
        fortress__link__signed_order__free_unpacked(signed_order, NULL);
    }
    if (valid) {
        fx_service_trust_promotion(agent->services[index], order->epoch);
    } else {
        FX_LOG(agent->log, WARN, "promotion.not_trusted", FX_STR("service", name));
    }
}

void
fx_agent_trust_promotions(fx_agent *agent)
{
    for (size_t i = 0; i < agent->service_count; i++) {
        trust_promotion(agent, i);
    }
}
