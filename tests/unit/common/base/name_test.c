#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/name.h"

static void
names_are_checked(void **state)
{
    (void)state;
    fx_err err = {0};
    fx_name name = {0};
    assert_int_equal(fx_name_parse("usw2-db1.example", "host", &name, &err), FX_OK);
    assert_string_equal(name.text, "usw2-db1.example");
    assert_int_equal(fx_name_parse("", "host", &name, &err), FX_ERR_INVALID);
    assert_int_equal(fx_name_parse("../x", "host", &name, &err), FX_ERR_INVALID);
    assert_int_equal(fx_name_parse("a/b", "host", &name, &err), FX_ERR_INVALID);
}

static void
longest_name_fits_and_one_more_does_not(void **state)
{
    (void)state;
    fx_err err = {0};
    fx_name name = {0};
    char text[FX_NAME_MAX_BYTES + 2];
    memset(text, 'a', sizeof text);
    text[FX_NAME_MAX_BYTES] = '\0';
    assert_int_equal(fx_name_parse(text, "host", &name, &err), FX_OK);
    text[FX_NAME_MAX_BYTES] = 'a';
    text[FX_NAME_MAX_BYTES + 1] = '\0';
    assert_int_equal(fx_name_parse(text, "host", &name, &err), FX_ERR_INVALID);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_checked),
        cmocka_unit_test(longest_name_fits_and_one_more_does_not),
    };
    return cmocka_run_group_tests_name("name", tests, NULL, NULL);
}
