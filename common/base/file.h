/* Small files whole: read with a limit, replaced so that a crash leaves the old or the new one. */
#pragma once

#include "common/base/buf.h"

/* errors: NOT_FOUND, DENIED, IO, LIMIT (longer than `out->max_bytes`) */
FX_MUST_USE fx_code fx_file_read(const char *path, fx_buf *out, fx_err *err);

/*
 * Replaces `path` durably: temporary file, fsync, rename, fsync of the folder.
 * errors: DENIED, NO_SPACE, IO; outcome UNKNOWN if only the folder could not be synced
 */
FX_MUST_USE fx_code fx_file_replace(const char *path, fx_bytes content, unsigned mode, fx_err *err);

/* Makes the folder and its parents, durably, with 0755 less the umask, `mode` for the last. errors:
 * DENIED, IO */
FX_MUST_USE fx_code fx_file_make_folder(const char *path, unsigned mode, fx_err *err);

/* fsync of the folder that holds `path`: makes a create, rename or unlink in it durable. */
FX_MUST_USE fx_code fx_file_sync_parent(const char *path, fx_err *err);
