#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "coordinator/ledger/record.h"

static void
a_plan_with_a_signed_order_comes_back_as_it_was(void **state)
{
    (void)state;
    fx_err err = {0};
    fx_plan *plan = calloc(1, sizeof *plan);
    fx_plan *back = calloc(1, sizeof *back);
    assert_non_null(plan);
    assert_non_null(back);
    plan->id = (fx_id){"failover-e3-r50-100"};
    plan->kind = FX_PLAN_FAILOVER;
    plan->state = FX_PLAN_STATE_RUNNING;
    plan->service = fx_name_of("orders-db");
    plan->from_host = fx_name_of("usw2-db");
    plan->from_epoch.value = 3;
    plan->step_count = 1;
    fx_step *step = &plan->steps[0];
    step->kind = FX_STEP_FENCE;
    step->state = FX_STEP_UNKNOWN;
    step->attempts = 2;
    step->term = 7;
    fx_order_spec order = {
        .id = {"fence-e3-r51-101"},
        .kind = FX_ORDER_FENCE,
        .host = fx_name_of("usw2-db"),
        .epoch = {3},
        .orderly = true,
    };
    FX_BUF_AUTO bytes;
    fx_buf_init(&bytes, FX_ORDER_MAX_BYTES);
    assert_int_equal(
        fx_record_encode_order(&order, "quickstart", (fx_wall){5}, &bytes, &err), FX_OK);
    memcpy(step->order.bytes, bytes.data, bytes.size_bytes);
    step->order.size_bytes = bytes.size_bytes;
    step->order.id = order.id;
    step->order.endorsement_count = 1;
    step->order.endorsements[0].coordinator = fx_name_of("use1-co");
    FX_BUF_AUTO record;
    fx_buf_init(&record, 65536);
    assert_int_equal(fx_record_encode_plan(plan, &record, &err), FX_OK);
    assert_int_equal(fx_record_decode_plan(fx_buf_bytes(&record), back, &err), FX_OK);
    assert_memory_equal(plan, back, sizeof *plan);
    free(back);
    free(plan);
}

static void
what_is_no_record_is_refused(void **state)
{
    (void)state;
    fx_err err = {0};
    fx_service service = {0};
    fx_lease lease = {0};
    fx_bytes garbage = {.data = "\xff\xff\xff", .size_bytes = 3};
    assert_int_equal(fx_record_decode_service(garbage, &service, &err), FX_ERR_DAMAGED);
    assert_int_equal(fx_record_decode_lease(garbage, &lease, &err), FX_ERR_DAMAGED);
    fx_leader leader = {.term = 1, .coordinator = fx_name_of("a")};
    FX_BUF_AUTO record;
    fx_buf_init(&record, 4096);
    assert_int_equal(fx_record_encode_leader(&leader, &record, &err), FX_OK);
    fx_leader back = {0};
    assert_int_equal(fx_record_decode_leader(fx_buf_bytes(&record), &back, &err), FX_OK);
    assert_string_equal(back.coordinator.text, "a");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_plan_with_a_signed_order_comes_back_as_it_was),
        cmocka_unit_test(what_is_no_record_is_refused),
    };
    return cmocka_run_group_tests_name("record", tests, NULL, NULL);
}
