#include "common/repository/plain.h"

#include <string.h>

#include "common/crypto/digest.h"

enum { VERSION = 1, MAGIC_BYTES = 8 };

fx_code
fx_plain_encode(const char *magic, const ProtobufCMessage *message, fx_buf *out, fx_err *err)
{
    FX_ASSERT(strlen(magic) == MAGIC_BYTES);
    unsigned char head[FX_PLAIN_HEAD_BYTES] = {0};
    memcpy(head, magic, MAGIC_BYTES);
    head[MAGIC_BYTES] = VERSION;
    unsigned char *room = NULL;
    size_t message_bytes = protobuf_c_message_get_packed_size(message);
    fx_buf_clear(out);
    if (fx_buf_append(out, head, sizeof head, err) != FX_OK ||
        fx_buf_extend(out, message_bytes, &room, err) != FX_OK) {
        return err->code;
    }
    (void)protobuf_c_message_pack(message, room);
    unsigned char digest[FX_SHA256_BYTES];
    fx_sha256(fx_buf_bytes(out), digest);
    return fx_buf_append(out, digest, sizeof digest, err);
}

fx_code
fx_plain_decode(const char *magic, fx_bytes object, fx_bytes *out_message, fx_err *err)
{
    unsigned char digest[FX_SHA256_BYTES];
    const unsigned char *data = object.data;
    if (object.size_bytes < FX_PLAIN_HEAD_BYTES + sizeof digest ||
        memcmp(data, magic, MAGIC_BYTES) != 0) {
        return fx_fail(err, FX_ERR_DAMAGED, "could not read the object: it is of another kind");
    }
    /* First: the digest of another version may stand elsewhere. */
    if (data[MAGIC_BYTES] != VERSION) {
        return fx_fail(
            err,
            FX_ERR_UNSUPPORTED,
            "could not read the object: format version %d, this program knows %d",
            data[MAGIC_BYTES],
            VERSION);
    }
    size_t body_bytes = object.size_bytes - sizeof digest;
    fx_sha256((fx_bytes){data, body_bytes}, digest);
    if (memcmp(data + body_bytes, digest, sizeof digest) != 0) {
        return fx_fail(err, FX_ERR_DAMAGED, "could not read the object: its digest is another");
    }
    *out_message = (fx_bytes){data + FX_PLAIN_HEAD_BYTES, body_bytes - FX_PLAIN_HEAD_BYTES};
    return FX_OK;
}
