/* Reads files' content into the repository, with their holes. */
#pragma once

#include "agent/source/source.h"
#include "common/repository/tree.h"

#include <sys/stat.h>

typedef enum fx_read_outcome {
    FX_READ_DONE,
    FX_READ_CHANGED,    /* saved as it was read, which may be a mixture */
    FX_READ_UNREADABLE, /* not saved; the reason says why */
    FX_READ_GONE,       /* deleted meanwhile */
} fx_read_outcome;

typedef struct fx_read_result {
    fx_read_outcome outcome;
    fx_err reason;
} fx_read_result;

/* An open file. */
typedef struct fx_reading {
    int fd;
    struct stat seen;   /* from before: what is opened must be the same file */
    struct stat before; /* when it was opened */
} fx_reading;

/* FX_READ_DONE: it is open. */
fx_read_result
fx_read_open(int folder_fd, const char *name, const struct stat *seen, fx_reading *out_reading);

/* What one thread reads with. */
typedef struct fx_reader {
    fx_content *content;
    unsigned char *room; /* FX_READER_ROOM_BYTES */
    struct fx_reader *next;
} fx_reader;
enum { FX_READER_ROOM_BYTES = 1024 * 1024 };

/* A part of a file. */
typedef struct fx_read_request {
    const fx_reading *reading;
    off_t from;
    off_t to;
    fx_reader *reader;
    const atomic_bool *cancel;                        /* may be NULL */
    void (*progress)(void *ctx, uint64_t read_bytes); /* after each step */
    void *ctx;
} fx_read_request;

/*
 * Puts the part's extents and size into `node`. Failures of the file itself are outcomes.
 * errors: of the repository, CANCELLED
 * thread: any, several on one file, each with a reader of its own
 */
FX_MUST_USE fx_code fx_read_part(
    const fx_read_request *request, fx_node *node, fx_read_result *out_result, fx_err *err);

/* FX_READ_CHANGED: it is not what it was when it was seen. */
fx_read_outcome fx_read_close(fx_reading *reading);
