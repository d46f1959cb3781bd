/*
 * Finds and kills every process of a managed server: by its cgroup where cgroup v2 can be written,
 * and always by what /proc shows (children of children, and servers that run in the data
 * directory). Process groups do not help: each backend calls setsid.
 */
#pragma once

#include <sys/types.h>

#include "common/base/err.h"

enum { FX_CONFINE_PATH_BYTES = 512 };

typedef struct fx_confine {
    char data_dir[FX_CONFINE_PATH_BYTES]; /* as /proc shows it: without symbolic links */
    char cgroup[FX_CONFINE_PATH_BYTES];   /* "" : none */
    pid_t spared;                         /* below `parent`, but no part of the server; 0: none */
} fx_confine;

/*
 * The cgroup `fortress-SERVICE-HASH` (of the data directory) is made if it is not there; where that
 * is not possible, or with `no_cgroup`, `cgroup` stays "". errors: NOT_FOUND (no data directory)
 */
FX_MUST_USE fx_code fx_confine_open(
    const char *service,
    const char *data_dir,
    bool no_cgroup,
    fx_confine *out_confine,
    fx_err *err);

/* Makes the cgroup again if it was removed meanwhile; fx_confine_enter() tells whether that worked.
 */
void fx_confine_make(const fx_confine *confine);

/* Removes the cgroup if nothing is in it. */
void fx_confine_remove(const fx_confine *confine);

/* Puts the calling process into the cgroup; true too where there is none. Safe after fork. */
bool fx_confine_enter(const fx_confine *confine);

/*
 * Kills what is left now and counts what was found, so that 0 means that no process is left. Call
 * until it gives 0; whoever died in between needs a moment. `parent` other than 0: everything below
 * that process, too, but neither the process itself, nor the calling one, nor `spared`.
 */
FX_MUST_USE fx_code
fx_confine_sweep(const fx_confine *confine, pid_t parent, size_t *out_count, fx_err *err);

/* The same without killing. */
FX_MUST_USE fx_code
fx_confine_count(const fx_confine *confine, pid_t parent, size_t *out_count, fx_err *err);
