/* What hosts may put into a depot, and how much: rules, quotas and uploads. */
#pragma once

#include "agent/depot/serve.h"

/* Who asks, where. */
typedef struct fx_depot_asker {
    fx_depot *depot;
    fx_depot_room *room;
    fx_depot_share *share;
} fx_depot_asker;

/*
 * All: errors of fx_stage_… and fx_shelf_append; DENIED (the host may not put this), NO_SPACE (its
 * quota). thread: any
 */
FX_MUST_USE fx_code
fx_depot_put_whole(const fx_depot_asker *asker, const char *key, fx_bytes content, fx_err *err);
FX_MUST_USE fx_code fx_depot_append(
    const fx_depot_asker *asker, const char *key, uint64_t offset, fx_bytes content, fx_err *err);

/* errors: also BUSY (too many at a time) */
FX_MUST_USE fx_code fx_depot_begin(
    const fx_depot_asker *asker,
    const char *key,
    uint64_t size_bytes,
    unsigned char out_id[FX_DEPOT_UPLOAD_BYTES],
    fx_err *err);
/* errors: also STALE (no such upload: begin anew), CONFLICT (a part is missing before this) */
FX_MUST_USE fx_code
fx_depot_add_part(const fx_depot_asker *asker, const Fortress__Depot__Part *part, fx_err *err);
FX_MUST_USE fx_code fx_depot_commit(
    const fx_depot_asker *asker, const unsigned char id[FX_DEPOT_UPLOAD_BYTES], fx_err *err);

/* Without a ticket: what the host itself put and keeps nothing (fx_depot_is_passing). */
bool fx_depot_may_take_away(const fx_depot_asker *asker, const char *key);

/* An object of `owner` is gone. */
void fx_depot_give_back(const fx_depot_asker *asker, const fx_name *owner, uint64_t size_bytes);
