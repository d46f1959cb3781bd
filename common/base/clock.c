#include "common/base/clock.h"

#include <errno.h>
#include <stdio.h>
#include <time.h>

enum { NS_PER_S = 1000000000, S_PER_MINUTE = 60, S_PER_HOUR = 3600 };

static int64_t
read_clock_ns(clockid_t id)
{
    struct timespec now = {0};
    int result = clock_gettime(id, &now);
    FX_ASSERT(result == 0);
    return (int64_t)now.tv_sec * NS_PER_S + now.tv_nsec;
}

fx_mono
fx_clock_mono(void)
{
    return (fx_mono){.ns = read_clock_ns(CLOCK_BOOTTIME)};
}

fx_wall
fx_clock_wall(void)
{
    return (fx_wall){.ns = read_clock_ns(CLOCK_REALTIME)};
}

void
fx_wall_format(fx_wall when, char out_text[FX_WALL_TEXT_BYTES])
{
    time_t seconds = (time_t)(when.ns / NS_PER_S);
    int64_t rest_ns = when.ns % NS_PER_S;
    if (rest_ns < 0) {
        rest_ns += NS_PER_S;
        seconds--;
    }
    struct tm parts = {0};
    (void)gmtime_r(&seconds, &parts);
    char date[FX_WALL_TEXT_BYTES];
    size_t date_bytes = strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%S", &parts);
    FX_ASSERT(date_bytes > 0);
    (void)snprintf(
        out_text, FX_WALL_TEXT_BYTES, "%.23s.%03dZ", date, (int)(rest_ns / FX_NS_PER_MS));
}

/* Reads "", "Z" or "+hh:mm"; gives the seconds to take off, or false. */
static bool
parse_zone(const char *text, int64_t *out_offset_s)
{
    int hours = 0;
    int minutes = 0;
    int used = 0;
    char sign = 0;
    if (text[0] == '\0' || (text[0] == 'Z' && text[1] == '\0')) {
        *out_offset_s = 0;
        return true;
    }
    /* NOLINTNEXTLINE(cert-err34-c): two digits cannot overflow an int */
    if (sscanf(text, "%c%2d:%2d%n", &sign, &hours, &minutes, &used) != 3 || text[used] != '\0' ||
        (sign != '+' && sign != '-') || hours < 0 || minutes < 0) {
        return false;
    }
    int64_t offset_s = (int64_t)hours * S_PER_HOUR + (int64_t)minutes * S_PER_MINUTE;
    *out_offset_s = sign == '+' ? offset_s : -offset_s;
    return true;
}

static const char *
parse_fraction(const char *text, int64_t *out_ns)
{
    *out_ns = 0;
    if (*text != '.') {
        return text;
    }
    int64_t unit_ns = NS_PER_S;
    for (text++; *text >= '0' && *text <= '9'; text++) {
        unit_ns /= 10;
        *out_ns += unit_ns * (*text - '0');
    }
    return text;
}

fx_code
fx_wall_parse(const char *text, fx_wall *out_when, fx_err *err)
{
    struct tm parts = {0};
    const char *rest = strptime(text, "%Y-%m-%d", &parts);
    if (rest != NULL && (*rest == 'T' || *rest == ' ')) {
        rest = strptime(rest + 1, "%H:%M:%S", &parts);
    } else if (rest != NULL && *rest != '\0') {
        rest = NULL;
    }
    int64_t fraction_ns = 0;
    int64_t offset_s = 0;
    if (rest != NULL) {
        rest = parse_fraction(rest, &fraction_ns);
    }
    fx_wall when = {0};
    if (rest == NULL || !parse_zone(rest, &offset_s) ||
        !fx_wall_of_seconds((int64_t)timegm(&parts) - offset_s, &when)) {
        return fx_fail(
            err,
            FX_ERR_INVALID,
            "could not read time \"%.40s\": expected the form 2026-11-23T01:02:03Z",
            text);
    }
    *out_when = (fx_wall){.ns = when.ns + fraction_ns};
    return FX_OK;
}

void
fx_clock_sleep(fx_dur length)
{
    struct timespec left = {.tv_sec = length.ns / NS_PER_S, .tv_nsec = length.ns % NS_PER_S};
    while (clock_nanosleep(CLOCK_MONOTONIC, 0, &left, &left) == EINTR) {
    }
}

struct timespec
fx_clock_wait_limit(fx_mono deadline)
{
    fx_mono now = fx_clock_mono();
    int64_t left_ns = deadline.ns > now.ns ? deadline.ns - now.ns : 0;
    int64_t until_ns = read_clock_ns(CLOCK_MONOTONIC) + left_ns;
    return (struct timespec){.tv_sec = until_ns / NS_PER_S, .tv_nsec = until_ns % NS_PER_S};
}
