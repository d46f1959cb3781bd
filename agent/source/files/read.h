/* Reads one file's content into the repository, with its holes. */
#pragma once

#include "agent/source/source.h"
#include "common/repository/tree.h"

#include <sys/stat.h>

typedef enum fx_read_outcome {
    FX_READ_DONE,
    FX_READ_CHANGED,    /* saved as it was read, which may be a mixture */
    FX_READ_UNREADABLE, /* not saved; `out_reason` says why */
    FX_READ_GONE,       /* deleted meanwhile */
} fx_read_outcome;

typedef struct fx_read_request {
    int folder_fd;
    const char *name;
    const struct stat *seen; /* from before: what is opened must be the same file */
    fx_content *content;
    const fx_events *events;
    fx_progress *progress; /* counted on while reading */
} fx_read_request;

/*
 * Puts the extents and size into `node`. Failures of the file itself are outcomes.
 * errors: of the repository, CANCELLED
 */
FX_MUST_USE fx_code fx_read_file(
    const fx_read_request *request,
    fx_node *node,
    fx_err *out_reason,
    fx_read_outcome *out_outcome,
    fx_err *err);
