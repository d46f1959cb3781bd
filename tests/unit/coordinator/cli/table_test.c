#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "coordinator/cli/show.h"
#include "coordinator/cli/table.h"

static void
columns_are_aligned(void **state)
{
    (void)state;
    static const char *const headings[] = {"HOST", ">LAG", "NOTE", NULL};
    fx_err err;
    FX_BUF_AUTO out;
    fx_buf_init(&out, 4096);
    FX_AUTO(fx_table) table = fx_table_new(headings);
    fx_table_add(table, "a");
    fx_table_add(table, "1.0 s");
    fx_table_add(table, "x");
    fx_table_end_row(table);
    fx_table_add(table, "zürich-1");
    fx_table_add(table, "");
    fx_table_add(table, "bad\033[2J");
    fx_table_end_row(table);
    assert_int_equal(fx_table_print(table, 2, &out, &err), FX_OK);
    assert_string_equal(
        fx_buf_text(&out),
        "  HOST        LAG  NOTE\n"
        "  a         1.0 s  x\n"
        "  zürich-1      -  bad?[2J\n");
}

static void
full_buffer_is_a_limit(void **state)
{
    (void)state;
    static const char *const headings[] = {"HOST", NULL};
    fx_err err;
    FX_BUF_AUTO out;
    fx_buf_init(&out, 4);
    FX_AUTO(fx_table) table = fx_table_new(headings);
    assert_int_equal(fx_table_print(table, 2, &out, &err), FX_ERR_LIMIT);
}

static void
durations_are_short(void **state)
{
    (void)state;
    static const struct {
        int64_t ms;
        const char *text;
    } cases[] = {
        {0, "0.0 s"},
        {450, "0.4 s"},
        {9999, "9.9 s"},
        {10000, "10 s"},
        {119999, "119 s"},
        {120000, "2 min"},
        {7199999, "119 min"},
        {7200000, "2 h 0 min"},
        {172799000, "47 h 59 min"},
        {172800000, "2 d"},
        {-1500, "-1.5 s"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[FX_SHORT_TEXT_BYTES];
        fx_short_duration(FX_DUR_MS(cases[i].ms), text);
        assert_string_equal(text, cases[i].text);
    }
}

static void
sizes_are_short(void **state)
{
    (void)state;
    static const struct {
        uint64_t size_bytes;
        const char *text;
    } cases[] = {
        {0, "0 B"},
        {1023, "1023 B"},
        {1024, "1.0 KiB"},
        {1536, "1.5 KiB"},
        {10240, "10 KiB"},
        {UINT64_MAX, "15 EiB"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[FX_SHORT_TEXT_BYTES];
        fx_short_size(cases[i].size_bytes, text);
        assert_string_equal(text, cases[i].text);
    }
}

/* An answer of another version, or of something else, must not stop the page. */
static void
pages_take_any_answer(void **state)
{
    (void)state;
    static const char *const answers[] = {
        "{}",
        "[]",
        "7",
        "{\"services\": [{\"members\": [{}]}], \"plans\": [{\"steps\": [{}, 7]}], \"hosts\": [{}],"
        " \"snapshots\": [{}], \"decisions\": [{\"evidence\": [{}]}], \"problems\": [{}],"
        " \"coordinators\": [null], \"backups\": [{}], \"repositories\": [{}]}",
    };
    static fx_code (*const pages[])(const fx_json *, fx_wall, fx_buf *, fx_err *) = {
        fx_show_status,
        fx_show_services,
        fx_show_hosts,
        fx_show_snapshots,
        fx_show_plans,
        fx_show_decisions,
    };
    for (size_t i = 0; i < sizeof answers / sizeof answers[0]; i++) {
        fx_err err;
        FX_AUTO(fx_json) answer = NULL;
        assert_int_equal(
            fx_json_parse((fx_bytes){answers[i], strlen(answers[i])}, &answer, &err), FX_OK);
        for (size_t j = 0; j < sizeof pages / sizeof pages[0]; j++) {
            FX_BUF_AUTO out;
            fx_buf_init(&out, 65536);
            assert_int_equal(pages[j](answer, (fx_wall){.ns = 1}, &out, &err), FX_OK);
        }
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(columns_are_aligned),
        cmocka_unit_test(full_buffer_is_a_limit),
        cmocka_unit_test(durations_are_short),
        cmocka_unit_test(sizes_are_short),
        cmocka_unit_test(pages_take_any_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
