#include "common/base/pool.h"

#include <pthread.h>
#include <unistd.h>

#include "common/base/base.h"

typedef struct job {
    void (*run)(void *ctx);
    void *ctx;
} job;

struct fx_pool {
    pthread_mutex_t lock;
    pthread_cond_t has_job;
    pthread_cond_t has_room;
    pthread_cond_t is_idle;
    job *ring;
    size_t queue_max;
    size_t first;
    size_t waiting;
    size_t running;
    bool is_ending;
    unsigned thread_count;
    pthread_t *threads;
};

static void *
work(void *ctx)
{
    fx_pool *pool = ctx;
    (void)pthread_mutex_lock(&pool->lock);
    for (;;) {
        while (pool->waiting == 0 && !pool->is_ending) {
            (void)pthread_cond_wait(&pool->has_job, &pool->lock);
        }
        if (pool->waiting == 0) {
            break;
        }
        job next = pool->ring[pool->first];
        pool->first = (pool->first + 1) % pool->queue_max;
        pool->waiting--;
        pool->running++;
        (void)pthread_cond_signal(&pool->has_room);
        (void)pthread_mutex_unlock(&pool->lock);
        next.run(next.ctx);
        (void)pthread_mutex_lock(&pool->lock);
        pool->running--;
        if (pool->waiting == 0 && pool->running == 0) {
            (void)pthread_cond_broadcast(&pool->is_idle);
        }
    }
    (void)pthread_mutex_unlock(&pool->lock);
    return NULL;
}

fx_pool *
fx_pool_new(unsigned thread_count, size_t queue_max)
{
    FX_ASSERT(thread_count > 0);
    FX_ASSERT(queue_max > 0);
    fx_pool *pool = calloc(1, sizeof *pool);
    FX_ASSERT(pool != NULL);
    pool->ring = calloc(queue_max, sizeof *pool->ring);
    pool->threads = calloc(thread_count, sizeof *pool->threads);
    FX_ASSERT(pool->ring != NULL && pool->threads != NULL);
    pool->queue_max = queue_max;
    pool->thread_count = thread_count;
    int result = pthread_mutex_init(&pool->lock, NULL);
    FX_ASSERT(result == 0);
    result = pthread_cond_init(&pool->has_job, NULL);
    FX_ASSERT(result == 0);
    result = pthread_cond_init(&pool->has_room, NULL);
    FX_ASSERT(result == 0);
    result = pthread_cond_init(&pool->is_idle, NULL);
    FX_ASSERT(result == 0);
    for (unsigned i = 0; i < thread_count; i++) {
        result = pthread_create(&pool->threads[i], NULL, work, pool);
        FX_ASSERT(result == 0);
    }
    return pool;
}

void
fx_pool_free(fx_pool *pool)
{
    if (pool == NULL) {
        return;
    }
    (void)pthread_mutex_lock(&pool->lock);
    pool->is_ending = true;
    (void)pthread_cond_broadcast(&pool->has_job);
    (void)pthread_mutex_unlock(&pool->lock);
    for (unsigned i = 0; i < pool->thread_count; i++) {
        (void)pthread_join(pool->threads[i], NULL);
    }
    (void)pthread_cond_destroy(&pool->has_job);
    (void)pthread_cond_destroy(&pool->has_room);
    (void)pthread_cond_destroy(&pool->is_idle);
    (void)pthread_mutex_destroy(&pool->lock);
    free(pool->ring);
    free(pool->threads);
    free(pool);
}

void
fx_pool_submit(fx_pool *pool, void (*run)(void *ctx), void *ctx)
{
    (void)pthread_mutex_lock(&pool->lock);
    while (pool->waiting == pool->queue_max) {
        (void)pthread_cond_wait(&pool->has_room, &pool->lock);
    }
    pool->ring[(pool->first + pool->waiting) % pool->queue_max] = (job){run, ctx};
    pool->waiting++;
    (void)pthread_cond_signal(&pool->has_job);
    (void)pthread_mutex_unlock(&pool->lock);
}

void
fx_pool_drain(fx_pool *pool)
{
    (void)pthread_mutex_lock(&pool->lock);
    while (pool->waiting > 0 || pool->running > 0) {
        (void)pthread_cond_wait(&pool->is_idle, &pool->lock);
    }
    (void)pthread_mutex_unlock(&pool->lock);
}

unsigned
fx_pool_cores(void)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    return cores < 2 ? 2 : cores > 16 ? 16 : (unsigned)cores;
}

typedef struct each {
    fx_pool_visit visit;
    void *ctx;
    size_t count;
    pthread_mutex_t lock; /* guards all below */
    size_t next;
    fx_err failure;
} each;

static void
visit_until_done(void *ctx)
{
    each *all = ctx;
    (void)pthread_mutex_lock(&all->lock);
    while (all->next < all->count && all->failure.code == FX_OK) {
        size_t item = all->next++;
        fx_err err = {0};
        (void)pthread_mutex_unlock(&all->lock);
        fx_code code = all->visit(all->ctx, item, &err);
        (void)pthread_mutex_lock(&all->lock);
        if (code != FX_OK && all->failure.code == FX_OK) {
            all->failure = err;
        }
    }
    (void)pthread_mutex_unlock(&all->lock);
}

fx_code
fx_pool_each(unsigned at_once, size_t count, fx_pool_visit visit, void *ctx, fx_err *err)
{
    each all = {.visit = visit, .ctx = ctx, .count = count};
    if (count == 0) {
        return FX_OK;
    }
    unsigned threads = count < at_once ? (unsigned)count : at_once;
    int result = pthread_mutex_init(&all.lock, NULL);
    FX_ASSERT(result == 0);
    fx_pool *pool = fx_pool_new(threads, threads);
    for (unsigned i = 0; i < threads; i++) {
        fx_pool_submit(pool, visit_until_done, &all);
    }
    fx_pool_free(pool);
    (void)pthread_mutex_destroy(&all.lock);
    if (all.failure.code != FX_OK) {
        *err = all.failure;
    }
    return all.failure.code;
}
