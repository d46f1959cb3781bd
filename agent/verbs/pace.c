#include "agent/verbs/pace.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum {
    SMOOTH_MS = 10000,
    BAR_MIN = 10,
    BAR_MAX = 30,
    BAR_EXTRA = 9, /* "[", "] ", "~100%", "  " but for what it stands for */
    TIME_TEXT_BYTES = 32,
};

static const double ms_per_s = 1000;

void
fx_size_format(uint64_t size_bytes, char out_text[FX_SIZE_TEXT_BYTES])
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    double size = (double)size_bytes;
    size_t unit = 0;
    while (size >= 1024 && unit + 1 < sizeof units / sizeof *units) {
        size /= 1024;
        unit++;
    }
    (void)snprintf(
        out_text, FX_SIZE_TEXT_BYTES, unit == 0 ? "%.0f %s" : "%.1f %s", size, units[unit]);
}

/* ---- speed
 * -------------------------------------------------------------------------------------- */

static bool
is_same(const char *left, const char *right)
{
    return left == right || (left != NULL && right != NULL && strcmp(left, right) == 0);
}

/* What was before it began is not of its speed: a resumed operation does not begin at 0. */
static void
begin(fx_pace *pace, const fx_progress *progress, fx_mono now)
{
    *pace = (fx_pace){
        .step = progress->step,
        .what = progress->what,
        .has_begun = true,
        .began = now,
        .seen = now,
        .seen_bytes = progress->done_bytes,
        .seen_count = progress->count,
    };
}

/*
 * A mean whose weights fall with age. Until the step is as old as the time it looks back, that is
 * the plain mean since it began.
 */
void
fx_pace_note(fx_pace *pace, const fx_progress *progress, fx_mono now)
{
    if (!pace->has_begun || !is_same(pace->step, progress->step) ||
        !is_same(pace->what, progress->what) || progress->done_bytes < pace->seen_bytes ||
        progress->count < pace->seen_count) {
        begin(pace, progress, now);
        return;
    }
    double passed_ms = (double)fx_mono_since(now, pace->seen).ns / (double)FX_NS_PER_MS;
    double before_ms = (double)fx_mono_since(pace->seen, pace->began).ns / (double)FX_NS_PER_MS;
    if (passed_ms <= 0) {
        return;
    }
    double weight = passed_ms / (passed_ms + (before_ms < SMOOTH_MS ? before_ms : SMOOTH_MS));
    double bytes_per_s = (double)(progress->done_bytes - pace->seen_bytes) * ms_per_s / passed_ms;
    double count_per_s = (double)(progress->count - pace->seen_count) * ms_per_s / passed_ms;
    pace->bytes_per_s += weight * (bytes_per_s - pace->bytes_per_s);
    pace->count_per_s += weight * (count_per_s - pace->count_per_s);
    pace->seen = now;
    pace->seen_bytes = progress->done_bytes;
    pace->seen_count = progress->count;
}

int64_t
fx_pace_left_s(const fx_pace *pace, const fx_progress *progress)
{
    static const double longest_s = 1000.0 * 24 * 3600;
    bool by_bytes = progress->total_bytes > 0;
    uint64_t total = by_bytes ? progress->total_bytes : progress->total_count;
    uint64_t done = by_bytes ? progress->done_bytes : progress->count;
    double per_s = by_bytes ? pace->bytes_per_s : pace->count_per_s;
    if (total == 0 || done > total || !pace->has_begun || per_s <= 0) {
        return -1;
    }
    double left_s = (double)(total - done) / per_s;
    return left_s < longest_s ? (int64_t)(left_s + 0.5) : -1;
}

int
fx_progress_percent(const fx_progress *progress)
{
    bool by_bytes = progress->total_bytes > 0;
    uint64_t total = by_bytes ? progress->total_bytes : progress->total_count;
    uint64_t done = by_bytes ? progress->done_bytes : progress->count;
    if (total == 0 || done > total) {
        return -1;
    }
    return (int)((double)done * 100 / (double)total);
}

/* ---- the line
 * ----------------------------------------------------------------------------------- */

static void
format_left(int64_t left_s, char out_text[TIME_TEXT_BYTES])
{
    int64_t hours = left_s / 3600;
    int64_t minutes = left_s / 60 % 60;
    if (left_s < 0) {
        (void)snprintf(out_text, TIME_TEXT_BYTES, "time left unknown");
    } else if (hours >= 24) {
        (void)snprintf(
            out_text, TIME_TEXT_BYTES, "%" PRId64 " d %" PRId64 " h left", hours / 24, hours % 24);
    } else if (hours > 0) {
        (void)snprintf(
            out_text,
            TIME_TEXT_BYTES,
            "%" PRId64 ":%02" PRId64 ":%02" PRId64 " left",
            hours,
            minutes,
            left_s % 60);
    } else {
        (void)snprintf(
            out_text, TIME_TEXT_BYTES, "%" PRId64 ":%02" PRId64 " left", minutes, left_s % 60);
    }
}

/* Appends as much as there is room for. */
static void FX_PRINTF(3, 4) add(char *line, size_t room_bytes, const char *fmt, ...)
{
    va_list args;
    size_t length = strlen(line);
    va_start(args, fmt);
    (void)vsnprintf(line + length, room_bytes - length, fmt, args);
    va_end(args);
}

static void
write_text(const fx_progress *progress, const fx_pace *pace, char text[FX_PROGRESS_LINE_BYTES])
{
    char size[FX_SIZE_TEXT_BYTES];
    char left[TIME_TEXT_BYTES];
    const size_t room_bytes = FX_PROGRESS_LINE_BYTES;
    text[0] = '\0';
    if (progress->step != NULL) {
        add(text, room_bytes, "%s: ", progress->step);
    }
    add(text, room_bytes, "%" PRIu64, progress->count);
    if (progress->total_count > 0) {
        add(text, room_bytes, " of %" PRIu64, progress->total_count);
    }
    add(text, room_bytes, " %s", progress->what == NULL ? "files" : progress->what);
    if (progress->done_bytes > 0 || progress->total_bytes > 0) {
        fx_size_format(progress->done_bytes, size);
        add(text, room_bytes, ", %s", size);
        if (progress->total_bytes > 0 && progress->done_bytes <= progress->total_bytes) {
            fx_size_format(progress->total_bytes, size);
            add(text, room_bytes, " of %s%s", progress->total_is_estimate ? "about " : "", size);
        }
        fx_size_format((uint64_t)pace->bytes_per_s, size);
        add(text, room_bytes, ", %s/s", size);
    } else {
        add(text, room_bytes, ", %.0f/s", pace->count_per_s);
    }
    format_left(fx_pace_left_s(pace, progress), left);
    add(text, room_bytes, ", %s", left);
}

static void
write_bar(int percent, bool is_estimate, size_t cells, char line[FX_PROGRESS_LINE_BYTES])
{
    char *at = line;
    size_t full = cells * (size_t)percent / 100;
    *at++ = '[';
    for (size_t cell = 0; cell < cells; cell++) {
        *at++ = (char)(cell < full ? '=' : cell == full ? '>' : ' ');
    }
    *at = '\0';
    add(line, FX_PROGRESS_LINE_BYTES, "] %s%3d%% ", is_estimate ? "~" : " ", percent);
}

void
fx_progress_line(
    const fx_progress *progress,
    const fx_pace *pace,
    unsigned columns,
    char out_line[FX_PROGRESS_LINE_BYTES])
{
    char text[FX_PROGRESS_LINE_BYTES];
    size_t room = columns == 0 ? 0 : columns - 1;
    int percent = fx_progress_percent(progress);
    if (room > FX_PROGRESS_LINE_BYTES - 1) {
        room = FX_PROGRESS_LINE_BYTES - 1;
    }
    write_text(progress, pace, text);
    out_line[0] = '\0';
    size_t length = strlen(text);
    if (percent >= 0 && room >= length + BAR_EXTRA + BAR_MIN) {
        size_t cells = room - length - BAR_EXTRA;
        write_bar(
            percent, progress->total_is_estimate, cells < BAR_MAX ? cells : BAR_MAX, out_line);
    }
    add(out_line, room + 1, "%s", text);
}
