/* A growable byte buffer with a maximum given at construction. */
#pragma once

#include "common/base/err.h"

/* Place it on the stack; `data` is always NUL-terminated one byte past `size_bytes`. */
typedef struct fx_buf {
    unsigned char *data;
    size_t size_bytes;
    size_t capacity_bytes;
    size_t max_bytes;
} fx_buf;

void fx_buf_init(fx_buf *buf, size_t max_bytes);
void fx_buf_free(fx_buf *buf);

/* Frees the bytes when the variable leaves scope. */
#define FX_BUF_AUTO __attribute__((cleanup(fx_buf_free))) fx_buf

/* Forgets the content and keeps the memory. */
void fx_buf_clear(fx_buf *buf);

/* errors: LIMIT, with the buffer unchanged */
FX_MUST_USE fx_code fx_buf_append(fx_buf *buf, const void *data, size_t size_bytes, fx_err *err);
FX_MUST_USE fx_code fx_buf_append_text(fx_buf *buf, const char *text, fx_err *err);
FX_MUST_USE fx_code fx_buf_append_format(fx_buf *buf, fx_err *err, const char *fmt, ...)
    FX_PRINTF(3, 4);

/* Adds `size_bytes` of room at the end, counted as content; gives where to write. errors: LIMIT */
FX_MUST_USE fx_code
fx_buf_extend(fx_buf *buf, size_t size_bytes, unsigned char **out_room, fx_err *err);

/* Takes memory for `size_bytes` in all at once: up to there the content does not move. */
void fx_buf_reserve(fx_buf *buf, size_t size_bytes);

/* Moves what follows the first `size_bytes` to the front. */
void fx_buf_consume(fx_buf *buf, size_t size_bytes);

static inline fx_bytes
fx_buf_bytes(const fx_buf *buf)
{
    return (fx_bytes){.data = buf->data, .size_bytes = buf->size_bytes};
}

/* The content as text, "" when nothing was ever added. */
const char *fx_buf_text(const fx_buf *buf);
