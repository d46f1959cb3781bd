/*
 * What index objects promise of packs that are not there: were those lost, or are they what a
 * revoked writer left behind? docs/format.md, "What an index object promises".
 */
#pragma once

#include "common/repository/internal.h"

/*
 * Of the packs `missing`, adds to `broken` those that were promised, and to `remnants` those that a
 * revoked writer may have named when they were gone. What is there by now, or what no index object
 * names any more, is neither. Numbers of packs may mean something else afterwards. errors: the
 * store's
 */
FX_MUST_USE fx_code fx_promise_sort(
    fx_repository *repository,
    const fx_id_set *missing,
    fx_id_set *broken,
    fx_id_set *remnants,
    fx_err *err);
