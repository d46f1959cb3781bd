#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/pg/pg.h"

static void
options_replace_those_of_the_string(void **state)
{
    (void)state;
    fx_err err = {0};
    const fx_pg_option options[] = {
        {"host", "127.0.2.1"}, {"port", "5433"}, {"password", "it's \\ me"}, {"user", NULL}};
    FX_BUF_AUTO out = {0};
    fx_buf_init(&out, 1024);
    assert_int_equal(
        fx_pg_conninfo_with("host=a port=1 user=x dbname='my db'", options, 4, &out, &err), FX_OK);
    assert_non_null(strstr(fx_buf_text(&out), "host='127.0.2.1'"));
    assert_non_null(strstr(fx_buf_text(&out), "port='5433'"));
    assert_non_null(strstr(fx_buf_text(&out), "dbname='my db'"));
    assert_non_null(strstr(fx_buf_text(&out), "password='it\\'s \\\\ me'"));
    assert_null(strstr(fx_buf_text(&out), "user="));
}

static void
addresses_become_strings(void **state)
{
    (void)state;
    fx_err err = {0};
    FX_BUF_AUTO out = {0};
    fx_buf_init(&out, 1024);
    assert_int_equal(
        fx_pg_conninfo_with("postgresql://me@db.example:5499/app", NULL, 0, &out, &err), FX_OK);
    assert_non_null(strstr(fx_buf_text(&out), "host='db.example'"));
    assert_non_null(strstr(fx_buf_text(&out), "port='5499'"));
    assert_non_null(strstr(fx_buf_text(&out), "dbname='app'"));
}

static void
broken_strings_are_refused_with_the_reason(void **state)
{
    (void)state;
    fx_err err = {0};
    fx_pg *conn = NULL;
    FX_BUF_AUTO out = {0};
    fx_buf_init(&out, 1024);
    assert_int_equal(fx_pg_conninfo_with("hosst=a", NULL, 0, &out, &err), FX_ERR_INVALID);
    assert_non_null(strstr(err.message, "hosst"));
    assert_int_equal(
        fx_pg_open("host='a", (fx_mono){.ns = INT64_MAX}, &conn, &err), FX_ERR_INVALID);
    assert_null(conn);
}

static void
states_of_the_server_become_codes(void **state)
{
    (void)state;
    assert_int_equal(fx_pg_code_of("28P01"), FX_ERR_DENIED);
    assert_int_equal(fx_pg_code_of("57P03"), FX_ERR_UNREACHABLE);
    assert_int_equal(fx_pg_code_of("57014"), FX_ERR_CANCELLED);
    assert_int_equal(fx_pg_code_of("53300"), FX_ERR_BUSY);
    assert_int_equal(fx_pg_code_of("53100"), FX_ERR_NO_SPACE);
    assert_int_equal(fx_pg_code_of("58P01"), FX_ERR_NOT_FOUND);
    assert_int_equal(fx_pg_code_of("42P01"), FX_ERR_FAILED);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_replace_those_of_the_string),
        cmocka_unit_test(addresses_become_strings),
        cmocka_unit_test(broken_strings_are_refused_with_the_reason),
        cmocka_unit_test(states_of_the_server_become_codes),
    };
    return cmocka_run_group_tests_name("pg", tests, NULL, NULL);
}
