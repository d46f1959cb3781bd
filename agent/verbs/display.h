/*
 * Shows how far a verb has come while it works: a line that is drawn anew on a terminal, or events
 * as JSON, from a thread of its own, so that the operation only leaves its counts. What is shown
 * and when: docs/reference/progress.md.
 */
#pragma once

#include "common/base/progress.h"

typedef struct fx_display fx_display;

/* NULL where there is nothing to show to: no JSON, and standard error is no terminal. */
fx_display *fx_display_new(bool is_json);
/* Stops it first. NULL is accepted here and below, and shows nothing. */
void fx_display_free(fx_display *display);

/* Leaves the counts for the next time that something is shown. thread: any */
void fx_display_set(fx_display *display, const fx_progress *progress);

/* Between the two the line is erased, and stays so: to print something else. thread: any */
void fx_display_hold(fx_display *display);
void fx_display_release(fx_display *display);

/* Ends it: the line is erased; as JSON, the last counts are told if they are new. */
void fx_display_stop(fx_display *display);
