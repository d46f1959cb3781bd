/* Messages of BASE_BACKUP from bytes: two bytes of length, then the message, and so on. */
#include <string.h>

#include "agent/source/postgres/format/stream.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes);

static fx_code
on_begin(void *ctx, const char *tablespace, const fx_tar_entry *entry, fx_err *err)
{
    (void)ctx;
    (void)err;
    FX_ASSERT(strspn(tablespace, "0123456789") == strlen(tablespace));
    FX_ASSERT(entry->path[0] != '/' && strstr(entry->path, "/../") == NULL);
    return FX_OK;
}

static fx_code
on_bytes(void *ctx, fx_bytes bytes, fx_err *err)
{
    (void)err;
    *(size_t *)ctx += bytes.size_bytes;
    return FX_OK;
}

static fx_code
on_end(void *ctx, fx_err *err)
{
    (void)ctx;
    (void)err;
    return FX_OK;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes)
{
    size_t got_bytes = 0;
    fx_err err = {0};
    const fx_backup_sink sink = {
        .ctx = &got_bytes,
        .begin = on_begin,
        .data = on_bytes,
        .end = on_end,
        .manifest = on_bytes};
    fx_backup_stream stream;
    fx_backup_stream_init(&stream, &sink);
    size_t at = 0;
    while (size_bytes - at >= 2) {
        const size_t wanted = (size_t)data[at] << 8 | data[at + 1];
        at += 2;
        const size_t length = wanted < size_bytes - at ? wanted : size_bytes - at;
        const fx_bytes message = {.data = data + at, .size_bytes = length};
        if (fx_backup_stream_feed(&stream, message, &err) != FX_OK) {
            return 0;
        }
        at += length;
    }
    fx_ignore(fx_backup_stream_finish(&stream, &err), "any result is right, a crash is not");
    FX_ASSERT(got_bytes <= size_bytes);
    return 0;
}
