#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "agent/link/journal.h"
#include "common/base/file.h"
#include "tests/support/scratch.h"

static fx_journal *
open_journal(void)
{
    fx_err err = {0};
    fx_journal *journal = NULL;
    if (fx_journal_open(test_scratch_path, &journal, &err) != FX_OK) {
        fail_msg("%s", err.message);
    }
    return journal;
}

static void
put(fx_journal *journal, const char *id, Fortress__Link__OrderState order_state)
{
    fx_order_record record;
    fortress__link__order_result__init(&record);
    record.order = fx_link_text(id);
    record.state = order_state;
    record.detail = fx_link_text("because");
    fx_err err = {0};
    if (fx_journal_put(journal, &record, &err) != FX_OK) {
        fail_msg("%s", err.message);
    }
}

/* What was put is there in the next life; what ran when the agent ended is unknown. */
static void
survives_a_restart(void **state)
{
    (void)state;
    fx_journal *journal = open_journal();
    assert_null(fx_journal_find(journal, "a"));
    put(journal, "a", FORTRESS__LINK__ORDER_STATE__ORDER_STATE_DONE);
    put(journal, "b", FORTRESS__LINK__ORDER_STATE__ORDER_STATE_RUNNING);
    fx_journal_free(journal);

    FX_AUTO(fx_journal) next = open_journal();
    const fx_order_record *record = fx_journal_find(next, "a");
    assert_non_null(record);
    assert_int_equal(record->state, FORTRESS__LINK__ORDER_STATE__ORDER_STATE_DONE);
    assert_string_equal(record->detail, "because");
    record = fx_journal_find(next, "b");
    assert_non_null(record);
    assert_int_equal(record->state, FORTRESS__LINK__ORDER_STATE__ORDER_STATE_UNKNOWN);
}

/* A result stays to be reported until it is acknowledged, across a restart too. */
static void
reports_until_acknowledged(void **state)
{
    (void)state;
    const fx_order_record *pending[4];
    fx_err err;
    fx_journal *journal = open_journal();
    put(journal, "a", FORTRESS__LINK__ORDER_STATE__ORDER_STATE_DONE);
    put(journal, "b", FORTRESS__LINK__ORDER_STATE__ORDER_STATE_RUNNING);
    assert_int_equal(fx_journal_pending(journal, pending, 4), 2);
    assert_int_equal(fx_journal_pending(journal, pending, 1), 1);
    assert_string_equal(pending[0]->order, "a");
    assert_int_equal(fx_journal_acknowledge(journal, "a", &err), FX_OK);
    assert_int_equal(fx_journal_acknowledge(journal, "never heard", &err), FX_OK);
    fx_journal_free(journal);

    FX_AUTO(fx_journal) next = open_journal();
    assert_int_equal(fx_journal_pending(next, pending, 4), 1);
    assert_string_equal(pending[0]->order, "b");
    put(next, "b", FORTRESS__LINK__ORDER_STATE__ORDER_STATE_DONE);
    assert_int_equal(fx_journal_pending(next, pending, 4), 1);
}

/* The newest 256: the oldest acknowledged gives way, and one that is not never does. */
static void
is_bounded(void **state)
{
    (void)state;
    FX_AUTO(fx_journal) journal = open_journal();
    char id[16];
    for (int i = 0; i < FX_JOURNAL_MAX; i++) {
        (void)snprintf(id, sizeof(id), "o%d", i);
        put(journal, id, FORTRESS__LINK__ORDER_STATE__ORDER_STATE_DONE);
    }
    fx_order_record more;
    fortress__link__order_result__init(&more);
    more.order = fx_link_text("more");
    fx_err err;
    assert_int_equal(fx_journal_put(journal, &more, &err), FX_ERR_LIMIT);
    assert_null(fx_journal_find(journal, "more"));
    assert_int_equal(fx_journal_acknowledge(journal, "o7", &err), FX_OK);
    assert_int_equal(fx_journal_put(journal, &more, &err), FX_OK);
    assert_null(fx_journal_find(journal, "o7"));
    assert_non_null(fx_journal_find(journal, "o0"));
    assert_non_null(fx_journal_find(journal, "more"));
}

/* Any changed byte is noticed: acting without the journal could do a thing twice. */
static void
damage_is_noticed(void **state)
{
    (void)state;
    fx_journal *journal = open_journal();
    put(journal, "a", FORTRESS__LINK__ORDER_STATE__ORDER_STATE_DONE);
    fx_journal_free(journal);
    FX_BUF_AUTO content;
    fx_buf_init(&content, 65536);
    fx_err err;
    assert_int_equal(fx_file_read(test_scratch_path, &content, &err), FX_OK);
    fx_journal *broken = NULL;
    for (size_t i = 0; i < content.size_bytes; i++) {
        content.data[i] ^= 1U;
        assert_int_equal(
            fx_file_replace(test_scratch_path, fx_buf_bytes(&content), 0600, &err), FX_OK);
        assert_int_equal(fx_journal_open(test_scratch_path, &broken, &err), FX_ERR_DAMAGED);
        content.data[i] ^= 1U;
    }
    fx_bytes cut = {.data = content.data, .size_bytes = content.size_bytes - 1};
    assert_int_equal(fx_file_replace(test_scratch_path, cut, 0600, &err), FX_OK);
    assert_int_equal(fx_journal_open(test_scratch_path, &broken, &err), FX_ERR_DAMAGED);
}

/* If the disk refuses, the order is not known, so it must not be carried out. */
static void
a_failed_write_changes_nothing(void **state)
{
    (void)state;
    fx_err err;
    FX_AUTO(fx_journal) journal = NULL;
    assert_int_equal(fx_journal_open("/nonexistent/folder/orders", &journal, &err), FX_OK);
    fx_order_record record;
    fortress__link__order_result__init(&record);
    record.order = fx_link_text("a");
    assert_int_not_equal(fx_journal_put(journal, &record, &err), FX_OK);
    assert_null(fx_journal_find(journal, "a"));
    record.order = fx_link_text("");
    assert_int_equal(fx_journal_put(journal, &record, &err), FX_ERR_INVALID);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(survives_a_restart, test_scratch_begin, test_scratch_end),
        cmocka_unit_test_setup_teardown(
            reports_until_acknowledged, test_scratch_begin, test_scratch_end),
        cmocka_unit_test_setup_teardown(is_bounded, test_scratch_begin, test_scratch_end),
        cmocka_unit_test_setup_teardown(damage_is_noticed, test_scratch_begin, test_scratch_end),
        cmocka_unit_test(a_failed_write_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
