/*
 * Tiers: copies what one repository has and another lacks, in the order of a commit, without a key,
 * beside backups and collectors on both sides. docs/format.md, "Replication", has the order and why
 * a snapshot that is listed in a tier is whole.
 */
#pragma once

#include <stdatomic.h>

#include "common/repository/copy.h"
#include "common/repository/repository.h"

typedef struct fx_replicate_options {
    const fx_repository_key *key; /* then streams are checked whole; or NULL */
    unsigned job_count;           /* 0: FX_COPY_JOBS */
    uint64_t limit_bytes_s;       /* 0: none */
    bool dry_run;
    /* Something is wrong with an object, or keeps snapshots back; one call at a time. */
    void (*finding)(void *ctx, const char *text);
    fx_progress_function progress; /* likewise; or NULL */
    void *ctx;
    const atomic_bool *cancel; /* what was copied stays; or NULL */
} fx_replicate_options;

typedef struct fx_replicate_report {
    uint64_t copied_count; /* objects; of a dry run: that would be */
    uint64_t copied_bytes;
    uint64_t snapshot_count;      /* of these, snapshots */
    uint64_t held_snapshot_count; /* not copied, for the findings' reasons */
    uint64_t damaged_count;       /* objects of the source */
} fx_replicate_report;

/*
 * Brings a tier up to the source; makes it where it is not there yet. Broken off, it goes on where
 * it was. errors: CONFLICT (another repository is there), DAMAGED (the rest is copied), BUSY (a
 * collector there is about to remove what snapshots may need; packs are copied, run it again),
 * STALE (a collector there did not wait: run it again), CANCELLED, and the stores'
 */
FX_MUST_USE fx_code fx_repository_replicate(
    const char *from_url,
    const char *to_url,
    const fx_replicate_options *options,
    fx_replicate_report *out_report,
    fx_err *err);

typedef struct fx_tier_status {
    bool is_there; /* a repository, that is a copy of the source */
    uint64_t snapshot_count;
    uint64_t missing_snapshot_count; /* neither there nor forgotten there */
    uint64_t missing_count;          /* objects that replicating would copy */
    uint64_t missing_bytes;
    fx_wall oldest_missing; /* when the oldest missing snapshot ended; 0: none is missing */
    fx_wall newest;         /* when the newest that is there ended; 0: there is none */
} fx_tier_status;

/* How far a tier is behind the source. errors: CONFLICT, and the stores' */
FX_MUST_USE fx_code fx_repository_tier_status(
    const char *from_url, const char *to_url, fx_tier_status *out_status, fx_err *err);
