#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "coordinator/api/metrics.h"
#include "tests/support/example_state.h"

static const fx_policy policy = {
    .lease = {.ns = 8000 * FX_NS_PER_MS}, .silence_max = {.ns = 5000 * FX_NS_PER_MS}};
static const fx_mono now = {.ns = INT64_C(1000000) * FX_NS_PER_MS};
static const fx_wall wall = {.ns = INT64_C(1795000000) * 1000000000};

typedef struct example {
    fx_ledger ledger;
    fx_view view;
    fx_store_health store;
    fx_plan plan;
    fx_api_state state;
    fx_buf out;
} example;

static void
print_example(example *e, size_t max_bytes, fx_code expected)
{
    fx_example_ledger(&e->ledger, now, wall);
    fx_example_view(&e->view, now);
    fx_example_store(&e->store, now);
    fx_example_finished_plan(&e->plan, wall);
    e->state = (fx_api_state){
        .cluster = "a \"quoted\\ name",
        .ledger = &e->ledger,
        .view = &e->view,
        .store = &e->store,
        .policy = &policy,
        .now = now,
        .wall = wall,
    };
    static const uint64_t answers[6] = {0, 0, 12, 0, 3, 0};
    fx_catalog_snapshot snapshot = {
        .snapshot = {
            .host = fx_name_of("usw2-db1"),
            .source = "files:app-data",
            .began = {.ns = wall.ns - INT64_C(90500000000)},
            .ended = {.ns = wall.ns - INT64_C(90000000000)},
            .size_bytes = 4096,
        }};
    fx_catalog_list newest = {.items = &snapshot, .count = 1};
    fx_catalog_source source = {
        .name = fx_name_of("east"), .reachable = true, .snapshot_count = 1, .added_bytes = 2048};
    fx_metrics_input input = {
        .state = &e->state,
        .plans = &e->plan,
        .plan_count = 1,
        .newest = &newest,
        .sources = &source,
        .source_count = 1,
        .answers = answers,
    };
    fx_err err;
    fx_buf_init(&e->out, max_bytes);
    assert_int_equal(fx_metrics_print(&input, &e->out, &err), expected);
}

static void
assert_line(const example *e, const char *line)
{
    if (strstr(fx_buf_text(&e->out), line) == NULL) {
        fail_msg("no line \"%s\" in:\n%s", line, fx_buf_text(&e->out));
    }
}

static void
values_are_those_of_the_state(void **state)
{
    (void)state;
    example *e = calloc(1, sizeof *e);
    assert_non_null(e);
    print_example(e, 1 << 20, FX_OK);
    assert_line(e, "\nfortress_leader{coordinator=\"use1-coord\"} 1\n");
    assert_line(e, "\nfortress_quorum 1\n");
    assert_line(e, "\nfortress_service_health_status{service=\"orders-db\"} 2\n");
    assert_line(e, "\nfortress_service_health_status{service=\"billing-db\"} 0\n");
    assert_line(e, "\nfortress_service_epoch{service=\"orders-db\"} 3\n");
    assert_line(
        e, "\nfortress_replication_lag_seconds{service=\"orders-db\",host=\"euw1-db1\"} 0.250\n");
    assert_line(
        e, "\nfortress_replication_lag_bytes{service=\"orders-db\",host=\"euw1-db1\"} 96\n");
    assert_line(e, "\nfortress_lease_seconds_left{host=\"use1-db1\"} 6.500\n");
    assert_line(e, "\nfortress_lease_seconds_left{host=\"usw2-db1\"} 0.000\n");
    assert_line(
        e, "\nfortress_host_last_report_seconds{host=\"usw2-db1\",region=\"us-west-2\"} 30.000\n");
    assert_line(
        e,
        "\nfortress_failover_duration_seconds{service=\"orders-db\",kind=\"failover\"} 20.000\n");
    assert_line(
        e, "\nfortress_recovery_time_seconds{service=\"orders-db\",kind=\"failover\"} 30.000\n");
    assert_line(
        e, "\nfortress_backup_age_seconds{host=\"usw2-db1\",source=\"files:app-data\"} 90.500\n");
    assert_line(e, "\nfortress_backup_storage_usage{repository=\"east\"} 2048\n");
    assert_line(e, "\nfortress_etcd_db_size_bytes{endpoint=\"https://127.0.1.1:2379\"} 700\n");
    assert_line(e, "\nfortress_etcd_db_in_use_bytes{endpoint=\"https://127.0.2.1:2379\"} 300\n");
    assert_line(e, "\nfortress_etcd_up{endpoint=\"https://127.0.3.1:2379\"} 0\n");
    assert_line(e, "\nfortress_etcd_quota_bytes 1000\n");
    assert_line(e, "\nfortress_etcd_alarm{alarm=\"NOSPACE\"} 0\n");
    assert_line(e, "\nfortress_api_requests_total{class=\"4xx\"} 3\n");
    fx_buf_free(&e->out);
    free(e);
}

static void
label_values_are_escaped(void **state)
{
    (void)state;
    example *e = calloc(1, sizeof *e);
    assert_non_null(e);
    print_example(e, 1 << 20, FX_OK);
    assert_line(e, "cluster=\"a \\\"quoted\\\\ name\"");
    fx_buf_free(&e->out);
    free(e);
}

/* Each family: HELP, TYPE, then samples of that name only. */
static void
every_family_is_announced_once(void **state)
{
    (void)state;
    example *e = calloc(1, sizeof *e);
    assert_non_null(e);
    print_example(e, 1 << 20, FX_OK);
    size_t family_count = 0;
    char name[128] = "";
    for (const char *line = fx_buf_text(&e->out); *line != '\0'; line = strchr(line, '\n') + 1) {
        if (strncmp(line, "# HELP ", 7) == 0) {
            size_t size_bytes = strcspn(line + 7, " ");
            assert_true(size_bytes < sizeof name);
            memcpy(name, line + 7, size_bytes);
            name[size_bytes] = '\0';
            family_count++;
        } else if (strncmp(line, "# TYPE ", 7) == 0) {
            assert_memory_equal(line + 7, name, strlen(name));
        } else {
            assert_memory_equal(line, name, strlen(name));
        }
    }
    assert_true(family_count >= 25);
    fx_buf_free(&e->out);
    free(e);
}

static void
too_much_is_a_limit(void **state)
{
    (void)state;
    example *e = calloc(1, sizeof *e);
    assert_non_null(e);
    print_example(e, 100, FX_ERR_LIMIT);
    fx_buf_free(&e->out);
    free(e);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_are_those_of_the_state),
        cmocka_unit_test(label_values_are_escaped),
        cmocka_unit_test(every_family_is_announced_once),
        cmocka_unit_test(too_much_is_a_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
