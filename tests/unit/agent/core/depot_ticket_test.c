#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "agent/core/depot_ticket.h"

static const int64_t minute_ns = INT64_C(60) * 1000 * FX_NS_PER_MS;
static const char *const named[] = {"packs/0a/one", "packs/0b/two"};
static const char *const other[] = {"packs/0b/two", "packs/0c/three"};
static fx_depot_claim claim;
static fx_depot_scene scene;

static int
begin(void **state)
{
    (void)state;
    const int64_t now_ns = 1000000 * minute_ns;
    claim = (fx_depot_claim){
        .present = true,
        .cluster = fx_name_of("quickstart"),
        .depot = fx_name_of("depot1"),
        .repository = fx_name_of("main"),
        .issued = {.ns = now_ns - minute_ns},
        .expires = {.ns = now_ns + minute_ns},
        .keys = named,
        .key_count = 2,
    };
    scene = (fx_depot_scene){
        .cluster = fx_name_of("quickstart"),
        .depot = fx_name_of("depot1"),
        .repository = fx_name_of("main"),
        .regions = 2,
        .now = {.ns = now_ns},
        .keys = named,
        .key_count = 2,
    };
    return 0;
}

static void
a_good_ticket_removes_what_it_names(void **state)
{
    (void)state;
    assert_int_equal(fx_depot_ticket_check(&claim, &scene), FX_DEPOT_MAY_REMOVE);
    scene.key_count = 1;
    assert_int_equal(fx_depot_ticket_check(&claim, &scene), FX_DEPOT_MAY_REMOVE);
    scene.regions = 3;
    assert_int_equal(fx_depot_ticket_check(&claim, &scene), FX_DEPOT_MAY_REMOVE);
}

static void
it_removes_nothing_else(void **state)
{
    (void)state;
    scene.keys = other;
    assert_int_equal(fx_depot_ticket_check(&claim, &scene), FX_DEPOT_OTHER_KEY);
    claim.key_count = 0;
    assert_int_equal(fx_depot_ticket_check(&claim, &scene), FX_DEPOT_OTHER_KEY);
}

static void
it_is_for_one_place(void **state)
{
    (void)state;
    claim.cluster = fx_name_of("other");
    assert_int_equal(fx_depot_ticket_check(&claim, &scene), FX_DEPOT_OTHER_CLUSTER);
    claim.cluster = scene.cluster;
    claim.depot = fx_name_of("depot2");
    assert_int_equal(fx_depot_ticket_check(&claim, &scene), FX_DEPOT_OTHER_DEPOT);
    claim.depot = scene.depot;
    claim.repository = fx_name_of("second");
    assert_int_equal(fx_depot_ticket_check(&claim, &scene), FX_DEPOT_OTHER_REPOSITORY);
}

/* One coordinator that was taken over removes nothing. */
static void
two_regions_must_endorse_it(void **state)
{
    (void)state;
    scene.regions = 1;
    assert_int_equal(fx_depot_ticket_check(&claim, &scene), FX_DEPOT_UNENDORSED);
    scene.regions = 0;
    assert_int_equal(fx_depot_ticket_check(&claim, &scene), FX_DEPOT_UNENDORSED);
    claim.present = false;
    assert_int_equal(fx_depot_ticket_check(&claim, &scene), FX_DEPOT_NO_TICKET);
}

static void
it_has_its_time(void **state)
{
    (void)state;
    claim.expires.ns = scene.now.ns + 1;
    assert_int_equal(fx_depot_ticket_check(&claim, &scene), FX_DEPOT_MAY_REMOVE);
    claim.expires.ns = scene.now.ns;
    assert_int_equal(fx_depot_ticket_check(&claim, &scene), FX_DEPOT_EXPIRED);
    claim.issued.ns = scene.now.ns + FX_DEPOT_CLOCK_SKEW_MAX_MINUTES * minute_ns;
    claim.expires.ns = claim.issued.ns + 1;
    assert_int_equal(fx_depot_ticket_check(&claim, &scene), FX_DEPOT_MAY_REMOVE);
    claim.issued.ns++;
    claim.expires.ns++;
    assert_int_equal(fx_depot_ticket_check(&claim, &scene), FX_DEPOT_NOT_YET);
    claim.issued.ns = scene.now.ns;
    claim.expires.ns = scene.now.ns + (int64_t)FX_DEPOT_TICKET_MAX_HOURS * 60 * minute_ns;
    assert_int_equal(fx_depot_ticket_check(&claim, &scene), FX_DEPOT_MAY_REMOVE);
    claim.expires.ns++;
    assert_int_equal(fx_depot_ticket_check(&claim, &scene), FX_DEPOT_TOO_LONG);
}

static void
every_verdict_has_a_text(void **state)
{
    (void)state;
    for (int i = FX_DEPOT_MAY_REMOVE; i <= FX_DEPOT_OTHER_KEY; i++) {
        assert_string_not_equal(fx_depot_verdict_text((fx_depot_verdict)i), "unknown verdict");
    }
    assert_string_equal(fx_depot_verdict_text((fx_depot_verdict)99), "unknown verdict");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_good_ticket_removes_what_it_names, begin),
        cmocka_unit_test_setup(it_removes_nothing_else, begin),
        cmocka_unit_test_setup(it_is_for_one_place, begin),
        cmocka_unit_test_setup(two_regions_must_endorse_it, begin),
        cmocka_unit_test_setup(it_has_its_time, begin),
        cmocka_unit_test_setup(every_verdict_has_a_text, begin),
    };
    return cmocka_run_group_tests_name("depot_ticket", tests, NULL, NULL);
}
