#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/loop/loop.h"

typedef struct seen {
    fx_loop *loop;
    fx_loop_timer *timer;
    fx_loop_watch *watch;
    int fd;
    int count;
    bool worked;
} seen;

static void
count_to_three(void *ctx)
{
    seen *s = ctx;
    if (++s->count == 3) {
        fx_loop_timer_stop(s->timer);
        fx_loop_stop(s->loop);
    }
}

static void
timer_repeats_until_stopped(void **state)
{
    (void)state;
    FX_AUTO(fx_loop) loop = fx_loop_new();
    seen s = {.loop = loop};
    s.timer = fx_loop_timer_start(loop, FX_DUR_MS(1), FX_DUR_MS(1), count_to_three, &s);
    fx_loop_run(loop);
    assert_int_equal(s.count, 3);
}

static void
set_worked(void *ctx)
{
    seen *s = ctx;
    s->worked = true;
}

static void
stop_if_worked(void *ctx)
{
    seen *s = ctx;
    assert_true(s->worked);
    fx_loop_stop(s->loop);
}

static void
done_runs_after_work(void **state)
{
    (void)state;
    FX_AUTO(fx_loop) loop = fx_loop_new();
    seen s = {.loop = loop};
    fx_loop_work(loop, set_worked, stop_if_worked, &s);
    fx_loop_run(loop);
    assert_true(s.worked);
}

static void
add_one(void *ctx)
{
    seen *s = ctx;
    s->count++;
}

static void
stop(void *ctx)
{
    seen *s = ctx;
    fx_loop_stop(s->loop);
}

static void
posts_keep_their_order(void **state)
{
    (void)state;
    FX_AUTO(fx_loop) loop = fx_loop_new();
    seen s = {.loop = loop};
    fx_loop_post(loop, add_one, &s);
    fx_loop_post(loop, add_one, &s);
    fx_loop_post(loop, stop, &s);
    fx_loop_run(loop);
    assert_int_equal(s.count, 2);
}

static void
read_byte(void *ctx)
{
    seen *s = ctx;
    char byte = 0;
    assert_int_equal(read(s->fd, &byte, 1), 1);
    fx_loop_watch_stop(s->watch);
    fx_loop_stop(s->loop);
}

static void
watch_runs_when_readable(void **state)
{
    (void)state;
    fx_err err = {0};
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    FX_AUTO(fx_loop) loop = fx_loop_new();
    seen s = {.loop = loop, .fd = ends[0]};
    assert_int_equal(fx_loop_watch_start(loop, ends[0], read_byte, &s, &s.watch, &err), FX_OK);
    assert_int_equal(write(ends[1], "x", 1), 1);
    fx_loop_run(loop);
    (void)close(ends[0]);
    (void)close(ends[1]);
}

static void
unstopped_handles_are_freed_with_the_loop(void **state)
{
    (void)state;
    FX_AUTO(fx_loop) loop = fx_loop_new();
    seen s = {.loop = loop};
    (void)fx_loop_timer_start(loop, FX_DUR_MS(1000), FX_DUR_MS(0), add_one, &s);
    fx_loop_on_signal(loop, 10, add_one, &s);
    fx_loop_post(loop, add_one, &s);
    assert_int_equal(s.count, 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(timer_repeats_until_stopped),
        cmocka_unit_test(done_runs_after_work),
        cmocka_unit_test(posts_keep_their_order),
        cmocka_unit_test(watch_runs_when_readable),
        cmocka_unit_test(unstopped_handles_are_freed_with_the_loop),
    };
    return cmocka_run_group_tests_name("loop", tests, NULL, NULL);
}
