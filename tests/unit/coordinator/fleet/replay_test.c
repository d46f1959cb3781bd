#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "coordinator/fleet/replay.h"

static fx_replay replay;

static int
begin(void **state)
{
    (void)state;
    replay = (fx_replay){0};
    return 0;
}

static fx_code
accept(const char *sender, char incarnation, int64_t started, uint64_t sequence, int64_t at_ms)
{
    fx_replay_mark mark = {
        .sender = fx_name_of(sender),
        .started = {.ns = started},
        .sequence = sequence,
        .heard_at = FX_MONO_MS(at_ms),
    };
    memset(mark.incarnation, incarnation, sizeof(mark.incarnation));
    fx_err err;
    return fx_replay_accept(&replay, &mark, &err);
}

/* The same number again, and an earlier one, are refused; each sender counts for itself. */
static void
numbers_must_rise(void **state)
{
    (void)state;
    assert_int_equal(accept("db1", 'a', 100, 5, 1000), FX_OK);
    assert_int_equal(accept("db1", 'a', 100, 5, 1001), FX_ERR_STALE);
    assert_int_equal(accept("db1", 'a', 100, 4, 1002), FX_ERR_STALE);
    assert_int_equal(accept("db2", 'b', 100, 4, 1003), FX_OK);
    assert_int_equal(accept("db1", 'a', 100, 6, 1004), FX_OK);
}

/* A restarted sender counts from one again; messages of its earlier life are refused then. */
static void
older_lives_are_refused(void **state)
{
    (void)state;
    assert_int_equal(accept("db1", 'a', 100, 50, 1000), FX_OK);
    assert_int_equal(accept("db1", 'b', 101, 1, 1001), FX_OK);
    assert_int_equal(accept("db1", 'a', 100, 51, 1002), FX_ERR_STALE);
    assert_int_equal(accept("db1", 'c', 101, 1, 1003), FX_ERR_STALE);
}

/* A host whose clock was set back is not locked out for ever. */
static void
silence_makes_room_for_an_earlier_start(void **state)
{
    (void)state;
    assert_int_equal(accept("db1", 'a', 100, 50, 1000), FX_OK);
    assert_int_equal(accept("db1", 'b', 10, 1, 61000), FX_ERR_STALE);
    assert_int_equal(accept("db1", 'b', 10, 1, 61001), FX_OK);
    assert_int_equal(accept("db1", 'a', 100, 50, 200000), FX_OK); /* a new life to us */
}

/* The table is full of live senders: refused. One of them silent for long: it gives way. */
static void
senders_are_bounded(void **state)
{
    (void)state;
    for (int i = 0; i < FX_REPLAY_SENDER_MAX; i++) {
        char name[16];
        (void)snprintf(name, sizeof(name), "h%d", i);
        assert_int_equal(accept(name, 'a', 100, 1, 1000 + i), FX_OK);
    }
    assert_int_equal(accept("more", 'a', 100, 1, 61000), FX_ERR_LIMIT);
    assert_int_equal(accept("more", 'a', 100, 1, 61001), FX_OK);
    assert_int_equal(accept("h1", 'a', 100, 1, 61001), FX_ERR_STALE);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(numbers_must_rise, begin),
        cmocka_unit_test_setup(older_lives_are_refused, begin),
        cmocka_unit_test_setup(silence_makes_room_for_an_earlier_start, begin),
        cmocka_unit_test_setup(senders_are_bounded, begin),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
