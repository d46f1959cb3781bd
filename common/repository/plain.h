/*
 * Small readable objects: a magic, a version, a message, a digest of all before. Bytes:
 * docs/format.md, "Readable objects".
 */
#pragma once

#include <protobuf-c/protobuf-c.h>

#include "common/base/buf.h"

enum { FX_PLAIN_HEAD_BYTES = 12 };

/* `magic` has eight characters. errors: LIMIT */
FX_MUST_USE fx_code
fx_plain_encode(const char *magic, const ProtobufCMessage *message, fx_buf *out, fx_err *err);

/* Gives the message's bytes. errors: DAMAGED, UNSUPPORTED (newer version) */
FX_MUST_USE fx_code
fx_plain_decode(const char *magic, fx_bytes object, fx_bytes *out_message, fx_err *err);
