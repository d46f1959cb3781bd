#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/base/pool.h"

#include <pthread.h>
#include <stdatomic.h>

typedef struct gate {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool is_open;
    size_t inside;
    size_t passed;
} gate;

static gate
new_gate(void)
{
    gate made = {.is_open = false};
    assert_int_equal(pthread_mutex_init(&made.lock, NULL), 0);
    assert_int_equal(pthread_cond_init(&made.changed, NULL), 0);
    return made;
}

static void
open_gate(gate *at)
{
    (void)pthread_mutex_lock(&at->lock);
    at->is_open = true;
    (void)pthread_cond_broadcast(&at->changed);
    (void)pthread_mutex_unlock(&at->lock);
}

static void
pass(void *ctx)
{
    gate *at = ctx;
    (void)pthread_mutex_lock(&at->lock);
    at->inside++;
    (void)pthread_cond_broadcast(&at->changed);
    while (!at->is_open) {
        (void)pthread_cond_wait(&at->changed, &at->lock);
    }
    at->passed++;
    (void)pthread_mutex_unlock(&at->lock);
}

static void
await_inside(gate *at, size_t count)
{
    (void)pthread_mutex_lock(&at->lock);
    while (at->inside < count) {
        (void)pthread_cond_wait(&at->changed, &at->lock);
    }
    (void)pthread_mutex_unlock(&at->lock);
}

static void
as_many_jobs_run_at_once_as_there_are_threads(void **state)
{
    (void)state;
    gate at = new_gate();
    fx_pool *pool = fx_pool_new(3, 8);
    for (size_t i = 0; i < 5; i++) {
        fx_pool_submit(pool, pass, &at);
    }
    await_inside(&at, 3);
    assert_int_equal(at.inside, 3);
    open_gate(&at);
    fx_pool_drain(pool);
    assert_int_equal(at.passed, 5);
    fx_pool_free(pool);
}

static void
note_order(void *ctx)
{
    static size_t next;
    size_t *expected = ctx;
    assert_int_equal(*expected, next);
    next++;
}

static void
one_thread_runs_jobs_in_the_order_of_their_coming(void **state)
{
    (void)state;
    size_t numbers[100];
    fx_pool *pool = fx_pool_new(1, 4);
    for (size_t i = 0; i < 100; i++) {
        numbers[i] = i;
        fx_pool_submit(pool, note_order, &numbers[i]);
    }
    fx_pool_free(pool);
}

static void
add_one(void *ctx)
{
    (void)atomic_fetch_add((atomic_size_t *)ctx, 1);
}

static void
what_waits_is_run_before_the_end(void **state)
{
    (void)state;
    atomic_size_t count = 0;
    fx_pool *pool = fx_pool_new(2, 1000);
    for (size_t i = 0; i < 1000; i++) {
        fx_pool_submit(pool, add_one, &count);
    }
    fx_pool_free(pool);
    assert_int_equal(atomic_load(&count), 1000);
}

static void
draining_an_idle_pool_returns_at_once(void **state)
{
    (void)state;
    fx_pool *pool = fx_pool_new(2, 1);
    fx_pool_drain(pool);
    fx_pool_free(pool);
    fx_pool_free(NULL);
}

typedef struct visits {
    atomic_int seen[500];
    atomic_int count;
    size_t bad; /* fails; 500: none does */
} visits;

static fx_code
visit_one(void *ctx, size_t item, fx_err *err)
{
    visits *all = ctx;
    (void)atomic_fetch_add(&all->seen[item], 1);
    (void)atomic_fetch_add(&all->count, 1);
    return item == all->bad ? fx_fail(err, FX_ERR_DENIED, "item %zu", item) : FX_OK;
}

static void
each_item_is_visited_once(void **state)
{
    (void)state;
    fx_err err = {0};
    visits all = {.bad = 500};
    assert_int_equal(fx_pool_each(7, 500, visit_one, &all, &err), FX_OK);
    assert_int_equal(fx_pool_each(7, 0, visit_one, &all, &err), FX_OK);
    for (size_t i = 0; i < 500; i++) {
        assert_int_equal(atomic_load(&all.seen[i]), 1);
    }
}

static void
after_a_failure_no_more_are_visited(void **state)
{
    (void)state;
    fx_err err = {0};
    visits all = {.bad = 20};
    assert_int_equal(fx_pool_each(4, 500, visit_one, &all, &err), FX_ERR_DENIED);
    assert_string_equal(err.message, "item 20");
    visits alone = {.bad = 20};
    assert_int_equal(fx_pool_each(1, 500, visit_one, &alone, &err), FX_ERR_DENIED);
    assert_int_equal(atomic_load(&alone.count), 21);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(as_many_jobs_run_at_once_as_there_are_threads),
        cmocka_unit_test(one_thread_runs_jobs_in_the_order_of_their_coming),
        cmocka_unit_test(what_waits_is_run_before_the_end),
        cmocka_unit_test(draining_an_idle_pool_returns_at_once),
        cmocka_unit_test(each_item_is_visited_once),
        cmocka_unit_test(after_a_failure_no_more_are_visited),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
