/* How often something may happen: a bucket of tokens. Pure: the time is an argument. */
#pragma once

#include "common/base/time.h"

/* Zero `tokens` and `filled_at` to begin with: the bucket is full at its first use. */
typedef struct fx_rate {
    uint32_t burst;      /* at most so many at once */
    fx_dur refill;       /* one more after each such length */
    uint64_t suppressed; /* refused since the last that was allowed */
    uint32_t tokens;
    fx_mono filled_at;
} fx_rate;

/*
 * True if it may happen now; then *out_suppressed tells how many were refused before it. For log
 * lines that somebody else can provoke.
 */
bool fx_rate_take(fx_rate *rate, fx_mono now, uint64_t *out_suppressed);
