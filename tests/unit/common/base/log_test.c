#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/clock.h"
#include "common/base/log.h"

static void
read_line(int fd, char *out_text, size_t room_bytes)
{
    ssize_t got_bytes = read(fd, out_text, room_bytes - 1);
    assert_true(got_bytes > 0);
    out_text[got_bytes] = '\0';
}

static void
fields_are_quoted_and_cannot_forge_a_line(void **state)
{
    (void)state;
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    fx_log log = {.fd = ends[1], .min_level = FX_INFO};
    FX_LOG(&log, DEBUG, "not.shown");
    FX_LOG(
        &log,
        INFO,
        "wal.archived",
        FX_STR("segment", "a\"b\nlevel=error"),
        FX_DUR("took_ms", FX_DUR_MS(84)),
        FX_SECRET("token"));
    char text[512];
    read_line(ends[0], text, sizeof text);
    assert_non_null(strstr(
        text,
        "level=info event=wal.archived segment=\"a\\\"b\\nlevel=error\" took_ms=84 token=***\n"));
    assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
    (void)close(ends[0]);
    (void)close(ends[1]);
}

static void
long_lines_are_cut(void **state)
{
    (void)state;
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    fx_log log = {.fd = ends[1], .min_level = FX_INFO};
    static char huge[10000];
    memset(huge, 'x', sizeof huge - 1);
    FX_LOG(&log, WARN, "line.cut", FX_STR("text", huge));
    static char text[10000];
    read_line(ends[0], text, sizeof text);
    assert_true(strlen(text) <= FX_LOG_LINE_MAX_BYTES);
    assert_int_equal(text[strlen(text) - 1], '\n');
    (void)close(ends[0]);
    (void)close(ends[1]);
}

static void
wall_time_is_read_and_written(void **state)
{
    (void)state;
    fx_err err = {0};
    fx_wall when = {0};
    char text[FX_WALL_TEXT_BYTES];
    assert_int_equal(fx_wall_parse("2026-11-23T01:02:03.5Z", &when, &err), FX_OK);
    fx_wall_format(when, text);
    assert_string_equal(text, "2026-11-23T01:02:03.500Z");
    assert_int_equal(fx_wall_parse("2026-11-23 03:02:03+02:00", &when, &err), FX_OK);
    fx_wall_format(when, text);
    assert_string_equal(text, "2026-11-23T01:02:03.000Z");
    assert_int_equal(fx_wall_parse("yesterday", &when, &err), FX_ERR_INVALID);
    assert_int_equal(fx_wall_parse("2026-11-23T01:02:03Zx", &when, &err), FX_ERR_INVALID);
    assert_int_equal(fx_wall_parse("9999-11-23T01:02:03Z", &when, &err), FX_ERR_INVALID);
    fx_wall_format((fx_wall){.ns = -1}, text);
    assert_string_equal(text, "1969-12-31T23:59:59.999Z");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fields_are_quoted_and_cannot_forge_a_line),
        cmocka_unit_test(long_lines_are_cut),
        cmocka_unit_test(wall_time_is_read_and_written),
    };
    return cmocka_run_group_tests_name("log", tests, NULL, NULL);
}
