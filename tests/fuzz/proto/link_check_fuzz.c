/*
 * Bytes from the wire: refused, or kept within every limit, and packed again. (What protobuf-c
 * keeps of unknown fields, it does not always read again: a field number 0 that was written in two
 * bytes.)
 */
#include "proto/link_check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes)
{
    fx_err err;
    fx_bytes bytes = {.data = data, .size_bytes = size_bytes};
    FX_AUTO(fx_link_envelope) envelope = NULL;
    if (fx_link_unpack(bytes, &envelope, &err) == FX_OK) {
        FX_BUF_AUTO again;
        fx_buf_init(&again, FX_LINK_MESSAGE_MAX_BYTES);
        FX_AUTO(fx_link_envelope) second = NULL;
        fx_code packed = fx_link_pack(envelope, &again, &err);
        FX_ASSERT(packed == FX_OK || packed == FX_ERR_LIMIT); /* enums may get longer */
        if (packed == FX_OK) {
            fx_code read = fx_link_unpack(fx_buf_bytes(&again), &second, &err);
            FX_ASSERT(read == FX_OK || read == FX_ERR_DAMAGED);
        }
    }
    FX_AUTO(fx_link_order) order = NULL;
    if (fx_link_order_unpack(bytes, &order, &err) == FX_OK) {
        FX_BUF_AUTO again;
        fx_buf_init(&again, FX_LINK_ORDER_MAX_BYTES);
        fx_code packed = fx_link_order_pack(order, &again, &err);
        FX_ASSERT(packed == FX_OK || packed == FX_ERR_LIMIT);
        (void)fx_link_order_is_endorsed(order->kind);
    }
    bytes.size_bytes = FX_LINK_MESSAGE_MAX_BYTES + 1; /* is seen before a byte is */
    FX_AUTO(fx_link_envelope) never = NULL;
    fx_code code = fx_link_unpack(bytes, &never, &err);
    FX_ASSERT(code == FX_ERR_LIMIT);
    return 0;
}
