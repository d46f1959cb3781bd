#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "agent/core/order_check.h"

static fx_order_claim claim;
static fx_order_place place;

static int
begin(void **state)
{
    (void)state;
    claim = (fx_order_claim){
        .cluster = fx_name_of("quickstart"),
        .host = fx_name_of("db1"),
        .service = fx_name_of("orders-db"),
        .epoch = 5,
        .kind_known = true,
        .needs_endorsement = true,
        .needs_service = true,
    };
    place = (fx_order_place){
        .cluster = fx_name_of("quickstart"),
        .host = fx_name_of("db1"),
        .service_known = true,
        .epoch_seen = 5,
        .regions = 2,
    };
    return 0;
}

static void
a_good_order_may_run(void **state)
{
    (void)state;
    assert_int_equal(fx_order_check(&claim, &place), FX_ORDER_MAY_RUN);
    claim.epoch = 6;
    assert_int_equal(fx_order_check(&claim, &place), FX_ORDER_MAY_RUN);
}

/* One epoch below the highest seen is refused, with any number of endorsements. */
static void
old_epochs_are_stale(void **state)
{
    (void)state;
    claim.epoch = 4;
    place.regions = 3;
    assert_int_equal(fx_order_check(&claim, &place), FX_ORDER_STALE);
}

/* An epoch is of a service: a backup has none. */
static void
orders_without_a_service_have_no_epoch(void **state)
{
    (void)state;
    claim.needs_service = false;
    claim.epoch = 0;
    place.service_known = false;
    assert_int_equal(fx_order_check(&claim, &place), FX_ORDER_MAY_RUN);
}

static void
one_region_is_not_enough(void **state)
{
    (void)state;
    place.regions = 1;
    assert_int_equal(fx_order_check(&claim, &place), FX_ORDER_UNENDORSED);
    claim.needs_endorsement = false;
    assert_int_equal(fx_order_check(&claim, &place), FX_ORDER_MAY_RUN);
}

/* Nothing about an order for somebody else is answered, not even that its id is known. */
static void
others_orders_are_refused_first(void **state)
{
    (void)state;
    place.id_known = true;
    claim.host = fx_name_of("db2");
    assert_int_equal(fx_order_check(&claim, &place), FX_ORDER_OTHER_HOST);
    claim.cluster = fx_name_of("other");
    assert_int_equal(fx_order_check(&claim, &place), FX_ORDER_OTHER_CLUSTER);
}

/* A known order is never carried out again, also where it would be refused by now. */
static void
known_orders_do_not_run_again(void **state)
{
    (void)state;
    place.id_known = true;
    assert_int_equal(fx_order_check(&claim, &place), FX_ORDER_KNOWN);
    claim.epoch = 1;
    assert_int_equal(fx_order_check(&claim, &place), FX_ORDER_KNOWN);
}

static void
unknown_kinds_and_services_are_refused(void **state)
{
    (void)state;
    place.service_known = false;
    assert_int_equal(fx_order_check(&claim, &place), FX_ORDER_UNKNOWN_SERVICE);
    claim.kind_known = false;
    assert_int_equal(fx_order_check(&claim, &place), FX_ORDER_UNKNOWN_KIND);
}

static void
every_verdict_has_a_text(void **state)
{
    (void)state;
    for (int i = FX_ORDER_MAY_RUN; i <= FX_ORDER_STALE; i++) {
        assert_null(strstr(fx_order_verdict_text((fx_order_verdict)i), "unknown verdict"));
    }
    assert_string_equal(fx_order_verdict_text((fx_order_verdict)99), "unknown verdict");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_good_order_may_run, begin),
        cmocka_unit_test_setup(old_epochs_are_stale, begin),
        cmocka_unit_test_setup(orders_without_a_service_have_no_epoch, begin),
        cmocka_unit_test_setup(one_region_is_not_enough, begin),
        cmocka_unit_test_setup(others_orders_are_refused_first, begin),
        cmocka_unit_test_setup(known_orders_do_not_run_again, begin),
        cmocka_unit_test_setup(unknown_kinds_and_services_are_refused, begin),
        cmocka_unit_test(every_verdict_has_a_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
