/* Composes reasons and evidence without a C library's printf: decisions import nothing. */
#pragma once

#include "coordinator/core/model.h"

/* A cursor over a text of the caller; always NUL-terminated, cut where it is full. */
typedef struct fx_text {
    char *data;
    size_t size_bytes;
    size_t used_bytes;
} fx_text;

fx_text fx_text_on(char *data, size_t size_bytes);
void fx_text_add(fx_text *text, const char *more);
void fx_text_add_number(fx_text *text, uint64_t number);
/* "5321 ms" */
void fx_text_add_ms(fx_text *text, fx_dur length);
/* "0/5000060" */
void fx_text_add_lsn(fx_text *text, fx_lsn lsn);

/* Sets the whole text from up to three parts (NULL: none). */
void fx_text_set(char *data, size_t size_bytes, const char *a, const char *b, const char *c);
#define FX_TEXT_SET(array, a, b, c) fx_text_set((array), sizeof(array), (a), (b), (c))
