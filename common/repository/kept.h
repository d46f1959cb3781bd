/*
 * The lists of a data set's last snapshot, kept in the cache folder by a host that can only write:
 * it cannot read them back, and knows by them which files have not changed. Names, sizes and times
 * lie in them in the clear, no content. Lost, all files are read again.
 */
#pragma once

#include "common/base/time.h"
#include "common/repository/repository.h"

/* ---- writing */

typedef struct fx_kept_writer fx_kept_writer;

/* NULL: there is no place for them. */
fx_kept_writer *fx_kept_writer_new(const char *folder);
/* Without fx_kept_writer_finish() before it, nothing is kept. */
void fx_kept_writer_free(fx_kept_writer *writer);
FX_DEFINE_AUTO(fx_kept_writer);

/* What does not fit, or cannot be written, makes the finish fail. thread: any */
void fx_kept_writer_add(fx_kept_writer *writer, const fx_chunk_id *id, fx_bytes content);

/* Puts it in place of an older one; after a failure that one stays, which is as true. errors:
 * LIMIT, of the file */
FX_MUST_USE fx_code fx_kept_writer_finish(
    fx_kept_writer *writer, const char *path, const fx_chunk_id *root, fx_wall began, fx_err *err);

/* ---- reading */

typedef struct fx_kept fx_kept;

/* Refuses one that others can write. errors: NOT_FOUND, DENIED, DAMAGED */
FX_MUST_USE fx_code fx_kept_load(const char *path, fx_kept **out_kept, fx_err *err);
void fx_kept_free(fx_kept *kept);
FX_DEFINE_AUTO(fx_kept);

fx_chunk_id fx_kept_root(const fx_kept *kept);
fx_wall fx_kept_began(const fx_kept *kept);

/* Borrowed of it; to be compared with its id before it is used. thread: any */
bool fx_kept_find(const fx_kept *kept, const fx_chunk_id *id, fx_bytes *out_content);
