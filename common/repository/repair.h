/*
 * Heals a repository: replaces damaged and missing objects by good ones of other tiers, and makes
 * lost index objects anew. docs/format.md, "Repair".
 */
#pragma once

#include <stdatomic.h>

#include "common/repository/copy.h"
#include "common/repository/repository.h"

typedef struct fx_repair_options {
    const fx_repository_key *key; /* NULL: nobody can tell what is missing, nor which snapshots
                                     need what cannot be healed */
    unsigned job_count;           /* 0: FX_COPY_JOBS */
    bool dry_run;
    void (*finding)(void *ctx, const char *text); /* what is wrong; one call at a time */
    void (*healed)(void *ctx, const char *text);  /* what was, and is not any more */
    fx_progress_function progress;                /* or NULL */
    void *ctx;
    const atomic_bool *cancel; /* or NULL */
} fx_repair_options;

typedef struct fx_repair_report {
    uint64_t checked_count;
    uint64_t checked_bytes;
    uint64_t damaged_count; /* or missing */
    uint64_t healed_count;  /* of them; of a dry run: that could be */
    uint64_t affected_snapshot_count;
} fx_repair_report;

/*
 * Reads every object and checks it. errors: DAMAGED (something could not be healed, or a dry run
 * found something; all that is wrong is a finding), CONFLICT (a tier is of another repository),
 * CANCELLED, the stores'
 */
FX_MUST_USE fx_code fx_repository_repair(
    const char *url,
    const char *const *tier_urls,
    size_t tier_count,
    const fx_repair_options *options,
    fx_repair_report *out_report,
    fx_err *err);

typedef struct fx_reindex_report {
    uint64_t pack_count;    /* that no readable index object named */
    uint64_t chunk_count;   /* in them */
    uint64_t index_count;   /* index objects put */
    uint64_t removed_count; /* unreadable index objects removed */
    uint64_t kept_count;    /* unreadable, but perhaps of a scope whose key is not here */
} fx_reindex_report;

typedef struct fx_reindex_options {
    const fx_repository_key *key;
    bool dry_run;
    fx_progress_function progress; /* or NULL */
    void *ctx;
} fx_reindex_options;

/*
 * Puts index objects of packs that no readable one names, in every scope that the key can read and
 * write; then removes those that cannot be read. Beside backups. errors: WRONG_KEY, and the store's
 */
FX_MUST_USE fx_code fx_repository_reindex(
    const char *url, const fx_reindex_options *options, fx_reindex_report *out_report, fx_err *err);
