#include "coordinator/cli/table.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

struct fx_table {
    const char *const *headings;
    size_t column_count;
    char **cells; /* row by row */
    size_t cell_count;
    size_t capacity;
};

fx_table *
fx_table_new(const char *const *headings)
{
    fx_table *table = calloc(1, sizeof *table);
    FX_ASSERT(table != NULL);
    table->headings = headings;
    while (headings[table->column_count] != NULL) {
        table->column_count++;
    }
    FX_ASSERT(table->column_count > 0);
    FX_ASSERT(table->column_count <= FX_TABLE_COLUMN_MAX);
    return table;
}

void
fx_table_free(fx_table *table)
{
    if (table == NULL) {
        return;
    }
    for (size_t i = 0; i < table->cell_count; i++) {
        free(table->cells[i]);
    }
    free(table->cells);
    free(table);
}

void
fx_table_add(fx_table *table, const char *cell)
{
    if (table->cell_count == table->capacity) {
        table->capacity = table->capacity == 0 ? 64 : table->capacity * 2;
        char **cells = reallocarray(table->cells, table->capacity, sizeof *cells);
        FX_ASSERT(cells != NULL);
        table->cells = cells;
    }
    char *copy = strdup(cell[0] == '\0' ? "-" : cell);
    FX_ASSERT(copy != NULL);
    for (char *at = copy; *at != '\0'; at++) {
        if ((unsigned char)*at < 0x20 || *at == 0x7f) {
            *at = '?';
        }
    }
    table->cells[table->cell_count++] = copy;
}

void
fx_table_end_row(fx_table *table)
{
    FX_ASSERT(table->cell_count % table->column_count == 0);
}

size_t
fx_table_row_count(const fx_table *table)
{
    return table->cell_count / table->column_count;
}

/* Characters, not bytes: what continues a UTF-8 sequence takes no room. */
static size_t
width_of(const char *text)
{
    size_t width = 0;
    for (const char *at = text; *at != '\0'; at++) {
        width += ((unsigned char)*at & 0xc0) != 0x80;
    }
    return width;
}

static const char *
heading_of(const fx_table *table, size_t column)
{
    const char *heading = table->headings[column];
    return heading[0] == '>' ? heading + 1 : heading;
}

static fx_code
pad(size_t count, fx_buf *out, fx_err *err)
{
    return fx_buf_append_format(out, err, "%*s", (int)count, "");
}

static fx_code
print_cell(
    const fx_table *table, size_t column, const char *text, size_t width, fx_buf *out, fx_err *err)
{
    size_t missing = width - width_of(text);
    bool to_the_right = table->headings[column][0] == '>';
    bool is_last = column + 1 == table->column_count;
    fx_code code = to_the_right ? pad(missing, out, err) : FX_OK;
    if (code == FX_OK) {
        code = fx_buf_append_text(out, text, err);
    }
    if (code == FX_OK && is_last) {
        return fx_buf_append_text(out, "\n", err);
    }
    if (code == FX_OK) {
        code = pad(to_the_right ? 2 : missing + 2, out, err);
    }
    return code;
}

fx_code
fx_table_print(const fx_table *table, size_t indent, fx_buf *out, fx_err *err)
{
    size_t widths[FX_TABLE_COLUMN_MAX];
    size_t row_count = fx_table_row_count(table);
    for (size_t column = 0; column < table->column_count; column++) {
        widths[column] = width_of(heading_of(table, column));
        for (size_t row = 0; row < row_count; row++) {
            size_t width = width_of(table->cells[row * table->column_count + column]);
            widths[column] = width > widths[column] ? width : widths[column];
        }
    }
    fx_code code = FX_OK;
    for (size_t line = 0; line <= row_count && code == FX_OK; line++) { /* 0: the headings */
        code = pad(indent, out, err);
        for (size_t column = 0; column < table->column_count && code == FX_OK; column++) {
            const char *text = line == 0 ? heading_of(table, column)
                                         : table->cells[(line - 1) * table->column_count + column];
            code = print_cell(table, column, text, widths[column], out, err);
        }
    }
    return code;
}

void
fx_short_duration(fx_dur length, char out_text[FX_SHORT_TEXT_BYTES])
{
    const char *sign = length.ns < 0 ? "-" : "";
    int64_t ms = fx_dur_ms(length);
    ms = ms < 0 ? -ms : ms;
    int64_t seconds = ms / 1000;
    if (ms < 10000) {
        (void)snprintf(
            out_text,
            FX_SHORT_TEXT_BYTES,
            "%s%" PRId64 ".%d s",
            sign,
            seconds,
            (int)(ms / 100 % 10));
    } else if (seconds < 120) {
        (void)snprintf(out_text, FX_SHORT_TEXT_BYTES, "%s%" PRId64 " s", sign, seconds);
    } else if (seconds < 7200) {
        (void)snprintf(out_text, FX_SHORT_TEXT_BYTES, "%s%" PRId64 " min", sign, seconds / 60);
    } else if (seconds < 172800) {
        (void)snprintf(
            out_text,
            FX_SHORT_TEXT_BYTES,
            "%s%" PRId64 " h %" PRId64 " min",
            sign,
            seconds / 3600,
            seconds % 3600 / 60);
    } else {
        (void)snprintf(out_text, FX_SHORT_TEXT_BYTES, "%s%" PRId64 " d", sign, seconds / 86400);
    }
}

void
fx_short_size(uint64_t size_bytes, char out_text[FX_SHORT_TEXT_BYTES])
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    size_t unit = 0;
    uint64_t whole = size_bytes;
    uint64_t rest = 0;
    while (whole >= 1024) {
        rest = whole % 1024;
        whole /= 1024;
        unit++;
    }
    if (unit == 0 || whole >= 10) {
        (void)snprintf(out_text, FX_SHORT_TEXT_BYTES, "%" PRIu64 " %s", whole, units[unit]);
    } else {
        (void)snprintf(
            out_text,
            FX_SHORT_TEXT_BYTES,
            "%" PRIu64 ".%u %s",
            whole,
            (unsigned)(rest * 10 / 1024),
            units[unit]);
    }
}
