#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/file.h"
#include "common/store/remote/credentials.h"

/* NOLINTBEGIN(concurrency-mt-unsafe): one thread */
static void
set_variable(const char *name, const char *value)
{
    assert_int_equal(value == NULL ? unsetenv(name) : setenv(name, value, 1), 0);
}
/* NOLINTEND(concurrency-mt-unsafe) */

static const fx_credential_name names[] = {
    {"TEST_STORE_KEY", "test_store_key", true},
    {"TEST_STORE_SECRET", "test_store_secret", true},
    {"TEST_STORE_TOKEN", "test_store_token", false},
};

static const char content[] = "# a comment\n"
                              "test_store_key = before any section\n"
                              "[default]\n"
                              "test_store_key=K\r\n"
                              "test_store_secret = S = with / signs \n"
                              "\n"
                              "[ other ]\n"
                              "; test_store_key = no\n"
                              "test_store_key = O\n"
                              "test_store_secret =\n"
                              "[unfinished";

static char path[] = "/tmp/fx_credentials_XXXXXX";

static void
assert_found(const char *section, const char *name, const char *expected)
{
    fx_bytes value = {0};
    bool is_found = fx_credentials_find(content, section, name, &value);
    assert_int_equal(is_found, expected != NULL);
    if (expected != NULL) {
        assert_int_equal(value.size_bytes, strlen(expected));
        assert_memory_equal(value.data, expected, value.size_bytes);
    }
}

static void
lines_are_found_in_their_section(void **state)
{
    (void)state;
    assert_found("default", "test_store_key", "K");
    assert_found("default", "test_store_secret", "S = with / signs");
    assert_found("other", "test_store_key", "O");
    assert_found("other", "test_store_secret", NULL);
    assert_found("none", "test_store_key", NULL);
    assert_found("unfinished", "test_store_key", NULL);
}

static void
write_file(mode_t mode)
{
    fx_err err = {0};
    assert_int_equal(
        fx_file_replace(path, (fx_bytes){content, strlen(content)}, mode, &err), FX_OK);
    set_variable("FORTRESS_CREDENTIALS_FILE", path);
}

static void
the_environment_comes_before_the_file(void **state)
{
    (void)state;
    fx_err err = {0};
    fx_credentials found = {0};
    write_file(0600);
    assert_int_equal(fx_credentials_load(names, 3, &found, &err), FX_OK);
    assert_string_equal((char *)found.values[0]->data, "K");
    assert_null(found.values[2]);
    assert_string_equal(found.origin, path);
    fx_credentials_clear(&found);

    set_variable("TEST_STORE_KEY", "E");
    assert_int_equal(fx_credentials_load(names, 3, &found, &err), FX_ERR_NOT_FOUND);
    assert_non_null(strstr(err.message, "test_store_secret"));
    set_variable("TEST_STORE_SECRET", "F");
    assert_int_equal(fx_credentials_load(names, 3, &found, &err), FX_OK);
    assert_string_equal((char *)found.values[0]->data, "E");
    fx_credentials_clear(&found);
    set_variable("TEST_STORE_KEY", NULL);
    set_variable("TEST_STORE_SECRET", NULL);
}

static void
a_profile_names_the_section(void **state)
{
    (void)state;
    fx_err err = {0};
    fx_credentials found = {0};
    write_file(0600);
    set_variable("AWS_PROFILE", "other");
    assert_int_equal(fx_credentials_load(names, 1, &found, &err), FX_OK);
    assert_string_equal((char *)found.values[0]->data, "O");
    fx_credentials_clear(&found);
    set_variable("AWS_PROFILE", NULL);
}

static void
a_file_that_others_read_is_refused(void **state)
{
    (void)state;
    fx_err err = {0};
    fx_credentials found = {0};
    write_file(0640);
    assert_int_equal(fx_credentials_load(names, 3, &found, &err), FX_ERR_DENIED);
    assert_null(strstr(err.message, "signs"));
    set_variable("FORTRESS_CREDENTIALS_FILE", "/none/such");
    assert_int_equal(fx_credentials_load(names, 3, &found, &err), FX_ERR_NOT_FOUND);
}

static int
make_file(void **state)
{
    (void)state;
    int fd = mkstemp(path);
    return fd < 0 ? -1 : close(fd);
}

static int
remove_file(void **state)
{
    (void)state;
    return unlink(path);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_are_found_in_their_section),
        cmocka_unit_test(the_environment_comes_before_the_file),
        cmocka_unit_test(a_profile_names_the_section),
        cmocka_unit_test(a_file_that_others_read_is_refused),
    };
    return cmocka_run_group_tests_name("credentials", tests, make_file, remove_file);
}
