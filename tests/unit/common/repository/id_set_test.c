#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/repository/id_set.h"

static fx_chunk_id
id_of(uint64_t start, uint64_t end)
{
    fx_chunk_id id = {{0}};
    memcpy(id.bytes, &start, sizeof start);
    memcpy(id.bytes + FX_ID_BYTES - sizeof end, &end, sizeof end);
    return id;
}

static void
holds_what_was_added_and_nothing_else(void **state)
{
    (void)state;
    enum { COUNT = 5000 };
    fx_id_set set = {0};
    fx_chunk_id zero = id_of(0, 0);
    assert_false(fx_id_set_has(&set, &zero));
    for (uint64_t i = 0; i < COUNT; i++) {
        fx_chunk_id id = id_of(i * 7919, i);
        assert_true(fx_id_set_add(&set, &id));
        assert_false(fx_id_set_add(&set, &id));
    }
    assert_int_equal(set.count, COUNT);
    for (uint64_t i = 0; i < COUNT; i++) {
        fx_chunk_id there = id_of(i * 7919, i);
        fx_chunk_id other = id_of(i * 7919, i + 1);
        assert_true(fx_id_set_has(&set, &there));
        assert_false(fx_id_set_has(&set, &other));
    }
    fx_id_set_free(&set);
    assert_false(fx_id_set_has(&set, &zero));
}

static void
ids_that_share_a_slot_are_told_apart(void **state)
{
    (void)state;
    fx_id_set set = {0};
    for (uint64_t i = 0; i < 200; i++) {
        fx_chunk_id id = id_of(1023, i); /* the last slot: the rest wraps around */
        assert_true(fx_id_set_add(&set, &id));
    }
    for (uint64_t i = 0; i < 400; i++) {
        fx_chunk_id id = id_of(1023, i);
        assert_int_equal(fx_id_set_has(&set, &id), i < 200);
    }
    fx_id_set_free(&set);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(holds_what_was_added_and_nothing_else),
        cmocka_unit_test(ids_that_share_a_slot_are_told_apart),
    };
    return cmocka_run_group_tests_name("id_set", tests, NULL, NULL);
}
