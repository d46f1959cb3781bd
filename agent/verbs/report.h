/* What a verb tells while it works and at its end: lines for people, or one JSON object a line. */
#pragma once

#include "agent/source/source.h"
#include "agent/verbs/display.h"
#include "agent/verbs/options.h"
#include "agent/verbs/pace.h"
#include "common/json/json.h"

#include <stdio.h>

typedef struct fx_report {
    bool is_json;
    fx_display *display; /* of progress; NULL: none is shown */
    uint32_t warning_count;
    fx_events events; /* to give to the operation; cancelled by SIGINT and SIGTERM */
} fx_report;

/* Call once a process; the report must outlive the operation. */
void fx_report_init(fx_report *report, bool is_json);

/* From then on what events.progress is given is shown, unless --no-progress was. */
void fx_report_show_progress(fx_report *report, const fx_options *options);

/* No more of it: call it before a result is printed. The report's end does so, too. */
void fx_report_end_progress(fx_report *report);

/* One event that is not the last; takes `event`. Without --json nothing. */
void fx_report_event(fx_report *report, const char *name, fx_json *event);

/* A line "NAME: TEXT", or an event NAME with the text as its member NAME. */
void fx_report_tell(fx_report *report, const char *name, const char *text);

/* The same of "damage", for operations that call back; `ctx` is the report. */
void fx_report_damage(void *ctx, const char *text);

/*
 * The end: `err` NULL or without a code for success. With --json the summary object (taken; may be
 * NULL) gets event, result, exit_code and error; else a failure is printed to standard error. Gives
 * the exit status.
 */
int fx_report_end(fx_report *report, const fx_err *err, fx_json *summary);

/* Control characters as \n, \x1b…, so that a name cannot write to the terminal. */
void fx_print_safe(FILE *out, const char *text);
