/*
 * Messages of proto/link.proto to bytes and back. What comes out of fx_link_unpack() keeps every
 * limit below, so that its users need no checks of size or form any more (texts for people are cut
 * and cleaned, all else is refused); what a message says is still its sender's word.
 */
#pragma once

#include "common/base/buf.h"
#include "proto/link.pb-c.h"

enum {
    FX_LINK_MESSAGE_MAX_BYTES = 1024 * 1024,
    FX_LINK_MEMORY_MAX_BYTES = 16 * 1024 * 1024, /* of one message, unpacked */
    FX_LINK_INCARNATION_BYTES = 16,
    FX_LINK_SIGNATURE_BYTES = 64,
    FX_LINK_ORDER_MAX_BYTES = 2048,
    FX_LINK_TEXT_MAX_BYTES = 255, /* details, reasons, targets */
    FX_LINK_ID_MAX_BYTES = 95,    /* ids of snapshots; output of orders */
    FX_LINK_ORDER_ID_MAX_BYTES = 47,
    FX_LINK_PATH_MAX_BYTES = 512,
    FX_LINK_SERVICE_MAX = 8, /* of one host */
    FX_LINK_PROBE_MAX = 64,
    FX_LINK_RESULT_MAX = 16,
    FX_LINK_SNAPSHOT_MAX = 64,
    FX_LINK_GAP_MAX = 32,
    FX_LINK_JOB_MAX = 64,
    FX_LINK_ORDER_MAX = 16, /* in one reply */
    FX_LINK_ENDORSEMENT_MAX = 5,
    FX_LINK_HOST_MAX = 128,
    FX_LINK_SIGHT_MAX = 128,
};

/* What is above a signed order's bytes in every endorsement; the NUL at its end belongs to it. */
#define FX_LINK_ORDER_PREFIX "fortress order 1"

typedef Fortress__Link__Envelope fx_link_envelope;
typedef Fortress__Link__Order fx_link_order;

/* For fields of messages that are only packed: protobuf-c's structs know no const. */
static inline char *
fx_link_text(const char *text)
{
    union {
        const char *given;
        char *field;
    } same = {.given = text};
    return same.field;
}

/* Appends to `out`. errors: LIMIT (longer than FX_LINK_MESSAGE_MAX_BYTES or the buffer allows) */
FX_MUST_USE fx_code fx_link_pack(const fx_link_envelope *envelope, fx_buf *out, fx_err *err);

/*
 * Reads and checks an envelope. Free it with fx_link_envelope_free().
 *
 * errors: LIMIT (too long), DAMAGED (not an envelope), INVALID (a field breaks its limit; the
 * message names it), UNSUPPORTED (version)
 */
FX_MUST_USE fx_code fx_link_unpack(fx_bytes bytes, fx_link_envelope **out_envelope, fx_err *err);

void fx_link_envelope_free(fx_link_envelope *envelope);
FX_DEFINE_AUTO(fx_link_envelope);

/* The same for an Order, which travels inside a SignedOrder as serialised. */
FX_MUST_USE fx_code fx_link_order_pack(const fx_link_order *order, fx_buf *out, fx_err *err);
FX_MUST_USE fx_code fx_link_order_unpack(fx_bytes bytes, fx_link_order **out_order, fx_err *err);

void fx_link_order_free(fx_link_order *order);
FX_DEFINE_AUTO(fx_link_order);

/* True for the kinds that an agent carries out only with endorsements of two regions. */
bool fx_link_order_is_endorsed(Fortress__Link__OrderKind kind);
