/*
 * Which snapshots were forgotten here and which are about to arrive from another tier: so that a
 * forgotten one does not come back, and a late one is whole. docs/format.md, "Replication".
 */
#pragma once

#include "common/repository/id_set.h"
#include "common/store/store.h"

/* For ever: before the snapshot itself is removed. errors: the store's */
FX_MUST_USE fx_code fx_forgotten_put(fx_store *store, const char *snapshot_id, fx_err *err);
/* Adds the ids of all. errors: the store's */
FX_MUST_USE fx_code fx_forgotten_read(fx_store *store, fx_id_set *ids, fx_err *err);
/* Adds the ids of snapshots that replicators have announced. Before snapshots are listed. */
FX_MUST_USE fx_code fx_arriving_read(fx_store *store, fx_id_set *ids, fx_err *err);
/* Of a snapshot that is listed or forgotten. errors: the store's, but for NOT_FOUND */
FX_MUST_USE fx_code fx_arriving_remove(fx_store *store, const fx_chunk_id *id, fx_err *err);
