/* Compression of one piece of memory into another. Door to zstd. */
#pragma once

#include "common/base/buf.h"

typedef struct fx_zip fx_zip;

enum { FX_ZIP_NONE = 0, FX_ZIP_USUAL_LEVEL = 1, FX_ZIP_LEVEL_MAX = 19 };

/* "none", "1" to "19". errors: INVALID */
FX_MUST_USE fx_code fx_zip_level_parse(const char *text, int *out_level, fx_err *err);

/* Of the usual level. thread: one call at a time */
fx_zip *fx_zip_new(void);
void fx_zip_free(fx_zip *zip);
FX_DEFINE_AUTO(fx_zip);

/* FX_ZIP_NONE: nothing is said to shrink. */
void fx_zip_set_level(fx_zip *zip, int level);

/*
 * Appends `plain` compressed to `out`, and says so; or appends nothing and says that it does not
 * shrink, which a sample of it tells cheaply for most of such data. errors: LIMIT
 */
FX_MUST_USE fx_code
fx_zip_compress(fx_zip *zip, fx_bytes plain, fx_buf *out, bool *out_shrunk, fx_err *err);

/* Appends exactly `plain_bytes` bytes. errors: DAMAGED, LIMIT */
FX_MUST_USE fx_code
fx_zip_expand(fx_zip *zip, fx_bytes compressed, size_t plain_bytes, fx_buf *out, fx_err *err);
