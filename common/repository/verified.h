/*
 * When packs and named objects were last read whole and found good, kept in a file: so that a scrub
 * goes on with what was not read for the longest.
 *
 * thread: one at a time
 */
#pragma once

#include "common/repository/repository.h"

typedef struct fx_verified fx_verified;

/* What the file holds; nothing where there is none, or a damaged one: it saves time only. */
fx_verified *fx_verified_load(const char *path);
void fx_verified_free(fx_verified *verified);
FX_DEFINE_AUTO(fx_verified);

/* 0: never. */
fx_wall fx_verified_at(const fx_verified *verified, const fx_chunk_id *name);

/* What is not noted in this run is kept only if it is seen. `when` 0: forget it. */
void fx_verified_see(fx_verified *verified, const fx_chunk_id *name);
void fx_verified_note(fx_verified *verified, const fx_chunk_id *name, fx_wall when);

/* errors: of the file */
FX_MUST_USE fx_code fx_verified_save(const fx_verified *verified, const char *path, fx_err *err);
