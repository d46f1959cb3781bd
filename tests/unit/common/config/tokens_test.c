#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/file.h"
#include "common/config/tokens.h"

#define DIGITS "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"

static fx_code
load(const char *content, fx_tokens *out_tokens, fx_err *err)
{
    char path[] = "/tmp/fx-tokens-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    (void)close(fd);
    fx_err failure;
    assert_int_equal(
        fx_file_replace(path, (fx_bytes){content, strlen(content)}, 0600, &failure), FX_OK);
    fx_code code = fx_tokens_load(path, out_tokens, err);
    (void)unlink(path);
    return code;
}

static void
list_is_read(void **state)
{
    (void)state;
    fx_err err;
    fx_tokens tokens;
    assert_int_equal(
        load(
            "- {name: alice, role: operator, sha256: " DIGITS "}\n"
            "- {name: prometheus, role: viewer, sha256: " DIGITS "}\n",
            &tokens,
            &err),
        FX_OK);
    assert_int_equal(tokens.count, 2);
    assert_string_equal(tokens.items[0].name.text, "alice");
    assert_int_equal(tokens.items[0].role, FX_TOKEN_OPERATOR);
    assert_int_equal(tokens.items[0].hash[0], 0x9f);
    assert_int_equal(tokens.items[1].role, FX_TOKEN_VIEWER);
    fx_tokens_free(&tokens);
}

static void
wrong_entries_are_refused(void **state)
{
    (void)state;
    static const char *const contents[] = {
        "",
        "alice\n",
        "- {name: alice, role: operator}\n",
        "- {name: alice, role: admin, sha256: " DIGITS "}\n",
        "- {name: alice, role: operator, sha256: abcd}\n",
        "- {name: 'a b', role: operator, sha256: " DIGITS "}\n",
        "- {name: alice, role: operator, sha256: zz86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd"
        "15d6c15b0f00a08}\n",
        "- {name: alice, role: operator, sha256: " DIGITS ", token: secret}\n",
    };
    for (size_t i = 0; i < sizeof contents / sizeof contents[0]; i++) {
        fx_err err;
        fx_tokens tokens;
        assert_int_equal(load(contents[i], &tokens, &err), FX_ERR_INVALID);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(list_is_read),
        cmocka_unit_test(wrong_entries_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
