/* A sorted part of an index, in memory or mapped from a file. Packs are numbered from 0 in each. */
#pragma once

#include "common/repository/index.h"

typedef struct fx_index_part {
    fx_index_pack *packs;
    fx_index_entry *entries; /* sorted by id */
    size_t pack_count;
    size_t entry_count;
    void *map; /* NULL: packs and entries are on the heap */
    size_t map_bytes;
} fx_index_part;

void fx_index_part_free(fx_index_part *part);

/* The first entry that is not before `id`: entry_count when there is none. */
size_t fx_index_part_search(const fx_index_part *part, const fx_chunk_id *id);

/*
 * One part of several: the packs of each follow those of the one before. With a folder, a large
 * one becomes a nameless file there; where that fails, it stays in memory.
 */
fx_index_part fx_index_part_merge(const fx_index_part *parts, size_t count, const char *folder);

/* Writes several parts as one file, durable and in place of an older one. */
FX_MUST_USE fx_code fx_index_part_save(
    const fx_index_part *parts, size_t count, const char *path, fx_bytes label, fx_err *err);
/* errors: NOT_FOUND, DENIED, DAMAGED, IO */
FX_MUST_USE fx_code
fx_index_part_load(const char *path, fx_index_part *out_part, fx_buf *out_label, fx_err *err);
