/*
 * Messages of proto/depot.proto to bytes and back. What comes out of the unpacking functions keeps
 * every limit below; whether a key is one, and who may do what, is for others to say.
 */
#pragma once

#include "common/base/buf.h"
#include "proto/depot.pb-c.h"

enum {
    FX_DEPOT_PART_MAX_BYTES = 2 * 1024 * 1024, /* of content in one message */
    FX_DEPOT_MESSAGE_MAX_BYTES = FX_DEPOT_PART_MAX_BYTES + 512 * 1024,
    FX_DEPOT_MEMORY_MAX_BYTES = 8 * 1024 * 1024, /* of one message, unpacked */
    FX_DEPOT_KEY_MAX_BYTES = 512,
    FX_DEPOT_TEXT_MAX_BYTES = 255,
    FX_DEPOT_PAGE_MAX = 4096,
    FX_DEPOT_UPLOAD_BYTES = 16,
    FX_DEPOT_DIGEST_BYTES = 32,
    FX_DEPOT_TICKET_MAX_BYTES = 256 * 1024, /* serialised, without endorsements */
    FX_DEPOT_TICKET_KEY_MAX = 1024,
    FX_DEPOT_TICKET_ID_MAX_BYTES = 47,
    FX_DEPOT_ENDORSEMENT_MAX = 5,
    FX_DEPOT_SIGNATURE_BYTES = 64,
};

typedef Fortress__Depot__Request fx_depot_request;
typedef Fortress__Depot__Reply fx_depot_reply;
typedef Fortress__Depot__Ticket fx_depot_ticket;
typedef Fortress__Depot__SignedTicket fx_depot_signed_ticket;

/*
 * Each pair: packing appends (errors: LIMIT); unpacking reads and checks (errors: LIMIT, DAMAGED:
 * no such message, INVALID: a field breaks its limit, UNSUPPORTED: version).
 */
FX_MUST_USE fx_code
fx_depot_request_pack(const fx_depot_request *request, fx_buf *out, fx_err *err);
FX_MUST_USE fx_code
fx_depot_request_unpack(fx_bytes bytes, fx_depot_request **out_request, fx_err *err);
void fx_depot_request_free(fx_depot_request *request);
FX_DEFINE_AUTO(fx_depot_request);

FX_MUST_USE fx_code fx_depot_reply_pack(const fx_depot_reply *reply, fx_buf *out, fx_err *err);
FX_MUST_USE fx_code fx_depot_reply_unpack(fx_bytes bytes, fx_depot_reply **out_reply, fx_err *err);
void fx_depot_reply_free(fx_depot_reply *reply);
FX_DEFINE_AUTO(fx_depot_reply);

FX_MUST_USE fx_code fx_depot_ticket_pack(const fx_depot_ticket *ticket, fx_buf *out, fx_err *err);
FX_MUST_USE fx_code
fx_depot_ticket_unpack(fx_bytes bytes, fx_depot_ticket **out_ticket, fx_err *err);
void fx_depot_ticket_free(fx_depot_ticket *ticket);
FX_DEFINE_AUTO(fx_depot_ticket);

FX_MUST_USE fx_code
fx_depot_signed_ticket_pack(const fx_depot_signed_ticket *ticket, fx_buf *out, fx_err *err);
FX_MUST_USE fx_code
fx_depot_signed_ticket_unpack(fx_bytes bytes, fx_depot_signed_ticket **out_ticket, fx_err *err);
void fx_depot_signed_ticket_free(fx_depot_signed_ticket *ticket);
FX_DEFINE_AUTO(fx_depot_signed_ticket);
