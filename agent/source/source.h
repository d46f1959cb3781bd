/*
 * What can be backed up: a driver family, one folder and one line of drivers.def each. A driver
 * saves one kind of source as a snapshot, and gets a restored one ready for use.
 *
 * thread: drivers block; call them on worker threads. One call per repository object at a time.
 */
#pragma once

#include "common/repository/repository.h"

#include <stdatomic.h>

/* What a long operation tells: from any of its threads, one call at a time. Members may be NULL. */
typedef struct fx_events {
    void *ctx;
    fx_progress_function progress;
    /* Something is missing from the result or different in it; the rest is complete. */
    void (*warning)(void *ctx, const char *path, const char *reason);
    const atomic_bool *cancel; /* set by another thread or a signal handler: ends with CANCELLED */
} fx_events;

typedef struct fx_backup_options {
    const char *host; /* of the snapshot */
    const char *name; /* of the data set: "app-data"; NULL: the driver derives one from `what` */
    const char *const *what; /* what to save, as the driver defines it: paths; one conninfo */
    size_t what_count;
    bool read_all;           /* reuse nothing from the parent snapshot */
    const char *const *skip; /* paths that are left out: the repository itself; may be NULL */
    size_t skip_count;
    const char *tags; /* of the snapshot (common/repository/tags.h); NULL: none */
} fx_backup_options;

typedef struct fx_settle_options {
    int folder_fd;       /* the restored tree in its staging place, verified and complete */
    const char *folder;  /* path of that staging place */
    const char *final;   /* absolute path where the folder will be once settled */
    fx_wall target_time; /* 0: the state at the end of the backup, or the newest there is */
    const char *url;     /* of the repository and its key, to refer to in what is written */
    const char *key_file;
} fx_settle_options;

typedef struct fx_check_options {
    fx_wall target_time; /* 0: none */
    bool ignores_gaps;   /* what is known to be missing on the way to it is only a warning */
} fx_check_options;

enum fx_source_ability {
    FX_SOURCE_SETTLES = 1, /* has settle() */
    FX_SOURCE_REPLAYS = 2, /* --time is a point to replay to, after the end of the snapshot */
};

typedef struct fx_source_driver {
    const char *kind; /* of its snapshots: "files" */
    unsigned abilities;
    /*
     * Saves what `options` names and commits the snapshot; warnings are counted in it.
     * errors: INVALID, NOT_FOUND, DENIED, UNREACHABLE, CANCELLED, and the store's
     */
    fx_code (*backup)(
        fx_repository *repository,
        const fx_backup_options *options,
        const fx_events *events,
        fx_snapshot *out_snapshot,
        fx_err *err);
    /* Can the snapshot be made ready for use at that time? Asked before anything is restored. Only
     * with FX_SOURCE_SETTLES. errors: INVALID, NOT_FOUND (what leads there is missing), and the
     * store's */
    fx_code (*check)(
        fx_repository *repository,
        const fx_snapshot *snapshot,
        const fx_check_options *options,
        const fx_events *events,
        fx_err *err);
    /* Makes a restored tree ready for use, before it is renamed into place. Only with
     * FX_SOURCE_SETTLES. */
    fx_code (*settle)(
        fx_repository *repository,
        const fx_snapshot *snapshot,
        const fx_settle_options *options,
        const fx_events *events,
        fx_err *err);
} fx_source_driver;

/* "files", "postgres". errors: UNSUPPORTED */
FX_MUST_USE fx_code
fx_source_find(const char *kind, const fx_source_driver **out_driver, fx_err *err);

#define FX_SOURCE_DRIVER(name) extern const fx_source_driver fx_source_driver_##name;
#include "agent/source/drivers.def"
#undef FX_SOURCE_DRIVER

static inline bool
fx_events_cancelled(const fx_events *events)
{
    return events != NULL && events->cancel != NULL && atomic_load(events->cancel);
}

static inline void
fx_events_warn(const fx_events *events, const char *path, const char *reason)
{
    if (events != NULL && events->warning != NULL) {
        events->warning(events->ctx, path, reason);
    }
}

static inline void
fx_events_progress(const fx_events *events, const fx_progress *progress)
{
    if (events != NULL && events->progress != NULL) {
        events->progress(events->ctx, progress);
    }
}
