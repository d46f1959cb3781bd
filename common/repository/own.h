/*
 * What this host stored itself, kept in its cache folder: a host that can only write cannot read
 * what index objects say, and counts on no other word. Lost, it stores again.
 */
#pragma once

#include "common/repository/index.h"

/* Records of packs (fx_index_encode()), and the index object that this host put of them. */
typedef struct fx_own_entry {
    fx_chunk_id index;
    fx_bytes records;
} fx_own_entry;

typedef struct fx_own {
    fx_buf bytes;
    fx_own_entry *entries; /* borrow of `bytes`; oldest first */
    size_t count;
} fx_own;
void fx_own_free(fx_own *own);

/* Nothing where there is no file, or one that others can write; of a damaged one what is before the
 * damage. */
void fx_own_load(const char *path, fx_own *out_own);

/*
 * Adds an entry, durably. The oldest ones go where it is too much. Several processes may do so at
 * once. errors: of the file
 */
FX_MUST_USE fx_code fx_own_add(const char *path, const fx_own_entry *entry, fx_err *err);
