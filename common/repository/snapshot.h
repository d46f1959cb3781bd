/* Snapshot objects: a readable header, and the sealed root of a tree. docs/format.md, "Objects". */
#pragma once

#include "common/repository/internal.h"
#include "common/repository/lease.h"

/* What puts a snapshot: all borrowed. */
typedef struct fx_snapshot_place {
    fx_store *store;
    const fx_session *session;
    const fx_scope_keys *scope; /* of the session: who can read it signs */
    const char *lease;          /* of the writer */
} fx_snapshot_place;

/* Names `snapshot` by its bytes, and puts it; signed by who can read the scope. errors: the
 * store's, with their outcome */
FX_MUST_USE fx_code fx_snapshot_put(
    const fx_snapshot_place *place, const fx_chunk_id *root, fx_snapshot *snapshot, fx_err *err);

/*
 * Reads one that lies under any key, with its root unless `out_root` is NULL. errors: DAMAGED, the
 * store's; with the root WRONG_KEY. With the lock held
 */
FX_MUST_USE fx_code fx_snapshot_read(
    fx_repository *repository,
    const char *store_key,
    fx_snapshot *out_snapshot,
    fx_root *out_root,
    fx_err *err);
