#include "agent/service/fork.h"

#include <stdlib.h>
#include <string.h>

typedef struct line {
    uint32_t timeline;
    fx_lsn left_at;
} line;

/* "1<tab>0/3000148<tab>reason"; what a person may add (a comment, an empty line) is no entry. */
static fx_code
read_line(const char *text, line *out_line, bool *out_is_entry, fx_err *err)
{
    text += strspn(text, " \t");
    *out_is_entry = *text != '\0' && *text != '\n' && *text != '#';
    if (!*out_is_entry) {
        return FX_OK;
    }
    char *end = NULL;
    unsigned long long timeline = strtoull(text, &end, 10);
    bool good = end != text && timeline > 0 && timeline <= UINT32_MAX;
    unsigned long long high = good ? strtoull(end, &end, 16) : 0;
    good = good && high <= UINT32_MAX && *end == '/';
    unsigned long long low = good ? strtoull(end + 1, &end, 16) : 0;
    if (!good || low > UINT32_MAX) {
        return fx_fail(err, FX_ERR_INVALID, "could not understand the upstream's timeline history");
    }
    *out_line = (line){.timeline = (uint32_t)timeline, .left_at = {(uint64_t)high << 32U | low}};
    return FX_OK;
}

static bool
is_past(const fx_fork_position *position, fx_lsn left_at)
{
    return position->is_begin ? position->lsn.value >= left_at.value
                              : position->lsn.value > left_at.value;
}

fx_code
fx_fork_check(
    const char *history,
    uint32_t upstream_timeline,
    const fx_fork_position *position,
    bool *out_diverged,
    fx_err *err)
{
    FX_ASSERT(history != NULL);
    *out_diverged = false;
    if (position->timeline == 0 || position->timeline == upstream_timeline) {
        return FX_OK;
    }
    bool found = false;
    for (const char *at = history; at != NULL && *at != '\0' && !found;) {
        line one = {0};
        bool is_entry = false;
        if (read_line(at, &one, &is_entry, err) != FX_OK) {
            return err->code;
        }
        if (is_entry && one.timeline == position->timeline) {
            found = true;
            *out_diverged = is_past(position, one.left_at);
        }
        const char *end = strchr(at, '\n');
        at = end == NULL ? NULL : end + 1;
    }
    if (!found) {
        *out_diverged = true;
    }
    return FX_OK;
}
