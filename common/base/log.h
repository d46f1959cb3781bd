/* Structured log lines (logfmt) on a file descriptor: one write a line, from any thread. */
#pragma once

#include "common/base/err.h"
#include "common/base/time.h"

typedef enum fx_log_level { FX_DEBUG, FX_INFO, FX_WARN, FX_ERROR } fx_log_level;

typedef struct fx_log {
    int fd;
    fx_log_level min_level;
    const char *program; /* "agent"; borrowed, may be NULL */
} fx_log;

typedef enum fx_field_kind {
    FX_FIELD_END,
    FX_FIELD_TEXT,
    FX_FIELD_INT,
    FX_FIELD_SECRET,
    FX_FIELD_ERR
} fx_field_kind;

typedef struct fx_field {
    const char *key;
    fx_field_kind kind;
    const char *text;
    int64_t number;
    const fx_err *err;
} fx_field;

/* Keys carry the unit: FX_DUR("took_ms", took). */
#define FX_STR(key_, value) ((fx_field){.key = (key_), .kind = FX_FIELD_TEXT, .text = (value)})
#define FX_INT(key_, value)                                                                        \
    ((fx_field){.key = (key_), .kind = FX_FIELD_INT, .number = (int64_t)(value)})
#define FX_DUR(key_, value)                                                                        \
    ((fx_field){.key = (key_), .kind = FX_FIELD_INT, .number = fx_dur_ms(value)})
#define FX_FIELD_LAST         ((fx_field){.kind = FX_FIELD_END})
#define FX_SECRET(key_)       ((fx_field){.key = (key_), .kind = FX_FIELD_SECRET})
#define FX_ERR_FIELD(failure) ((fx_field){.key = "err", .kind = FX_FIELD_ERR, .err = (failure)})

/* FX_LOG(log, INFO, "wal.archived", FX_STR("segment", name)); event names are stable noun.verb. */
#define FX_LOG(log, level, ...) fx_log_write((log), FX_##level, __VA_ARGS__, FX_FIELD_LAST)

/*
 * Writes one line; longer than FX_LOG_LINE_MAX_BYTES is cut. Use FX_LOG: what follows `event` are
 * fx_field values up to FX_FIELD_LAST. A NULL `log` is silent.
 */
enum { FX_LOG_LINE_MAX_BYTES = 4096 };
void fx_log_write(const fx_log *log, fx_log_level level, const char *event, ...);

/* "debug", "info", "warn", "error". errors: INVALID */
FX_MUST_USE fx_code fx_log_level_parse(const char *text, fx_log_level *out_level, fx_err *err);
