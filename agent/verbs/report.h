/* What a verb tells while it works and at its end: lines for people, or one JSON object a line. */
#pragma once

#include "agent/source/source.h"
#include "common/json/json.h"

#include <stdio.h>

typedef struct fx_report {
    bool is_json;
    bool is_terminal; /* a progress line is drawn */
    bool has_line;
    fx_mono began;
    fx_mono last; /* when progress was last shown */
    uint32_t warning_count;
    fx_events events; /* to give to the operation; cancelled by SIGINT and SIGTERM */
} fx_report;

/* Call once a process; the report must outlive the operation. */
void fx_report_init(fx_report *report, bool is_json);

/* One event that is not the last; takes `event`. Without --json nothing. */
void fx_report_event(fx_report *report, const char *name, fx_json *event);

/*
 * The end: `err` NULL or without a code for success. With --json the summary object (taken; may be
 * NULL) gets event, result, exit_code and error; else a failure is printed to standard error. Gives
 * the exit status.
 */
int fx_report_end(fx_report *report, const fx_err *err, fx_json *summary);

/* "1.5 GiB" */
enum { FX_SIZE_TEXT_BYTES = 24 };
void fx_size_format(uint64_t size_bytes, char out_text[FX_SIZE_TEXT_BYTES]);

/* Control characters as \n, \x1b…, so that a name cannot write to the terminal. */
void fx_print_safe(FILE *out, const char *text);
