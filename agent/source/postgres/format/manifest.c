#include "agent/source/postgres/format/manifest.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/hex.h"
#include "common/json/json.h"

/* ---- CRC-32C ------------------------------------------------------------------------------------
 */

enum { SLICES = 8, BYTE_VALUES = 256, PATH_MAX_BYTES = 4096 };

typedef struct crc_tables {
    uint32_t at[SLICES][BYTE_VALUES];
} crc_tables;

/* Reflected polynomial of CRC-32C. source: RFC 3720, appendix B.4 */
static const uint32_t crc_polynomial = UINT32_C(0x82F63B78);

static void
fill_tables(crc_tables *tables)
{
    for (uint32_t value = 0; value < BYTE_VALUES; value++) {
        uint32_t crc = value;
        for (int bit = 0; bit < 8; bit++) {
            crc = (crc >> 1) ^ ((crc & 1) != 0 ? crc_polynomial : 0);
        }
        tables->at[0][value] = crc;
    }
    for (size_t value = 0; value < BYTE_VALUES; value++) {
        for (size_t slice = 1; slice < SLICES; slice++) {
            const uint32_t before = tables->at[slice - 1][value];
            tables->at[slice][value] = (before >> 8) ^ tables->at[0][before & 0xFF];
        }
    }
}

/* Filled before main() runs: later calls come from several threads. */
static crc_tables crc_table;

__attribute__((constructor)) static void
fill_crc_table(void)
{
    fill_tables(&crc_table);
}

uint32_t
fx_crc32c(uint32_t crc, fx_bytes bytes)
{
    const unsigned char *at = bytes.data;
    size_t left = bytes.size_bytes;
    crc = ~crc;
    for (; left >= SLICES; left -= SLICES, at += SLICES) {
        const uint32_t low = crc ^ ((uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 |
                                    (uint32_t)at[3] << 24);
        crc = crc_table.at[7][low & 0xFF] ^ crc_table.at[6][(low >> 8) & 0xFF] ^
              crc_table.at[5][(low >> 16) & 0xFF] ^ crc_table.at[4][low >> 24] ^
              crc_table.at[3][at[4]] ^ crc_table.at[2][at[5]] ^ crc_table.at[1][at[6]] ^
              crc_table.at[0][at[7]];
    }
    for (; left > 0; left--, at++) {
        crc = (crc >> 8) ^ crc_table.at[0][(crc ^ *at) & 0xFF];
    }
    return ~crc;
}

/* ---- what arrived -------------------------------------------------------------------------------
 */

typedef struct file_sum {
    char *path;
    uint64_t size_bytes;
    uint32_t crc;
} file_sum;

struct fx_file_sums {
    file_sum *items;
    size_t count;
    size_t capacity;
};

fx_file_sums *
fx_file_sums_new(void)
{
    fx_file_sums *sums = calloc(1, sizeof *sums);
    FX_ASSERT(sums != NULL);
    return sums;
}

void
fx_file_sums_free(fx_file_sums *sums)
{
    if (sums == NULL) {
        return;
    }
    for (size_t at = 0; at < sums->count; at++) {
        free(sums->items[at].path);
    }
    free(sums->items);
    free(sums);
}

fx_code
fx_file_sums_add(
    fx_file_sums *sums, const char *path, uint64_t size_bytes, uint32_t crc, fx_err *err)
{
    if (sums->count == FX_FILE_SUMS_MAX) {
        return fx_fail(
            err, FX_ERR_LIMIT, "could not check the backup: more than %d files", FX_FILE_SUMS_MAX);
    }
    if (sums->count == sums->capacity) {
        const size_t capacity = sums->capacity == 0 ? 1024 : sums->capacity * 2;
        file_sum *items = realloc(sums->items, capacity * sizeof *items);
        FX_ASSERT(items != NULL);
        sums->items = items;
        sums->capacity = capacity;
    }
    char *copy = strdup(path);
    FX_ASSERT(copy != NULL);
    sums->items[sums->count++] = (file_sum){.path = copy, .size_bytes = size_bytes, .crc = crc};
    return FX_OK;
}

static int
by_path(const void *left, const void *right)
{
    return strcmp(((const file_sum *)left)->path, ((const file_sum *)right)->path);
}

/* ---- the manifest -------------------------------------------------------------------------------
 */

/* Paths that are no UTF-8 stand in hexadecimal. */
static fx_code
read_path(const fx_json *line, char out_path[PATH_MAX_BYTES], fx_err *err)
{
    const char *plain = fx_json_as_text(fx_json_get(line, "Path"), NULL);
    const char *encoded = fx_json_as_text(fx_json_get(line, "Encoded-Path"), NULL);
    const size_t length = plain != NULL ? strlen(plain) : encoded != NULL ? strlen(encoded) / 2 : 0;
    if (length == 0 || length >= PATH_MAX_BYTES) {
        return fx_fail(err, FX_ERR_DAMAGED, "could not read the manifest: a file without a path");
    }
    if (plain != NULL) {
        memcpy(out_path, plain, length + 1);
        return FX_OK;
    }
    out_path[length] = '\0';
    return fx_hex_decode(encoded, (unsigned char *)out_path, length, err);
}

/* The checksum stands as the server's CRC in memory: least significant byte first. */
static fx_code
read_crc(const fx_json *line, const char *path, uint32_t *out_crc, fx_err *err)
{
    const char *algorithm = fx_json_as_text(fx_json_get(line, "Checksum-Algorithm"), "");
    const char *text = fx_json_as_text(fx_json_get(line, "Checksum"), "");
    unsigned char bytes[4] = {0};
    if (strcmp(algorithm, "CRC32C") != 0) {
        return fx_fail(
            err,
            FX_ERR_UNSUPPORTED,
            "could not check \"%.100s\": checksum \"%.20s\"",
            path,
            algorithm);
    }
    if (fx_hex_decode(text, bytes, sizeof bytes, err) != FX_OK) {
        return fx_err_wrap(err, "reading the manifest's checksum of \"%s\"", path);
    }
    *out_crc = (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 |
               (uint32_t)bytes[3] << 24;
    return FX_OK;
}

static fx_code
check_line(fx_bytes text, const fx_file_sums *sums, fx_err *err)
{
    FX_AUTO(fx_json) line = NULL;
    char path[PATH_MAX_BYTES] = {0};
    uint32_t crc = 0;
    if (fx_json_parse(text, &line, err) != FX_OK) {
        return fx_err_wrap(err, "reading the backup manifest");
    }
    if (read_path(line, path, err) != FX_OK || read_crc(line, path, &crc, err) != FX_OK) {
        return err->code;
    }
    const file_sum wanted = {.path = path};
    const file_sum *found =
        sums->count == 0 ? NULL
                         : bsearch(&wanted, sums->items, sums->count, sizeof *sums->items, by_path);
    if (found == NULL) {
        return fx_fail(
            err, FX_ERR_DAMAGED, "the backup lacks \"%.150s\", which its manifest lists", path);
    }
    const int64_t size_bytes = fx_json_as_int(fx_json_get(line, "Size"), -1);
    if (size_bytes < 0 || (uint64_t)size_bytes != found->size_bytes || crc != found->crc) {
        return fx_fail(
            err,
            FX_ERR_DAMAGED,
            "\"%.150s\" arrived otherwise than the server's manifest says",
            path);
    }
    return FX_OK;
}

/* The server writes one file a line, so that a manifest of any length is checked in little memory.
 */
fx_code
fx_manifest_check(fx_bytes manifest, fx_file_sums *sums, fx_err *err)
{
    static const char mark[] = "{ \"Path\":";
    static const char encoded_mark[] = "{ \"Encoded-Path\":";
    if (sums->count > 0) {
        qsort(sums->items, sums->count, sizeof *sums->items, by_path);
    }
    const char *at = manifest.data;
    const char *end = at + manifest.size_bytes;
    size_t checked = 0;
    while (at < end) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        size_t length = (size_t)((newline != NULL ? newline : end) - at);
        const char *next = newline != NULL ? newline + 1 : end;
        const bool is_file = (length > sizeof mark && memcmp(at, mark, sizeof mark - 1) == 0) ||
                             (length > sizeof encoded_mark &&
                              memcmp(at, encoded_mark, sizeof encoded_mark - 1) == 0);
        if (is_file) {
            while (length > 0 && at[length - 1] != '}') {
                length--;
            }
            if (check_line((fx_bytes){.data = at, .size_bytes = length}, sums, err) != FX_OK) {
                return err->code;
            }
            checked++;
        }
        at = next;
    }
    if (checked == 0) {
        return fx_fail(err, FX_ERR_DAMAGED, "the backup manifest lists no file");
    }
    return FX_OK;
}
