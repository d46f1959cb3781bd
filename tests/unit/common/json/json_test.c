#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/json/json.h"

static fx_json *
parse(const char *text)
{
    fx_err err = {0};
    fx_json *json = NULL;
    assert_int_equal(fx_json_parse((fx_bytes){text, strlen(text)}, &json, &err), FX_OK);
    return json;
}

static void
prints_what_was_set(void **state)
{
    (void)state;
    fx_err err = {0};
    FX_AUTO(fx_json) json = fx_json_object();
    fx_json_set_text(json, "name", "a\"b");
    fx_json_set_int(json, "count", INT64_MAX);
    fx_json *list = fx_json_array();
    fx_json_append(list, fx_json_bool_new(true));
    fx_json_append(list, fx_json_null_new());
    fx_json_set(json, "list", list);
    FX_BUF_AUTO out;
    fx_buf_init(&out, 1000);
    assert_int_equal(fx_json_print(json, 0, &out, &err), FX_OK);
    assert_string_equal(
        fx_buf_text(&out),
        "{\"name\":\"a\\\"b\",\"count\":9223372036854775807,\"list\":[true,null]}");
    fx_buf_clear(&out);
    out.max_bytes = 5;
    assert_int_equal(fx_json_print(json, 0, &out, &err), FX_ERR_LIMIT);
}

/* etcd writes 64-bit numbers as text. */
static void
numbers_may_stand_as_text(void **state)
{
    (void)state;
    FX_AUTO(fx_json) json = parse("{\"a\":\"123\",\"b\":45,\"c\":\"12x\",\"d\":true,\"e\":\"-7\"}");
    assert_int_equal(fx_json_as_int(fx_json_get(json, "a"), 0), 123);
    assert_int_equal(fx_json_as_int(fx_json_get(json, "b"), 0), 45);
    assert_int_equal(fx_json_as_int(fx_json_get(json, "c"), -1), -1);
    assert_int_equal(fx_json_as_int(fx_json_get(json, "d"), -1), -1);
    assert_int_equal(fx_json_as_int(fx_json_get(json, "e"), 0), -7);
}

static void
absent_members_give_the_fallback(void **state)
{
    (void)state;
    FX_AUTO(fx_json) json = parse("{\"a\":[1]}");
    assert_null(fx_json_get(json, "b"));
    assert_string_equal(fx_json_as_text(fx_json_get(fx_json_get(json, "b"), "c"), "none"), "none");
    assert_int_equal(fx_json_count(fx_json_get(json, "a")), 1);
    assert_int_equal(fx_json_count(NULL), 0);
    assert_null(fx_json_at(fx_json_get(json, "a"), 1));
    assert_true(fx_json_as_bool(NULL, true));
}

static void
text_that_is_not_utf8_is_repaired(void **state)
{
    (void)state;
    FX_AUTO(fx_json) json = fx_json_text_new("a\xff\xc3\xa4\xed\xa0\x80");
    assert_string_equal(
        fx_json_as_text(json, ""), "a\xef\xbf\xbd\xc3\xa4\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");
}

static void
bad_text_is_refused_with_its_place(void **state)
{
    (void)state;
    fx_err err = {0};
    fx_json *json = NULL;
    assert_int_equal(fx_json_parse((fx_bytes){"{\"a\":1,\n}", 9}, &json, &err), FX_ERR_INVALID);
    assert_non_null(strstr(err.message, "line 2"));
    assert_int_equal(fx_json_parse((fx_bytes){NULL, 0}, &json, &err), FX_ERR_INVALID);
    static char deep[5000];
    memset(deep, '[', sizeof deep);
    assert_int_equal(fx_json_parse((fx_bytes){deep, sizeof deep}, &json, &err), FX_ERR_INVALID);
    assert_null(json);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prints_what_was_set),
        cmocka_unit_test(numbers_may_stand_as_text),
        cmocka_unit_test(absent_members_give_the_fallback),
        cmocka_unit_test(text_that_is_not_utf8_is_repaired),
        cmocka_unit_test(bad_text_is_refused_with_its_place),
    };
    return cmocka_run_group_tests_name("json", tests, NULL, NULL);
}
