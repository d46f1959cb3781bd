/* When a backup job is due. Pure. */
#pragma once

#include "common/base/time.h"

typedef struct fx_schedule_entry {
    fx_dur interval;        /* 0: only when ordered */
    fx_wall last_began;     /* of the last success, 0: never */
    fx_mono last_failed;    /* 0: the last run did not fail */
    unsigned failure_count; /* in a row */
    bool running;
} fx_schedule_entry;

/*
 * A job that never ran is due at once. After a failure it is tried again after 30 s, doubling up to
 * the interval or an hour, whichever is shorter. A `last_began` in the future (the clock was set
 * back) does not count.
 */
bool fx_schedule_is_due(const fx_schedule_entry *entry, fx_wall wall, fx_mono now);
