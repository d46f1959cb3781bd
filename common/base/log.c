#include "common/base/log.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/base/clock.h"

typedef struct line {
    char text[FX_LOG_LINE_MAX_BYTES];
    size_t used_bytes;
} line;

static const char *const level_names[] = {
    [FX_DEBUG] = "debug", [FX_INFO] = "info", [FX_WARN] = "warn", [FX_ERROR] = "error"};

static void
add_char(line *out, char c)
{
    if (out->used_bytes < sizeof out->text - 2) { /* room for the newline and NUL */
        out->text[out->used_bytes++] = c;
    }
}

static void
add_text(line *out, const char *text)
{
    for (; *text != '\0'; text++) {
        add_char(out, *text);
    }
}

/* Control characters could forge a line or drive a terminal. */
static void
add_escaped(line *out, const char *text)
{
    static const char digits[] = "0123456789abcdef";
    for (; *text != '\0'; text++) {
        unsigned char c = (unsigned char)*text;
        if (c == '"' || c == '\\') {
            add_char(out, '\\');
            add_char(out, (char)c);
        } else if (c == '\n') {
            add_text(out, "\\n");
        } else if (c < 0x20 || c == 0x7f) {
            add_text(out, "\\x");
            add_char(out, digits[c >> 4]);
            add_char(out, digits[c & 15]);
        } else {
            add_char(out, (char)c);
        }
    }
}

static void
add_quoted(line *out, const char *key, const char *text)
{
    add_char(out, ' ');
    add_text(out, key);
    add_text(out, "=\"");
    add_escaped(out, text == NULL ? "" : text);
    add_char(out, '"');
}

static void
add_number(line *out, const char *key, int64_t number)
{
    char text[32];
    (void)snprintf(text, sizeof text, "=%" PRId64, number);
    add_char(out, ' ');
    add_text(out, key);
    add_text(out, text);
}

static void
add_field(line *out, const fx_field *field)
{
    switch (field->kind) {
    case FX_FIELD_END:
        break;
    case FX_FIELD_TEXT:
        add_quoted(out, field->key, field->text);
        break;
    case FX_FIELD_INT:
        add_number(out, field->key, field->number);
        break;
    case FX_FIELD_SECRET:
        add_char(out, ' ');
        add_text(out, field->key);
        add_text(out, "=***");
        break;
    case FX_FIELD_ERR:
        add_char(out, ' ');
        add_text(out, "code=");
        add_text(out, fx_code_name(field->err->code));
        add_quoted(out, "message", field->err->message);
        if (field->err->context[0] != '\0') {
            add_quoted(out, "while", field->err->context);
        }
        break;
    }
}

void
fx_log_write(const fx_log *log, fx_log_level level, const char *event, ...)
{
    FX_ASSERT(event != NULL);
    if (log == NULL || level < log->min_level) {
        return;
    }
    line out = {.used_bytes = 0};
    char now[FX_WALL_TEXT_BYTES];
    fx_wall_format(fx_clock_wall(), now);
    add_text(&out, "time=");
    add_text(&out, now);
    add_text(&out, " level=");
    add_text(&out, level_names[level]);
    if (log->program != NULL) {
        add_text(&out, " program=");
        add_text(&out, log->program);
    }
    add_text(&out, " event=");
    add_text(&out, event);
    va_list fields;
    va_start(fields, event);
    for (fx_field field = va_arg(fields, fx_field); field.kind != FX_FIELD_END;
         field = va_arg(fields, fx_field)) {
        add_field(&out, &field);
    }
    va_end(fields);
    out.text[out.used_bytes++] = '\n';
    ssize_t put_bytes = write(log->fd, out.text, out.used_bytes);
    (void)put_bytes; /* there is nowhere left to say that the log cannot be written */
}

fx_code
fx_log_level_parse(const char *text, fx_log_level *out_level, fx_err *err)
{
    for (size_t i = 0; i < sizeof level_names / sizeof level_names[0]; i++) {
        if (strcmp(text, level_names[i]) == 0) {
            *out_level = (fx_log_level)i;
            return FX_OK;
        }
    }
    return fx_fail(
        err, FX_ERR_INVALID, "could not use log level \"%.40s\": debug, info, warn or error", text);
}
