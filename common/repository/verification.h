/* One run of verify, as its parts see it: what of the data is read (verify_choose.c), packs
 * (verify_packs.c), snapshots and all that they need (verify_snapshots.c), and every other object
 * (verify_objects.c). */
#pragma once

#include <inttypes.h>

#include "common/repository/id_set.h"
#include "common/repository/internal.h"
#include "common/repository/pack_check.h"
#include "common/repository/verified.h"

typedef struct fx_pack_state {
    bool is_bad;
    const fx_scope_keys *scope; /* NULL: not read, or of no scope of the key */
} fx_pack_state;

typedef struct fx_verification {
    fx_repository *repository;
    const fx_verify_options *options;
    char *state_path; /* of `verified`; NULL: not kept */
    fx_verified *verified;
    uint64_t total_bytes; /* of data to read */
    uint64_t done_bytes;  /* of them */
    fx_verify_report report;
    fx_err first;              /* finding */
    fx_pack_state *packs;      /* by number in the index */
    size_t pack_count;         /* of them: the index may grow meanwhile */
    fx_id_set opened;          /* records of packs that were opened whole */
    fx_id_set missing;         /* packs that an index object names and that are not there */
    fx_id_set needed;          /* of them, those that a snapshot needs that counts */
    fx_id_set wanted;          /* of them, those that the snapshot needs that is being walked */
    fx_id_set *seen_trees;     /* a scope of the key: shared folders are walked once */
    bool has_unindexed;        /* of the snapshot that is being walked */
    uint64_t missing_count;    /* of the snapshot that is being walked */
    pthread_mutex_t lock;      /* while packs are verified: guards what is above and the next */
    fx_pack_checker *checkers; /* free ones */
} fx_verification;

/* A pack or a named object whose data may be read. */
typedef struct fx_candidate {
    fx_chunk_id name; /* of the latter the digest of its key */
    uint64_t size_bytes;
    fx_wall read_at; /* 0: never */
    size_t number;
    bool is_chosen;
} fx_candidate;

/* Counts and tells a finding, and keeps the first. */
FX_PRINTF(2, 3)
void fx_verification_found(fx_verification *v, const char *fmt, ...);

bool fx_verification_is_cancelled(const fx_verification *v);

/* Chooses whose data is read; `items` have name and size. */
void fx_verification_choose(fx_verification *v, fx_candidate *items, size_t count);

/* Remembers that it was read. With v->lock held, while packs are verified. */
void fx_verification_note_read(fx_verification *v, const fx_chunk_id *name, bool is_good);

/* Verifies packs that the index learned of since, several at once. With the repository's lock held.
 */
void fx_verification_packs(fx_verification *v);

/* Judges packs that are not there: lost, or named late by a writer that was revoked. errors: as the
 * store's */
FX_MUST_USE fx_code fx_verification_judge_missing(fx_verification *v, fx_err *err);

/* Verifies a snapshot with all that it needs; an fx_store_visit whose ctx is the verification. */
void fx_verification_snapshot(void *ctx, const char *key, uint64_t size_bytes);

/* Verifies all objects but packs. errors: as the store's, CANCELLED */
FX_MUST_USE fx_code fx_verification_objects(fx_verification *v, fx_err *err);

/* errors: CANCELLED */
FX_MUST_USE fx_code fx_verification_check_cancelled(const fx_verification *v, fx_err *err);
