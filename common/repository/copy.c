#include "common/repository/copy.h"

#include <stdio.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/monitor.h"
#include "common/base/pool.h"
#include "common/repository/internal.h"

enum { PAUSE_MS = 200, NS_PER_MS = 1000000 };

struct fx_copier {
    fx_copy_options options;
    fx_monitor monitor; /* guards all below */
    fx_mono next;       /* when the limit lets the next byte pass */
    fx_progress progress;
    uint64_t listed_bytes; /* that were to be copied so far */
    bool has_most;
    fx_copy_result *result; /* of the run */
};

fx_copier *
fx_copier_new(const fx_copy_options *options)
{
    FX_ASSERT(options->job_count <= FX_COPY_JOBS_MAX);
    fx_copier *copier = calloc(1, sizeof *copier);
    FX_ASSERT(copier != NULL);
    copier->options = *options;
    copier->progress = (fx_progress){.step = "copying", .what = "objects"};
    copier->next = fx_clock_mono();
    fx_monitor_init(&copier->monitor);
    return copier;
}

void
fx_copier_free(fx_copier *copier)
{
    if (copier != NULL) {
        fx_monitor_deinit(&copier->monitor);
        free(copier);
    }
}

void
fx_copier_expect(fx_copier *copier, uint64_t more_bytes, bool is_most)
{
    fx_monitor_lock(&copier->monitor);
    copier->listed_bytes += more_bytes;
    copier->has_most = copier->has_most || is_most;
    if (copier->has_most) {
        copier->progress.total_bytes = copier->listed_bytes;
    }
    fx_monitor_unlock(&copier->monitor);
}

void
fx_copier_find(fx_copier *copier, const char *text)
{
    fx_monitor_lock(&copier->monitor);
    if (copier->options.finding != NULL) {
        copier->options.finding(copier->options.ctx, text);
    }
    fx_monitor_unlock(&copier->monitor);
}

static bool
is_cancelled(const fx_copier *copier)
{
    return copier->options.cancel != NULL && atomic_load(copier->options.cancel);
}

/* Each takes its part of the time line; what was not used of the past is not saved up. */
fx_code
fx_copier_wait(fx_copier *copier, uint64_t size_bytes, fx_err *err)
{
    uint64_t limit = copier->options.limit_bytes_s;
    fx_monitor_lock(&copier->monitor);
    fx_mono now = fx_clock_mono();
    fx_mono begin = copier->next.ns > now.ns ? copier->next : now;
    if (limit > 0) {
        double took_ns = (double)size_bytes * 1e9 / (double)limit;
        copier->next = (fx_mono){.ns = begin.ns + (int64_t)took_ns};
        begin = copier->next; /* when all of it may have passed */
    }
    fx_monitor_unlock(&copier->monitor);
    while (limit > 0 && !is_cancelled(copier) && now.ns < begin.ns) {
        int64_t left_ms = (begin.ns - now.ns) / NS_PER_MS + 1;
        fx_clock_sleep(FX_DUR_MS(left_ms < PAUSE_MS ? left_ms : PAUSE_MS));
        now = fx_clock_mono();
    }
    return is_cancelled(copier) ? fx_fail(
                                      err,
                                      FX_ERR_CANCELLED,
                                      "could not copy all: it was cancelled; what was copied stays")
                                : FX_OK;
}

/* ---- one object
 * ------------------------------------------------------------------------------------- */

static bool
is_damage(fx_code code)
{
    return code == FX_ERR_DAMAGED || code == FX_ERR_UNSUPPORTED || code == FX_ERR_LIMIT ||
           code == FX_ERR_IO;
}

/* *out_code: what the source said, FX_OK for an object that is there afterwards. */
static fx_code
copy_one(fx_copier *copier, const fx_stored *item, fx_code *out_source, fx_err *err)
{
    const fx_copy_options *options = &copier->options;
    const char *store_key = item->store_key;
    FX_BUF_AUTO bytes;
    fx_buf_init(&bytes, FX_STORE_OBJECT_MAX_BYTES);
    if (fx_copier_wait(copier, item->size_bytes, err) != FX_OK) {
        return err->code;
    }
    fx_err source = {0};
    if (item->size_bytes < bytes.max_bytes) {
        fx_buf_reserve(&bytes, (size_t)item->size_bytes); /* no more than it takes */
    }
    *out_source = fx_stored_get(options->from, store_key, options->key, &bytes, &source);
    if (*out_source != FX_OK) {
        *err = source;
        return is_damage(*out_source) || *out_source == FX_ERR_NOT_FOUND ? FX_OK : err->code;
    }
    fx_err failure = {0};
    fx_mono deadline = fx_repository_deadline();
    fx_code code = fx_store_put(options->to, store_key, fx_buf_bytes(&bytes), deadline, &failure);
    if (code != FX_OK && code != FX_ERR_EXISTS) {
        *err = failure;
        return fx_err_wrap(err, "copying \"%.200s\"", store_key);
    }
    return FX_OK;
}

static void
note(fx_copier *copier, const fx_stored *item, fx_code source, const fx_err *why)
{
    fx_copy_result *result = copier->result;
    if (source == FX_OK) {
        result->copied_count++;
        result->copied_bytes += item->size_bytes;
        copier->progress.count++;
        copier->progress.done_bytes += item->size_bytes;
        if (copier->options.progress != NULL) {
            copier->options.progress(copier->options.ctx, &copier->progress);
        }
    } else if (source == FX_ERR_NOT_FOUND) {
        result->gone_count++;
    } else {
        char text[FX_KEY_TEXT_BYTES + FX_ERR_MESSAGE_MAX_BYTES];
        result->damaged_count++;
        (void)snprintf(text, sizeof text, "%s: not copied: %s", item->store_key, why->message);
        if (copier->options.finding != NULL) {
            copier->options.finding(copier->options.ctx, text);
        }
    }
}

typedef struct copying {
    fx_copier *copier;
    const fx_stored *const *items;
} copying;

static fx_code
visit(void *ctx, size_t number, fx_err *err)
{
    const copying *work = ctx;
    fx_copier *copier = work->copier;
    const fx_stored *item = work->items[number];
    fx_code source = FX_OK;
    fx_err failure = {0};
    if (copy_one(copier, item, &source, &failure) != FX_OK) {
        *err = failure;
        return err->code;
    }
    fx_monitor_lock(&copier->monitor);
    note(copier, item, source, &failure);
    fx_monitor_unlock(&copier->monitor);
    return FX_OK;
}

fx_code
fx_copier_run(
    fx_copier *copier,
    const fx_stored *const *items,
    size_t count,
    fx_copy_result *result,
    fx_err *err)
{
    unsigned job_count = copier->options.job_count;
    copying work = {copier, items};
    copier->result = result;
    return fx_pool_each(job_count == 0 ? FX_COPY_JOBS : job_count, count, visit, &work, err);
}
