/*
 * Bytes that a host sends to a depot, that a depot sends back, and tickets: refused, or kept within
 * every limit, and packed again without loss.
 */
#include "proto/depot_check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes);

static void
try_request(fx_bytes bytes)
{
    fx_err err;
    FX_AUTO(fx_depot_request) request = NULL;
    FX_AUTO(fx_depot_request) second = NULL;
    FX_BUF_AUTO again;
    fx_buf_init(&again, FX_DEPOT_MESSAGE_MAX_BYTES);
    if (fx_depot_request_unpack(bytes, &request, &err) == FX_OK) {
        fx_code packed = fx_depot_request_pack(request, &again, &err);
        FX_ASSERT(packed == FX_OK);
        fx_code read = fx_depot_request_unpack(fx_buf_bytes(&again), &second, &err);
        FX_ASSERT(read == FX_OK);
    }
}

static void
try_reply(fx_bytes bytes)
{
    fx_err err;
    FX_AUTO(fx_depot_reply) reply = NULL;
    FX_AUTO(fx_depot_reply) second = NULL;
    FX_BUF_AUTO again;
    fx_buf_init(&again, FX_DEPOT_MESSAGE_MAX_BYTES);
    if (fx_depot_reply_unpack(bytes, &reply, &err) == FX_OK) {
        fx_code packed = fx_depot_reply_pack(reply, &again, &err);
        FX_ASSERT(packed == FX_OK);
        fx_code read = fx_depot_reply_unpack(fx_buf_bytes(&again), &second, &err);
        FX_ASSERT(read == FX_OK);
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes)
{
    fx_err err;
    fx_bytes bytes = {.data = data, .size_bytes = size_bytes};
    try_request(bytes);
    try_reply(bytes);
    FX_AUTO(fx_depot_signed_ticket) ticket = NULL;
    if (fx_depot_signed_ticket_unpack(bytes, &ticket, &err) == FX_OK) {
        bytes = (fx_bytes){ticket->ticket.data, ticket->ticket.len};
    }
    FX_AUTO(fx_depot_ticket) inner = NULL;
    fx_ignore(fx_depot_ticket_unpack(bytes, &inner, &err), "only crashes are of interest");
    return 0;
}
