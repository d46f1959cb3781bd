/* Positions and file names of the write-ahead log: text to numbers and back. Pure. */
#pragma once

#include "common/base/err.h"
#include "common/base/lsn.h"

enum {
    FX_PG_LSN_TEXT_BYTES = 20,     /* "FFFFFFFF/FFFFFFFF" and NUL */
    FX_PG_SEGMENT_NAME_BYTES = 25, /* 24 digits and NUL */
    FX_PG_HISTORY_NAME_BYTES = 17, /* "00000002.history" and NUL */
    FX_PG_SEGMENT_MIN_BYTES = 1024 * 1024,
    FX_PG_SEGMENT_MAX_BYTES = 1024 * 1024 * 1024,
};

/* Reads "16/B374D848". errors: INVALID */
FX_MUST_USE fx_code fx_pg_lsn_parse(const char *text, fx_lsn *out_lsn, fx_err *err);
void fx_pg_lsn_format(fx_lsn lsn, char out_text[FX_PG_LSN_TEXT_BYTES]);

/* Number of the segment that holds the byte at `lsn`. */
uint64_t fx_pg_segment_of(fx_lsn lsn, uint32_t segment_bytes);

/* "00000001000000000000000A". `segment_bytes` is a power of two between the limits above. */
void fx_pg_segment_name(
    uint32_t timeline,
    uint64_t segment,
    uint32_t segment_bytes,
    char out_name[FX_PG_SEGMENT_NAME_BYTES]);

/* errors: INVALID (not exactly 24 hexadecimal digits, or no segment of that size) */
FX_MUST_USE fx_code fx_pg_segment_parse(
    const char *name,
    uint32_t segment_bytes,
    uint32_t *out_timeline,
    uint64_t *out_segment,
    fx_err *err);

void fx_pg_history_name(uint32_t timeline, char out_name[FX_PG_HISTORY_NAME_BYTES]);

/* "00000002.history" gives 2. errors: INVALID */
FX_MUST_USE fx_code fx_pg_history_parse(const char *name, uint32_t *out_timeline, fx_err *err);
