/*
 * How messages lie on the wire: Scalability Protocols over TLS, REQ and REP, as nng frames them
 * itself. Inside common/wire only. We frame by ourselves over nng's streams: the sockets
 * of nng 1.5 wedge for good when a connection breaks while a message is between two steps of its
 * sending (seen under load); by their source the accept loop can end too. source: nanomsg RFC "SP
 * over TCP", REQ/REP version 0
 */
#pragma once

#include <string.h>

#include "common/base/base.h"

enum {
    FX_FRAME_HELLO_BYTES = 8,  /* each side once: 0 'S' 'P' 0, protocol, 0 0 */
    FX_FRAME_LENGTH_BYTES = 8, /* before each message, big-endian; counts the number too */
    FX_FRAME_ID_BYTES = 4,     /* number of the request, highest bit set; the reply repeats it */
    FX_FRAME_REQ = 0x30,
    FX_FRAME_REP = 0x31,
};

#define FX_FRAME_ID_MARK UINT32_C(0x80000000)

static inline void
fx_frame_put(unsigned char *out_bytes, size_t size_bytes, uint64_t value)
{
    for (size_t i = 0; i < size_bytes; i++) {
        out_bytes[i] = (unsigned char)(value >> (8U * (unsigned)(size_bytes - 1 - i)));
    }
}

static inline uint64_t
fx_frame_get(const unsigned char *bytes, size_t size_bytes)
{
    uint64_t value = 0;
    for (size_t i = 0; i < size_bytes; i++) {
        value = (value << 8U) | bytes[i];
    }
    return value;
}

static inline void
fx_frame_put_hello(unsigned char out_bytes[FX_FRAME_HELLO_BYTES], unsigned protocol)
{
    fx_frame_put(out_bytes, FX_FRAME_HELLO_BYTES, UINT64_C(0x0053500000000000) | (protocol << 16U));
}

static inline bool
fx_frame_is_hello(const unsigned char bytes[FX_FRAME_HELLO_BYTES], unsigned protocol)
{
    unsigned char expected[FX_FRAME_HELLO_BYTES];
    fx_frame_put_hello(expected, protocol);
    return memcmp(bytes, expected, sizeof(expected)) == 0;
}

/* A whole message: length, number, bytes. Room for size_bytes + 12. */
static inline void
fx_frame_put_message(unsigned char *out_bytes, uint32_t id, fx_bytes message)
{
    fx_frame_put(out_bytes, FX_FRAME_LENGTH_BYTES, FX_FRAME_ID_BYTES + message.size_bytes);
    fx_frame_put(out_bytes + FX_FRAME_LENGTH_BYTES, FX_FRAME_ID_BYTES, id);
    if (message.size_bytes > 0) {
        memcpy(
            out_bytes + FX_FRAME_LENGTH_BYTES + FX_FRAME_ID_BYTES,
            message.data,
            message.size_bytes);
    }
}
