/* The only place that reads a clock. Decisions get the time as an argument instead. */
#pragma once

#include <time.h>

#include "common/base/err.h"
#include "common/base/time.h"

/*
 * CLOCK_BOOTTIME: goes on while the machine sleeps, and is the same for every process of one boot,
 * so that an agent may hand a deadline to the guard on its own host, and nowhere else. source:
 * clock_gettime(2)
 */
fx_mono fx_clock_mono(void);

fx_wall fx_clock_wall(void);

/* Writes "2026-11-23T01:02:03.456Z" (RFC 3339, UTC); at least FX_WALL_TEXT_BYTES of room. */
enum { FX_WALL_TEXT_BYTES = 32 };
void fx_wall_format(fx_wall when, char out_text[FX_WALL_TEXT_BYTES]);

/*
 * Reads "2026-11-23T01:02:03Z", with optional fraction, "+hh:mm" offset, or a blank instead of T;
 * a time without a zone is UTC. errors: INVALID
 */
FX_MUST_USE fx_code fx_wall_parse(const char *text, fx_wall *out_when, fx_err *err);

/* Blocks this thread. For back-off on worker threads; never to wait for a condition. */
void fx_clock_sleep(fx_dur length);

/*
 * The instant of CLOCK_MONOTONIC, which pthread conditions wait by, that comes when `deadline` does
 * unless the machine sleeps before it.
 */
struct timespec fx_clock_wait_limit(fx_mono deadline);
