/* Where chunks are: in memory, 40 bytes a chunk. */
#pragma once

#include "common/repository/object.h"

typedef struct fx_index_pack {
    unsigned char name[FX_ID_BYTES];
    uint64_t size_bytes;
    uint32_t blob_count;
    bool is_rescued; /* known from its own directory, not from an index object */
} fx_index_pack;

typedef struct fx_index_entry {
    fx_chunk_id id;
    uint32_t pack;
    uint32_t blob;
} fx_index_entry;

typedef struct fx_index {
    fx_index_pack *packs;
    size_t pack_count;
    size_t pack_capacity;
    fx_index_entry *entries;
    size_t entry_count;
    size_t entry_capacity;
    bool sorted;
} fx_index;

void fx_index_free(fx_index *index);

/* The number of the pack from then on. */
uint32_t fx_index_add_pack(fx_index *index, const fx_index_pack *pack);
void fx_index_add(fx_index *index, const fx_index_entry *entry);

/* Until something is added, finding changes nothing: threads may do so at once. */
void fx_index_sort(fx_index *index);

/* The first entry of a chunk; the same chunk in further packs follows it. NULL: unknown. */
const fx_index_entry *fx_index_find(fx_index *index, const fx_chunk_id *id);

/* Is the chunk in a pack that an index object names? */
bool fx_index_is_recorded(fx_index *index, const fx_chunk_id *id);

/* Adds all packs and entries of another. */
void fx_index_merge(fx_index *into, const fx_index *from);

/* Appends the record of a pack and its chunks as it stands in an index object's blobs. errors:
 * LIMIT, with `out` unchanged */
FX_MUST_USE fx_code fx_index_encode(
    const fx_index_pack *pack, const fx_object_writer *object, fx_buf *out, fx_err *err);
/* Adds all records of a blob. errors: DAMAGED, with the index unchanged in what it finds */
FX_MUST_USE fx_code fx_index_decode(fx_index *index, fx_bytes blob, fx_err *err);
