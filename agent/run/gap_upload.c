#include "agent/run/gap_upload.h"

#include <stdatomic.h>
#include <stdio.h>

#include "common/base/clock.h"
#include "common/repository/gap.h"

enum { LOOK_MS = 1000, PAUSE_MIN_MS = 1000, PAUSE_MAX_MS = 300000 };

struct fx_gap_upload {
    fx_loop *loop;
    const fx_agent_config *config;
    fx_gaps *gaps;
    const fx_log *log;
    fx_loop_timer *timer;
    atomic_bool stopping;
    /* On the loop's thread, but for the worker's time. */
    bool is_running;
    bool has_failed;
    int64_t pause_ms;
    fx_mono not_before;
};

static fx_gap_object
describe(const fx_gap_upload *upload, const fx_gap *gap)
{
    fx_gap_object object = {
        .timeline = gap->timeline,
        .segment_bytes = gap->segment_bytes,
        .from = gap->from,
        .to = gap->to,
        .found = gap->since,
        .service = gap->service,
        .host = fx_name_of(upload->config->host),
    };
    (void)snprintf(object.stream, sizeof object.stream, "wal/%s/", gap->system);
    (void)snprintf(object.reason, sizeof object.reason, "%s", gap->reason);
    return object;
}

static fx_code
put_all(fx_gap_upload *upload, fx_err *err)
{
    FX_AUTO(fx_repository) repository = NULL;
    fx_gap gap;
    if (fx_repository_open(upload->config->repository->url, NULL, &repository, err) != FX_OK) {
        return fx_err_wrap(err, "opening the repository for gaps");
    }
    while (!atomic_load(&upload->stopping) && fx_gaps_find_unstored(upload->gaps, &gap)) {
        const fx_gap_object object = describe(upload, &gap);
        if (fx_gap_object_put(repository, &object, err) != FX_OK ||
            fx_gaps_mark_stored(upload->gaps, &gap, err) != FX_OK) {
            return err->code;
        }
        FX_LOG(
            upload->log,
            INFO,
            "wal.gap_stored",
            FX_STR("service", gap.service.text),
            FX_STR("stream", object.stream));
    }
    return FX_OK;
}

static void
work(void *ctx)
{
    fx_gap_upload *upload = ctx;
    fx_err err = {0};
    upload->has_failed = put_all(upload, &err) != FX_OK;
    if (upload->has_failed) {
        FX_LOG(upload->log, ERROR, "wal.gap_not_stored", FX_ERR_FIELD(&err));
    }
}

static void
on_done(void *ctx)
{
    fx_gap_upload *upload = ctx;
    upload->is_running = false;
    if (!upload->has_failed) {
        upload->pause_ms = PAUSE_MIN_MS;
        return;
    }
    upload->not_before = fx_mono_after(fx_clock_mono(), FX_DUR_MS(upload->pause_ms));
    upload->pause_ms = upload->pause_ms * 2 < PAUSE_MAX_MS ? upload->pause_ms * 2 : PAUSE_MAX_MS;
}

static void
on_time(void *ctx)
{
    fx_gap_upload *upload = ctx;
    fx_gap gap;
    if (upload->is_running || fx_loop_now(upload->loop).ns < upload->not_before.ns ||
        !fx_gaps_find_unstored(upload->gaps, &gap)) {
        return;
    }
    upload->is_running = true;
    fx_loop_work(upload->loop, work, on_done, upload);
}

fx_gap_upload *
fx_gap_upload_open(fx_loop *loop, const fx_agent_config *config, fx_gaps *gaps, const fx_log *log)
{
    fx_gap_upload *upload = calloc(1, sizeof *upload);
    FX_ASSERT(upload != NULL);
    *upload = (fx_gap_upload){
        .loop = loop, .config = config, .gaps = gaps, .log = log, .pause_ms = PAUSE_MIN_MS};
    atomic_init(&upload->stopping, false);
    if (config->repository != NULL) {
        upload->timer =
            fx_loop_timer_start(loop, FX_DUR_MS(LOOK_MS), FX_DUR_MS(LOOK_MS), on_time, upload);
    }
    return upload;
}

void
fx_gap_upload_stop(fx_gap_upload *upload)
{
    if (upload == NULL) {
        return;
    }
    if (upload->timer != NULL) {
        fx_loop_timer_stop(FX_TAKE(upload->timer));
    }
    atomic_store(&upload->stopping, true);
}

void
fx_gap_upload_free(fx_gap_upload *upload)
{
    free(upload);
}
