#include "agent/core/guard.h"

/* From the signal to SIGKILL: with the sweep after it well within a margin of one second. */
static const fx_dur quit_patience = {.ns = 300 * FX_NS_PER_MS};
/* A standby that does not take the last of the WAL must not keep a fence waiting for ever. */
static const fx_dur orderly_patience = {.ns = 30000 * FX_NS_PER_MS};
/* After the moment to fence: a guard that works has killed by then. */
static const fx_dur kill_patience = {.ns = 450 * FX_NS_PER_MS};
static const fx_dur sweep_interval = {.ns = 10 * FX_NS_PER_MS};
static const fx_dur back_off_min = {.ns = 1000 * FX_NS_PER_MS};
static const fx_dur back_off_max = {.ns = 30000 * FX_NS_PER_MS};
/* A server that ran for longer starts again with the shortest back-off. */
static const fx_dur ran_well = {.ns = 60000 * FX_NS_PER_MS};

bool
fx_guard_has_lease(const fx_guard_model *model, uint64_t epoch, fx_mono now)
{
    return model->lease_epoch == epoch && fx_lease_is_live(&model->lease, now);
}

static void
begin_stop(fx_guard_model *model, fx_guard_stop stop, fx_mono now)
{
    model->stop = stop;
    model->stop_sent = false;
    model->stop_since = now;
}

static fx_guard_verdict
decide_lease(fx_guard_model *next, const fx_guard_request *request, fx_mono now)
{
    fx_dur length = {.ns = request->lease_end.ns - now.ns};
    if (request->lease_margin.ns <= 0 || fx_dur_over(length, FX_LEASE_LONGEST)) {
        return FX_GUARD_BAD;
    }
    if (next->lease_epoch != request->epoch) {
        next->lease_epoch = request->epoch;
        next->lease = (fx_lease_end){.end = {.ns = 0}};
    }
    if (request->lease_end.ns > next->lease.end.ns) {
        next->lease = (fx_lease_end){.end = request->lease_end, .margin = request->lease_margin};
    }
    if (next->running == FX_GUARD_PRIMARY) {
        next->running_epoch = request->epoch; /* the same host was made primary once more */
    }
    return FX_GUARD_ALLOWED;
}

static void
want(fx_guard_model *next, fx_guard_role role, fx_mono now)
{
    next->wanted = role;
    next->held = false;
    next->start_at = now;
    next->back_off = (fx_dur){.ns = 0};
}

static fx_guard_verdict
decide_start_primary(fx_guard_model *next, const fx_guard_request *request, fx_mono now)
{
    if (request->epoch <= next->fenced_epoch) {
        return FX_GUARD_FENCED;
    }
    if (!fx_guard_has_lease(next, request->epoch, now)) {
        return FX_GUARD_NO_LEASE;
    }
    if (next->stop != FX_GUARD_STOP_NONE || next->running == FX_GUARD_STANDBY) {
        return FX_GUARD_BUSY;
    }
    if (next->running == FX_GUARD_NONE && next->wanted != FX_GUARD_PRIMARY) {
        want(next, FX_GUARD_PRIMARY, now); /* asked again: the back-off goes on */
    }
    return FX_GUARD_ALLOWED;
}

static fx_guard_verdict
decide_start_standby(fx_guard_model *next, fx_mono now)
{
    if (next->stop != FX_GUARD_STOP_NONE || next->running == FX_GUARD_PRIMARY) {
        return FX_GUARD_BUSY;
    }
    if (next->running == FX_GUARD_NONE && next->wanted != FX_GUARD_STANDBY) {
        want(next, FX_GUARD_STANDBY, now);
    }
    return FX_GUARD_ALLOWED;
}

static fx_guard_verdict
decide_promoted(fx_guard_model *next, const fx_guard_request *request, fx_mono now)
{
    if (request->epoch <= next->fenced_epoch) {
        return FX_GUARD_FENCED;
    }
    if (!fx_guard_has_lease(next, request->epoch, now)) {
        return FX_GUARD_NO_LEASE;
    }
    if (next->stop != FX_GUARD_STOP_NONE || next->running == FX_GUARD_NONE) {
        return FX_GUARD_BUSY;
    }
    next->running = FX_GUARD_PRIMARY;
    next->running_epoch = request->epoch;
    next->wanted = FX_GUARD_PRIMARY;
    return FX_GUARD_ALLOWED;
}

static fx_guard_verdict
decide_fence(fx_guard_model *next, const fx_guard_request *request, fx_mono now)
{
    next->fence_epoch = request->epoch;
    next->wanted = FX_GUARD_NONE;
    if (next->stop == FX_GUARD_STOP_NONE) {
        begin_stop(next, request->orderly ? FX_GUARD_STOP_ORDERLY : FX_GUARD_STOP_QUIT, now);
    } else if (next->stop == FX_GUARD_STOP_ORDERLY && !request->orderly) {
        begin_stop(next, FX_GUARD_STOP_QUIT, now);
    }
    return FX_GUARD_ALLOWED;
}

static fx_guard_verdict
decide_by_kind(fx_guard_model *next, const fx_guard_request *request, fx_mono now)
{
    switch (request->kind) {
    case FX_GUARD_LEASE:
        return decide_lease(next, request, now);
    case FX_GUARD_START_PRIMARY:
        return decide_start_primary(next, request, now);
    case FX_GUARD_START_STANDBY:
        return decide_start_standby(next, now);
    case FX_GUARD_PROMOTED:
        return decide_promoted(next, request, now);
    case FX_GUARD_FENCE:
        return decide_fence(next, request, now);
    case FX_GUARD_STATUS:
        return FX_GUARD_ALLOWED;
    }
    return FX_GUARD_BAD;
}

fx_guard_verdict
fx_guard_decide(
    const fx_guard_model *model,
    const fx_guard_request *request,
    fx_mono now,
    fx_guard_model *out_next)
{
    FX_ASSERT(model != NULL);
    FX_ASSERT(out_next != model);
    fx_guard_model next = *model;
    if (request->kind != FX_GUARD_STATUS) {
        if (request->epoch == 0) {
            return FX_GUARD_BAD;
        }
        if (request->epoch < model->epoch) {
            return FX_GUARD_STALE;
        }
        next.epoch = request->epoch;
    }
    fx_guard_verdict verdict = decide_by_kind(&next, request, now);
    if (verdict == FX_GUARD_ALLOWED) {
        *out_next = next;
    }
    return verdict;
}

fx_mono
fx_guard_kill_at(const fx_guard_model *model)
{
    if (model->running != FX_GUARD_PRIMARY) {
        return (fx_mono){0};
    }
    fx_dur patience = {.ns = model->lease.margin.ns / 2};
    if (fx_dur_over(patience, kill_patience)) {
        patience = kill_patience;
    }
    return fx_mono_after(fx_lease_fence_at(&model->lease), patience);
}

/* Falls under the lease: what runs as primary, or may do so any moment. */
static bool
must_fence(const fx_guard_model *model, fx_mono now)
{
    return model->running == FX_GUARD_PRIMARY &&
           !fx_guard_has_lease(model, model->running_epoch, now) &&
           (model->stop == FX_GUARD_STOP_NONE || model->stop == FX_GUARD_STOP_ORDERLY);
}

static fx_guard_next
step_stop(fx_guard_model *model, fx_mono now)
{
    fx_dur patience = model->stop == FX_GUARD_STOP_ORDERLY ? orderly_patience : quit_patience;
    if (model->stop == FX_GUARD_STOP_KILL) {
        return (fx_guard_next){.act = FX_GUARD_SWEEP, .wake = fx_mono_after(now, sweep_interval)};
    }
    if (model->running == FX_GUARD_NONE) {
        begin_stop(model, FX_GUARD_STOP_KILL, now); /* nobody to tell: make sure */
        return (fx_guard_next){.act = FX_GUARD_SWEEP, .wake = fx_mono_after(now, sweep_interval)};
    }
    if (!model->stop_sent) {
        model->stop_sent = true;
        return (fx_guard_next){
            .act = model->stop == FX_GUARD_STOP_ORDERLY ? FX_GUARD_SEND_FAST : FX_GUARD_SEND_QUIT};
    }
    fx_mono until = fx_mono_after(model->stop_since, patience);
    if (now.ns < until.ns) {
        if (model->running == FX_GUARD_PRIMARY && model->stop == FX_GUARD_STOP_ORDERLY) {
            fx_mono fence_at = fx_lease_fence_at(&model->lease);
            until = fence_at.ns < until.ns ? fence_at : until;
        }
        return (fx_guard_next){.act = FX_GUARD_WAIT, .wake = until};
    }
    if (model->stop == FX_GUARD_STOP_ORDERLY) {
        begin_stop(model, FX_GUARD_STOP_QUIT, now);
        model->stop_sent = true;
        return (fx_guard_next){.act = FX_GUARD_SEND_QUIT};
    }
    begin_stop(model, FX_GUARD_STOP_KILL, now);
    return (fx_guard_next){.act = FX_GUARD_SWEEP, .wake = fx_mono_after(now, sweep_interval)};
}

fx_guard_next
fx_guard_step(fx_guard_model *model, fx_mono now)
{
    FX_ASSERT(model != NULL);
    if (must_fence(model, now)) {
        model->wanted = FX_GUARD_NONE;
        begin_stop(model, FX_GUARD_STOP_QUIT, now);
    }
    if (model->stop != FX_GUARD_STOP_NONE) {
        return step_stop(model, now);
    }
    if (model->running == FX_GUARD_PRIMARY) {
        return (fx_guard_next){.act = FX_GUARD_WAIT, .wake = fx_lease_fence_at(&model->lease)};
    }
    if (model->running == FX_GUARD_NONE && model->wanted != FX_GUARD_NONE) {
        if (model->wanted == FX_GUARD_PRIMARY && (!fx_guard_has_lease(model, model->epoch, now) ||
                                                  model->epoch <= model->fenced_epoch)) {
            model->wanted = FX_GUARD_NONE;
            return (fx_guard_next){.act = FX_GUARD_WAIT};
        }
        if (now.ns >= model->start_at.ns) {
            return (fx_guard_next){.act = FX_GUARD_START};
        }
        return (fx_guard_next){.act = FX_GUARD_WAIT, .wake = model->start_at};
    }
    return (fx_guard_next){.act = FX_GUARD_WAIT};
}

void
fx_guard_on_started(fx_guard_model *model, fx_mono now)
{
    FX_ASSERT(model->wanted != FX_GUARD_NONE);
    model->running = model->wanted;
    model->running_epoch = model->epoch;
    model->started_at = now;
}

void
fx_guard_on_exit(fx_guard_model *model, fx_mono now)
{
    if (model->stop == FX_GUARD_STOP_KILL) {
        return;
    }
    begin_stop(model, FX_GUARD_STOP_KILL, now); /* children of the server may live on */
    bool well = fx_dur_over(fx_mono_since(now, model->started_at), ran_well);
    fx_dur doubled = {.ns = model->back_off.ns * 2};
    if (model->back_off.ns == 0 || well) {
        doubled = back_off_min;
    }
    model->back_off = fx_dur_over(doubled, back_off_max) ? back_off_max : doubled;
    model->start_at = fx_mono_after(now, model->back_off);
}

void
fx_guard_on_empty(fx_guard_model *model, fx_mono now)
{
    (void)now;
    FX_ASSERT(model->stop == FX_GUARD_STOP_KILL);
    model->stop = FX_GUARD_STOP_NONE;
    model->running = FX_GUARD_NONE;
    if (model->fence_epoch > 0) {
        model->held = true;
        if (model->fence_epoch > model->fenced_epoch) {
            model->fenced_epoch = model->fence_epoch;
        }
        model->fence_epoch = 0;
    }
}
