/* Bytes as lower-case hexadecimal text. */
#pragma once

#include "common/base/err.h"

/* Room for size_bytes * 2 + 1 characters. */
void fx_hex_encode(fx_bytes bytes, char *out_text);

/* Reads exactly `size_bytes` bytes; upper or lower case. errors: INVALID */
FX_MUST_USE fx_code
fx_hex_decode(const char *text, unsigned char *out_bytes, size_t size_bytes, fx_err *err);
