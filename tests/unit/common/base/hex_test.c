#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/hex.h"

static void
decodes_what_it_encoded(void **state)
{
    (void)state;
    fx_err err = {0};
    unsigned char bytes[3] = {0};
    char text[7];
    fx_hex_encode((fx_bytes){"\x00\xab\xff", 3}, text);
    assert_string_equal(text, "00abff");
    assert_int_equal(fx_hex_decode("00ABff", bytes, 3, &err), FX_OK);
    assert_memory_equal(bytes, "\x00\xab\xff", 3);
}

static void
refuses_other_lengths_and_characters(void **state)
{
    (void)state;
    fx_err err = {0};
    unsigned char bytes[2] = {0};
    assert_int_equal(fx_hex_decode("00a", bytes, 2, &err), FX_ERR_INVALID);
    assert_int_equal(fx_hex_decode("00ag", bytes, 2, &err), FX_ERR_INVALID);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(decodes_what_it_encoded),
        cmocka_unit_test(refuses_other_lengths_and_characters),
    };
    return cmocka_run_group_tests_name("hex", tests, NULL, NULL);
}
