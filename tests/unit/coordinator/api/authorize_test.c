#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/hex.h"
#include "coordinator/api/authorize.h"

/* SHA-256 of "test". source: FIPS 180-4 */
static const char digits[] = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

static void
only_the_right_token_is_somebody(void **state)
{
    (void)state;
    fx_err err;
    fx_token token = {.name = fx_name_of("alice"), .role = FX_TOKEN_OPERATOR};
    assert_int_equal(fx_hex_decode(digits, token.hash, sizeof token.hash, &err), FX_OK);
    fx_tokens tokens = {.items = &token, .count = 1};
    assert_ptr_equal(fx_authorize(&tokens, "Bearer test"), &token);
    assert_ptr_equal(fx_authorize(&tokens, "bearer  test"), &token);
    static const char *const wrong[] = {
        "", "test", "Bearer", "Bearer ", "Bearer Test", "Bearer test ", "Basic dGVzdA=="};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        assert_null(fx_authorize(&tokens, wrong[i]));
    }
    assert_null(fx_authorize(&tokens, NULL));
}

static void
overlong_token_is_nobody(void **state)
{
    (void)state;
    char header[600] = "Bearer ";
    memset(header + 7, 'a', sizeof header - 8);
    header[sizeof header - 1] = '\0';
    fx_tokens none = {.items = NULL};
    assert_null(fx_authorize(&none, header));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_the_right_token_is_somebody),
        cmocka_unit_test(overlong_token_is_nobody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
