/* Text in aligned columns, and short forms of times and sizes, for a terminal. */
#pragma once

#include "common/base/buf.h"
#include "common/base/time.h"

enum { FX_TABLE_COLUMN_MAX = 12 };

typedef struct fx_table fx_table;

/* `headings` ends with NULL; a heading that begins with '>' aligns its column to the right. */
fx_table *fx_table_new(const char *const *headings);
void fx_table_free(fx_table *table);
FX_DEFINE_AUTO(fx_table);

/* Cells of the row at hand, left to right; copied. Control characters become '?': they could drive
 * the terminal. */
void fx_table_add(fx_table *table, const char *cell);
void fx_table_end_row(fx_table *table);
size_t fx_table_row_count(const fx_table *table);

/* Two blanks between columns, `indent` before each line, none at its end. errors: LIMIT */
FX_MUST_USE fx_code fx_table_print(const fx_table *table, size_t indent, fx_buf *out, fx_err *err);

enum { FX_SHORT_TEXT_BYTES = 32 };

/* "0.4 s", "12 s", "3 min", "5 h 10 min", "12 d"; "-" before a negative one. */
void fx_short_duration(fx_dur length, char out_text[FX_SHORT_TEXT_BYTES]);

/* "812 B", "1.5 KiB", "20 GiB" */
void fx_short_size(uint64_t size_bytes, char out_text[FX_SHORT_TEXT_BYTES]);
