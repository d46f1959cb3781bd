#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/pg/wal_name.h"

enum { MIB16 = 16 * 1024 * 1024 };

static void
positions_are_read_and_written(void **state)
{
    (void)state;
    fx_err err = {0};
    fx_lsn lsn = {0};
    char text[FX_PG_LSN_TEXT_BYTES] = {0};
    assert_int_equal(fx_pg_lsn_parse("16/B374D848", &lsn, &err), FX_OK);
    assert_true(lsn.value == UINT64_C(0x16B374D848));
    fx_pg_lsn_format(lsn, text);
    assert_string_equal(text, "16/B374D848");
    assert_int_equal(fx_pg_lsn_parse("FFFFFFFF/FFFFFFFF", &lsn, &err), FX_OK);
    assert_true(lsn.value == UINT64_MAX);
    fx_pg_lsn_format(lsn, text);
    assert_string_equal(text, "FFFFFFFF/FFFFFFFF");
    assert_int_equal(fx_pg_lsn_parse("0/0", &lsn, &err), FX_OK);
    assert_true(lsn.value == 0);
}

static void
other_texts_are_no_positions(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "", "/", "0/", "/0", "123", "0/0 ", " 0/0", "G/0", "0/00000000A", "100000000/0", "0/0/0"};
    fx_err err = {0};
    fx_lsn lsn = {.value = 7};
    for (size_t at = 0; at < sizeof bad / sizeof bad[0]; at++) {
        assert_int_equal(fx_pg_lsn_parse(bad[at], &lsn, &err), FX_ERR_INVALID);
    }
    assert_true(lsn.value == 7);
}

static void
segments_are_named_as_the_server_names_them(void **state)
{
    (void)state;
    fx_err err = {0};
    char name[FX_PG_SEGMENT_NAME_BYTES] = {0};
    const fx_lsn lsn = {.value = UINT64_C(0x1FF000000)};
    assert_true(fx_pg_segment_of(lsn, MIB16) == 0x1FF);
    fx_pg_segment_name(3, 0x1FF, MIB16, name);
    assert_string_equal(name, "0000000300000001000000FF");
    uint32_t timeline = 0;
    uint64_t segment = 0;
    assert_int_equal(fx_pg_segment_parse(name, MIB16, &timeline, &segment, &err), FX_OK);
    assert_int_equal(timeline, 3);
    assert_true(segment == 0x1FF);
    fx_pg_segment_name(1, 0x200, MIB16, name);
    assert_string_equal(name, "000000010000000200000000");
    fx_pg_segment_name(1, 4096, 1024 * 1024, name);
    assert_string_equal(name, "000000010000000100000000");
}

static void
other_names_are_no_segments(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "00000001000000000000000",
        "0000000100000000000000010",
        "000000000000000000000001", /* timeline 0 */
        "000000010000000000000100", /* no such segment of 16 MiB */
        "00000001000000000000000a", /* lower case */
        "000000010000000000000001.partial",
        "00000002.history"};
    fx_err err = {0};
    uint32_t timeline = 0;
    uint64_t segment = 0;
    for (size_t at = 0; at < sizeof bad / sizeof bad[0]; at++) {
        assert_int_equal(
            fx_pg_segment_parse(bad[at], MIB16, &timeline, &segment, &err), FX_ERR_INVALID);
    }
}

static void
histories_are_named_by_their_timeline(void **state)
{
    (void)state;
    fx_err err = {0};
    char name[FX_PG_HISTORY_NAME_BYTES] = {0};
    uint32_t timeline = 0;
    fx_pg_history_name(0x1A, name);
    assert_string_equal(name, "0000001A.history");
    assert_int_equal(fx_pg_history_parse(name, &timeline, &err), FX_OK);
    assert_int_equal(timeline, 0x1A);
    assert_int_equal(fx_pg_history_parse("0000001A.histori", &timeline, &err), FX_ERR_INVALID);
    assert_int_equal(fx_pg_history_parse("00000000.history", &timeline, &err), FX_ERR_INVALID);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(positions_are_read_and_written),
        cmocka_unit_test(other_texts_are_no_positions),
        cmocka_unit_test(segments_are_named_as_the_server_names_them),
        cmocka_unit_test(other_names_are_no_segments),
        cmocka_unit_test(histories_are_named_by_their_timeline),
    };
    return cmocka_run_group_tests_name("wal_name", tests, NULL, NULL);
}
