/*
 * Restores a snapshot into a folder: everything is written beside the target and checked, the
 * source's driver makes it ready for use, and one rename puts it into place. What was there before
 * is never changed, unless `in_place` asks for that.
 */
#pragma once

#include "agent/source/source.h"

typedef struct fx_restore_options {
    const char *target; /* absent, or an empty folder */
    const char *path;   /* only this of the snapshot, its content directly in the target; or NULL */
    bool numeric_owner; /* by number, not by name */
    /* Into a folder that has something in it: what is the same stays, what differs is written, what
     * the snapshot does not have is left alone. */
    bool in_place;
    bool dry_run;        /* only count, and look at the target */
    fx_wall target_time; /* for sources that replay; 0: none */
    bool ignores_gaps;   /* on the way to it: they are only told */
    const char *url;     /* for what is written by a driver: where the repository and its key are */
    const char *key_file;
} fx_restore_options;

typedef struct fx_restore_result {
    uint64_t file_count; /* all but folders */
    uint64_t folder_count;
    uint64_t done_bytes; /* of content, holes included */
    uint64_t kept_bytes; /* of it, what was there already */
    uint32_t warning_count;
    bool has_left_owners; /* some entries are the user's who restored them: only root may give them
                             to their owners */
} fx_restore_result;

/*
 * Every byte is authenticated before it is written; damage ends the restore, and nothing is left of
 * it. What ends for a reason that may pass, or is killed, stays beside the target: the same restore
 * goes on with it. Attributes and devices that cannot be set are warnings, owners too, where root
 * is refused. errors: EXISTS (the target is not empty), BUSY (the same restore is under way),
 * NOT_FOUND (path), DAMAGED, WRONG_KEY, NO_SPACE, DENIED, CANCELLED, and the store's thread: any;
 * blocks
 */
FX_MUST_USE fx_code fx_restore(
    fx_repository *repository,
    const fx_snapshot *snapshot,
    const fx_restore_options *options,
    const fx_events *events,
    fx_restore_result *out_result,
    fx_err *err);
