/*
 * The place beside a target where a restore is prepared, and its way into place. It is named after
 * what is restored, so that the same restore finds it again after it was broken off.
 */
#pragma once

#include "common/base/err.h"

#include <limits.h>

typedef struct fx_staging {
    int fd;                /* the staging folder, private to us */
    char path[PATH_MAX];   /* of it */
    char target[PATH_MAX]; /* absolute; its parent resolved */
    bool is_resumed;       /* it was there: left behind by the same restore, perhaps half written */
    bool is_inside;  /* within the target, which is a mount point or lies where we may not write */
    bool had_target; /* the target is there, empty */
    unsigned target_mode;
    unsigned target_uid;
    unsigned target_gid;
} fx_staging;

/*
 * `label`: a few characters for what is restored. errors: EXISTS (target not empty, or no folder),
 * BUSY (the same restore is under way), DENIED, NO_SPACE, LIMIT
 */
FX_MUST_USE fx_code
fx_staging_open(const char *target, const char *label, fx_staging *out_staging, fx_err *err);

/* Nothing is changed: whether fx_staging_open() would find the target as it should be. */
FX_MUST_USE fx_code fx_staging_check(const char *target, const char *label, fx_err *err);

/* Makes the content durable and renames it into place. errors: EXISTS (somebody filled it), IO */
FX_MUST_USE fx_code fx_staging_place(fx_staging *staging, fx_err *err);

/* Removes what is still staged. After fx_staging_place there is nothing. */
void fx_staging_close(fx_staging *staging);

/* Leaves it for the same restore to go on with. */
void fx_staging_leave(fx_staging *staging);

/*
 * In a private folder: gives an entry a mode that lets us in, where its own, already restored one
 * may lock us out. Where that fails, opening it says why.
 */
void fx_staging_unlock(int folder_fd, const char *name, unsigned mode);
