/*
 * Collecting: removes packs that no snapshot needs, beside running backups, with no lock and no
 * clock. docs/format.md, "Collecting", has the order of puts and lists and why it is safe; a model
 * of it is in tests/model/.
 */
#pragma once

#include "common/repository/repository.h"

typedef struct fx_collect_options {
    int compression;       /* level of what is written anew; 0: the usual one */
    unsigned live_percent; /* packs of which fewer chunks are needed are written anew; 0: none */
    fx_dur wait;           /* for writers that are at work */
    bool revoke;           /* then take their right to commit */
    bool take_over;        /* from another collector: safe only if that one is known to be gone */
    bool dry_run;
    void (*removal)(void *ctx, const char *store_key); /* with dry_run: what would go; or NULL */
    void *removal_ctx;
    fx_progress_function progress; /* of one scope after the other; or NULL */
    void *ctx;
} fx_collect_options;

typedef struct fx_collect_report {
    uint64_t pack_count;
    uint64_t chunk_count;
    uint64_t live_chunk_count; /* places of chunks that snapshots need */
    uint64_t removed_pack_count;
    uint64_t removed_bytes;
    uint64_t rewritten_chunk_count; /* out of packs that went */
    uint64_t index_count;           /* index objects afterwards */
    uint64_t revoked_count;
    uint64_t spared_pack_count;   /* would go, but no ticket of the store names them */
    uint64_t void_snapshot_count; /* of writers revoked before: removed */
} fx_collect_report;

/*
 * Collects in every scope that the key can read and write, one after the other.
 *
 * errors: BUSY (writers or another collector are at work; it says which), DAMAGED (a snapshot
 * cannot be read whole, so that nobody knows what it needs), and the store's. Whenever it is broken
 * off, nothing that a snapshot needs is gone, and the next one goes on.
 */
FX_MUST_USE fx_code fx_repository_collect(
    const char *url,
    const fx_repository_key *key,
    const fx_collect_options *options,
    fx_collect_report *out_report,
    fx_err *err);
