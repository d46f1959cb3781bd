#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "agent/source/postgres/format/settings.h"

static const fx_recovery plain = {
    .agent = "/bin/agent", .url = "/srv/repo", .key_file = "/k", .system = "7"};

static fx_code
make(const char *old, const fx_recovery *recovery, fx_buf *out, fx_err *err)
{
    fx_buf_init(out, 8192);
    const fx_bytes bytes = {.data = old, .size_bytes = strlen(old)};
    return fx_recovery_settings(bytes, recovery, out, err);
}

static void
old_recovery_settings_go_and_others_stay(void **state)
{
    (void)state;
    fx_err err = {0};
    FX_BUF_AUTO out = {0};
    assert_int_equal(
        make(
            "# keep\nwork_mem = '8MB'\nprimary_conninfo = 'host=old'\nrecovery_target_lsn='0/1'\n"
            "recovery_target_lsn_like = 1",
            &plain,
            &out,
            &err),
        FX_OK);
    const char *text = fx_buf_text(&out);
    assert_non_null(strstr(text, "# keep\nwork_mem = '8MB'\nrecovery_target_lsn_like = 1\n"));
    assert_null(strstr(text, "host=old"));
    assert_null(strstr(text, "'0/1'"));
    assert_non_null(strstr(text, "recovery_target_time = ''\n"));
    assert_non_null(strstr(
        text,
        "restore_command = '''/bin/agent'' wal-get %f %p --system ''7'' --repo ''/srv/repo'' "
        "--key-file ''/k'''\n"));
}

static void
the_time_is_written_to_the_microsecond_and_last(void **state)
{
    (void)state;
    fx_err err = {0};
    FX_BUF_AUTO out = {0};
    fx_recovery recovery = plain;
    recovery.target_time.ns = INT64_C(1795485723456789000);
    assert_int_equal(make("", &recovery, &out, &err), FX_OK);
    const char *at = strstr(fx_buf_text(&out), "recovery_target_time =");
    assert_non_null(at);
    assert_string_equal(at, "recovery_target_time = '2026-11-24 02:02:03.456789+00'\n");
}

static void
odd_paths_survive_shell_and_server(void **state)
{
    (void)state;
    fx_err err = {0};
    FX_BUF_AUTO out = {0};
    fx_recovery recovery = plain;
    recovery.url = "/a b/it's 100%\\";
    assert_int_equal(make("", &recovery, &out, &err), FX_OK);
    assert_non_null(
        strstr(fx_buf_text(&out), "--repo ''/a b/it''\\\\''''s 100%%\\\\'' --key-file"));
    FX_BUF_AUTO other = {0};
    recovery.url = "/a\nb";
    assert_int_equal(make("", &recovery, &other, &err), FX_ERR_INVALID);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(old_recovery_settings_go_and_others_stay),
        cmocka_unit_test(the_time_is_written_to_the_microsecond_and_last),
        cmocka_unit_test(odd_paths_survive_shell_and_server),
    };
    return cmocka_run_group_tests_name("settings", tests, NULL, NULL);
}
