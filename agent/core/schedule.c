#include "agent/core/schedule.h"

static const fx_dur retry_min = {.ns = 30000 * FX_NS_PER_MS};
static const fx_dur retry_max = {.ns = 3600000 * FX_NS_PER_MS};

static fx_dur
retry_after(const fx_schedule_entry *entry)
{
    fx_dur limit = fx_dur_over(entry->interval, retry_max) ? retry_max : entry->interval;
    fx_dur wait = retry_min;
    for (unsigned count = 1; count < entry->failure_count && !fx_dur_over(wait, limit); count++) {
        wait.ns *= 2;
    }
    return fx_dur_over(wait, limit) ? limit : wait;
}

bool
fx_schedule_is_due(const fx_schedule_entry *entry, fx_wall wall, fx_mono now)
{
    FX_ASSERT(entry != NULL);
    if (entry->running || entry->interval.ns <= 0) {
        return false;
    }
    if (entry->failure_count > 0) {
        return !fx_dur_over(retry_after(entry), fx_mono_since(now, entry->last_failed));
    }
    if (entry->last_began.ns == 0 || entry->last_began.ns > wall.ns) {
        return true;
    }
    return wall.ns - entry->last_began.ns >= entry->interval.ns;
}
