/*
 * Where chunks are: sorted segments of 34 to 36 bytes a chunk and 80 a pack. Small ones lie in
 * memory; large ones are files that are mapped, so that they take no memory of the process's own.
 *
 * thread: any, several at once
 */
#pragma once

#include "common/repository/id_set.h"
#include "common/repository/object.h"

/* As in a segment's file. */
typedef struct fx_index_pack {
    unsigned char name[FX_ID_BYTES];
    unsigned char record[FX_ID_BYTES]; /* fx_index_record_of() what is said of it; zero: unknown */
    uint32_t size_bytes;
    uint32_t blob_count;
    uint16_t is_rescued; /* 1: known from its own directory, not from an index object */
    uint16_t is_trusted; /* 1: a writer may count on it: common/repository/voucher.h */
} fx_index_pack;

typedef struct fx_index_entry {
    fx_chunk_id id;
    uint32_t pack;
    uint32_t blob;
} fx_index_entry;

_Static_assert(sizeof(fx_index_pack) == 76, "as stored");

typedef struct fx_index fx_index;

/* Large segments become files in `folder`, which must outlive it, or in a temporary folder when
 * it is NULL. */
fx_index *fx_index_new(const char *folder);
void fx_index_free(fx_index *index);
FX_DEFINE_AUTO(fx_index);

/* ---- finding ------------------------------------------------------------------------------------
 */

size_t fx_index_pack_count(const fx_index *index);
uint64_t fx_index_entry_count(const fx_index *index);

/* The pack of a number below the count. Numbers stay. */
fx_index_pack fx_index_pack_at(const fx_index *index, uint32_t number);

/* Goes through the places of one chunk; begin with a zeroed cursor. */
typedef struct fx_index_cursor {
    size_t segment;
    size_t next; /* the entry after the last one given, plus one; 0: none given yet */
} fx_index_cursor;
bool fx_index_next(
    const fx_index *index,
    const fx_chunk_id *id,
    fx_index_cursor *cursor,
    fx_index_entry *out_entry);

bool fx_index_has(const fx_index *index, const fx_chunk_id *id);
/* Is the chunk in a pack that an index object names? */
bool fx_index_is_recorded(const fx_index *index, const fx_chunk_id *id);

/* Every place of every chunk, in no order that means anything. `visit` must not add to the index.
 */
void fx_index_each(
    const fx_index *index, void (*visit)(void *ctx, const fx_index_entry *entry), void *ctx);

/* ---- adding -------------------------------------------------------------------------------------
 */

/* What is added is found from the next fx_index_seal() on. The number of the pack. */
uint32_t fx_index_add_pack(fx_index *index, const fx_index_pack *pack);
void fx_index_add(fx_index *index, const fx_index_entry *entry);
void fx_index_seal(fx_index *index);
/* So much waits that it should be sealed. */
bool fx_index_is_due(const fx_index *index);

/* How many packs and chunks wait for the seal. */
typedef struct fx_index_mark {
    size_t pack_count;
    size_t entry_count;
} fx_index_mark;
fx_index_mark fx_index_marked(const fx_index *index);
/* Forgets what was added since. */
void fx_index_roll_back(fx_index *index, const fx_index_mark *mark);

/*
 * Appends the record of a pack and its chunks as it stands in an index object's blobs. The ids lie
 * `stride_bytes` apart. errors: LIMIT, with `out` unchanged
 */
FX_MUST_USE fx_code fx_index_encode(
    const fx_index_pack *pack,
    const unsigned char *ids,
    size_t stride_bytes,
    fx_buf *out,
    fx_err *err);
/* Whose the records are: the scope's id, or NULL where nobody asks; and whether they are believed.
 */
typedef struct fx_index_origin {
    const fx_scope_id *scope;
    bool is_trusted;
} fx_index_origin;
/* Adds all records of a blob. errors: DAMAGED, after which the index must be rolled back */
FX_MUST_USE fx_code
fx_index_decode(fx_index *index, fx_bytes blob, const fx_index_origin *origin, fx_err *err);

/* Takes the first record off. errors: DAMAGED */
FX_MUST_USE fx_code fx_index_take_record(fx_bytes *records, fx_bytes *out_record, fx_err *err);
/* Digest of a pack's record in a scope: what a voucher speaks of. */
void fx_index_record_of(
    const fx_scope_id *scope, fx_bytes record, unsigned char out_digest[FX_ID_BYTES]);
/* A writer may count on the sealed packs with these records. How many were new to it. */
size_t fx_index_trust(fx_index *index, const fx_id_set *records);

/* ---- kept on disk -------------------------------------------------------------------------------
 */

/*
 * Writes all sealed packs and chunks to a file, in place of an older one. `label` (at most 4 GiB)
 * goes in front: what the file speaks of. errors: of the file
 */
FX_MUST_USE fx_code
fx_index_save(const fx_index *index, const char *path, fx_bytes label, fx_err *err);
/*
 * Maps such a file as a segment of an empty index; gives its label. Refuses one that others can
 * write. errors: NOT_FOUND, DENIED, DAMAGED
 */
FX_MUST_USE fx_code
fx_index_load(fx_index *index, const char *path, fx_buf *out_label, fx_err *err);
