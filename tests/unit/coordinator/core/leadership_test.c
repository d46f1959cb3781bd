#include "core_world.h"

#include "coordinator/core/leadership.h"

static void
a_leader_beats_when_its_beat_is_old_enough(void **state)
{
    (void)state;
    core_world *w = world_new();
    fx_leadership young = fx_leadership_decide(&w->ledger, &w->self, &w->policy, AGO(999), NOW);
    assert_int_equal(young.act, FX_LEADERSHIP_FOLLOW);
    fx_leadership due = fx_leadership_decide(&w->ledger, &w->self, &w->policy, AGO(1000), NOW);
    assert_int_equal(due.act, FX_LEADERSHIP_BEAT);
    assert_int_equal(due.beat.count, 9);
    assert_int_equal(due.leader.revision.value, 10);
    free(w);
}

static void
another_takes_over_only_after_the_silence_and_its_turn(void **state)
{
    (void)state;
    core_world *w = world_new();
    w->ledger.leader.coordinator = fx_name_of("usw2-co");
    w->ledger.beat_seen_since = AGO(4150);
    fx_leadership wait = fx_leadership_decide(&w->ledger, &w->self, &w->policy, AGO(0), NOW);
    assert_int_equal(wait.act, FX_LEADERSHIP_FOLLOW);
    w->ledger.beat_seen_since = AGO(4151);
    fx_leadership take = fx_leadership_decide(&w->ledger, &w->self, &w->policy, AGO(0), NOW);
    assert_int_equal(take.act, FX_LEADERSHIP_TAKE);
    assert_int_equal(take.leader.term, 5);
    assert_int_equal(take.leader.revision.value, 10);
    assert_int_equal(take.beat.revision.value, 99);
    free(w);
}

static void
an_empty_ledger_and_an_earlier_life_are_taken_at_once(void **state)
{
    (void)state;
    core_world *w = world_new();
    w->ledger.leader.incarnation[0] = 9;
    assert_false(fx_leads(&w->ledger, &w->self));
    fx_leadership earlier = fx_leadership_decide(&w->ledger, &w->self, &w->policy, AGO(0), NOW);
    assert_int_equal(earlier.act, FX_LEADERSHIP_TAKE);
    w->ledger.leader = (fx_leader){0};
    fx_leadership nobody = fx_leadership_decide(&w->ledger, &w->self, &w->policy, AGO(0), NOW);
    assert_int_equal(nobody.act, FX_LEADERSHIP_TAKE);
    assert_int_equal(nobody.leader.term, 1);
    free(w);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_leader_beats_when_its_beat_is_old_enough),
        cmocka_unit_test(another_takes_over_only_after_the_silence_and_its_turn),
        cmocka_unit_test(an_empty_ledger_and_an_earlier_life_are_taken_at_once),
    };
    return cmocka_run_group_tests_name("leadership", tests, NULL, NULL);
}
