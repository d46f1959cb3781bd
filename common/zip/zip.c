#include "common/zip/zip.h"

#include <zstd.h>

enum { SAMPLE_BYTES = 8 * 1024, SAMPLED_FROM_BYTES = 64 * 1024 };

struct fx_zip {
    ZSTD_CCtx *compressor;
    ZSTD_DCtx *expander;
};

fx_zip *
fx_zip_new(void)
{
    fx_zip *zip = calloc(1, sizeof *zip);
    FX_ASSERT(zip != NULL);
    zip->compressor = ZSTD_createCCtx();
    zip->expander = ZSTD_createDCtx();
    FX_ASSERT(zip->compressor != NULL && zip->expander != NULL);
    return zip;
}

void
fx_zip_free(fx_zip *zip)
{
    if (zip == NULL) {
        return;
    }
    (void)ZSTD_freeCCtx(zip->compressor);
    (void)ZSTD_freeDCtx(zip->expander);
    free(zip);
}

/* Worth it from a thirty-second on: below, restoring costs more time than storing saves room. */
static bool
shrinks(size_t from_bytes, size_t to_bytes)
{
    return to_bytes < from_bytes - from_bytes / 32;
}

/* Compresses a piece of the middle; wrong only for data that is half one thing and half another. */
static bool
sample_shrinks(fx_zip *zip, fx_bytes plain)
{
    unsigned char room[ZSTD_COMPRESSBOUND(SAMPLE_BYTES)];
    const unsigned char *data = plain.data;
    const unsigned char *middle = data + plain.size_bytes / 2 - SAMPLE_BYTES / 2;
    size_t got_bytes =
        ZSTD_compressCCtx(zip->compressor, room, sizeof room, middle, SAMPLE_BYTES, 1);
    return !ZSTD_isError(got_bytes) && shrinks(SAMPLE_BYTES, got_bytes);
}

fx_code
fx_zip_compress(fx_zip *zip, int level, fx_bytes plain, fx_buf *out, bool *out_shrunk, fx_err *err)
{
    *out_shrunk = false;
    if (plain.size_bytes == 0 ||
        (plain.size_bytes >= SAMPLED_FROM_BYTES && !sample_shrinks(zip, plain))) {
        return FX_OK;
    }
    size_t before_bytes = out->size_bytes;
    size_t room_bytes = ZSTD_compressBound(plain.size_bytes);
    unsigned char *room = NULL;
    if (fx_buf_extend(out, room_bytes, &room, err) != FX_OK) {
        return fx_err_wrap(err, "compressing");
    }
    size_t got_bytes =
        ZSTD_compressCCtx(zip->compressor, room, room_bytes, plain.data, plain.size_bytes, level);
    FX_ASSERT(!ZSTD_isError(got_bytes)); /* there is room for the worst case */
    *out_shrunk = shrinks(plain.size_bytes, got_bytes);
    out->size_bytes = before_bytes + (*out_shrunk ? got_bytes : 0);
    out->data[out->size_bytes] = 0;
    return FX_OK;
}

fx_code
fx_zip_expand(fx_zip *zip, fx_bytes compressed, size_t plain_bytes, fx_buf *out, fx_err *err)
{
    size_t before_bytes = out->size_bytes;
    unsigned char *room = NULL;
    if (fx_buf_extend(out, plain_bytes, &room, err) != FX_OK) {
        return fx_err_wrap(err, "decompressing");
    }
    size_t got_bytes = ZSTD_decompressDCtx(
        zip->expander, room, plain_bytes, compressed.data, compressed.size_bytes);
    if (ZSTD_isError(got_bytes) || got_bytes != plain_bytes) {
        out->size_bytes = before_bytes;
        room[0] = 0;
        return fx_fail(err, FX_ERR_DAMAGED, "could not decompress: not what was compressed");
    }
    return FX_OK;
}
