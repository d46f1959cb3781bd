/*
 * Records of the ledger as they come from etcd, where others may have written too. The first byte
 * chooses the kind. What was read can be written, and reads the same.
 */
#include <string.h>

#include "coordinator/ledger/record.h"

enum { RECORD_MAX_BYTES = 1024 * 1024 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes);

static void
expect_same(const fx_buf *one, const fx_buf *two)
{
    FX_ASSERT(one->size_bytes == two->size_bytes);
    FX_ASSERT(one->size_bytes == 0 || memcmp(one->data, two->data, one->size_bytes) == 0);
}

#define CHECK(kind, type)                                                                          \
    static void check_##kind(fx_bytes bytes)                                                       \
    {                                                                                              \
        static type record, again;                                                                 \
        fx_err err = {0};                                                                          \
        FX_BUF_AUTO once;                                                                          \
        FX_BUF_AUTO twice;                                                                         \
        fx_buf_init(&once, RECORD_MAX_BYTES);                                                      \
        fx_buf_init(&twice, RECORD_MAX_BYTES);                                                     \
        if (fx_record_decode_##kind(bytes, &record, &err) != FX_OK) {                              \
            return;                                                                                \
        }                                                                                          \
        FX_ASSERT(fx_record_encode_##kind(&record, &once, &err) == FX_OK);                         \
        FX_ASSERT(fx_record_decode_##kind(fx_buf_bytes(&once), &again, &err) == FX_OK);            \
        FX_ASSERT(fx_record_encode_##kind(&again, &twice, &err) == FX_OK);                         \
        expect_same(&once, &twice);                                                                \
    }

CHECK(leader, fx_leader)
CHECK(beat, fx_beat)
CHECK(service, fx_service)
CHECK(lease, fx_lease)
CHECK(plan, fx_plan)
CHECK(request, fx_request)
CHECK(decision, fx_decision)

static void
check_order(fx_bytes bytes)
{
    fx_err err = {0};
    fx_order_spec order = {0};
    fx_order_spec again = {0};
    fx_name cluster = {0};
    FX_BUF_AUTO out;
    fx_buf_init(&out, RECORD_MAX_BYTES);
    if (fx_record_decode_order(bytes, &order, &cluster, &err) != FX_OK) {
        return;
    }
    FX_ASSERT(fx_record_encode_order(&order, cluster.text, (fx_wall){1}, &out, &err) == FX_OK);
    FX_ASSERT(fx_record_decode_order(fx_buf_bytes(&out), &again, &cluster, &err) == FX_OK);
    FX_ASSERT(again.kind == order.kind && again.epoch.value == order.epoch.value);
    FX_ASSERT(strcmp(again.id.text, order.id.text) == 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes)
{
    static void (*const checks[])(fx_bytes bytes) = {
        check_leader,
        check_beat,
        check_service,
        check_lease,
        check_plan,
        check_request,
        check_decision,
        check_order,
    };
    if (size_bytes > 0) {
        checks[data[0] % (sizeof checks / sizeof checks[0])]((fx_bytes){data + 1, size_bytes - 1});
    }
    return 0;
}
