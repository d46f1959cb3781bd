#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/buf.h"

static void
grows_up_to_its_maximum(void **state)
{
    (void)state;
    fx_err err = {0};
    FX_BUF_AUTO buf;
    fx_buf_init(&buf, 300);
    char block[150];
    memset(block, 'x', sizeof block);
    assert_int_equal(fx_buf_append(&buf, block, sizeof block, &err), FX_OK);
    assert_int_equal(fx_buf_append(&buf, block, sizeof block, &err), FX_OK);
    assert_int_equal(fx_buf_append(&buf, "y", 1, &err), FX_ERR_LIMIT);
    assert_int_equal(buf.size_bytes, 300);
    assert_int_equal(strlen(fx_buf_text(&buf)), 300);
}

static void
empty_buffer_is_empty_text(void **state)
{
    (void)state;
    FX_BUF_AUTO buf;
    fx_buf_init(&buf, 10);
    assert_string_equal(fx_buf_text(&buf), "");
}

static void
consume_keeps_the_rest(void **state)
{
    (void)state;
    fx_err err = {0};
    FX_BUF_AUTO buf;
    fx_buf_init(&buf, 100);
    assert_int_equal(fx_buf_append_format(&buf, &err, "%s-%d", "abc", 7), FX_OK);
    fx_buf_consume(&buf, 4);
    assert_string_equal(fx_buf_text(&buf), "7");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(grows_up_to_its_maximum),
        cmocka_unit_test(empty_buffer_is_empty_text),
        cmocka_unit_test(consume_keeps_the_rest),
    };
    return cmocka_run_group_tests_name("buf", tests, NULL, NULL);
}
