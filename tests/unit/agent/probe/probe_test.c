#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent/probe/probe.h"

static fx_probe_result
run(fx_probe_kind kind, const char *target)
{
    const fx_probe_config config = {.kind = kind, .target = target, .timeout = FX_DUR_MS(2000)};
    fx_probe_result result = {0};
    fx_probe_run(&config, &result);
    assert_true(result.ok == (result.code == FX_OK));
    assert_true(result.ok || result.detail[0] != '\0');
    return result;
}

static void
kinds_have_names(void **state)
{
    (void)state;
    fx_err err = {0};
    fx_probe_kind kind = FX_PROBE_POSTGRES;
    assert_int_equal(fx_probe_kind_parse("tcp", &kind, &err), FX_OK);
    assert_int_equal(kind, FX_PROBE_TCP);
    assert_int_equal(fx_probe_kind_parse("process", &kind, &err), FX_OK);
    assert_int_equal(kind, FX_PROBE_PROCESS);
    assert_int_equal(fx_probe_kind_parse("udp", &kind, &err), FX_ERR_INVALID);
}

static void
bad_targets_are_invalid(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "localhost", ":80", "host:", "host:x", "host:123456", "[]:80"};
    for (size_t at = 0; at < sizeof bad / sizeof bad[0]; at++) {
        assert_false(run(FX_PROBE_TCP, bad[at]).ok);
    }
    assert_int_equal(run(FX_PROBE_POSTGRES, "nonsense=1").code, FX_ERR_INVALID);
}

static void
this_process_is_found_by_its_pid_file(void **state)
{
    (void)state;
    char path[] = "/tmp/probe_test_XXXXXX";
    const int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_true(dprintf(fd, "%ld\n/some/folder\n", (long)getpid()) > 0);
    char target[64];
    (void)snprintf(target, sizeof target, "pid:%s", path);
    assert_true(run(FX_PROBE_PROCESS, target).ok);
    assert_int_equal(ftruncate(fd, 0), 0);
    assert_int_equal(run(FX_PROBE_PROCESS, target).code, FX_ERR_INVALID);
    assert_int_equal(close(fd), 0);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(run(FX_PROBE_PROCESS, target).code, FX_ERR_NOT_FOUND);
}

static void
names_of_processes_are_compared_whole(void **state)
{
    (void)state;
    /* the kernel's name of this test: its first 15 bytes */
    assert_true(run(FX_PROBE_PROCESS, "unit_agent_probe_probe_test").ok);
    assert_int_equal(run(FX_PROBE_PROCESS, "unit_agent").code, FX_ERR_NOT_FOUND);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kinds_have_names),
        cmocka_unit_test(bad_targets_are_invalid),
        cmocka_unit_test(this_process_is_found_by_its_pid_file),
        cmocka_unit_test(names_of_processes_are_compared_whole),
    };
    return cmocka_run_group_tests_name("probe", tests, NULL, NULL);
}
