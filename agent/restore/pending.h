/*
 * Files and folders that are being written by several threads: each gets its attributes when its
 * last piece is there, folders after all that is in them.
 *
 * thread: any, unless said otherwise
 */
#pragma once

#include "agent/restore/unpack.h"
#include "common/repository/fetch.h"

#include <pthread.h>

/* What all of them share. Place it anywhere. */
typedef struct fx_pending {
    const fx_unpack_request *request;
    pthread_mutex_t lock;          /* guards the next, request->result and calls of its events */
    struct fx_pending_room *rooms; /* free ones */
    atomic_bool has_failed;        /* nothing more gets attributes */
} fx_pending;

void fx_pending_init(fx_pending *pending, const fx_unpack_request *request);
void fx_pending_deinit(fx_pending *pending);

/* A folder; lives as long as something holds it. */
typedef struct fx_pending_folder {
    fx_pending *pending;
    struct fx_pending_folder *parent; /* held; NULL: the root */
    int fd;
    const fx_node *node; /* of the parent's tree; NULL: the root, which is the caller's */
    fx_tree *tree;       /* of what is in it; NULL for a root without one */
    char *path;          /* relative to the root */
    atomic_uint holds;
} fx_pending_folder;

/* Takes `fd` (but for the root) and `tree`; holds the parent; is held once. */
fx_pending_folder *fx_pending_folder_new(
    fx_pending *pending, fx_pending_folder *parent, int fd, const fx_node *node, fx_tree *tree);
/* The last gives it its attributes. */
void fx_pending_folder_release(fx_pending_folder *folder);

/* The path of an entry of the folder; free() it. */
char *fx_pending_folder_path(const fx_pending_folder *folder, const char *name);

/* A file; lives until its last want is given. */
typedef struct fx_pending_file {
    fx_pending_folder *folder; /* held */
    const fx_node *node;
    pthread_mutex_t lock; /* guards all below */
    int fd;               /* -1: not created yet */
    int direct_fd;        /* for a large new file; else -1 */
    bool is_kept;         /* it was there, and is not empty */
    bool has_failed;
    uint64_t end_bytes; /* of what was written so far */
    atomic_uint holds;
} fx_pending_file;

/* Is held once. */
fx_pending_file *fx_pending_file_new(fx_pending_folder *folder, const fx_node *node);
/* Creates it now, for who must know that it is there. */
FX_MUST_USE fx_code fx_pending_file_create(fx_pending_file *file, fx_err *err);
/* The last creates what is not there yet, gives it its attributes and closes it. */
FX_MUST_USE fx_code fx_pending_file_release(fx_pending_file *file, fx_err *err);

/* An fx_fetch_take for wants whose target is a held file. */
FX_MUST_USE fx_code
fx_pending_file_take(void *ctx, const fx_want *want, fx_bytes content, fx_err *err);

/* Adds to the result, and tells. */
void fx_pending_count(fx_pending *pending, uint64_t file_count, uint64_t done_bytes);
