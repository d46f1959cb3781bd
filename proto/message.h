/* What the checked messages of all .proto files share: to bytes and back within limits. */
#pragma once

#include <protobuf-c/protobuf-c.h>

#include "common/base/buf.h"

/* A kind of message: its name for people, its longest form in bytes, and in memory. */
typedef struct fx_message_kind {
    const ProtobufCMessageDescriptor *descriptor;
    const char *name;
    size_t max_bytes;
    size_t memory_max_bytes; /* many tiny fields take far more memory than bytes */
} fx_message_kind;

/* Appends to `out`. errors: LIMIT (longer than the kind or the buffer allows) */
FX_MUST_USE fx_code fx_message_pack(
    const fx_message_kind *kind, const ProtobufCMessage *message, fx_buf *out, fx_err *err);

/*
 * Free it with protobuf_c_message_free_unpacked() and no allocator. errors: LIMIT (too long),
 * DAMAGED (none of that kind, or more than fits in memory_max_bytes)
 */
FX_MUST_USE fx_code fx_message_unpack(
    const fx_message_kind *kind, fx_bytes bytes, ProtobufCMessage **out_message, fx_err *err);

/* Fails with INVALID: a field `what` breaks its limit. */
FX_MUST_USE fx_code fx_message_bad_field(const char *what, const char *why, fx_err *err);
FX_MUST_USE fx_code fx_message_check_name(const char *text, const char *what, fx_err *err);
