/*
 * Leases tell a collector which writers are at work; marks tell writers which packs are about to
 * go. No clock decides: docs/format.md, "Collecting", has the order of puts and lists, and why it
 * is safe.
 */
#pragma once

#include "common/repository/id_set.h"
#include "common/store/store.h"

/* Text with its end: ordered by the time when it was put. Room for a mark's number behind it. */
enum { FX_LEASE_ID_BYTES = 56 };

typedef struct fx_lease {
    char id[FX_LEASE_ID_BYTES];
    char node[65]; /* the host's name, for people */
    fx_wall began; /* by the writer's clock, for people */
    int64_t pid;   /* there */
    bool is_over;  /* the writer said so, or is_gone */
    bool is_gone; /* it was a process of this host, which is no more: its last put may still come */
    bool is_outlived; /* of a machine like this one, before it was started: probably gone */
    bool is_revoked;
} fx_lease;

typedef struct fx_lease_list {
    fx_lease *items;
    size_t count;
} fx_lease_list;
void fx_lease_list_free(fx_lease_list *list);

/* ---- a writer's side */

/* Before anything is read that the writer relies on. */
FX_MUST_USE fx_code fx_lease_begin(fx_store *store, char out_id[FX_LEASE_ID_BYTES], fx_err *err);
/* Adds the names of all packs that are marked. After the lease is put. */
FX_MUST_USE fx_code fx_marks_read(fx_store *store, fx_id_set *packs, fx_err *err);
/*
 * Whether a collector no longer waits for it, because it was revoked or somebody else said that it
 * is over; of "": whether any was revoked. After the snapshot is put.
 */
FX_MUST_USE fx_code
fx_lease_is_revoked(fx_store *store, const char *id, bool *out_revoked, fx_err *err);
/* The same, before what only a writer may put that is waited for. errors: STALE */
FX_MUST_USE fx_code fx_lease_check(fx_store *store, const char *id, fx_err *err);
/* The writer will put nothing more. */
FX_MUST_USE fx_code fx_lease_end(fx_store *store, const char *id, fx_err *err);

/* ---- a collector's side */

/* A collector's first mark has the id of its lease and no packs; the others, ".1" and so on behind
 * it, have so many at most: no object grows with the repository. */
enum { FX_MARK_PACK_MAX = 65536 };
FX_MUST_USE fx_code
fx_mark_put(fx_store *store, const char *id, const fx_id_set *packs, fx_err *err);
FX_MUST_USE fx_code fx_mark_remove(fx_store *store, const char *id, fx_err *err);
FX_MUST_USE fx_code fx_lease_list_all(fx_store *store, fx_lease_list *out_list, fx_err *err);
FX_MUST_USE fx_code fx_lease_revoke(fx_store *store, const char *id, fx_err *err);
/* Revoked ones of which was not said yet which snapshots count; perhaps without a lease. */
FX_MUST_USE fx_code fx_lease_list_unsettled(fx_store *store, fx_lease_list *out_list, fx_err *err);
/* Removes a lease that is over. */
FX_MUST_USE fx_code fx_lease_clear(fx_store *store, const char *id, fx_err *err);

/*
 * Says which snapshots of a revoked writer count: those whose chunks the collector kept. Once
 * said, a further one that it puts is void.
 */
FX_MUST_USE fx_code
fx_lease_settle(fx_store *store, const char *id, const fx_id_set *snapshots, fx_err *err);

/* Snapshots that count, of the writers that were settled. */
typedef struct fx_settlement {
    char id[FX_LEASE_ID_BYTES];
    bool is_damaged; /* nobody knows which snapshots of this lease count */
    fx_id_set snapshots;
} fx_settlement;
typedef struct fx_settlements {
    fx_settlement *items;
    size_t count;
} fx_settlements;
FX_MUST_USE fx_code
fx_settlements_read(fx_store *store, fx_settlements *out_settlements, fx_err *err);
void fx_settlements_free(fx_settlements *settlements);
/* errors: DAMAGED: one of them is */
FX_MUST_USE fx_code fx_settlements_need_all(const fx_settlements *settlements, fx_err *err);
/* Is a snapshot with this lease void? errors: DAMAGED: the settlement of this lease is */
FX_MUST_USE fx_code fx_settlements_void(
    const fx_settlements *settlements,
    const char *lease,
    const fx_chunk_id *snapshot,
    bool *out_void,
    fx_err *err);
