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
#include "common/config/agent_config.h"

static char folder[64];

static const char whole[] =
    "version: 1\n"
    "cluster: quickstart\n"
    "host: usw2-db1\n"
    "region: us-west-2\n"
    "state_dir: state\n"
    "log_level: debug\n"
    "tls: {ca: ca.pem, certificate: /abs/a.pem, key: a.key}\n"
    "coordinators:\n"
    "  - {name: usw2-coord, region: us-west-2, url: \"tls+tcp://127.0.1.1:7400\", "
    "endorsement_key: c.pub}\n"
    "repository: {url: \"posix:repo\", key_file: repo.key}\n"
    "services:\n"
    "  - name: orders-db\n"
    "    postgres:\n"
    "      bin_dir: /usr/lib/postgresql/15/bin\n"
    "      data_dir: pg\n"
    "      run_as: postgres\n"
    "      conninfo: \"host=127.0.1.1 port=5432\"\n"
    "      replication_conninfo: \"user=replicator\"\n"
    "    wal: {receive: true, switch_after_s: 10}\n"
    "jobs:\n"
    "  - {name: orders-db, kind: postgres, service: orders-db, interval_s: 3600}\n"
    "  - {name: app-data, kind: files, paths: [/srv/app, rel], interval_s: 3600}\n"
    "probes:\n"
    "  - {name: app, kind: http, target: \"http://127.0.1.1:8080/health\"}\n";

static int
make_folder(void **state)
{
    (void)state;
    (void)snprintf(folder, sizeof folder, "/tmp/agent_config_XXXXXX");
    return mkdtemp(folder) == NULL ? -1 : 0;
}

static int
remove_folder(void **state)
{
    (void)state;
    char path[128];
    (void)snprintf(path, sizeof path, "%s/a.yaml", folder);
    (void)unlink(path);
    return rmdir(folder);
}

static fx_code
load(const char *text, fx_agent_config **out_config, fx_err *err)
{
    char path[128];
    (void)snprintf(path, sizeof path, "%s/a.yaml", folder);
    fx_bytes content = {.data = text, .size_bytes = strlen(text)};
    assert_int_equal(fx_file_replace(path, content, 0600, err), FX_OK);
    return fx_agent_config_load(path, out_config, err);
}

/* `whole` with the first `from` replaced. */
static fx_code
load_changed(const char *from, const char *to, fx_err *err)
{
    const char *place = strstr(whole, from);
    assert_non_null(place);
    char text[sizeof whole + 256];
    (void)snprintf(
        text, sizeof text, "%.*s%s%s", (int)(place - whole), whole, to, place + strlen(from));
    fx_agent_config *config = NULL;
    fx_code code = load(text, &config, err);
    fx_agent_config_free(config);
    return code;
}

static void
reads_a_whole_configuration_and_resolves_its_paths(void **state)
{
    (void)state;
    fx_err err;
    FX_AUTO(fx_agent_config) config = NULL;
    assert_int_equal(load(whole, &config, &err), FX_OK);

    char path[128];
    (void)snprintf(path, sizeof path, "%s/state", folder);
    assert_string_equal(config->state_dir, path);
    assert_string_equal(config->tls->certificate, "/abs/a.pem");
    (void)snprintf(path, sizeof path, "posix:%s/repo", folder);
    assert_string_equal(config->repository->url, path);
    (void)snprintf(path, sizeof path, "%s/rel", folder);
    assert_string_equal(config->jobs[1].paths[1], path);
    assert_int_equal(config->log_level, FX_DEBUG);
    assert_int_equal(config->jobs[0].kind, FX_CONFIG_JOB_POSTGRES);
    assert_int_equal(config->probes[0].timeout_ms, 500);
    assert_string_equal(config->services[0].wal.slot, "fortress_wal");
    assert_true(config->services[0].wal.receive);
}

static void
names_file_and_line_of_an_unknown_key(void **state)
{
    (void)state;
    fx_err err;
    assert_int_equal(load_changed("region: us-west-2", "regoin: us-west-2", &err), FX_ERR_INVALID);
    print_message("%s\n", err.message);
    assert_non_null(strstr(err.message, "a.yaml"));
    assert_non_null(strstr(err.message, "after line 3"));
    assert_non_null(strstr(err.message, "regoin"));
}

static void
names_a_missing_key(void **state)
{
    (void)state;
    fx_err err;
    assert_int_equal(load_changed("host: usw2-db1\n", "", &err), FX_ERR_INVALID);
    print_message("%s\n", err.message);
    assert_non_null(strstr(err.message, "host"));
}

static void
refuses_what_contradicts_itself(void **state)
{
    (void)state;
    fx_err err;
    assert_int_equal(load_changed("version: 1", "version: 2", &err), FX_ERR_UNSUPPORTED);
    assert_int_equal(load_changed("service: orders-db", "service: other", &err), FX_ERR_INVALID);
    assert_int_equal(load_changed("name: app-data", "name: orders-db", &err), FX_ERR_INVALID);
    assert_int_equal(load_changed("host: usw2-db1", "host: a/b", &err), FX_ERR_INVALID);
    assert_int_equal(
        load_changed("repository: {url: \"posix:repo\", key_file: repo.key}\n", "", &err),
        FX_ERR_INVALID);
    assert_int_equal(
        load_changed("key_file: repo.key}", "key_file: repo.key, compression: 20}", &err),
        FX_ERR_INVALID);
    assert_non_null(strstr(err.message, "compression"));
    assert_int_equal(
        load_changed("key_file: repo.key}", "key_file: repo.key, compression: none}", &err), FX_OK);
}

static void
refuses_aliases_and_empty_files(void **state)
{
    (void)state;
    fx_err err;
    fx_agent_config *config = NULL;
    assert_int_equal(load_changed("host: usw2-db1", "host: &a usw2-db1", &err), FX_OK);
    assert_int_equal(
        load_changed("host: usw2-db1\nregion: us-west-2", "host: &a usw2-db1\nregion: *a", &err),
        FX_ERR_INVALID);
    assert_int_equal(load("", &config, &err), FX_ERR_INVALID);
    assert_int_equal(load("# nothing\n", &config, &err), FX_ERR_INVALID);
    assert_int_equal(load("[1, 2", &config, &err), FX_ERR_INVALID);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_a_whole_configuration_and_resolves_its_paths),
        cmocka_unit_test(names_file_and_line_of_an_unknown_key),
        cmocka_unit_test(names_a_missing_key),
        cmocka_unit_test(refuses_what_contradicts_itself),
        cmocka_unit_test(refuses_aliases_and_empty_files),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
