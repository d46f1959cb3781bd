/*
 * The steps of replicating, which replicate.c puts in order. docs/format.md, "Replication", says
 * what each is for and why it comes where it does.
 */
#pragma once

#include "common/repository/internal.h"
#include "common/repository/lease.h"
#include "common/repository/replicate.h"

enum { FX_REPLICATION_CONFIG_MAX_BYTES = 4096 };

/* A snapshot that the tier is to get. */
typedef struct fx_candidate {
    fx_snapshot header;
    fx_buf bytes;
} fx_candidate;

typedef struct fx_replication {
    const fx_replicate_options *options;
    fx_replicate_report *report;
    fx_store *from;
    fx_store *to;
    fx_copier *copier;
    fx_copy_result copied;
    char lease[FX_LEASE_ID_BYTES]; /* "": none */
    fx_candidate *candidates;      /* oldest first */
    size_t candidate_count;
    fx_stored_list packs;   /* of the source, listed between two equal lists of indexes */
    fx_stored_list indexes; /* likewise */
    bool is_held;           /* something is missing that snapshots may need */
    bool is_blocked;        /* because a collector there is about to remove it */
} fx_replication;

/* ---- replicate_objects.c: what a snapshot does not bring along ---- */

/* Copies what is in the source's list and not in the tier's. */
FX_MUST_USE fx_code fx_replication_copy_missing(
    fx_replication *work,
    const fx_stored_list *there,
    const fx_stored_list *list,
    fx_copy_result *result,
    fx_err *err);
FX_MUST_USE fx_code
fx_replication_copy_prefix(fx_replication *work, const char *prefix, fx_err *err);

/* Whether the tier is there; it must be a copy of the same repository. errors: CONFLICT */
FX_MUST_USE fx_code fx_replication_compare_config(
    fx_store *from, fx_store *to, fx_buf *config, bool *out_is_there, fx_err *err);
FX_MUST_USE fx_code fx_replication_copy_identity(fx_replication *work, fx_err *err);
FX_MUST_USE fx_code fx_replication_copy_settlements(fx_replication *work, fx_err *err);

/* errors: BUSY (the source's indexes were made anew) */
FX_MUST_USE fx_code fx_replication_copy_indexes(fx_replication *work, fx_err *err);
FX_MUST_USE fx_code fx_replication_copy_streams(fx_replication *work, fx_err *err);

/* ---- replicate_packs.c ---- */

/* errors: BUSY (the source changed each time) */
FX_MUST_USE fx_code fx_replication_copy_packs(fx_replication *work, fx_err *err);

/* ---- replicate_snapshots.c ---- */

/* The id that a key ends with. False: it ends otherwise. */
bool fx_replication_id(const char *store_key, fx_chunk_id *out_id);

/* Those that the tier neither has nor has forgotten. */
FX_MUST_USE fx_code fx_replication_find_candidates(fx_replication *work, fx_err *err);

/* Drops those that do not count any more, now that packs and indexes were listed. */
FX_MUST_USE fx_code fx_replication_confirm_candidates(fx_replication *work, fx_err *err);
void fx_replication_drop_candidate(fx_replication *work, size_t number);

/* Announces the candidates, then begins the lease. */
FX_MUST_USE fx_code fx_replication_announce(fx_replication *work, fx_err *err);

/* errors: STALE (it was revoked) */
FX_MUST_USE fx_code fx_replication_check_lease(const fx_replication *work, fx_err *err);

/* `err`: how replicating ended. */
void fx_replication_end_lease(fx_replication *work, const fx_err *err);
FX_MUST_USE fx_code fx_replication_put_snapshots(fx_replication *work, fx_err *err);

/* ---- replicate.c ---- */

/* Tells the caller of a finding. */
void fx_replication_find(const fx_replication *work, const char *text);
