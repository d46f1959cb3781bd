#include "common/loop/loop.h"

#include <pthread.h>

#include <uv.h>

#include "common/base/clock.h"

typedef struct posted {
    fx_loop_call call;
    void *ctx;
    struct posted *next;
} posted;

struct fx_loop {
    uv_loop_t uv;
    uv_async_t wake;
    pthread_mutex_t lock; /* guards the three below */
    posted *first;
    posted **last;
    bool stopping;
    size_t work_count; /* of the loop's thread only */
};

struct fx_loop_timer {
    uv_timer_t uv;
    fx_loop_call call;
    void *ctx;
    fx_dur period;
};

struct fx_loop_watch {
    uv_poll_t uv;
    fx_loop_call call;
    void *ctx;
};

typedef struct signal_watch {
    uv_signal_t uv;
    fx_loop_call call;
    void *ctx;
} signal_watch;

typedef struct work {
    uv_work_t uv;
    fx_loop *loop;
    fx_loop_call work;
    fx_loop_call done;
    void *ctx;
} work;

/* libuv reports failure of these calls only for arguments or exhaustion that are our mistakes. */
static void
must(int uv_result)
{
    FX_ASSERT(uv_result == 0);
}

static uint64_t
to_ms(fx_dur length)
{
    return length.ns <= 0 ? 0 : (uint64_t)((length.ns + FX_NS_PER_MS - 1) / FX_NS_PER_MS);
}

static posted *
take_all(fx_loop *loop, bool *out_stopping)
{
    (void)pthread_mutex_lock(&loop->lock);
    posted *first = loop->first;
    loop->first = NULL;
    loop->last = &loop->first;
    *out_stopping = loop->stopping;
    (void)pthread_mutex_unlock(&loop->lock);
    return first;
}

/* uv_async_send coalesces: each wake-up drains everything. */
static void
on_wake(uv_async_t *wake)
{
    fx_loop *loop = wake->data;
    bool stopping = false;
    posted *next = take_all(loop, &stopping);
    while (next != NULL) {
        posted *one = next;
        next = one->next;
        one->call(one->ctx);
        free(one);
    }
    if (stopping) {
        uv_stop(&loop->uv);
    }
}

fx_loop *
fx_loop_new(void)
{
    static const char workers[] = "16";
    _Static_assert(FX_LOOP_WORKERS == 16, "the text says the same number");
    /* Read once, when the pool starts. NOLINTNEXTLINE(concurrency-mt-unsafe): before any thread */
    (void)setenv("UV_THREADPOOL_SIZE", workers, 0);

    fx_loop *loop = calloc(1, sizeof *loop);
    FX_ASSERT(loop != NULL);
    must(uv_loop_init(&loop->uv));
    must(uv_async_init(&loop->uv, &loop->wake, on_wake));
    loop->wake.data = loop;
    must(pthread_mutex_init(&loop->lock, NULL));
    loop->last = &loop->first;
    return loop;
}

static void
free_handle(uv_handle_t *handle)
{
    free(handle->data);
}

/* The structs begin with their handle, so `data` of timers, watches and signals is the struct. */
static void
close_any(uv_handle_t *handle, void *ctx)
{
    fx_loop *loop = ctx;
    if (!uv_is_closing(handle)) {
        uv_close(handle, handle == (uv_handle_t *)&loop->wake ? NULL : free_handle);
    }
}

void
fx_loop_free(fx_loop *loop)
{
    if (loop == NULL) {
        return;
    }
    while (loop->work_count > 0) {
        (void)uv_run(&loop->uv, UV_RUN_ONCE);
    }
    uv_walk(&loop->uv, close_any, loop);
    (void)uv_run(&loop->uv, UV_RUN_DEFAULT);
    must(uv_loop_close(&loop->uv));
    bool stopping = false;
    posted *next = take_all(loop, &stopping);
    while (next != NULL) {
        posted *one = next;
        next = one->next;
        free(one);
    }
    (void)pthread_mutex_destroy(&loop->lock);
    free(loop);
}

void
fx_loop_run(fx_loop *loop)
{
    (void)uv_run(&loop->uv, UV_RUN_DEFAULT);
}

void
fx_loop_stop(fx_loop *loop)
{
    (void)pthread_mutex_lock(&loop->lock);
    loop->stopping = true;
    (void)pthread_mutex_unlock(&loop->lock);
    must(uv_async_send(&loop->wake));
}

fx_mono
fx_loop_now(const fx_loop *loop)
{
    (void)loop; /* libuv's own time is CLOCK_MONOTONIC in ms; leases count CLOCK_BOOTTIME */
    return fx_clock_mono();
}

void
fx_loop_post(fx_loop *loop, fx_loop_call call, void *ctx)
{
    posted *one = calloc(1, sizeof *one);
    FX_ASSERT(one != NULL);
    *one = (posted){.call = call, .ctx = ctx};
    (void)pthread_mutex_lock(&loop->lock);
    *loop->last = one;
    loop->last = &one->next;
    (void)pthread_mutex_unlock(&loop->lock);
    must(uv_async_send(&loop->wake));
}

static void
on_work(uv_work_t *uv)
{
    work *job = uv->data;
    job->work(job->ctx);
}

static void
on_work_done(uv_work_t *uv, int status)
{
    work *job = uv->data;
    FX_ASSERT(status == 0); /* we never cancel */
    job->loop->work_count--;
    if (job->done != NULL) {
        job->done(job->ctx);
    }
    free(job);
}

void
fx_loop_work(fx_loop *loop, fx_loop_call call, fx_loop_call done, void *ctx)
{
    work *job = calloc(1, sizeof *job);
    FX_ASSERT(job != NULL);
    *job = (work){.loop = loop, .work = call, .done = done, .ctx = ctx};
    job->uv.data = job;
    loop->work_count++;
    must(uv_queue_work(&loop->uv, &job->uv, on_work, on_work_done));
}

static void
on_timer(uv_timer_t *uv)
{
    fx_loop_timer *timer = uv->data;
    timer->call(timer->ctx);
}

fx_loop_timer *
fx_loop_timer_start(fx_loop *loop, fx_dur delay, fx_dur period, fx_loop_call call, void *ctx)
{
    fx_loop_timer *timer = calloc(1, sizeof *timer);
    FX_ASSERT(timer != NULL);
    *timer = (fx_loop_timer){.call = call, .ctx = ctx, .period = period};
    must(uv_timer_init(&loop->uv, &timer->uv));
    timer->uv.data = timer;
    must(uv_timer_start(&timer->uv, on_timer, to_ms(delay), to_ms(period)));
    return timer;
}

void
fx_loop_timer_again(fx_loop_timer *timer, fx_dur delay)
{
    must(uv_timer_start(&timer->uv, on_timer, to_ms(delay), to_ms(timer->period)));
}

void
fx_loop_timer_stop(fx_loop_timer *timer)
{
    if (timer != NULL) {
        uv_close((uv_handle_t *)&timer->uv, free_handle);
    }
}

static void
on_readable(uv_poll_t *uv, int status, int events)
{
    (void)status; /* the owner finds the error by reading */
    (void)events;
    fx_loop_watch *watch = uv->data;
    watch->call(watch->ctx);
}

fx_code
fx_loop_watch_start(
    fx_loop *loop, int fd, fx_loop_call call, void *ctx, fx_loop_watch **out_watch, fx_err *err)
{
    fx_loop_watch *watch = calloc(1, sizeof *watch);
    FX_ASSERT(watch != NULL);
    *watch = (fx_loop_watch){.call = call, .ctx = ctx};
    int result = uv_poll_init(&loop->uv, &watch->uv, fd);
    if (result != 0) {
        free(watch);
        return fx_fail_errno(err, -result, "could not watch a descriptor");
    }
    watch->uv.data = watch;
    must(uv_poll_start(&watch->uv, UV_READABLE | UV_DISCONNECT, on_readable));
    *out_watch = watch;
    return FX_OK;
}

void
fx_loop_watch_stop(fx_loop_watch *watch)
{
    if (watch != NULL) {
        uv_close((uv_handle_t *)&watch->uv, free_handle);
    }
}

static void
on_signal(uv_signal_t *uv, int signal_number)
{
    (void)signal_number;
    signal_watch *watch = uv->data;
    watch->call(watch->ctx);
}

void
fx_loop_on_signal(fx_loop *loop, int signal_number, fx_loop_call call, void *ctx)
{
    signal_watch *watch = calloc(1, sizeof *watch);
    FX_ASSERT(watch != NULL);
    *watch = (signal_watch){.call = call, .ctx = ctx};
    must(uv_signal_init(&loop->uv, &watch->uv));
    watch->uv.data = watch;
    must(uv_signal_start(&watch->uv, on_signal, signal_number));
}
