#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "coordinator/api/request.h"
#include "proto/link.pb-c.h"

static fx_asker
alice(void)
{
    fx_asker asker = {.name = fx_name_of("alice"), .now = {.ns = 77}, .cluster = "quickstart"};
    (void)snprintf(asker.id.text, sizeof asker.id.text, "r-1");
    return asker;
}

static fx_bytes
text(const char *from)
{
    return (fx_bytes){from, strlen(from)};
}

static void
routes_are_found(void **state)
{
    (void)state;
    assert_int_equal(fx_route_find("/v1/status").route, FX_ROUTE_STATUS);
    assert_int_equal(fx_route_find("/metrics").route, FX_ROUTE_METRICS);
    fx_routed failover = fx_route_find("/v1/services/orders-db/failover");
    assert_int_equal(failover.route, FX_ROUTE_FAILOVER);
    assert_true(failover.is_post);
    assert_string_equal(failover.argument.text, "orders-db");
    fx_routed request = fx_route_find("/v1/requests/r-1");
    assert_int_equal(request.route, FX_ROUTE_REQUEST);
    assert_string_equal(request.argument.text, "r-1");
}

static void
malformed_paths_lead_nowhere(void **state)
{
    (void)state;
    static const char *const paths[] = {
        "",
        "/",
        "/v1/status/",
        "/v1/statu",
        "/v1/services//failover",
        "/v1/services/failover",
        "/v1/services/a/b/failover",
        "/v1/services/../failover",
        "/v1/requests/",
        "/v1/requests/a b",
        "/v1/requests/0123456789012345678901234567890123456789012345678901234567890123",
    };
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
        assert_int_equal(fx_route_find(paths[i]).route, FX_ROUTE_NONE);
    }
}

static void
limit_has_bounds(void **state)
{
    (void)state;
    fx_err err;
    size_t limit = 0;
    assert_int_equal(fx_parse_limit(NULL, 20, 100, &limit, &err), FX_OK);
    assert_int_equal(limit, 20);
    assert_int_equal(fx_parse_limit("100", 20, 100, &limit, &err), FX_OK);
    assert_int_equal(limit, 100);
    static const char *const wrong[] = {"", "0", "101", "-1", "1x", "99999999999999999999999999"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        assert_int_equal(fx_parse_limit(wrong[i], 20, 100, &limit, &err), FX_ERR_INVALID);
    }
    assert_int_equal(limit, 100);
}

static void
failover_names_who_asks(void **state)
{
    (void)state;
    fx_err err;
    fx_asker asker = alice();
    fx_name service = fx_name_of("orders-db");
    fx_request request;
    fx_bytes body = text("{\"to\": \"use1-db1\", \"reason\": \"maintenance\"}");
    assert_int_equal(fx_parse_failover(body, &service, &asker, &request, &err), FX_OK);
    assert_string_equal(request.id.text, "r-1");
    assert_string_equal(request.service.text, "orders-db");
    assert_string_equal(request.to_host.text, "use1-db1");
    assert_string_equal(request.requested_by.text, "alice");
    assert_string_equal(request.reason, "maintenance");
    assert_true(request.asked.ns == 77);
    assert_int_equal(request.order.size_bytes, 0);
    assert_string_equal(fx_request_kind(&request), "switchover");
}

static void
empty_body_asks_for_the_best_host(void **state)
{
    (void)state;
    fx_err err;
    fx_asker asker = alice();
    fx_name service = fx_name_of("orders-db");
    fx_request request;
    assert_int_equal(fx_parse_failover(text(""), &service, &asker, &request, &err), FX_OK);
    assert_true(fx_name_is_none(&request.to_host));
}

static void
failover_with_a_doubtful_body_is_refused(void **state)
{
    (void)state;
    static const char *const bodies[] = {
        "[]",
        "7",
        "{",
        "{\"too\": \"use1-db1\"}", /* a mistyped key */
        "{\"to\": 7}",
        "{\"to\": \"a b\"}",
        "{\"to\": \"a\", \"to\": \"b\"}",
        "{\"reason\": \"line\\nbreak\"}",
    };
    fx_err err;
    fx_asker asker = alice();
    fx_name service = fx_name_of("orders-db");
    fx_request request;
    for (size_t i = 0; i < sizeof bodies / sizeof bodies[0]; i++) {
        assert_int_equal(
            fx_parse_failover(text(bodies[i]), &service, &asker, &request, &err), FX_ERR_INVALID);
    }
}

static void
backup_becomes_an_order(void **state)
{
    (void)state;
    fx_err err;
    fx_asker asker = alice();
    fx_name host = fx_name_of("usw2-db1");
    fx_request request;
    fx_bytes body = text("{\"kind\": \"backup\", \"job\": \"app-data\"}");
    assert_int_equal(fx_parse_order(body, &host, &asker, &request, &err), FX_OK);
    assert_string_equal(request.host.text, "usw2-db1");
    assert_true(fx_name_is_none(&request.service));
    assert_string_equal(request.order.id.text, "r-1");
    assert_string_equal(fx_request_kind(&request), "backup");
    Fortress__Link__Order *order =
        fortress__link__order__unpack(NULL, request.order.size_bytes, request.order.bytes);
    assert_non_null(order);
    assert_string_equal(order->id, "r-1");
    assert_string_equal(order->cluster, "quickstart");
    assert_string_equal(order->host, "usw2-db1");
    assert_string_equal(order->job, "app-data");
    assert_int_equal(order->kind, FORTRESS__LINK__ORDER_KIND__ORDER_BACKUP);
    fortress__link__order__free_unpacked(order, NULL);
}

static void
restore_becomes_an_order(void **state)
{
    (void)state;
    fx_err err;
    fx_asker asker = alice();
    fx_name host = fx_name_of("usw2-db1");
    fx_request request;
    fx_bytes body =
        text("{\"kind\": \"restore\", \"snapshot\": \"latest\", \"target\": \"/srv/back\"}");
    assert_int_equal(fx_parse_order(body, &host, &asker, &request, &err), FX_OK);
    assert_string_equal(fx_request_kind(&request), "restore");
}

static void
incomplete_orders_are_refused(void **state)
{
    (void)state;
    static const char *const bodies[] = {
        "",
        "{}",
        "{\"kind\": \"delete\"}",
        "{\"kind\": \"backup\"}",
        "{\"kind\": \"backup\", \"job\": \"a\", \"target\": \"/x\"}",
        "{\"kind\": \"restore\", \"snapshot\": \"latest\"}",
        "{\"kind\": \"restore\", \"snapshot\": \"latest\", \"target\": \"relative\"}",
        "{\"kind\": \"restore\", \"snapshot\": \"0123456\", \"target\": \"/x\"}",
        "{\"kind\": \"restore\", \"snapshot\": \"XYZ45678\", \"target\": \"/x\"}",
        "{\"kind\": \"restore\", \"snapshot\": \"latest\", \"target\": \"/x\", \"job\": \"a\"}",
    };
    fx_err err;
    fx_asker asker = alice();
    fx_name host = fx_name_of("usw2-db1");
    fx_request request;
    for (size_t i = 0; i < sizeof bodies / sizeof bodies[0]; i++) {
        assert_int_equal(
            fx_parse_order(text(bodies[i]), &host, &asker, &request, &err), FX_ERR_INVALID);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(routes_are_found),
        cmocka_unit_test(malformed_paths_lead_nowhere),
        cmocka_unit_test(limit_has_bounds),
        cmocka_unit_test(failover_names_who_asks),
        cmocka_unit_test(empty_body_asks_for_the_best_host),
        cmocka_unit_test(failover_with_a_doubtful_body_is_refused),
        cmocka_unit_test(backup_becomes_an_order),
        cmocka_unit_test(restore_becomes_an_order),
        cmocka_unit_test(incomplete_orders_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
