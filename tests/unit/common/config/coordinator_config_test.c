/* The coordinator's configuration: what of etcd can be set, and how many services a host has. */
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
#include "common/config/coordinator_config.h"

static char folder[64];

static const char before[] =
    "version: 1\n"
    "cluster: quickstart\n"
    "name: usw2-coord\n"
    "region: us-west-2\n"
    "state_dir: state\n"
    "tls: {ca: ca.pem, certificate: c.pem, key: c.key}\n"
    "endorsement_key: c.endorse.key\n"
    "listen: {agents: \"tls+tcp://127.0.1.1:7400\", api: \"127.0.1.1:7443\"}\n"
    "api_tokens: tokens.yaml\n"
    "peers:\n"
    "  - {name: use1-coord, region: us-east-1, url: \"tls+tcp://127.0.2.1:7400\", "
    "endorsement_key: e.pub}\n"
    "repositories: []\n"
    "etcd:\n"
    "  endpoints: [\"https://127.0.1.1:2379\"]\n";

static int
make_folder(void **state)
{
    (void)state;
    (void)snprintf(folder, sizeof folder, "/tmp/coordinator_config_XXXXXX");
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

/* With a further line below "etcd", and what follows it. */
static fx_code
load(const char *line, fx_coordinator_config **out_config, fx_err *err)
{
    char path[128];
    char text[sizeof before + 4096];
    (void)snprintf(path, sizeof path, "%s/c.yaml", folder);
    int length = snprintf(text, sizeof text, "%s  %s\n", before, line);
    assert_in_range(length, 1, sizeof text - 1);
    fx_bytes content = {text, (size_t)length};
    assert_int_equal(fx_file_replace(path, content, 0600, err), FX_OK);
    return fx_coordinator_config_load(path, out_config, err);
}

static void
assert_taken(const char *line)
{
    fx_err err = {0};
    FX_AUTO(fx_coordinator_config) config = NULL;
    if (load(line, &config, &err) != FX_OK) {
        fail_msg("%s: %s (%s)", line, err.message, err.context);
    }
}

static void
assert_refused(const char *line, const char *why)
{
    fx_err err = {0};
    FX_AUTO(fx_coordinator_config) config = NULL;
    assert_int_equal(load(line, &config, &err), FX_ERR_INVALID);
    assert_non_null(strstr(err.message, why));
}

static void
what_is_not_said_of_etcd_is_left_to_the_defaults(void **state)
{
    (void)state;
    fx_err err = {0};
    FX_AUTO(fx_coordinator_config) config = NULL;
    assert_int_equal(load("# nothing", &config, &err), FX_OK);
    assert_int_equal(config->etcd->quota_bytes, 0);
    assert_int_equal(config->etcd->history_decisions, 0);
    assert_int_equal(config->etcd->history_plans, 0);
    assert_null(config->etcd->member);
}

static void
a_quota_that_helps_nobody_is_refused(void **state)
{
    (void)state;
    assert_refused("quota_bytes: 16777215", "16 MiB to 8 GiB");
    assert_taken("quota_bytes: 16777216");
    assert_taken("quota_bytes: 8589934592");
    assert_refused("quota_bytes: 8589934593", "16 MiB to 8 GiB");
}

static void
a_history_too_short_to_explain_a_night_is_refused(void **state)
{
    (void)state;
    assert_refused("history_decisions: 99", "at least 100");
    assert_taken("history_decisions: 100");
    assert_refused("history_plans: 19", "at least 20");
    assert_taken("history_plans: 20");
}

/* So many services, each with db1 and a host of its own. */
static fx_code
load_services(unsigned count, fx_err *err)
{
    char lines[4000];
    size_t used = (size_t)snprintf(lines, sizeof lines, "# nothing\nservices:\n");
    for (unsigned i = 0; i < count; i++) {
        used += (size_t)snprintf(
            lines + used,
            sizeof lines - used,
            "  - name: s%u\n"
            "    members:\n"
            "      - {host: own%u, region: us-east-1, address: 127.0.2.1, port: 5432}\n"
            "      - {host: db1, region: us-west-2, address: 127.0.1.1, port: 5432}\n",
            i,
            i);
        assert_true(used < sizeof lines);
    }
    FX_AUTO(fx_coordinator_config) config = NULL;
    return load(lines, &config, err);
}

/* One more would find no room in the host's lease, and the host be fenced for all of them. */
static void
a_host_has_no_more_services_than_its_lease_holds(void **state)
{
    (void)state;
    fx_err err = {0};
    assert_int_equal(load_services(FX_COORDINATOR_HOST_SERVICE_MAX, &err), FX_OK);
    assert_int_equal(load_services(FX_COORDINATOR_HOST_SERVICE_MAX + 1, &err), FX_ERR_LIMIT);
    assert_non_null(strstr(err.message, "host db1 is a member of 9 services"));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_not_said_of_etcd_is_left_to_the_defaults),
        cmocka_unit_test(a_quota_that_helps_nobody_is_refused),
        cmocka_unit_test(a_history_too_short_to_explain_a_night_is_refused),
        cmocka_unit_test(a_host_has_no_more_services_than_its_lease_holds),
    };
    return cmocka_run_group_tests_name("config", tests, make_folder, remove_folder);
}
