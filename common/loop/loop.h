/* The event loop: timers, posted calls, worker threads, watched descriptors, signals. Door to
 * libuv. */
#pragma once

#include "common/base/err.h"
#include "common/base/time.h"

typedef struct fx_loop fx_loop;

typedef void (*fx_loop_call)(void *ctx);

fx_loop *fx_loop_new(void);

/* Waits for running work, closes every handle, then frees; not from inside a callback. */
void fx_loop_free(fx_loop *loop);
FX_DEFINE_AUTO(fx_loop);

/* Runs callbacks on this thread until fx_loop_stop(). */
void fx_loop_run(fx_loop *loop);

/* thread: any */
void fx_loop_stop(fx_loop *loop);

/* The time at which the loop last woke: the `now` of everything one wake-up does. */
fx_mono fx_loop_now(const fx_loop *loop);

/*
 * Runs `call` on the loop's thread, soon, in the order of posting. Never blocks.
 *
 * owns:   `ctx` must live until the call ran
 * thread: any
 */
void fx_loop_post(fx_loop *loop, fx_loop_call call, void *ctx);

/*
 * Runs `call` on a worker thread (at most FX_LOOP_WORKERS at once, more wait) and then `done` on
 * the loop's thread.
 */
enum { FX_LOOP_WORKERS = 16 };
void fx_loop_work(fx_loop *loop, fx_loop_call call, fx_loop_call done, void *ctx);

typedef struct fx_loop_timer fx_loop_timer;

/* Runs `call` after `delay`, then every `period` (0: once). Stays valid until stopped. */
fx_loop_timer *
fx_loop_timer_start(fx_loop *loop, fx_dur delay, fx_dur period, fx_loop_call call, void *ctx);

/* Moves the next run to `delay` from now. */
void fx_loop_timer_again(fx_loop_timer *timer, fx_dur delay);

/* The pointer is invalid from then on. */
void fx_loop_timer_stop(fx_loop_timer *timer);

typedef struct fx_loop_watch fx_loop_watch;

/* Runs `call` whenever `fd` is readable (level-triggered). Borrows `fd` until stopped. */
FX_MUST_USE fx_code fx_loop_watch_start(
    fx_loop *loop, int fd, fx_loop_call call, void *ctx, fx_loop_watch **out_watch, fx_err *err);
void fx_loop_watch_stop(fx_loop_watch *watch);

/* Runs `call` at each arrival of the signal; until the loop is freed. */
void fx_loop_on_signal(fx_loop *loop, int signal_number, fx_loop_call call, void *ctx);
