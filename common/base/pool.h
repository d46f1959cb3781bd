/* A bounded number of threads that run jobs in the order of their coming. */
#pragma once

#include "common/base/base.h"
#include "common/base/err.h"

typedef struct fx_pool fx_pool;

/* At most `queue_max` jobs wait. */
fx_pool *fx_pool_new(unsigned thread_count, size_t queue_max);
/* Runs what waits, then ends the threads. */
void fx_pool_free(fx_pool *pool);
FX_DEFINE_AUTO(fx_pool);

/*
 * Blocks while the queue is full. A job may submit others only where the queue has room for all of
 * them, else all threads could wait for each other. thread: any
 */
void fx_pool_submit(fx_pool *pool, void (*run)(void *ctx), void *ctx);

/* How many threads keep the machine busy: its cores, 2 to 16. */
unsigned fx_pool_cores(void);

/* Waits until no job waits or runs. thread: any but the pool's own */
void fx_pool_drain(fx_pool *pool);

/* errors: its own */
typedef fx_code (*fx_pool_visit)(void *ctx, size_t item, fx_err *err);

/*
 * Visits items 0 to count - 1, at most `at_once` of them at a time, and none any more once a visit
 * has failed. Returns when all visits have. errors: those of the visit that failed first. thread:
 * any
 */
FX_MUST_USE fx_code
fx_pool_each(unsigned at_once, size_t count, fx_pool_visit visit, void *ctx, fx_err *err);
