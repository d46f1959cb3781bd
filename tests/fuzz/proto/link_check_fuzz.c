/* Bytes from the wire: refused, or kept within every limit, and packed again without loss. */
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
        FX_ASSERT(packed != FX_OK || fx_link_unpack(fx_buf_bytes(&again), &second, &err) == FX_OK);
    }
    FX_AUTO(fx_link_order) order = NULL;
    fx_ignore(fx_link_order_unpack(bytes, &order, &err), "only crashes are of interest");
    return 0;
}
