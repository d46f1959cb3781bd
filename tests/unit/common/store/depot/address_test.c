#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/store/depot/address.h"

static void
host_port_and_repository(void **state)
{
    (void)state;
    fx_err err = {0};
    fx_depot_address a = {0};
    assert_int_equal(fx_depot_address_parse("depot.use1.example:9440/west", &a, &err), FX_OK);
    assert_string_equal(a.url, "tls+tcp://depot.use1.example:9440");
    assert_string_equal(a.peer, "depot.use1.example");
    assert_string_equal(a.repository.text, "west");
}

static void
the_certificate_may_name_another_host(void **state)
{
    (void)state;
    fx_err err = {0};
    fx_depot_address a = {0};
    assert_int_equal(
        fx_depot_address_parse("127.0.1.9:65535/west?host=depot-use1", &a, &err), FX_OK);
    assert_string_equal(a.url, "tls+tcp://127.0.1.9:65535");
    assert_string_equal(a.peer, "depot-use1");
    assert_int_equal(fx_depot_address_parse("[::1]:9440/west?host=depot-use1", &a, &err), FX_OK);
    assert_string_equal(a.url, "tls+tcp://[::1]:9440");
    assert_string_equal(a.peer, "depot-use1");
}

static void
all_else_is_refused(void **state)
{
    (void)state;
    static const char *const wrong[] = {
        "",
        "/",
        "host",
        "host/west",
        ":9440/west",
        "host:/west",
        "host:0/west",
        "host:65536/west",
        "host:123456/west",
        "host:94x0/west",
        "user@host:9440/west",
        "host:9440",
        "host:9440/",
        "host:9440/we/st",
        "host:9440/west?",
        "host:9440/west?host=",
        "host:9440/west?peer=x",
        "host?host=x:9440/west",
        "host:9440/0123456789012345678901234567890123456789012345678901234567890123456789",
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        fx_err err = {0};
        fx_depot_address a = {0};
        if (fx_depot_address_parse(wrong[i], &a, &err) != FX_ERR_INVALID) {
            fail_msg("\"%s\" was taken", wrong[i]);
        }
    }
    char long_peer[FX_DEPOT_HOST_MAX_BYTES + 64];
    fx_err err = {0};
    fx_depot_address a = {0};
    (void)snprintf(
        long_peer, sizeof long_peer, "host:9440/west?host=%0*d", FX_DEPOT_HOST_MAX_BYTES + 1, 7);
    assert_int_equal(fx_depot_address_parse(long_peer, &a, &err), FX_ERR_INVALID);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(host_port_and_repository),
        cmocka_unit_test(the_certificate_may_name_another_host),
        cmocka_unit_test(all_else_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
