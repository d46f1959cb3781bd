#include "coordinator/core/text.h"

#include <string.h>

fx_text
fx_text_on(char *data, size_t size_bytes)
{
    FX_ASSERT(size_bytes > 0);
    data[0] = '\0';
    return (fx_text){.data = data, .size_bytes = size_bytes};
}

void
fx_text_add(fx_text *text, const char *more)
{
    size_t room = text->size_bytes - 1 - text->used_bytes;
    size_t length = strlen(more);
    size_t taken = length < room ? length : room;
    memcpy(text->data + text->used_bytes, more, taken);
    text->used_bytes += taken;
    text->data[text->used_bytes] = '\0';
}

static void
add_in_base(fx_text *text, uint64_t number, uint64_t base)
{
    char digits[24];
    size_t at = sizeof digits - 1;
    digits[at] = '\0';
    do {
        at--;
        digits[at] = "0123456789ABCDEF"[number % base];
        number /= base;
    } while (number > 0);
    fx_text_add(text, digits + at);
}

void
fx_text_add_number(fx_text *text, uint64_t number)
{
    add_in_base(text, number, 10);
}

void
fx_text_add_ms(fx_text *text, fx_dur length)
{
    add_in_base(text, (uint64_t)(length.ns > 0 ? fx_dur_ms(length) : 0), 10);
    fx_text_add(text, " ms");
}

void
fx_text_add_lsn(fx_text *text, fx_lsn lsn)
{
    add_in_base(text, lsn.value >> 32U, 16);
    fx_text_add(text, "/");
    add_in_base(text, lsn.value & UINT32_MAX, 16);
}

void
fx_text_set(char *data, size_t size_bytes, const char *a, const char *b, const char *c)
{
    fx_text text = fx_text_on(data, size_bytes);
    const char *const parts[] = {a, b, c};
    for (size_t i = 0; i < 3; i++) {
        if (parts[i] != NULL) {
            fx_text_add(&text, parts[i]);
        }
    }
}
