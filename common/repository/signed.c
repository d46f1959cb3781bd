#include "common/repository/signed.h"

#include <string.h>

fx_code
fx_signed_begin(fx_buf *out, const char magic[FX_SIGNED_MAGIC_BYTES], fx_err *err)
{
    unsigned char head[FX_SIGNED_HEAD_BYTES] = {0};
    FX_ASSERT(out->size_bytes == 0);
    memcpy(head, magic, FX_SIGNED_MAGIC_BYTES);
    head[FX_SIGNED_MAGIC_BYTES] = FX_SIGNED_VERSION;
    return fx_buf_append(out, head, sizeof head, err);
}

fx_code
fx_signed_finish(
    fx_buf *out, const char *use, const unsigned char sign[FX_SIGN_KEY_BYTES], fx_err *err)
{
    unsigned char signature[FX_SIGN_BYTES];
    unsigned char digest[FX_SHA256_BYTES];
    fx_statement_sign(sign, use, fx_buf_bytes(out), signature);
    if (fx_buf_append(out, signature, sizeof signature, err) != FX_OK) {
        return err->code;
    }
    fx_sha256(fx_buf_bytes(out), digest);
    return fx_buf_append(out, digest, sizeof digest, err);
}

fx_code
fx_signed_open(
    fx_bytes bytes, const char magic[FX_SIGNED_MAGIC_BYTES], fx_signed *out_signed, fx_err *err)
{
    const unsigned char *data = bytes.data;
    unsigned char digest[FX_SHA256_BYTES];
    size_t least_bytes = FX_SIGNED_HEAD_BYTES + FX_SIGN_BYTES + sizeof digest;
    if (bytes.size_bytes < least_bytes || memcmp(data, magic, FX_SIGNED_MAGIC_BYTES) != 0) {
        return fx_fail(err, FX_ERR_DAMAGED, "could not read the object: its beginning is not one");
    }
    const unsigned char *version = data + FX_SIGNED_MAGIC_BYTES;
    /* First: the digest of another version may stand elsewhere. */
    if (version[0] != FX_SIGNED_VERSION) {
        return fx_fail(
            err,
            FX_ERR_UNSUPPORTED,
            "could not read the object: format version %d, this program knows %d",
            version[0],
            FX_SIGNED_VERSION);
    }
    size_t body_bytes = bytes.size_bytes - sizeof digest;
    size_t signed_bytes = body_bytes - FX_SIGN_BYTES;
    fx_sha256((fx_bytes){data, body_bytes}, digest);
    if (memcmp(data + body_bytes, digest, sizeof digest) != 0 || version[1] != 0 ||
        version[2] != 0 || version[3] != 0) {
        return fx_fail(err, FX_ERR_DAMAGED, "could not read the object: its digest is another");
    }
    *out_signed = (fx_signed){
        .message = {data + FX_SIGNED_HEAD_BYTES, signed_bytes - FX_SIGNED_HEAD_BYTES},
        .statement = {data, signed_bytes},
        .signature = data + signed_bytes,
    };
    return FX_OK;
}
