/* Readable objects that are signed: magic, version, message, signature, digest. Bytes:
 * docs/format.md, "Key objects". */
#pragma once

#include "common/repository/key.h"

enum { FX_SIGNED_VERSION = 1, FX_SIGNED_HEAD_BYTES = 12, FX_SIGNED_MAGIC_BYTES = 8 };

/* Appends the head; the message follows. `out` is empty before. */
FX_MUST_USE fx_code
fx_signed_begin(fx_buf *out, const char magic[FX_SIGNED_MAGIC_BYTES], fx_err *err);
/* Appends signature and digest. */
FX_MUST_USE fx_code fx_signed_finish(
    fx_buf *out, const char *use, const unsigned char sign[FX_SIGN_KEY_BYTES], fx_err *err);

typedef struct fx_signed {
    fx_bytes message;
    fx_bytes statement; /* what is signed */
    const unsigned char *signature;
} fx_signed;

/* Checks all but the signature, whose key may stand in the message; borrows `bytes`. errors:
 * DAMAGED, UNSUPPORTED */
FX_MUST_USE fx_code fx_signed_open(
    fx_bytes bytes, const char magic[FX_SIGNED_MAGIC_BYTES], fx_signed *out_signed, fx_err *err);
