/*
 * A sorted part of an index, in memory or mapped from a file. Packs are numbered from 0 in each,
 * and so are places: all blobs of all packs, in order. An entry is 36 bytes, id and place, less the
 * first bytes of the id where there are so many entries that a table says them.
 */
#pragma once

#include "common/repository/index.h"

typedef struct fx_index_part {
    fx_index_pack *packs;
    uint32_t *first; /* place of each pack's first blob; pack_count + 1 */
    uint32_t *fan;   /* the first entry of each value of the ids' first bytes, 256^head_bytes + 1 */
    unsigned char *entries; /* sorted by id */
    size_t pack_count;
    size_t entry_count;
    size_t head_bytes; /* of each id that are not in its entry: 0 (without fan) to 2 */
    void *map;         /* NULL: all is on the heap */
    size_t map_bytes;
} fx_index_part;

/* Takes both arrays; entries sorted by id, each in one of the packs. */
fx_index_part fx_index_part_make(
    fx_index_pack *packs, size_t pack_count, fx_index_entry *entries, size_t entry_count);
void fx_index_part_free(fx_index_part *part);

/* The first entry that is not before `id`: entry_count when there is none. */
size_t fx_index_part_search(const fx_index_part *part, const fx_chunk_id *id);
/* Is that entry one of `id`? Gives it. False also where the file must be damaged. */
bool fx_index_part_match(
    const fx_index_part *part, size_t at, const fx_chunk_id *id, fx_index_entry *out_entry);

/* Goes through all entries in order. Begin with the part and zeros. */
typedef struct fx_index_walk {
    const fx_index_part *part;
    size_t at;
    size_t head; /* value of the ids' first bytes */
} fx_index_walk;
bool fx_index_walk_next(fx_index_walk *walk, fx_index_entry *out_entry);

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
