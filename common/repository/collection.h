/*
 * The steps of collecting, which collect.c puts in order. docs/format.md, "Collecting", says what
 * each is for and why it comes where it does.
 */
#pragma once

#include "common/repository/collect.h"
#include "common/repository/internal.h"
#include "common/repository/lease.h"
#include "common/repository/live.h"

typedef struct fx_collection {
    fx_repository *repository;
    const fx_collect_options *options;
    fx_collect_report *report;
    fx_writer *writer; /* its lease says that a collector is at work; it writes packs anew */
    fx_live live;
    bool *missing; /* an index object names it, but it is not there, or not of this scope; as doomed
                    */
    bool *doomed;  /* by number of the pack, of the one that counts where it has several */
    uint32_t *canon; /* that number */
    size_t pack_count;
    fx_id_set roots; /* ids of all snapshots whose chunks are kept */
    fx_snapshot *root_list;
    size_t root_count;
    fx_id_set index_names;   /* of new index objects */
    fx_id_set voucher_names; /* of new vouchers */
    unsigned mark_count;     /* with packs */
} fx_collection;

/* ---- collect_roots.c: what snapshots need ---- */

/* The id in the text of a snapshot that was listed. */
void fx_collection_id(const char *hex, fx_chunk_id *out_id);

/* Marks what snapshots need that were not looked at yet. errors: DAMAGED, the store's */
FX_MUST_USE fx_code fx_collection_look_at_snapshots(fx_collection *work, fx_err *err);

/* The second look, after the writers: also at what arrives from another tier. */
FX_MUST_USE fx_code fx_collection_look_again(fx_collection *work, fx_err *err);

/* ---- collect_packs.c: which packs there are, and which go ---- */

/* Learns of packs and chunks that came since; `orphans_too`: of packs that no index names. */
FX_MUST_USE fx_code fx_collection_learn(fx_collection *work, bool orphans_too, fx_err *err);

/* Dooms the packs of which too little is needed, and that are of the scope. errors: the store's */
FX_MUST_USE fx_code fx_collection_choose_packs(fx_collection *work, fx_err *err);

/* The packs that go and are there, while they are visited several at once. */
typedef struct fx_collection_part {
    fx_collection *work;
    uint32_t *packs; /* their numbers */
    size_t count;
    pthread_mutex_t lock; /* guards all below */
    fx_progress progress;
} fx_collection_part;

/* `step`: as the progress says it; borrowed. */
void fx_collection_part_init(fx_collection_part *part, fx_collection *work, const char *step);
/* One is done. thread: any */
void fx_collection_part_done(fx_collection_part *part, uint64_t done_bytes);
void fx_collection_part_free(fx_collection_part *part);

/* By any of the pack's numbers. */
bool fx_collection_is_doomed(const fx_collection *work, uint32_t pack);
bool fx_collection_has_doomed(const fx_collection *work);

/* Is there a place of the chunk in a pack that stays? With `is_certain`, one that is vouched for:
 * then no other place is needed. */
bool fx_collection_is_elsewhere(const fx_collection *work, const fx_chunk_id *id, bool is_certain);

/* ---- collect_rewrite.c: needed chunks of packs that go ---- */

/* Stores them again. One that cannot be read stays where it is. */
FX_MUST_USE fx_code fx_collection_write_anew(fx_collection *work, fx_err *err);

/* Packs that hold the only place of a needed chunk stay after all. errors: DAMAGED (needed chunks
 * were only in packs that are missing) */
FX_MUST_USE fx_code fx_collection_spare_packs(fx_collection *work, fx_err *err);

/* ---- collect_tickets.c: stores that remove by tickets alone ---- */

/* Tells what is to go; `has_work`: index objects are made anew. */
FX_MUST_USE fx_code fx_collection_tell(fx_collection *work, bool has_work, fx_err *err);

/*
 * Before anything is changed: packs that no ticket names stay. errors: DENIED (nothing may go, or
 * not all that names packs may: index objects and vouchers)
 */
FX_MUST_USE fx_code fx_collection_check_tickets(fx_collection *work, fx_err *err);

/* ---- collect_writers.c: writers, and other collectors ---- */

/* errors: BUSY (another collector is at work), STALE (another one revoked this) */
FX_MUST_USE fx_code fx_collection_begin_alone(fx_collection *work, fx_err *err);
/* Marks the packs that go. errors: the store's */
FX_MUST_USE fx_code fx_collection_put_marks(fx_collection *work, fx_err *err);
void fx_collection_remove_marks(fx_collection *work);

/* Waits for writers whose lease is older than the mark, or revokes them. errors: BUSY */
FX_MUST_USE fx_code fx_collection_await_writers(fx_collection *work, fx_err *err);

/* Says which snapshots of revoked writers count. */
FX_MUST_USE fx_code fx_collection_settle_revoked(fx_collection *work, fx_err *err);
FX_MUST_USE fx_code fx_collection_clear_leases(fx_collection *work, fx_err *err);

/* ---- collect_indexes.c, collect_remove.c: new index objects; then what is not needed goes ---- */

FX_MUST_USE fx_code fx_collection_write_indexes(fx_collection *work, fx_err *err);
FX_MUST_USE fx_code fx_collection_remove_old_vouchers(fx_collection *work, fx_err *err);
FX_MUST_USE fx_code fx_collection_remove_old_indexes(fx_collection *work, fx_err *err);
FX_MUST_USE fx_code fx_collection_remove_packs(fx_collection *work, fx_err *err);

/* Snapshots that revoked writers put all the same. */
FX_MUST_USE fx_code fx_collection_remove_void(fx_collection *work, fx_err *err);

/* Announcements of what has arrived, or was forgotten. */
FX_MUST_USE fx_code fx_collection_remove_arrived(const fx_collection *work, fx_err *err);
