/* Checks stored packs: that they are there, are what was written, and hold what they say. */
#pragma once

#include "common/repository/internal.h"

/* What one thread needs to check packs. */
typedef struct fx_pack_checker {
    fx_zip *zip;
    fx_buf bytes;   /* a pack */
    fx_buf content; /* a chunk */
    bool is_opened; /* the pack just checked is of the scope that is written to, every blob good: */
    fx_chunk_id record;         /* this is what it holds (fx_index_record_of()) */
    const fx_scope_keys *scope; /* whose the pack is; NULL: not read, or of no scope of the key */
    struct fx_pack_checker *next;
} fx_pack_checker;

fx_pack_checker *fx_pack_checker_new(void);
void fx_pack_checker_free(fx_pack_checker *checker);

/*
 * Its size; with `read_data` every byte too: each blob authenticated, decompressed, its id computed
 * again. Gives what was read. errors: DAMAGED, NOT_FOUND, and the store's
 * thread: any, several at once, each with a checker of its own
 */
FX_MUST_USE fx_code fx_pack_check(
    fx_repository *repository,
    fx_pack_checker *checker,
    const fx_index_pack *pack,
    bool read_data,
    uint64_t *out_read_bytes,
    fx_err *err);
