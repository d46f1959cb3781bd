/* What `fortress status` calls a problem of the ledger's store, and what to do about it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "coordinator/api/render.h"
#include "tests/support/example_state.h"

static const fx_policy policy = {
    .lease = {.ns = 8000 * FX_NS_PER_MS}, .silence_max = {.ns = 5000 * FX_NS_PER_MS}};
static const fx_mono now = {.ns = INT64_C(1000000) * FX_NS_PER_MS};
static const fx_wall wall = {.ns = INT64_C(1795000000) * 1000000000};

typedef struct example {
    fx_ledger ledger;
    fx_view view;
    fx_store_health store;
    fx_api_state state;
    fx_json *status;
} example;

static example *
open_example(void)
{
    example *e = calloc(1, sizeof *e);
    assert_non_null(e);
    fx_example_ledger(&e->ledger, now, wall);
    fx_example_view(&e->view, now);
    fx_example_store(&e->store, now);
    e->state = (fx_api_state){
        .cluster = "test",
        .ledger = &e->ledger,
        .view = &e->view,
        .store = &e->store,
        .policy = &policy,
        .now = now,
        .wall = wall,
    };
    return e;
}

static void
close_example(example *e)
{
    fx_json_free(e->status);
    free(e);
}

/* Severity of the problem whose text has `part`, or "". */
static const char *
severity_of(example *e, const char *part)
{
    fx_json_free(e->status);
    e->status = fx_render_status(&e->state, NULL, 0);
    const fx_json *problems = fx_json_get(e->status, "problems");
    for (size_t i = 0; i < fx_json_count(problems); i++) {
        const fx_json *one = fx_json_at(problems, i);
        if (strstr(fx_json_as_text(fx_json_get(one, "text"), ""), part) != NULL) {
            return fx_json_as_text(fx_json_get(one, "severity"), "");
        }
    }
    return "";
}

static void
a_filling_database_is_a_warning_with_what_to_do(void **state)
{
    (void)state;
    example *e = open_example();
    assert_string_equal(severity_of(e, "etcd's database at https://127.0.1.1:2379"), "warning");
    assert_string_equal(severity_of(e, "raise etcd.quota_bytes"), "warning");
    assert_string_equal(
        severity_of(e, "etcd at https://127.0.3.1:2379 does not answer"), "warning");
    e->store.members[0].size_bytes = 600;
    assert_string_equal(severity_of(e, "etcd's database"), "");
    close_example(e);
}

static void
alarms_are_critical(void **state)
{
    (void)state;
    example *e = open_example();
    e->store.no_space = true;
    assert_string_equal(severity_of(e, "alarm NOSPACE"), "critical");
    assert_string_equal(severity_of(e, "restart the members one by one"), "critical");
    e->store.corrupt = true;
    assert_string_equal(severity_of(e, "alarm CORRUPT"), "critical");
    close_example(e);
}

static void
the_store_is_shown_once_it_was_looked_at(void **state)
{
    (void)state;
    example *e = open_example();
    (void)severity_of(e, "");
    const fx_json *etcd = fx_json_get(e->status, "etcd");
    assert_int_equal(fx_json_as_int(fx_json_get(etcd, "age_ms"), 0), 2000);
    const fx_json *members = fx_json_get(etcd, "members");
    assert_int_equal(fx_json_count(members), 3);
    assert_true(fx_json_as_bool(fx_json_get(fx_json_at(members, 0), "leads"), false));
    e->store.looked_at.ns = 0;
    assert_string_equal(severity_of(e, "does not answer"), "");
    assert_false(fx_json_is_object(fx_json_get(e->status, "etcd")));
    e->state.store = NULL;
    assert_string_equal(severity_of(e, "does not answer"), "");
    close_example(e);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_filling_database_is_a_warning_with_what_to_do),
        cmocka_unit_test(alarms_are_critical),
        cmocka_unit_test(the_store_is_shown_once_it_was_looked_at),
    };
    return cmocka_run_group_tests_name("status", tests, NULL, NULL);
}
