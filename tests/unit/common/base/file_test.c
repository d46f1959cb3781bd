#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/file.h"

static char folder[] = "/tmp/fx_file_test_XXXXXX";

static int
make_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) == NULL ? -1 : 0;
}

static int
remove_folder(void **state)
{
    (void)state;
    return rmdir(folder);
}

static void
replaced_file_has_new_content_and_leaves_nothing_else(void **state)
{
    (void)state;
    fx_err err = {0};
    char path[64];
    (void)snprintf(path, sizeof path, "%s/a", folder);
    assert_int_equal(fx_file_replace(path, (fx_bytes){"one", 3}, 0600, &err), FX_OK);
    assert_int_equal(fx_file_replace(path, (fx_bytes){"two", 3}, 0600, &err), FX_OK);
    FX_BUF_AUTO content;
    fx_buf_init(&content, 3);
    assert_int_equal(fx_file_read(path, &content, &err), FX_OK);
    assert_string_equal(fx_buf_text(&content), "two");
    assert_int_equal(unlink(path), 0); /* remove_folder fails if a temporary file is left */
}

static void
absent_file_is_not_found(void **state)
{
    (void)state;
    fx_err err = {0};
    FX_BUF_AUTO content;
    fx_buf_init(&content, 3);
    assert_int_equal(fx_file_read("/nonexistent/x", &content, &err), FX_ERR_NOT_FOUND);
    assert_int_equal(err.outcome, FX_CLASS_PERMANENT);
}

static void
longer_file_than_allowed_is_refused(void **state)
{
    (void)state;
    fx_err err = {0};
    char path[64];
    (void)snprintf(path, sizeof path, "%s/b", folder);
    assert_int_equal(fx_file_replace(path, (fx_bytes){"four", 4}, 0600, &err), FX_OK);
    FX_BUF_AUTO content;
    fx_buf_init(&content, 3);
    assert_int_equal(fx_file_read(path, &content, &err), FX_ERR_LIMIT);
    assert_int_equal(unlink(path), 0);
}

static void
folders_are_made_with_their_parents(void **state)
{
    (void)state;
    fx_err err = {0};
    char path[64];
    (void)snprintf(path, sizeof path, "%s/c/d", folder);
    assert_int_equal(fx_file_make_folder(path, 0700, &err), FX_OK);
    assert_int_equal(fx_file_make_folder(path, 0700, &err), FX_OK);
    assert_int_equal(rmdir(path), 0);
    (void)snprintf(path, sizeof path, "%s/c", folder);
    assert_int_equal(rmdir(path), 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(replaced_file_has_new_content_and_leaves_nothing_else),
        cmocka_unit_test(absent_file_is_not_found),
        cmocka_unit_test(longer_file_than_allowed_is_refused),
        cmocka_unit_test(folders_are_made_with_their_parents),
    };
    return cmocka_run_group_tests_name("file", tests, make_folder, remove_folder);
}
