#include "common/pg/wal_name.h"

#include <stdio.h>
#include <string.h>

/* Reads `digits` upper-case hexadecimal digits, as PostgreSQL writes them; lower case is another
 * name. */
static bool
read_hex(const char *text, size_t digits, uint32_t *out_value)
{
    uint32_t value = 0;
    for (size_t at = 0; at < digits; at++) {
        const char c = text[at];
        uint32_t digit = 0;
        if (c >= '0' && c <= '9') {
            digit = (uint32_t)(c - '0');
        } else if (c >= 'A' && c <= 'F') {
            digit = (uint32_t)(c - 'A') + 10;
        } else {
            return false;
        }
        value = (value << 4) | digit;
    }
    *out_value = value;
    return true;
}

fx_code
fx_pg_lsn_parse(const char *text, fx_lsn *out_lsn, fx_err *err)
{
    FX_ASSERT(text != NULL);
    const size_t high_digits = strspn(text, "0123456789ABCDEF");
    uint32_t high = 0;
    uint32_t low = 0;
    bool good = high_digits >= 1 && high_digits <= 8 && text[high_digits] == '/';
    if (good) {
        const char *rest = text + high_digits + 1;
        const size_t low_digits = strspn(rest, "0123456789ABCDEF");
        good = low_digits >= 1 && low_digits <= 8 && rest[low_digits] == '\0' &&
               read_hex(text, high_digits, &high) && read_hex(rest, low_digits, &low);
    }
    if (!good) {
        return fx_fail(err, FX_ERR_INVALID, "\"%.40s\" is no WAL position such as 0/3000060", text);
    }
    out_lsn->value = ((uint64_t)high << 32) | low;
    return FX_OK;
}

void
fx_pg_lsn_format(fx_lsn lsn, char out_text[FX_PG_LSN_TEXT_BYTES])
{
    (void)snprintf(
        out_text,
        FX_PG_LSN_TEXT_BYTES,
        "%X/%X",
        (unsigned)(lsn.value >> 32),
        (unsigned)(lsn.value & UINT32_MAX));
}

static bool
is_segment_size(uint32_t segment_bytes)
{
    return segment_bytes >= FX_PG_SEGMENT_MIN_BYTES && segment_bytes <= FX_PG_SEGMENT_MAX_BYTES &&
           (segment_bytes & (segment_bytes - 1)) == 0;
}

uint64_t
fx_pg_segment_of(fx_lsn lsn, uint32_t segment_bytes)
{
    FX_ASSERT(is_segment_size(segment_bytes));
    return lsn.value / segment_bytes;
}

void
fx_pg_segment_name(
    uint32_t timeline,
    uint64_t segment,
    uint32_t segment_bytes,
    char out_name[FX_PG_SEGMENT_NAME_BYTES])
{
    FX_ASSERT(is_segment_size(segment_bytes));
    const uint64_t per_id = (UINT64_C(1) << 32) / segment_bytes;
    FX_ASSERT(segment / per_id <= UINT32_MAX);
    (void)snprintf(
        out_name,
        FX_PG_SEGMENT_NAME_BYTES,
        "%08X%08X%08X",
        (unsigned)timeline,
        (unsigned)(segment / per_id),
        (unsigned)(segment % per_id));
}

fx_code
fx_pg_segment_parse(
    const char *name,
    uint32_t segment_bytes,
    uint32_t *out_timeline,
    uint64_t *out_segment,
    fx_err *err)
{
    FX_ASSERT(is_segment_size(segment_bytes));
    const uint64_t per_id = (UINT64_C(1) << 32) / segment_bytes;
    uint32_t timeline = 0;
    uint32_t high = 0;
    uint32_t low = 0;
    if (strlen(name) != FX_PG_SEGMENT_NAME_BYTES - 1 || !read_hex(name, 8, &timeline) ||
        !read_hex(name + 8, 8, &high) || !read_hex(name + 16, 8, &low) || timeline == 0 ||
        low >= per_id) {
        return fx_fail(err, FX_ERR_INVALID, "\"%.40s\" is no name of a WAL segment", name);
    }
    *out_timeline = timeline;
    *out_segment = high * per_id + low;
    return FX_OK;
}

void
fx_pg_history_name(uint32_t timeline, char out_name[FX_PG_HISTORY_NAME_BYTES])
{
    (void)snprintf(out_name, FX_PG_HISTORY_NAME_BYTES, "%08X.history", (unsigned)timeline);
}

fx_code
fx_pg_history_parse(const char *name, uint32_t *out_timeline, fx_err *err)
{
    uint32_t timeline = 0;
    if (strlen(name) != FX_PG_HISTORY_NAME_BYTES - 1 || !read_hex(name, 8, &timeline) ||
        timeline == 0 || strcmp(name + 8, ".history") != 0) {
        return fx_fail(err, FX_ERR_INVALID, "\"%.40s\" is no name of a timeline history", name);
    }
    *out_timeline = timeline;
    return FX_OK;
}
