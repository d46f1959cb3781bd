/*
 * Bytes that a host sends to a depot, that a depot sends back, and tickets: refused, or kept within
 * every limit, and packed again. (What protobuf-c keeps of unknown fields, it does not always read
 * again: a field number 0 that was written in two bytes.)
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
        FX_ASSERT(read == FX_OK || read == FX_ERR_DAMAGED);
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
        FX_ASSERT(read == FX_OK || read == FX_ERR_DAMAGED);
    }
}

static void
pack_again(const fx_depot_signed_ticket *ticket)
{
    fx_err err;
    FX_AUTO(fx_depot_signed_ticket) second = NULL;
    FX_BUF_AUTO again;
    fx_buf_init(&again, FX_DEPOT_MESSAGE_MAX_BYTES);
    fx_code code = fx_depot_signed_ticket_pack(ticket, &again, &err);
    FX_ASSERT(code == FX_OK);
    code = fx_depot_signed_ticket_unpack(fx_buf_bytes(&again), &second, &err);
    FX_ASSERT(code == FX_OK || code == FX_ERR_DAMAGED);
}

static void
try_ticket(fx_bytes bytes)
{
    fx_err err;
    FX_AUTO(fx_depot_ticket) ticket = NULL;
    FX_AUTO(fx_depot_ticket) second = NULL;
    FX_BUF_AUTO again;
    fx_buf_init(&again, FX_DEPOT_MESSAGE_MAX_BYTES);
    if (fx_depot_ticket_unpack(bytes, &ticket, &err) == FX_OK) {
        fx_code code = fx_depot_ticket_pack(ticket, &again, &err);
        FX_ASSERT(code == FX_OK);
        code = fx_depot_ticket_unpack(fx_buf_bytes(&again), &second, &err);
        FX_ASSERT(code == FX_OK || code == FX_ERR_DAMAGED);
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes)
{
    fx_err err;
    fx_bytes bytes = {.data = data, .size_bytes = size_bytes};
    try_request(bytes);
    try_reply(bytes);
    FX_AUTO(fx_depot_request) never = NULL; /* too long is seen before a byte is */
    fx_code code =
        fx_depot_request_unpack((fx_bytes){data, FX_DEPOT_MESSAGE_MAX_BYTES + 1}, &never, &err);
    FX_ASSERT(code == FX_ERR_LIMIT);
    FX_AUTO(fx_depot_signed_ticket) ticket = NULL;
    if (fx_depot_signed_ticket_unpack(bytes, &ticket, &err) == FX_OK) {
        pack_again(ticket);
        bytes = (fx_bytes){ticket->ticket.data, ticket->ticket.len};
    }
    try_ticket(bytes);
    return 0;
}
