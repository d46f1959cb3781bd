/* How far a long operation has come: what it tells while it works, for whoever shows it. */
#pragma once

#include "common/base/base.h"

/* Counts never shrink within one step. Texts are literals: they are read after the call. */
typedef struct fx_progress {
    const char *step; /* "saving"; another one, or of something else, begins to count anew */
    const char *what; /* is counted in count: "files" */
    uint64_t count;
    uint64_t total_count; /* 0: not known */
    uint64_t done_bytes;
    uint64_t total_bytes;  /* 0: not known */
    uint64_t reused_bytes; /* of done_bytes: known from before, not read again */
    bool total_is_estimate;
} fx_progress;

/* From any thread of the operation, one call at a time; returns soon. */
typedef void (*fx_progress_function)(void *ctx, const fx_progress *progress);
