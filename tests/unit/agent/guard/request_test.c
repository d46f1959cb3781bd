#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agent/guard/request.h"

static void
requests_survive_text(void **state)
{
    (void)state;
    static const char *const lines[] = {
        "status",
        "lease 3 123456789 1000000000",
        "start primary 1",
        "start standby 18",
        "promoted 7",
        "fence 9",
        "fence 9 orderly"};
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        fx_err err;
        fx_guard_request request;
        char line[FX_GUARD_LINE_MAX_BYTES];
        assert_int_equal(fx_guard_request_parse(lines[i], &request, &err), FX_OK);
        fx_guard_request_format(&request, line);
        assert_string_equal(line, lines[i]);
    }
}

static void
refuses_what_is_not_a_request(void **state)
{
    (void)state;
    static const char *const lines[] = {
        "",
        "status now",
        "lease",
        "lease 3",
        "lease 3 4",
        "lease 3 -4 5",
        "lease 3 4 5 6",
        "start primary",
        "start primary 1x",
        "start primary 99999999999999999999",
        "promoted 7 orderly",
        "fence 9 order",
        "fence  9"};
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        fx_err err;
        fx_guard_request request;
        assert_int_equal(fx_guard_request_parse(lines[i], &request, &err), FX_ERR_INVALID);
    }
}

static void
status_survives_text(void **state)
{
    (void)state;
    fx_err err;
    fx_guard_status status = {
        .state = FX_GUARD_FENCING,
        .primary = true,
        .pid = 77,
        .epoch = 5,
        .fenced_epoch = 4,
        .lease_end = {.ns = 12345},
        .has_cgroup = true,
        .detail = "it said \"no\"\nand left",
    };
    char line[FX_GUARD_LINE_MAX_BYTES];
    fx_guard_status_format(&status, line);
    fx_guard_status back;
    assert_int_equal(fx_guard_status_parse(line, &back, &err), FX_OK);
    assert_int_equal(back.state, FX_GUARD_FENCING);
    assert_true(back.primary);
    assert_int_equal(back.pid, 77);
    assert_int_equal(back.epoch, 5);
    assert_int_equal(back.fenced_epoch, 4);
    assert_int_equal(back.lease_end.ns, 12345);
    assert_true(back.has_cgroup);
    assert_string_equal(back.detail, "it said 'no''and left");

    status.detail[0] = '\0';
    fx_guard_status_format(&status, line);
    assert_int_equal(fx_guard_status_parse(line, &back, &err), FX_OK);
    assert_int_equal(fx_guard_status_parse("ok", &back, &err), FX_ERR_INVALID);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_survive_text),
        cmocka_unit_test(refuses_what_is_not_a_request),
        cmocka_unit_test(status_survives_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
