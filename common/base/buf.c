#include "common/base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { FIRST_CAPACITY_BYTES = 256 };

void
fx_buf_init(fx_buf *buf, size_t max_bytes)
{
    FX_ASSERT(max_bytes < SIZE_MAX / 2);
    *buf = (fx_buf){.max_bytes = max_bytes};
}

void
fx_buf_free(fx_buf *buf)
{
    free(buf->data);
    *buf = (fx_buf){.max_bytes = buf->max_bytes};
}

void
fx_buf_clear(fx_buf *buf)
{
    buf->size_bytes = 0;
    if (buf->data != NULL) {
        buf->data[0] = 0;
    }
}

static void
grow_to(fx_buf *buf, size_t need_bytes)
{
    if (need_bytes + 1 <= buf->capacity_bytes) {
        return;
    }
    size_t capacity_bytes =
        buf->capacity_bytes > 0 ? buf->capacity_bytes * 2 : FIRST_CAPACITY_BYTES;
    if (capacity_bytes < need_bytes + 1) {
        capacity_bytes = need_bytes + 1;
    }
    unsigned char *data = realloc(buf->data, capacity_bytes);
    FX_ASSERT(data != NULL);
    buf->data = data;
    buf->capacity_bytes = capacity_bytes;
}

void
fx_buf_reserve(fx_buf *buf, size_t size_bytes)
{
    FX_ASSERT(size_bytes <= buf->max_bytes);
    grow_to(buf, size_bytes);
}

fx_code
fx_buf_extend(fx_buf *buf, size_t size_bytes, unsigned char **out_room, fx_err *err)
{
    FX_ASSERT(buf->size_bytes <= buf->max_bytes);
    if (size_bytes > buf->max_bytes - buf->size_bytes) {
        return fx_fail(err, FX_ERR_LIMIT, "could not hold more than %zu bytes", buf->max_bytes);
    }
    grow_to(buf, buf->size_bytes + size_bytes);
    *out_room = buf->data + buf->size_bytes;
    buf->size_bytes += size_bytes;
    buf->data[buf->size_bytes] = 0;
    return FX_OK;
}

fx_code
fx_buf_append(fx_buf *buf, const void *data, size_t size_bytes, fx_err *err)
{
    unsigned char *room = NULL;
    fx_code code = fx_buf_extend(buf, size_bytes, &room, err);
    if (code == FX_OK && size_bytes > 0) {
        memcpy(room, data, size_bytes);
    }
    return code;
}

fx_code
fx_buf_append_text(fx_buf *buf, const char *text, fx_err *err)
{
    return fx_buf_append(buf, text, strlen(text), err);
}

fx_code
fx_buf_append_format(fx_buf *buf, fx_err *err, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    va_list again;
    va_copy(again, args);
    int length = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    FX_ASSERT(length >= 0);

    unsigned char *room = NULL;
    fx_code code = fx_buf_extend(buf, (size_t)length, &room, err);
    if (code == FX_OK) {
        (void)vsnprintf((char *)room, (size_t)length + 1, fmt, again);
    }
    va_end(again);
    return code;
}

void
fx_buf_consume(fx_buf *buf, size_t size_bytes)
{
    FX_ASSERT(size_bytes <= buf->size_bytes);
    if (size_bytes == 0) {
        return;
    }
    memmove(buf->data, buf->data + size_bytes, buf->size_bytes - size_bytes + 1);
    buf->size_bytes -= size_bytes;
}

const char *
fx_buf_text(const fx_buf *buf)
{
    return buf->data == NULL ? "" : (const char *)buf->data;
}
