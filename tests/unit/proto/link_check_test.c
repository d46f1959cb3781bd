#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "proto/link_check.h"

/* A valid report to be broken in one place by each test. */
typedef struct sample {
    fx_link_envelope envelope;
    Fortress__Link__Report report;
    Fortress__Link__ServiceState service;
    Fortress__Link__ServiceState *services[FX_LINK_SERVICE_MAX + 1];
    Fortress__Link__OrderResult result;
    Fortress__Link__OrderResult *results[1];
    unsigned char incarnation[FX_LINK_INCARNATION_BYTES];
    char text[1024];
} sample;

static void
sample_init(sample *self)
{
    memset(self, 0, sizeof(*self));
    fortress__link__envelope__init(&self->envelope);
    fortress__link__report__init(&self->report);
    fortress__link__service_state__init(&self->service);
    fortress__link__order_result__init(&self->result);
    self->service.service = fx_link_text("orders-db");
    self->result.order = fx_link_text("plan-1:fence");
    for (size_t i = 0; i < FX_LINK_SERVICE_MAX + 1; i++) {
        self->services[i] = &self->service;
    }
    self->results[0] = &self->result;
    self->report.host = fx_link_text("db1");
    self->report.region = fx_link_text("us-west-2");
    self->report.services = self->services;
    self->report.n_services = 1;
    self->report.results = self->results;
    self->report.n_results = 1;
    self->envelope.version = FORTRESS__LINK__VERSION__VERSION_CURRENT;
    self->envelope.cluster = fx_link_text("quickstart");
    self->envelope.sender = fx_link_text("db1");
    self->envelope.incarnation.data = self->incarnation;
    self->envelope.incarnation.len = sizeof(self->incarnation);
    self->envelope.body_case = FORTRESS__LINK__ENVELOPE__BODY_REPORT;
    self->envelope.report = &self->report;
}

static fx_code
pass(const sample *self, fx_link_envelope **out_envelope, fx_err *err)
{
    FX_BUF_AUTO bytes;
    fx_buf_init(&bytes, (size_t)2 * FX_LINK_MESSAGE_MAX_BYTES);
    assert_int_equal(fx_link_pack(&self->envelope, &bytes, err), FX_OK);
    return fx_link_unpack(fx_buf_bytes(&bytes), out_envelope, err);
}

static void
assert_refused(const sample *self, fx_code expected, const char *named)
{
    fx_err err = {0};
    fx_link_envelope *envelope = NULL;
    assert_int_equal(pass(self, &envelope, &err), expected);
    assert_null(envelope);
    assert_non_null(strstr(err.message, named));
}

static void
good_messages_pass(void **state)
{
    (void)state;
    sample good;
    sample_init(&good);
    fx_err err = {0};
    FX_AUTO(fx_link_envelope) envelope = NULL;
    assert_int_equal(pass(&good, &envelope, &err), FX_OK);
    assert_string_equal(envelope->report->services[0]->service, "orders-db");
}

/* One release older or newer passes, two do not, and none is no version. */
static void
versions_may_differ_by_one(void **state)
{
    (void)state;
    sample bad;
    sample_init(&bad);
    fx_err err = {0};
    FX_AUTO(fx_link_envelope) envelope = NULL;
    bad.envelope.version = FORTRESS__LINK__VERSION__VERSION_CURRENT + 1;
    assert_int_equal(pass(&bad, &envelope, &err), FX_OK);
    bad.envelope.version = FORTRESS__LINK__VERSION__VERSION_CURRENT + 2;
    assert_refused(&bad, FX_ERR_UNSUPPORTED, "version");
    bad.envelope.version = 0;
    assert_refused(&bad, FX_ERR_UNSUPPORTED, "version");
    bad.envelope.version = UINT32_MAX;
    assert_refused(&bad, FX_ERR_UNSUPPORTED, "version");
}

static void
broken_fields_are_named(void **state)
{
    (void)state;
    sample bad;
    sample_init(&bad);
    bad.envelope.incarnation.len = FX_LINK_INCARNATION_BYTES - 1;
    assert_refused(&bad, FX_ERR_INVALID, "incarnation");
    sample_init(&bad);
    bad.envelope.sender = fx_link_text("../db1");
    assert_refused(&bad, FX_ERR_INVALID, "sender");
    sample_init(&bad);
    bad.envelope.cluster = fx_link_text("");
    assert_refused(&bad, FX_ERR_INVALID, "cluster");
    sample_init(&bad);
    bad.report.host = fx_link_text("a b");
    assert_refused(&bad, FX_ERR_INVALID, "host");
    sample_init(&bad);
    bad.service.role = (Fortress__Link__Role)99;
    assert_refused(&bad, FX_ERR_INVALID, "role");
    sample_init(&bad);
    bad.service.replay_lag_ns = -1;
    assert_refused(&bad, FX_ERR_INVALID, "replay_lag_ns");
    sample_init(&bad);
    bad.result.order = fx_link_text("a/b");
    assert_refused(&bad, FX_ERR_INVALID, "order");
    sample_init(&bad);
    bad.envelope.body_case = FORTRESS__LINK__ENVELOPE__BODY__NOT_SET;
    assert_refused(&bad, FX_ERR_INVALID, "body");
}

/* The maximum passes, one more does not. */
static void
lists_have_a_maximum(void **state)
{
    (void)state;
    sample full;
    sample_init(&full);
    fx_err err = {0};
    FX_AUTO(fx_link_envelope) envelope = NULL;
    full.report.n_services = FX_LINK_SERVICE_MAX;
    assert_int_equal(pass(&full, &envelope, &err), FX_OK);
    full.report.n_services = FX_LINK_SERVICE_MAX + 1;
    assert_refused(&full, FX_ERR_INVALID, "services");
}

/* A detail that is too long, or cut in a character, or full of escapes: the report counts anyway.
 */
static void
texts_for_people_are_cleaned(void **state)
{
    (void)state;
    sample odd;
    sample_init(&odd);
    fx_err err = {0};
    FX_AUTO(fx_link_envelope) envelope = NULL;
    memset(odd.text, 'x', 600);
    odd.text[0] = '\x1b';
    odd.text[1] = '\n';
    odd.text[2] = '\xc3';
    memcpy(odd.text + 253, "\xc3\xa4\xc3\xa4", 4); /* the second would pass the end */
    odd.service.detail = odd.text;

    assert_int_equal(pass(&odd, &envelope, &err), FX_OK);

    const char *detail = envelope->report->services[0]->detail;
    assert_int_equal(strlen(detail), FX_LINK_TEXT_MAX_BYTES);
    assert_memory_equal(detail, "? ?x", 4);
    assert_string_equal(detail + 252, "x\xc3\xa4");
}

static void
damaged_bytes_are_refused(void **state)
{
    (void)state;
    fx_err err = {0};
    fx_link_envelope *envelope = NULL;
    fx_bytes garbage = {.data = "\xff\xff\xff\xff", .size_bytes = 4};
    assert_int_equal(fx_link_unpack(garbage, &envelope, &err), FX_ERR_DAMAGED);
    static unsigned char large[FX_LINK_MESSAGE_MAX_BYTES + 1];
    fx_bytes over = {.data = large, .size_bytes = sizeof(large)};
    assert_int_equal(fx_link_unpack(over, &envelope, &err), FX_ERR_LIMIT);
}

/* A megabyte of empty submessages would take a hundred times as much memory. */
static void
memory_is_bounded(void **state)
{
    (void)state;
    enum { EMPTY = 400000 };
    static unsigned char bytes[16 + (EMPTY * 2)];
    size_t size_bytes = 0;
    bytes[size_bytes++] = 0x52; /* field 10, report */
    for (uint32_t length = EMPTY * 2; length != 0; length >>= 7U) {
        bytes[size_bytes++] = (unsigned char)((length & 0x7fU) | (length > 0x7f ? 0x80U : 0U));
    }
    for (size_t i = 0; i < EMPTY; i++) {
        bytes[size_bytes++] = 0x22; /* field 4, an empty service */
        bytes[size_bytes++] = 0;
    }
    fx_err err = {0};
    fx_link_envelope *envelope = NULL;
    fx_bytes message = {.data = bytes, .size_bytes = size_bytes};
    assert_int_equal(fx_link_unpack(message, &envelope, &err), FX_ERR_DAMAGED);
}

static void
orders_are_checked(void **state)
{
    (void)state;
    fx_link_order order;
    fortress__link__order__init(&order);
    order.id = fx_link_text("plan-1:promote");
    order.kind = FORTRESS__LINK__ORDER_KIND__ORDER_PROMOTE;
    order.cluster = fx_link_text("quickstart");
    order.host = fx_link_text("db1");
    order.service = fx_link_text("orders-db");
    fx_err err = {0};
    FX_BUF_AUTO bytes;
    fx_buf_init(&bytes, FX_LINK_ORDER_MAX_BYTES);
    FX_AUTO(fx_link_order) read = NULL;
    assert_int_equal(fx_link_order_pack(&order, &bytes, &err), FX_OK);
    assert_int_equal(fx_link_order_unpack(fx_buf_bytes(&bytes), &read, &err), FX_OK);
    assert_string_equal(read->id, order.id);
    assert_true(fx_link_order_is_endorsed(read->kind));
    assert_false(fx_link_order_is_endorsed(FORTRESS__LINK__ORDER_KIND__ORDER_BACKUP));

    fx_link_order *refused = NULL;
    fx_buf_clear(&bytes);
    order.kind = FORTRESS__LINK__ORDER_KIND__ORDER_NONE;
    assert_int_equal(fx_link_order_pack(&order, &bytes, &err), FX_OK);
    assert_int_equal(fx_link_order_unpack(fx_buf_bytes(&bytes), &refused, &err), FX_ERR_INVALID);
    fx_buf_clear(&bytes);
    order.kind = (Fortress__Link__OrderKind)77;
    assert_int_equal(fx_link_order_pack(&order, &bytes, &err), FX_OK);
    assert_int_equal(fx_link_order_unpack(fx_buf_bytes(&bytes), &refused, &err), FX_ERR_INVALID);
    assert_null(refused);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_messages_pass),
        cmocka_unit_test(versions_may_differ_by_one),
        cmocka_unit_test(broken_fields_are_named),
        cmocka_unit_test(lists_have_a_maximum),
        cmocka_unit_test(texts_for_people_are_cleaned),
        cmocka_unit_test(damaged_bytes_are_refused),
        cmocka_unit_test(memory_is_bounded),
        cmocka_unit_test(orders_are_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
