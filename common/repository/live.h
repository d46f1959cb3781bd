/* Which chunks snapshots need: a bit for each place of each chunk in the index. */
#pragma once

#include "common/repository/internal.h"

typedef struct fx_live {
    fx_repository *repository;
    size_t pack_count;
    uint64_t *first; /* of each pack, the number of its first place; pack_count + 1 */
    uint8_t *bits;
    uint8_t *walked;        /* likewise: trees whose every chunk is live */
    uint32_t *counts;       /* live places of each pack */
    uint64_t unknown_count; /* of needed chunks that have no place */
} fx_live;

/* All that the index knows; again after it has learned more: what was live stays so. */
void fx_live_measure(fx_live *live, fx_repository *repository);
void fx_live_free(fx_live *live);

/* Marks all that a snapshot needs. errors: those of reading its trees, naming it */
FX_MUST_USE fx_code fx_live_add_snapshot(fx_live *live, const char *snapshot_id, fx_err *err);

/* The same of a root that is known. */
FX_MUST_USE fx_code fx_live_add_root(fx_live *live, const fx_root *root, fx_err *err);

bool fx_live_has(const fx_live *live, uint32_t pack, uint32_t blob);
