#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/file.h"
#include "common/httpd/httpd.h"

typedef struct files {
    char folder[64];
    char certificate[96];
    char key[96];
} files;

static void
never(void *ctx, const fx_httpd_request *request, fx_httpd_response *response)
{
    (void)ctx;
    (void)request;
    (void)response;
    fail();
}

static int
make_files(void **state)
{
    static files made;
    static const char text[] = "this is no certificate";
    fx_err err;
    (void)snprintf(made.folder, sizeof made.folder, "/tmp/fx-httpd-XXXXXX");
    assert_non_null(mkdtemp(made.folder));
    (void)snprintf(made.certificate, sizeof made.certificate, "%s/c.pem", made.folder);
    (void)snprintf(made.key, sizeof made.key, "%s/c.key", made.folder);
    assert_int_equal(
        fx_file_replace(made.certificate, (fx_bytes){text, sizeof text - 1}, 0600, &err), FX_OK);
    assert_int_equal(
        fx_file_replace(made.key, (fx_bytes){text, sizeof text - 1}, 0600, &err), FX_OK);
    *state = &made;
    return 0;
}

static int
remove_files(void **state)
{
    files *made = *state;
    (void)unlink(made->certificate);
    (void)unlink(made->key);
    return rmdir(made->folder);
}

static fx_code
try_open(const files *made, const char *listen_on, fx_err *err)
{
    fx_httpd_options options = {
        .listen = listen_on,
        .certificate_file = made->certificate,
        .key_file = made->key,
        .body_max_bytes = 1024,
        .response_max_bytes = 1024,
        .connection_max = 4,
        .idle_max = FX_DUR_MS(1000),
        .handler = never,
    };
    fx_httpd *httpd = NULL;
    fx_code code = fx_httpd_open(&options, &httpd, err);
    fx_httpd_free(httpd);
    return code;
}

static void
doubtful_addresses_are_refused(void **state)
{
    static const char *const addresses[] = {
        "",
        ":7443",
        "127.0.0.1",
        "127.0.0.1:",
        "127.0.0.1:70000",
        "127.0.0.1:-1",
        "127.0.0.1:x",
        "localhost:0",
        "::1:0",
        "[::1:0",
        "[127.0.0.1]:0",
        "[]:0",
    };
    fx_err err;
    for (size_t i = 0; i < sizeof addresses / sizeof addresses[0]; i++) {
        assert_int_equal(try_open(*state, addresses[i], &err), FX_ERR_INVALID);
        assert_non_null(strstr(err.message, "could not use"));
    }
}

static void
certificate_that_is_none_is_refused(void **state)
{
    fx_err err;
    assert_int_equal(try_open(*state, "127.0.0.1:0", &err), FX_ERR_INVALID);
    assert_non_null(strstr(err.context, "c.pem"));
}

static void
missing_key_is_named(void **state)
{
    files *made = *state;
    fx_err err;
    assert_int_equal(unlink(made->key), 0);
    assert_int_equal(try_open(made, "127.0.0.1:0", &err), FX_ERR_NOT_FOUND);
    assert_non_null(strstr(err.message, "c.key"));
}

#define WITH_FILES(test) cmocka_unit_test_setup_teardown(test, make_files, remove_files)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_FILES(doubtful_addresses_are_refused),
        WITH_FILES(certificate_that_is_none_is_refused),
        WITH_FILES(missing_key_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
