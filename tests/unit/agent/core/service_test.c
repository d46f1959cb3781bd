#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agent/core/schedule.h"
#include "agent/core/service.h"

/* Chosen for epoch 3 with everything that it takes, and stopped as a primary that was last in 2. */
static fx_service_facts
chosen(void)
{
    return (fx_service_facts){
        .goal = {.known = true, .epoch = 3, .role = FX_SERVICE_ROLE_PRIMARY},
        .epoch_seen = 3,
        .promotion_epoch = 3,
        .last_primary_epoch = 2,
        .lease_live = true,
        .files = FX_SERVICE_FILES_PRIMARY,
        .stopped = true,
        .fenced_epoch = 2,
    };
}

static fx_service_act
act(const fx_service_facts *facts)
{
    return fx_service_decide(facts).act;
}

static void
starts_as_primary_only_with_all_three_rights(void **state)
{
    (void)state;
    fx_service_facts facts = chosen();
    assert_int_equal(act(&facts), FX_SERVICE_START_PRIMARY);
    assert_int_equal(fx_service_decide(&facts).epoch, 3);
    assert_int_equal(fx_service_lease_epoch(&facts), 3);

    facts.lease_live = false;
    assert_int_equal(act(&facts), FX_SERVICE_LEAVE);
    assert_int_equal(fx_service_lease_epoch(&facts), 3); /* wants one */

    facts = chosen();
    facts.promotion_epoch = 2;
    assert_int_equal(act(&facts), FX_SERVICE_LEAVE);
    assert_int_equal(fx_service_lease_epoch(&facts), 0);

    facts = chosen();
    facts.goal.role = FX_SERVICE_ROLE_STANDBY;
    assert_int_equal(act(&facts), FX_SERVICE_START_STANDBY);
    assert_int_equal(fx_service_lease_epoch(&facts), 0);

    facts = chosen();
    facts.goal.known = false;
    assert_int_equal(act(&facts), FX_SERVICE_LEAVE);

    facts = chosen();
    facts.fenced_epoch = 3;
    assert_int_equal(act(&facts), FX_SERVICE_LEAVE);

    facts = chosen();
    facts.epoch_seen = 4; /* the coordinator is behind */
    assert_int_equal(act(&facts), FX_SERVICE_LEAVE);
}

static void
files_of_another_history_begin_as_a_standby(void **state)
{
    (void)state;
    fx_service_facts facts = chosen();
    facts.last_primary_epoch = 1; /* somebody else had epoch 2 */
    assert_int_equal(act(&facts), FX_SERVICE_START_STANDBY);
    facts.last_primary_epoch = 3;
    assert_int_equal(act(&facts), FX_SERVICE_START_PRIMARY);
    facts.last_primary_epoch = 0;
    assert_int_equal(act(&facts), FX_SERVICE_START_PRIMARY);
    facts.files = FX_SERVICE_FILES_STANDBY;
    assert_int_equal(act(&facts), FX_SERVICE_START_STANDBY);
    facts.files = FX_SERVICE_FILES_UNKNOWN;
    assert_int_equal(act(&facts), FX_SERVICE_START_STANDBY);
}

static void
promotes_a_standby_that_answers(void **state)
{
    (void)state;
    fx_service_facts facts = chosen();
    facts.stopped = false;
    facts.runs_standby = true;
    facts.in_recovery = true;
    assert_int_equal(act(&facts), FX_SERVICE_LEAVE);
    facts.answered = true;
    assert_int_equal(act(&facts), FX_SERVICE_PROMOTE);
    facts.lease_live = false;
    assert_int_equal(act(&facts), FX_SERVICE_LEAVE);

    facts = chosen(); /* the guard knows; pg_promote failed the first time */
    facts.stopped = false;
    facts.runs_primary = true;
    facts.answered = true;
    facts.in_recovery = true;
    assert_int_equal(act(&facts), FX_SERVICE_PROMOTE);
    facts.in_recovery = false;
    assert_int_equal(act(&facts), FX_SERVICE_LEAVE);
}

static void
fences_what_writes_without_the_right(void **state)
{
    (void)state;
    fx_service_facts facts = chosen();
    facts.goal = (fx_service_goal){.known = true, .epoch = 4, .role = FX_SERVICE_ROLE_STANDBY};
    facts.stopped = false;
    facts.runs_primary = true;
    facts.answered = true;
    assert_int_equal(act(&facts), FX_SERVICE_FENCE);
    assert_int_equal(fx_service_decide(&facts).epoch, 4);

    facts.runs_primary = false;
    facts.runs_standby = true; /* promoted by hand */
    facts.goal.known = false;
    assert_int_equal(act(&facts), FX_SERVICE_FENCE);
    facts.in_recovery = true;
    assert_int_equal(act(&facts), FX_SERVICE_LEAVE);
}

static void
leaves_what_is_changing_and_what_runs_as_it_should(void **state)
{
    (void)state;
    fx_service_facts facts = chosen();
    facts.changing = true;
    assert_int_equal(act(&facts), FX_SERVICE_LEAVE);

    facts = chosen();
    facts.goal.role = FX_SERVICE_ROLE_STANDBY;
    facts.stopped = false;
    facts.runs_standby = true;
    facts.answered = true;
    facts.in_recovery = true;
    assert_int_equal(act(&facts), FX_SERVICE_LEAVE);

    facts.goal.role = FX_SERVICE_ROLE_HELD;
    assert_int_equal(act(&facts), FX_SERVICE_LEAVE);
}

static void
a_running_primary_keeps_wanting_its_lease(void **state)
{
    (void)state;
    fx_service_facts facts = chosen();
    facts.goal.epoch = 4; /* the order of epoch 4 is on its way */
    facts.stopped = false;
    facts.runs_primary = true;
    facts.answered = true;
    assert_int_equal(fx_service_lease_epoch(&facts), 3);
    assert_int_equal(act(&facts), FX_SERVICE_LEAVE);
}

static void
jobs_are_due_by_interval_and_retried_after_failures(void **state)
{
    (void)state;
    fx_schedule_entry entry = {.interval = FX_DUR_MS(3600000)};
    fx_wall noon = {.ns = 1000000 * FX_NS_PER_MS};
    assert_true(fx_schedule_is_due(&entry, noon, FX_MONO_MS(5)));
    entry.running = true;
    assert_false(fx_schedule_is_due(&entry, noon, FX_MONO_MS(5)));
    entry.running = false;
    entry.last_began = noon;
    fx_wall later = {.ns = noon.ns + entry.interval.ns};
    assert_true(fx_schedule_is_due(&entry, later, FX_MONO_MS(5)));
    later.ns--;
    assert_false(fx_schedule_is_due(&entry, later, FX_MONO_MS(5)));
    later.ns = noon.ns - 1;
    assert_true(fx_schedule_is_due(&entry, later, FX_MONO_MS(5)));

    entry.failure_count = 1;
    entry.last_failed = FX_MONO_MS(100000);
    assert_false(fx_schedule_is_due(&entry, noon, FX_MONO_MS(129999)));
    assert_true(fx_schedule_is_due(&entry, noon, FX_MONO_MS(130000)));
    entry.failure_count = 2;
    assert_false(fx_schedule_is_due(&entry, noon, FX_MONO_MS(159999)));
    assert_true(fx_schedule_is_due(&entry, noon, FX_MONO_MS(160000)));
    entry.failure_count = 1000;
    assert_false(fx_schedule_is_due(&entry, noon, FX_MONO_MS(100000 + 3599999)));
    assert_true(fx_schedule_is_due(&entry, noon, FX_MONO_MS(100000 + 3600000)));
    entry.interval = FX_DUR_MS(10000);
    assert_true(fx_schedule_is_due(&entry, noon, FX_MONO_MS(110000)));
    entry.interval = FX_DUR_MS(0);
    assert_false(fx_schedule_is_due(&entry, noon, FX_MONO_MS(110000)));
}

/* Every word must be of the same epoch, and there is no epoch 0. */
static void
no_lease_is_wanted_in_an_epoch_that_is_over_or_none(void **state)
{
    (void)state;
    fx_service_facts facts = chosen();
    facts.epoch_seen = 4;
    assert_int_equal(fx_service_lease_epoch(&facts), 0);
    facts = chosen();
    facts.goal.known = false;
    assert_int_equal(fx_service_lease_epoch(&facts), 0);
    facts = chosen();
    facts.goal.epoch = 0;
    facts.promotion_epoch = 0;
    facts.epoch_seen = 0;
    assert_int_equal(fx_service_lease_epoch(&facts), 0);
    assert_int_equal(act(&facts), FX_SERVICE_LEAVE);
}

/* Neither stopped nor known to run: the guard's next word says more. */
static void
what_the_guard_says_nothing_of_is_left(void **state)
{
    (void)state;
    fx_service_facts facts = chosen();
    facts.stopped = false;
    facts.answered = true;
    facts.in_recovery = true;
    assert_int_equal(act(&facts), FX_SERVICE_LEAVE);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(starts_as_primary_only_with_all_three_rights),
        cmocka_unit_test(files_of_another_history_begin_as_a_standby),
        cmocka_unit_test(promotes_a_standby_that_answers),
        cmocka_unit_test(fences_what_writes_without_the_right),
        cmocka_unit_test(leaves_what_is_changing_and_what_runs_as_it_should),
        cmocka_unit_test(a_running_primary_keeps_wanting_its_lease),
        cmocka_unit_test(jobs_are_due_by_interval_and_retried_after_failures),
        cmocka_unit_test(no_lease_is_wanted_in_an_epoch_that_is_over_or_none),
        cmocka_unit_test(what_the_guard_says_nothing_of_is_left),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
