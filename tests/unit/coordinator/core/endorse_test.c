#include "core_world.h"

#include "coordinator/core/endorse.h"

static void
a_promotion_is_signed_only_as_the_service_record_says(void **state)
{
    (void)state;
    core_world *w = world_new();
    fx_order_spec order = {
        .kind = FX_ORDER_PROMOTE,
        .host = fx_name_of("usw2-db"),
        .service = fx_name_of("orders-db"),
        .epoch = {3},
        .ledger_revision = {100},
    };
    assert_null(fx_endorse_refused(&w->ledger, &order));
    order.ledger_revision.value = 101;
    assert_non_null(fx_endorse_refused(&w->ledger, &order));
    order.ledger_revision.value = 100;
    order.epoch.value = 4;
    assert_non_null(fx_endorse_refused(&w->ledger, &order));
    order.epoch.value = 3;
    order.host = fx_name_of("use1-db");
    assert_non_null(fx_endorse_refused(&w->ledger, &order));
    order.service = fx_name_of("other-db");
    assert_non_null(fx_endorse_refused(&w->ledger, &order));
    free(w);
}

static void
a_fence_is_signed_only_as_the_plan_says(void **state)
{
    (void)state;
    core_world *w = world_new();
    fx_order_spec order = {
        .kind = FX_ORDER_FENCE,
        .host = fx_name_of("usw2-db"),
        .service = fx_name_of("orders-db"),
        .epoch = {3},
        .plan = {"p1"},
    };
    assert_non_null(fx_endorse_refused(&w->ledger, &order));
    w->ledger.plan_count = 1;
    fx_plan *plan = &w->ledger.plans[0];
    *plan = (fx_plan){
        .id = {"p1"},
        .kind = FX_PLAN_FAILOVER,
        .service = fx_name_of("orders-db"),
        .from_host = fx_name_of("usw2-db"),
        .from_epoch = {3},
        .steps = {{.kind = FX_STEP_FENCE, .state = FX_STEP_RUNNING}},
        .step_count = 1,
    };
    assert_null(fx_endorse_refused(&w->ledger, &order));
    order.orderly = true;
    assert_non_null(fx_endorse_refused(&w->ledger, &order));
    plan->kind = FX_PLAN_SWITCHOVER;
    assert_null(fx_endorse_refused(&w->ledger, &order));
    order.epoch.value = 2;
    assert_non_null(fx_endorse_refused(&w->ledger, &order));
    order.epoch.value = 3;
    order.host = fx_name_of("use1-db");
    assert_non_null(fx_endorse_refused(&w->ledger, &order));
    order.host = fx_name_of("usw2-db");
    plan->steps[0].state = FX_STEP_DONE;
    assert_non_null(fx_endorse_refused(&w->ledger, &order));
    plan->steps[0] = (fx_step){.kind = FX_STEP_PROMOTE};
    assert_non_null(fx_endorse_refused(&w->ledger, &order));
    plan->id = (fx_id){"p2"};
    assert_non_null(fx_endorse_refused(&w->ledger, &order));
    free(w);
}

static void
other_kinds_are_never_signed(void **state)
{
    (void)state;
    core_world *w = world_new();
    const fx_order_kind kinds[] = {
        FX_ORDER_KIND_NONE,
        FX_ORDER_BACKUP,
        FX_ORDER_RESTORE,
        FX_ORDER_RESTORE_IN_PLACE,
        FX_ORDER_DELETE,
        FX_ORDER_RELEASE_KEY,
    };
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        fx_order_spec order = {.kind = kinds[i], .service = fx_name_of("orders-db")};
        assert_non_null(fx_endorse_refused(&w->ledger, &order));
    }
    free(w);
}

static void
a_kind_that_there_is_not_is_never_signed(void **state)
{
    (void)state;
    core_world *w = world_new();
    fx_order_spec order = {.kind = (fx_order_kind)99, .service = fx_name_of("orders-db")};
    assert_non_null(fx_endorse_refused(&w->ledger, &order));
    free(w);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_promotion_is_signed_only_as_the_service_record_says),
        cmocka_unit_test(a_fence_is_signed_only_as_the_plan_says),
        cmocka_unit_test(other_kinds_are_never_signed),
        cmocka_unit_test(a_kind_that_there_is_not_is_never_signed),
    };
    return cmocka_run_group_tests_name("endorse", tests, NULL, NULL);
}
