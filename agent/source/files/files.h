/* Backs up files and folders of this host as one snapshot of kind "files". */
#pragma once

#include "agent/source/source.h"

/*
 * options->what: paths, of which at least one must be there; symbolic links in them are resolved.
 * The data set is called like the paths if it has no name. Content of files whose size, times and
 * inode are those of the newest snapshot of the same source and host is not read again. errors:
 * INVALID, NOT_FOUND, CANCELLED, and the repository's
 */
FX_MUST_USE fx_code fx_backup_files(
    fx_repository *repository,
    const fx_backup_options *options,
    const fx_events *events,
    fx_snapshot *out_snapshot,
    fx_err *err);
