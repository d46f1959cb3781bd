#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agent/core/guard.h"

static const fx_dur margin = {.ns = 1000 * FX_NS_PER_MS};

static fx_guard_verdict
ask_lease(fx_guard_model *model, uint64_t epoch, int64_t end_ms, int64_t now_ms)
{
    fx_guard_request request = {
        .kind = FX_GUARD_LEASE,
        .epoch = epoch,
        .lease_end = FX_MONO_MS(end_ms),
        .lease_margin = margin};
    fx_guard_model next;
    fx_guard_verdict verdict = fx_guard_decide(model, &request, FX_MONO_MS(now_ms), &next);
    if (verdict == FX_GUARD_ALLOWED) {
        *model = next;
    }
    return verdict;
}

static fx_guard_verdict
ask(fx_guard_model *model, fx_guard_request_kind kind, uint64_t epoch, int64_t now_ms)
{
    fx_guard_request request = {.kind = kind, .epoch = epoch};
    fx_guard_model next;
    fx_guard_verdict verdict = fx_guard_decide(model, &request, FX_MONO_MS(now_ms), &next);
    if (verdict == FX_GUARD_ALLOWED) {
        *model = next;
    }
    return verdict;
}

static fx_guard_act
step(fx_guard_model *model, int64_t now_ms)
{
    return fx_guard_step(model, FX_MONO_MS(now_ms)).act;
}

/* A primary of epoch 1 under a lease that ends at 10 s. */
static fx_guard_model
running_primary(void)
{
    fx_guard_model model = {.epoch = 0};
    assert_int_equal(ask_lease(&model, 1, 10000, 2000), FX_GUARD_ALLOWED);
    assert_int_equal(ask(&model, FX_GUARD_START_PRIMARY, 1, 2000), FX_GUARD_ALLOWED);
    assert_int_equal(step(&model, 2000), FX_GUARD_START);
    fx_guard_on_started(&model, FX_MONO_MS(2000));
    assert_int_equal(step(&model, 2000), FX_GUARD_WAIT);
    return model;
}

static void
fences_exactly_one_margin_before_the_end(void **state)
{
    (void)state;
    fx_guard_model model = running_primary();
    fx_guard_next next = fx_guard_step(&model, (fx_mono){.ns = 9000 * FX_NS_PER_MS - 1});
    assert_int_equal(next.act, FX_GUARD_WAIT);
    assert_int_equal(next.wake.ns, 9000 * FX_NS_PER_MS);
    assert_int_equal(step(&model, 9000), FX_GUARD_SEND_QUIT);
    assert_int_equal(step(&model, 9299), FX_GUARD_WAIT);
    assert_int_equal(step(&model, 9300), FX_GUARD_SWEEP);
    fx_guard_on_empty(&model, FX_MONO_MS(9310));
    assert_int_equal(step(&model, 9310), FX_GUARD_WAIT);
    assert_int_equal(model.running, FX_GUARD_NONE);
    assert_int_equal(model.fenced_epoch, 0);
    assert_false(model.held);
}

/* Whoever watches the guard acts within the margin, and not on a server without a lease. */
static void
is_watched_from_half_a_second_after_the_fence_at_most(void **state)
{
    (void)state;
    fx_guard_model model = running_primary();
    assert_int_equal(fx_guard_kill_at(&model).ns, 9450 * FX_NS_PER_MS);
    assert_int_equal(ask_lease(&model, 1, 12000, 4000), FX_GUARD_ALLOWED);
    assert_int_equal(fx_guard_kill_at(&model).ns, 11450 * FX_NS_PER_MS);
    model.lease.margin = FX_DUR_MS(600);
    assert_int_equal(fx_guard_kill_at(&model).ns, 11700 * FX_NS_PER_MS);
    assert_int_equal(step(&model, 11400), FX_GUARD_SEND_QUIT);
    assert_int_equal(fx_guard_kill_at(&model).ns, 11700 * FX_NS_PER_MS);
    assert_int_equal(step(&model, 11700), FX_GUARD_SWEEP);
    fx_guard_on_empty(&model, FX_MONO_MS(11710));
    assert_int_equal(fx_guard_kill_at(&model).ns, 0);

    model = (fx_guard_model){.epoch = 0};
    assert_int_equal(ask(&model, FX_GUARD_START_STANDBY, 1, 0), FX_GUARD_ALLOWED);
    assert_int_equal(step(&model, 0), FX_GUARD_START);
    fx_guard_on_started(&model, FX_MONO_MS(0));
    assert_int_equal(fx_guard_kill_at(&model).ns, 0);
}

static void
a_renewal_moves_the_end_forward_and_never_back(void **state)
{
    (void)state;
    fx_guard_model model = running_primary();
    assert_int_equal(ask_lease(&model, 1, 12000, 4000), FX_GUARD_ALLOWED);
    assert_int_equal(ask_lease(&model, 1, 11000, 4000), FX_GUARD_ALLOWED);
    assert_int_equal(step(&model, 10999), FX_GUARD_WAIT);
    assert_int_equal(step(&model, 11000), FX_GUARD_SEND_QUIT);
}

static void
a_renewal_that_comes_after_the_fence_began_does_not_stop_it(void **state)
{
    (void)state;
    fx_guard_model model = running_primary();
    assert_int_equal(step(&model, 9000), FX_GUARD_SEND_QUIT);
    assert_int_equal(ask_lease(&model, 1, 20000, 9001), FX_GUARD_ALLOWED);
    assert_int_equal(step(&model, 9300), FX_GUARD_SWEEP);
    fx_guard_on_empty(&model, FX_MONO_MS(9310));
    assert_int_equal(step(&model, 9320), FX_GUARD_WAIT);
    assert_int_equal(ask(&model, FX_GUARD_START_PRIMARY, 1, 9400), FX_GUARD_ALLOWED);
    assert_int_equal(step(&model, 9400), FX_GUARD_START);
}

static void
a_lease_longer_than_any_or_without_margin_is_bad(void **state)
{
    (void)state;
    fx_guard_model model = {.epoch = 0};
    assert_int_equal(ask_lease(&model, 1, 60000, 0), FX_GUARD_ALLOWED);
    assert_int_equal(ask_lease(&model, 1, 60001, 0), FX_GUARD_BAD);
    fx_guard_request request = {.kind = FX_GUARD_LEASE, .epoch = 1, .lease_end = FX_MONO_MS(1000)};
    fx_guard_model next;
    assert_int_equal(fx_guard_decide(&model, &request, FX_MONO_MS(0), &next), FX_GUARD_BAD);
    assert_int_equal(ask_lease(&model, 0, 1000, 0), FX_GUARD_BAD);
}

static void
starts_no_primary_without_a_live_lease_of_its_epoch(void **state)
{
    (void)state;
    fx_guard_model model = {.epoch = 0};
    assert_int_equal(ask(&model, FX_GUARD_START_PRIMARY, 1, 0), FX_GUARD_NO_LEASE);
    assert_int_equal(ask_lease(&model, 1, 10000, 2000), FX_GUARD_ALLOWED);
    assert_int_equal(ask(&model, FX_GUARD_START_PRIMARY, 2, 2000), FX_GUARD_NO_LEASE);
    assert_int_equal(ask(&model, FX_GUARD_START_PRIMARY, 1, 9000), FX_GUARD_NO_LEASE);
    assert_int_equal(ask(&model, FX_GUARD_START_PRIMARY, 1, 8999), FX_GUARD_ALLOWED);
    assert_int_equal(step(&model, 9000), FX_GUARD_WAIT); /* it lapsed before the start */
    assert_int_equal(model.wanted, FX_GUARD_NONE);
}

static void
older_epochs_are_stale(void **state)
{
    (void)state;
    fx_guard_model model = {.epoch = 5};
    assert_int_equal(ask_lease(&model, 4, 10000, 2000), FX_GUARD_STALE);
    assert_int_equal(ask(&model, FX_GUARD_START_STANDBY, 4, 0), FX_GUARD_STALE);
    assert_int_equal(ask(&model, FX_GUARD_FENCE, 4, 0), FX_GUARD_STALE);
    assert_int_equal(ask(&model, FX_GUARD_START_STANDBY, 5, 0), FX_GUARD_ALLOWED);
    assert_int_equal(ask(&model, FX_GUARD_STATUS, 0, 0), FX_GUARD_ALLOWED);
}

static void
a_fence_holds_down_and_is_never_taken_back(void **state)
{
    (void)state;
    fx_guard_model model = running_primary();
    assert_int_equal(ask(&model, FX_GUARD_FENCE, 1, 3000), FX_GUARD_ALLOWED);
    assert_int_equal(step(&model, 3000), FX_GUARD_SEND_QUIT);
    assert_int_equal(model.fenced_epoch, 0);
    fx_guard_on_exit(&model, FX_MONO_MS(3050));
    assert_int_equal(step(&model, 3050), FX_GUARD_SWEEP);
    fx_guard_on_empty(&model, FX_MONO_MS(3060));
    assert_true(model.held);
    assert_int_equal(model.fenced_epoch, 1);
    assert_int_equal(ask(&model, FX_GUARD_START_PRIMARY, 1, 3100), FX_GUARD_FENCED);
    assert_int_equal(ask_lease(&model, 2, 10000, 3100), FX_GUARD_ALLOWED);
    assert_int_equal(ask(&model, FX_GUARD_START_PRIMARY, 2, 3100), FX_GUARD_ALLOWED);
    assert_false(model.held);
}

static void
an_orderly_fence_ends_with_patience_or_the_lease(void **state)
{
    (void)state;
    fx_guard_request request = {.kind = FX_GUARD_FENCE, .epoch = 1, .orderly = true};
    fx_guard_model model = running_primary();
    fx_guard_model next;
    assert_int_equal(fx_guard_decide(&model, &request, FX_MONO_MS(3000), &next), FX_GUARD_ALLOWED);
    model = next;
    assert_int_equal(step(&model, 3000), FX_GUARD_SEND_FAST);
    fx_guard_next waits = fx_guard_step(&model, FX_MONO_MS(3001));
    assert_int_equal(waits.act, FX_GUARD_WAIT);
    assert_int_equal(waits.wake.ns, 9000 * FX_NS_PER_MS);
    assert_int_equal(step(&model, 9000), FX_GUARD_SEND_QUIT);

    model = next;
    model.lease.end = FX_MONO_MS(50000);
    assert_int_equal(step(&model, 3000), FX_GUARD_SEND_FAST);
    assert_int_equal(step(&model, 32999), FX_GUARD_WAIT);
    assert_int_equal(step(&model, 33000), FX_GUARD_SEND_QUIT);
    assert_int_equal(step(&model, 33300), FX_GUARD_SWEEP);
}

static void
a_standby_is_not_under_the_lease_until_it_is_promoted(void **state)
{
    (void)state;
    fx_guard_model model = {.epoch = 0};
    assert_int_equal(ask(&model, FX_GUARD_START_STANDBY, 1, 0), FX_GUARD_ALLOWED);
    assert_int_equal(step(&model, 0), FX_GUARD_START);
    fx_guard_on_started(&model, FX_MONO_MS(0));
    assert_int_equal(step(&model, 100000), FX_GUARD_WAIT);
    assert_int_equal(ask(&model, FX_GUARD_PROMOTED, 2, 100000), FX_GUARD_NO_LEASE);
    assert_int_equal(ask(&model, FX_GUARD_START_PRIMARY, 1, 100000), FX_GUARD_NO_LEASE);
    assert_int_equal(ask_lease(&model, 2, 110000, 102000), FX_GUARD_ALLOWED);
    assert_int_equal(ask(&model, FX_GUARD_START_PRIMARY, 2, 102000), FX_GUARD_BUSY);
    assert_int_equal(ask(&model, FX_GUARD_PROMOTED, 2, 102000), FX_GUARD_ALLOWED);
    assert_int_equal(step(&model, 108999), FX_GUARD_WAIT);
    assert_int_equal(step(&model, 109000), FX_GUARD_SEND_QUIT);
}

static void
what_exits_is_started_again_with_a_growing_back_off(void **state)
{
    (void)state;
    fx_guard_model model = {.epoch = 0};
    assert_int_equal(ask(&model, FX_GUARD_START_STANDBY, 1, 0), FX_GUARD_ALLOWED);
    int64_t now_ms = 0;
    static const int64_t waits_ms[] = {1000, 2000, 4000, 8000, 16000, 30000, 30000};
    for (size_t i = 0; i < sizeof waits_ms / sizeof waits_ms[0]; i++) {
        assert_int_equal(step(&model, now_ms), FX_GUARD_START);
        fx_guard_on_started(&model, FX_MONO_MS(now_ms));
        fx_guard_on_exit(&model, FX_MONO_MS(now_ms));
        assert_int_equal(step(&model, now_ms), FX_GUARD_SWEEP);
        fx_guard_on_empty(&model, FX_MONO_MS(now_ms));
        assert_int_equal(step(&model, now_ms + waits_ms[i] - 1), FX_GUARD_WAIT);
        /* asked again by the agent meanwhile: no reason to hurry */
        assert_int_equal(ask(&model, FX_GUARD_START_STANDBY, 1, now_ms + 1), FX_GUARD_ALLOWED);
        now_ms += waits_ms[i];
    }
    assert_int_equal(step(&model, now_ms), FX_GUARD_START);
    fx_guard_on_started(&model, FX_MONO_MS(now_ms));
    now_ms += 60001;
    fx_guard_on_exit(&model, FX_MONO_MS(now_ms));
    fx_guard_on_empty(&model, FX_MONO_MS(now_ms));
    assert_int_equal(step(&model, now_ms + 1000), FX_GUARD_START);
}

static void
a_grant_counts_from_when_it_was_asked_for(void **state)
{
    (void)state;
    fx_lease_end lease = {.end = {.ns = 0}};
    assert_false(fx_lease_is_live(&lease, FX_MONO_MS(-5)));
    assert_true(fx_lease_extend(&lease, FX_MONO_MS(1000), FX_DUR_MS(8000), margin));
    assert_int_equal(lease.end.ns, FX_MONO_MS(9000).ns);
    assert_true(fx_lease_is_live(&lease, FX_MONO_MS(7999)));
    assert_false(fx_lease_is_live(&lease, FX_MONO_MS(8000)));
    assert_true(fx_lease_extend(&lease, FX_MONO_MS(500), FX_DUR_MS(8000), margin));
    assert_int_equal(lease.end.ns, FX_MONO_MS(9000).ns);
    assert_false(fx_lease_extend(&lease, FX_MONO_MS(2000), FX_DUR_MS(60001), margin));
    assert_false(fx_lease_extend(&lease, FX_MONO_MS(2000), FX_DUR_MS(1000), margin));
    assert_false(fx_lease_extend(&lease, FX_MONO_MS(2000), FX_DUR_MS(0), margin));
    assert_false(fx_lease_extend(&lease, FX_MONO_MS(2000), FX_DUR_MS(8000), FX_DUR_MS(0)));
    assert_int_equal(lease.end.ns, FX_MONO_MS(9000).ns);
}

/* A standby that runs in epoch 1. */
static fx_guard_model
running_standby(void)
{
    fx_guard_model model = {.epoch = 0};
    assert_int_equal(ask(&model, FX_GUARD_START_STANDBY, 1, 0), FX_GUARD_ALLOWED);
    assert_int_equal(step(&model, 0), FX_GUARD_START);
    fx_guard_on_started(&model, FX_MONO_MS(0));
    return model;
}

/* Nothing but a fence and a lease is taken while processes are still being ended. */
static void
what_is_stopping_is_not_started_or_promoted(void **state)
{
    (void)state;
    fx_guard_model model = running_primary();
    fx_guard_on_exit(&model, FX_MONO_MS(3000));
    assert_int_equal(ask(&model, FX_GUARD_START_PRIMARY, 1, 3000), FX_GUARD_BUSY);
    assert_int_equal(ask(&model, FX_GUARD_START_STANDBY, 1, 3000), FX_GUARD_BUSY);
    assert_int_equal(ask(&model, FX_GUARD_PROMOTED, 1, 3000), FX_GUARD_BUSY);
    fx_guard_on_empty(&model, FX_MONO_MS(3010));
    assert_int_equal(ask(&model, FX_GUARD_START_PRIMARY, 1, 3010), FX_GUARD_ALLOWED);
}

static void
what_runs_is_not_started_as_something_else(void **state)
{
    (void)state;
    fx_guard_model model = running_primary();
    assert_int_equal(ask(&model, FX_GUARD_START_STANDBY, 1, 3000), FX_GUARD_BUSY);
    assert_int_equal(ask(&model, FX_GUARD_START_PRIMARY, 1, 3000), FX_GUARD_ALLOWED);
    assert_int_equal(step(&model, 3000), FX_GUARD_WAIT); /* it runs already */
    model = running_standby();
    assert_int_equal(ask(&model, FX_GUARD_START_STANDBY, 1, 10), FX_GUARD_ALLOWED);
    assert_int_equal(step(&model, 10), FX_GUARD_WAIT);
}

static void
a_primary_that_is_asked_for_again_keeps_its_back_off(void **state)
{
    (void)state;
    fx_guard_model model = running_primary();
    fx_guard_on_exit(&model, FX_MONO_MS(3000));
    fx_guard_on_empty(&model, FX_MONO_MS(3000));
    assert_int_equal(ask(&model, FX_GUARD_START_PRIMARY, 1, 3001), FX_GUARD_ALLOWED);
    assert_int_equal(step(&model, 3999), FX_GUARD_WAIT);
    assert_int_equal(step(&model, 4000), FX_GUARD_START);
}

static void
only_a_running_server_outside_fenced_epochs_is_promoted(void **state)
{
    (void)state;
    fx_guard_model model = {.epoch = 0};
    assert_int_equal(ask_lease(&model, 1, 10000, 2000), FX_GUARD_ALLOWED);
    assert_int_equal(ask(&model, FX_GUARD_PROMOTED, 1, 2000), FX_GUARD_BUSY);
    assert_int_equal(ask(&model, FX_GUARD_START_STANDBY, 1, 2000), FX_GUARD_ALLOWED);
    assert_int_equal(step(&model, 2000), FX_GUARD_START);
    fx_guard_on_started(&model, FX_MONO_MS(2000));
    model.fenced_epoch = 1;
    assert_int_equal(ask(&model, FX_GUARD_PROMOTED, 1, 2000), FX_GUARD_FENCED);
    model.fenced_epoch = 0;
    assert_int_equal(ask(&model, FX_GUARD_PROMOTED, 1, 2000), FX_GUARD_ALLOWED);
}

/* Whatever the model came from: the last look before the start is at the fence. */
static void
a_wanted_primary_of_a_fenced_epoch_is_not_started(void **state)
{
    (void)state;
    fx_guard_model model = {.epoch = 0};
    assert_int_equal(ask_lease(&model, 2, 10000, 2000), FX_GUARD_ALLOWED);
    assert_int_equal(ask(&model, FX_GUARD_START_PRIMARY, 2, 2000), FX_GUARD_ALLOWED);
    fx_guard_model fenced = model;
    fenced.fenced_epoch = 2;
    assert_int_equal(step(&fenced, 2000), FX_GUARD_WAIT);
    assert_int_equal(fenced.wanted, FX_GUARD_NONE);
    model.fenced_epoch = 1;
    assert_int_equal(step(&model, 2000), FX_GUARD_START);
}

static void
a_fence_that_hurries_ends_an_orderly_one_and_not_the_reverse(void **state)
{
    (void)state;
    fx_guard_request orderly = {.kind = FX_GUARD_FENCE, .epoch = 1, .orderly = true};
    fx_guard_model model = running_primary();
    fx_guard_model next;
    assert_int_equal(fx_guard_decide(&model, &orderly, FX_MONO_MS(3000), &next), FX_GUARD_ALLOWED);
    assert_int_equal(step(&next, 3000), FX_GUARD_SEND_FAST);
    assert_int_equal(fx_guard_decide(&next, &orderly, FX_MONO_MS(3100), &model), FX_GUARD_ALLOWED);
    assert_int_equal(step(&model, 3100), FX_GUARD_WAIT);
    assert_int_equal(ask(&model, FX_GUARD_FENCE, 1, 3200), FX_GUARD_ALLOWED);
    assert_int_equal(step(&model, 3200), FX_GUARD_SEND_QUIT);
    assert_int_equal(fx_guard_decide(&model, &orderly, FX_MONO_MS(3300), &next), FX_GUARD_ALLOWED);
    assert_int_equal(step(&next, 3499), FX_GUARD_WAIT);
    assert_int_equal(step(&next, 3500), FX_GUARD_SWEEP);
}

/* It has no lease whose end would cut the wait short. */
static void
an_orderly_fence_of_a_standby_waits_with_all_patience(void **state)
{
    (void)state;
    fx_guard_request request = {.kind = FX_GUARD_FENCE, .epoch = 1, .orderly = true};
    fx_guard_model standby = running_standby();
    fx_guard_model model;
    assert_int_equal(
        fx_guard_decide(&standby, &request, FX_MONO_MS(1000), &model), FX_GUARD_ALLOWED);
    assert_int_equal(step(&model, 1000), FX_GUARD_SEND_FAST);
    fx_guard_next waits = fx_guard_step(&model, FX_MONO_MS(1001));
    assert_int_equal(waits.act, FX_GUARD_WAIT);
    assert_int_equal(waits.wake.ns, 31000 * FX_NS_PER_MS);
    assert_int_equal(step(&model, 31000), FX_GUARD_SEND_QUIT);
}

static void
a_fence_of_nothing_makes_sure_and_gives_its_word(void **state)
{
    (void)state;
    fx_guard_model model = {.epoch = 0};
    assert_int_equal(ask(&model, FX_GUARD_FENCE, 3, 1000), FX_GUARD_ALLOWED);
    assert_int_equal(step(&model, 1000), FX_GUARD_SWEEP);
    fx_guard_on_exit(&model, FX_MONO_MS(1001)); /* told of late: it is being swept already */
    assert_int_equal(model.back_off.ns, 0);
    fx_guard_on_empty(&model, FX_MONO_MS(1010));
    assert_true(model.held);
    assert_int_equal(model.fenced_epoch, 3);
    /* The same once more changes nothing. */
    assert_int_equal(ask(&model, FX_GUARD_FENCE, 3, 2000), FX_GUARD_ALLOWED);
    assert_int_equal(step(&model, 2000), FX_GUARD_SWEEP);
    fx_guard_on_empty(&model, FX_MONO_MS(2010));
    assert_int_equal(model.fenced_epoch, 3);
    assert_int_equal(model.fence_epoch, 0);
}

static void
a_kind_that_there_is_not_is_bad(void **state)
{
    (void)state;
    fx_guard_model model = {.epoch = 1};
    assert_int_equal(ask(&model, (fx_guard_request_kind)99, 2, 0), FX_GUARD_BAD);
    assert_int_equal(model.epoch, 1);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fences_exactly_one_margin_before_the_end),
        cmocka_unit_test(is_watched_from_half_a_second_after_the_fence_at_most),
        cmocka_unit_test(a_renewal_moves_the_end_forward_and_never_back),
        cmocka_unit_test(a_renewal_that_comes_after_the_fence_began_does_not_stop_it),
        cmocka_unit_test(a_lease_longer_than_any_or_without_margin_is_bad),
        cmocka_unit_test(starts_no_primary_without_a_live_lease_of_its_epoch),
        cmocka_unit_test(older_epochs_are_stale),
        cmocka_unit_test(a_fence_holds_down_and_is_never_taken_back),
        cmocka_unit_test(an_orderly_fence_ends_with_patience_or_the_lease),
        cmocka_unit_test(a_standby_is_not_under_the_lease_until_it_is_promoted),
        cmocka_unit_test(what_exits_is_started_again_with_a_growing_back_off),
        cmocka_unit_test(a_grant_counts_from_when_it_was_asked_for),
        cmocka_unit_test(what_is_stopping_is_not_started_or_promoted),
        cmocka_unit_test(what_runs_is_not_started_as_something_else),
        cmocka_unit_test(a_primary_that_is_asked_for_again_keeps_its_back_off),
        cmocka_unit_test(only_a_running_server_outside_fenced_epochs_is_promoted),
        cmocka_unit_test(a_wanted_primary_of_a_fenced_epoch_is_not_started),
        cmocka_unit_test(a_fence_that_hurries_ends_an_orderly_one_and_not_the_reverse),
        cmocka_unit_test(an_orderly_fence_of_a_standby_waits_with_all_patience),
        cmocka_unit_test(a_fence_of_nothing_makes_sure_and_gives_its_word),
        cmocka_unit_test(a_kind_that_there_is_not_is_bad),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
