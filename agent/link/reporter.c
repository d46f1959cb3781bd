#include "agent/link/reporter.h"

#include <string.h>

#include "agent/core/target_choice.h"
#include "common/base/clock.h"
#include "common/base/monitor.h"

_Static_assert((int)FX_REPORTER_TARGET_MAX == (int)FX_TARGET_MAX, "one list, two views of it");

/* Counted: its owner and posted calls hold it. */
struct fx_reporter {
    atomic_int references;
    fx_reporter_options options;
    fx_reporter_target targets[FX_REPORTER_TARGET_MAX];
    fx_wire_client *clients[FX_REPORTER_TARGET_MAX];
    pthread_t thread;
    bool has_thread;

    fx_target_choice choice; /* of the thread */
    size_t reached;          /* likewise: the target of the last success; target_count: none */
    fx_dur interval;         /* likewise */

    fx_monitor monitor; /* of what follows */
    bool stopping;
    bool woken;
    bool asked; /* the loop has to fill `report` */
    bool filled;
    fx_code fill_code;
    fx_buf report;
    bool told; /* the loop has to take `reply` */
    fx_link_envelope *reply;
    fx_mono sent_at;
    fx_name replied_by;
};

static void
drop_reference(fx_reporter *reporter)
{
    if (atomic_fetch_sub(&reporter->references, 1) != 1) {
        return;
    }
    fx_link_envelope_free(reporter->reply);
    fx_buf_free(&reporter->report);
    fx_monitor_deinit(&reporter->monitor);
    free(reporter);
}

/* ---- on the loop's thread
 * -------------------------------------------------------------------------- */

static void
fill_report(void *ctx)
{
    fx_reporter *reporter = ctx;
    fx_monitor_lock(&reporter->monitor);
    bool wanted = reporter->asked && !reporter->stopping;
    fx_monitor_unlock(&reporter->monitor);
    if (wanted) {
        fx_buf report;
        fx_buf_init(&report, FX_LINK_MESSAGE_MAX_BYTES);
        fx_err err;
        fx_code code = reporter->options.report(reporter->options.ctx, &report, &err);
        fx_monitor_lock(&reporter->monitor);
        fx_buf_free(&reporter->report);
        reporter->report = report;
        reporter->fill_code = code;
        reporter->asked = false;
        reporter->filled = true;
        fx_monitor_wake(&reporter->monitor);
        fx_monitor_unlock(&reporter->monitor);
    }
    drop_reference(reporter);
}

static void
take_reply(void *ctx)
{
    fx_reporter *reporter = ctx;
    fx_monitor_lock(&reporter->monitor);
    FX_AUTO(fx_link_envelope) envelope = FX_TAKE(reporter->reply);
    fx_reporter_reply reply = {
        .sent_at = reporter->sent_at,
        .coordinator = reporter->replied_by,
    };
    bool wanted = envelope != NULL && !reporter->stopping;
    fx_monitor_unlock(&reporter->monitor);
    if (wanted) {
        reply.message = envelope->report_reply;
        reporter->options.reply(reporter->options.ctx, &reply);
    }
    fx_monitor_lock(&reporter->monitor);
    reporter->told = false;
    fx_monitor_wake(&reporter->monitor);
    fx_monitor_unlock(&reporter->monitor);
    drop_reference(reporter);
}

static void
post(fx_reporter *reporter, fx_loop_call call)
{
    (void)atomic_fetch_add(&reporter->references, 1);
    fx_loop_post(reporter->options.loop, call, reporter);
}

/* ---- on its own thread
 * ----------------------------------------------------------------------------- */

/* Lets the loop pack the report, as fresh as can be; false when stopping or it could not. */
static bool
ask_for_report(fx_reporter *reporter)
{
    fx_monitor_lock(&reporter->monitor);
    reporter->asked = true;
    reporter->filled = false;
    fx_monitor_unlock(&reporter->monitor);
    post(reporter, fill_report);
    fx_monitor_lock(&reporter->monitor);
    while (!reporter->stopping && !reporter->filled) {
        fx_monitor_wait(&reporter->monitor);
    }
    bool good = !reporter->stopping && reporter->fill_code == FX_OK;
    fx_monitor_unlock(&reporter->monitor);
    return good;
}

static fx_code
check_reply(
    const fx_reporter *reporter,
    const fx_reporter_target *target,
    uint64_t sequence,
    const fx_link_envelope *reply,
    fx_err *err)
{
    if (strcmp(reply->sender, target->name.text) != 0 ||
        strcmp(reply->cluster, reporter->options.sender->cluster.text) != 0 ||
        reply->sequence != sequence) {
        return fx_fail(
            err,
            FX_ERR_INVALID,
            "could not use the reply of %s: it is not the answer to this report",
            target->name.text);
    }
    if (reply->body_case == FORTRESS__LINK__ENVELOPE__BODY_REFUSAL) {
        return fx_fail(
            err,
            FX_ERR_FAILED,
            "could not report to %s: it refused: %s",
            target->name.text,
            reply->refusal->message);
    }
    if (reply->body_case != FORTRESS__LINK__ENVELOPE__BODY_REPORT_REPLY) {
        return fx_fail(
            err,
            FX_ERR_INVALID,
            "could not use the reply of %s: it is no answer to a report",
            target->name.text);
    }
    return FX_OK;
}

static fx_code
pack_report(fx_reporter *reporter, uint64_t *out_sequence, fx_buf *out, fx_err *err)
{
    fx_bytes bytes = fx_buf_bytes(&reporter->report); /* nobody fills it now */
    Fortress__Link__Report *report =
        fortress__link__report__unpack(NULL, bytes.size_bytes, bytes.data);
    if (report == NULL) {
        return fx_fail(err, FX_ERR_INVALID, "could not send the report: it is not a Report");
    }
    fx_link_envelope envelope;
    fx_link_sender_fill(reporter->options.sender, &envelope);
    envelope.body_case = FORTRESS__LINK__ENVELOPE__BODY_REPORT;
    envelope.report = report;
    *out_sequence = envelope.sequence;
    fx_code code = fx_link_pack(&envelope, out, err);
    fortress__link__report__free_unpacked(report, NULL);
    return code;
}

/* One report to one coordinator; the reply goes to the loop. */
static fx_code
call_target(fx_reporter *reporter, size_t index, fx_err *err)
{
    const fx_reporter_target *target = &reporter->targets[index];
    FX_BUF_AUTO bytes;
    FX_BUF_AUTO answer;
    fx_buf_init(&bytes, FX_LINK_MESSAGE_MAX_BYTES);
    fx_buf_init(&answer, FX_LINK_MESSAGE_MAX_BYTES);
    FX_AUTO(fx_link_envelope) reply = NULL;
    uint64_t sequence = 0;
    if (pack_report(reporter, &sequence, &bytes, err) != FX_OK) {
        return err->code;
    }
    fx_mono sent_at = fx_clock_mono();
    fx_mono deadline = fx_mono_after(sent_at, FX_DUR_MS(FX_REPORTER_CALL_MS));
    if (fx_wire_client_call(
            reporter->clients[index], fx_buf_bytes(&bytes), deadline, &answer, err) != FX_OK ||
        fx_link_unpack(fx_buf_bytes(&answer), &reply, err) != FX_OK ||
        check_reply(reporter, target, sequence, reply, err) != FX_OK) {
        return err->code;
    }
    reporter->interval = (fx_dur){.ns = reply->report_reply->next_report_ns};
    fx_monitor_lock(&reporter->monitor);
    reporter->reply = FX_TAKE(reply);
    reporter->sent_at = sent_at;
    reporter->replied_by = target->name;
    reporter->told = true;
    fx_monitor_unlock(&reporter->monitor);
    post(reporter, take_reply);
    return FX_OK;
}

static bool
is_stopping(fx_reporter *reporter)
{
    fx_monitor_lock(&reporter->monitor);
    bool stopping = reporter->stopping;
    fx_monitor_unlock(&reporter->monitor);
    return stopping;
}

static void
note_reached(fx_reporter *reporter, size_t index)
{
    if (reporter->reached != index) {
        FX_LOG(
            reporter->options.log,
            INFO,
            "coordinator.reached",
            FX_STR("coordinator", reporter->targets[index].name.text),
            FX_STR("region", reporter->targets[index].region.text));
        reporter->reached = index;
    }
}

static void
note_failed(fx_reporter *reporter, size_t index, const fx_err *err)
{
    /* A region that is gone would fill the log: only what was reached, and the first round. */
    bool news = reporter->reached == index || fx_target_choice_is_first_round(&reporter->choice);
    if (news && !is_stopping(reporter)) {
        FX_LOG(
            reporter->options.log,
            WARN,
            "coordinator.failed",
            FX_STR("coordinator", reporter->targets[index].name.text),
            FX_ERR_FIELD(err));
    }
    if (reporter->reached == index) {
        reporter->reached = reporter->options.target_count;
    }
}

/* One report, to whichever coordinator takes it; each is tried at most once. */
static void
report_once(fx_reporter *reporter)
{
    for (size_t tries = 0; tries < reporter->options.target_count; tries++) {
        if (!ask_for_report(reporter)) {
            return;
        }
        fx_err err;
        size_t index = fx_target_choose(&reporter->choice, fx_clock_mono());
        if (call_target(reporter, index, &err) == FX_OK) {
            fx_target_succeeded(&reporter->choice, index);
            note_reached(reporter, index);
            return;
        }
        note_failed(reporter, index, &err);
        fx_target_failed(&reporter->choice, index);
        if (is_stopping(reporter)) {
            return;
        }
    }
}

/* Until the next report is due, a wake, or the end; false at the end. */
static bool
pause_after(fx_reporter *reporter, fx_mono began)
{
    int64_t interval_ms = fx_dur_ms(reporter->interval);
    if (interval_ms < FX_REPORTER_LEAST_MS) {
        interval_ms = FX_REPORTER_LEAST_MS;
    }
    if (interval_ms > FX_REPORTER_MOST_MS) {
        interval_ms = FX_REPORTER_MOST_MS;
    }
    fx_mono due = fx_mono_after(began, FX_DUR_MS(interval_ms));
    fx_mono least = fx_mono_after(fx_clock_mono(), FX_DUR_MS(FX_REPORTER_LEAST_MS));
    fx_monitor_lock(&reporter->monitor);
    while (!reporter->stopping && fx_clock_mono().ns < least.ns) {
        (void)fx_monitor_wait_until(&reporter->monitor, least);
    }
    while (!reporter->stopping &&
           (reporter->told || (!reporter->woken && fx_clock_mono().ns < due.ns))) {
        if (reporter->told) { /* the next report shall know what the last reply said */
            fx_monitor_wait(&reporter->monitor);
        } else {
            (void)fx_monitor_wait_until(&reporter->monitor, due);
        }
    }
    reporter->woken = false;
    bool go_on = !reporter->stopping;
    fx_monitor_unlock(&reporter->monitor);
    return go_on;
}

static void *
serve(void *ctx)
{
    fx_reporter *reporter = ctx;
    fx_mono began;
    do {
        began = fx_clock_mono();
        report_once(reporter);
    } while (pause_after(reporter, began));
    return NULL;
}

/* ---- opening and closing
 * --------------------------------------------------------------------------- */

static fx_code
open_client(fx_reporter *reporter, size_t index, fx_err *err)
{
    const fx_reporter_target *target = &reporter->targets[index];
    fx_wire_client_options wire = {
        .url = target->url,
        .tls = reporter->options.tls,
        .peer_name = target->name,
        .peer_role = fx_name_of("coordinator"),
        .message_max_bytes = FX_LINK_MESSAGE_MAX_BYTES,
        .redial_min = FX_DUR_MS(100),
        .redial_max = FX_DUR_MS(5000),
        .connect_max = FX_DUR_MS(FX_REPORTER_CONNECT_MS),
        .log = reporter->options.log,
    };
    if (fx_wire_client_open(&wire, &reporter->clients[index], err) != FX_OK) {
        return fx_err_wrap(err, "opening the line to coordinator %s", target->name.text);
    }
    return FX_OK;
}

fx_code
fx_reporter_open(const fx_reporter_options *options, fx_reporter **out_reporter, fx_err *err)
{
    FX_ASSERT(options->report != NULL && options->reply != NULL);
    if (options->target_count == 0 || options->target_count > FX_REPORTER_TARGET_MAX) {
        return fx_fail(
            err,
            FX_ERR_INVALID,
            "could not begin to report: 1 to %d coordinators are needed",
            FX_REPORTER_TARGET_MAX);
    }
    fx_reporter *reporter = calloc(1, sizeof(*reporter));
    FX_ASSERT(reporter != NULL);
    atomic_init(&reporter->references, 1);
    reporter->options = *options;
    reporter->reached = options->target_count;
    reporter->interval = FX_DUR_MS(FX_REPORTER_FIRST_MS);
    fx_monitor_init(&reporter->monitor);
    fx_buf_init(&reporter->report, FX_LINK_MESSAGE_MAX_BYTES);
    reporter->choice = (fx_target_choice){
        .count = options->target_count, .retry_own = FX_DUR_MS(FX_REPORTER_OWN_MS)};
    for (size_t i = 0; i < options->target_count; i++) {
        reporter->targets[i] = options->targets[i];
        reporter->choice.own[i] = fx_name_is(&options->targets[i].region, &options->region);
        if (open_client(reporter, i, err) != FX_OK) {
            fx_reporter_free(reporter);
            return err->code;
        }
    }
    int result = pthread_create(&reporter->thread, NULL, serve, reporter);
    FX_ASSERT(result == 0);
    reporter->has_thread = true;
    *out_reporter = reporter;
    return FX_OK;
}

void
fx_reporter_free(fx_reporter *reporter)
{
    if (reporter == NULL) {
        return;
    }
    fx_monitor_lock(&reporter->monitor);
    reporter->stopping = true;
    fx_monitor_wake(&reporter->monitor);
    fx_monitor_unlock(&reporter->monitor);
    for (size_t i = 0; i < reporter->options.target_count; i++) {
        if (reporter->clients[i] != NULL) {
            fx_wire_client_cancel(reporter->clients[i]);
        }
    }
    if (reporter->has_thread) {
        int result = pthread_join(reporter->thread, NULL);
        FX_ASSERT(result == 0);
    }
    for (size_t i = 0; i < reporter->options.target_count; i++) {
        fx_wire_client_free(reporter->clients[i]);
    }
    drop_reference(reporter);
}

void
fx_reporter_wake(fx_reporter *reporter)
{
    fx_monitor_lock(&reporter->monitor);
    reporter->woken = true;
    fx_monitor_wake(&reporter->monitor);
    fx_monitor_unlock(&reporter->monitor);
}
