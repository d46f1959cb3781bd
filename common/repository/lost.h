/* Which snapshots cannot be restored whole because packs are damaged or gone. */
#pragma once

#include "common/repository/internal.h"

/* A chunk of a bad pack that no good one holds too. */
typedef struct fx_lost_place {
    uint32_t pack;
    uint32_t blob;
} fx_lost_place;

typedef struct fx_lost {
    fx_repository *repository;
    fx_lost_place *places;
    size_t count;
} fx_lost;

/*
 * Looks at all that indexes and packs tell of; `good` has the names of the packs that can be
 * counted on. errors: those of reading indexes and packs
 */
FX_MUST_USE fx_code
fx_lost_measure(fx_repository *repository, const fx_id_set *good, fx_lost *out_lost, fx_err *err);
void fx_lost_free(fx_lost *lost);

/* Does the snapshot need something that is lost? errors: WRONG_KEY (its key is not here), and the
 * store's */
FX_MUST_USE fx_code
fx_lost_affects(const fx_lost *lost, const char *snapshot_id, bool *out_affects, fx_err *err);
