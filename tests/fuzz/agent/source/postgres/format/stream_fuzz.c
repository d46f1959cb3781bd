/*
 * Messages of BASE_BACKUP from bytes: two bytes of length, then the message, and so on.
 */
#include <stdio.h>
#include <stdlib.h>
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

/* A copy of the message; where it begins with a header of tar, that gets the checksum that it
 * needs. */
static unsigned char *
mended(const uint8_t *data, size_t size_bytes)
{
    enum { CHECKSUM_AT = 148, CHECKSUM_BYTES = 8 };
    unsigned char *copy = malloc(size_bytes + 1);
    FX_ASSERT(copy != NULL);
    if (size_bytes > 0) {
        memcpy(copy, data, size_bytes);
    }
    if (size_bytes > FX_TAR_BLOCK_BYTES && copy[0] == 'd' && copy[1] != '\0') {
        unsigned sum = 0;
        unsigned char *header = copy + 1;
        memset(header + CHECKSUM_AT, ' ', CHECKSUM_BYTES);
        for (size_t i = 0; i < FX_TAR_BLOCK_BYTES; i++) {
            sum += header[i];
        }
        (void)snprintf((char *)header + CHECKSUM_AT, CHECKSUM_BYTES, "%06o", sum);
    }
    return copy;
}

static fx_code
feed(fx_backup_stream *stream, const uint8_t *data, size_t size_bytes, bool is_mended)
{
    fx_err err = {0};
    unsigned char *copy = is_mended ? mended(data, size_bytes) : NULL;
    const fx_bytes message = {.data = is_mended ? copy : data, .size_bytes = size_bytes};
    fx_code code = fx_backup_stream_feed(stream, message, &err);
    free(copy);
    return code;
}

static void
run(const uint8_t *data, size_t size_bytes, bool is_mended)
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
        if (feed(&stream, data + at, length, is_mended) != FX_OK) {
            return;
        }
        at += length;
    }
    fx_ignore(fx_backup_stream_finish(&stream, &err), "any result is right, a crash is not");
    FX_ASSERT(got_bytes <= size_bytes);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes)
{
    run(data, size_bytes, false);
    run(data, size_bytes, true);
    return 0;
}
