/* The depot's configuration: who may do what, and limits that are given when nobody sets them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/file.h"
#include "common/config/depot_config.h"

static char folder[64];

static const char before[] = "version: 1\n"
                             "cluster: quickstart\n"
                             "host: depot1\n"
                             "listen: \"tls+tcp://127.0.0.1:7500\"\n"
                             "tls: {ca: ca.pem, certificate: c.pem, key: /abs/c.key}\n"
                             "coordinators:\n"
                             "  - {name: c1, region: r1, endorsement_key: c1.pub}\n";
static const char depots[] = "depots:\n"
                             "  - name: main\n"
                             "    path: main\n"
                             "    hosts:\n"
                             "      - {name: db1, quota_bytes: 10000000000}\n"
                             "      - {name: db2, access: read}\n"
                             "      - {name: keeper, access: collect}\n";

static int
make_folder(void **state)
{
    (void)state;
    (void)snprintf(folder, sizeof folder, "/tmp/depot_config_XXXXXX");
    return mkdtemp(folder) == NULL ? -1 : 0;
}

static int
remove_folder(void **state)
{
    (void)state;
    char path[128];
    (void)snprintf(path, sizeof path, "%s/c.yaml", folder);
    (void)unlink(path);
    return rmdir(folder);
}

static fx_code
load(const char *first, const char *second, fx_depot_config **out_config, fx_err *err)
{
    char path[128];
    char text[4096];
    (void)snprintf(path, sizeof path, "%s/c.yaml", folder);
    (void)snprintf(text, sizeof text, "%s%s%s", before, first, second);
    assert_int_equal(fx_file_replace(path, (fx_bytes){text, strlen(text)}, 0600, err), FX_OK);
    return fx_depot_config_load(path, out_config, err);
}

static void
a_configuration_is_read_whole(void **state)
{
    (void)state;
    fx_err err = {0};
    FX_AUTO(fx_depot_config) config = NULL;
    assert_int_equal(load(depots, "request_max: 7\n", &config, &err), FX_OK);
    char path[128];
    (void)snprintf(path, sizeof path, "%s/main", folder);
    assert_string_equal(config->depots[0].path, path);
    assert_string_equal(config->tls->key, "/abs/c.key");
    assert_int_equal(config->depots[0].hosts_count, 3);
    assert_int_equal(config->depots[0].hosts[0].access, FX_DEPOT_WRITE);
    assert_int_equal(config->depots[0].hosts[0].quota_bytes, 10000000000);
    assert_int_equal(config->depots[0].hosts[1].access, FX_DEPOT_READ);
    assert_int_equal(config->depots[0].hosts[2].access, FX_DEPOT_COLLECT);
    assert_int_equal(config->request_max, 7);
    assert_int_equal(config->connection_max, 256);
    assert_int_equal(config->host_requests_second, 2000);
}

static void
what_cannot_be_meant_is_refused(void **state)
{
    (void)state;
    static const char *const ends[] = {
        "request_max: 100000\n",
        "connection_max: 100000\n",
        "host_requests_second: 1000000\n",
        "unknown: 1\n",
        "  - {name: main, path: elsewhere, hosts: [{name: db1}]}\n",
        "  - {name: second, path: main, hosts: [{name: db1}]}\n",
        "  - {name: second, path: elsewhere, hosts: []}\n",
        "  - {name: second, path: elsewhere, hosts: [{name: db1}, {name: db1}]}\n",
        "  - {name: second, path: elsewhere, hosts: [{name: ../db1}]}\n",
        "  - {name: second, path: elsewhere, hosts: [{name: db1, access: all}]}\n",
        "  - {name: ../second, path: elsewhere, hosts: [{name: db1}]}\n",
    };
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        fx_err err = {0};
        fx_depot_config *config = NULL;
        assert_int_equal(load(depots, ends[i], &config, &err), FX_ERR_INVALID);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_configuration_is_read_whole, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(
            what_cannot_be_meant_is_refused, make_folder, remove_folder),
    };
    return cmocka_run_group_tests_name("depot_config", tests, NULL, NULL);
}
