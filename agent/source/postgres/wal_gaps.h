/*
 * What the gaps that a repository tells of mean for what it holds now: which still cut off a base
 * backup, and whether a restore to a time can pass them (docs/format.md, "Gaps").
 */
#pragma once

#include "agent/source/postgres/base_backup.h"
#include "common/repository/gap.h"

typedef enum fx_gap_state {
    FX_GAP_OPEN,    /* a base backup is cut off, and none from behind the gap is there */
    FX_GAP_COVERED, /* a base backup needs nothing of it */
    FX_GAP_FILLED,  /* what was missing is there */
    FX_GAP_UNUSED,  /* no base backup is there that could need it */
} fx_gap_state;
/* "open", ... */
const char *fx_gap_state_name(fx_gap_state state);

typedef struct fx_gap_verdict {
    fx_gap_object gap;
    fx_gap_state state;
    char covered_by[FX_SNAPSHOT_ID_TEXT_BYTES]; /* the newest that does; "": none */
} fx_gap_verdict;

typedef struct fx_gap_verdicts {
    fx_gap_verdict *items; /* in the order in which they were found */
    size_t count;
    size_t unreadable_count;
} fx_gap_verdicts;
void fx_gap_verdicts_free(fx_gap_verdicts *verdicts);

/* Needs no key. `snapshots`: all there are. errors: the store's, LIMIT */
FX_MUST_USE fx_code fx_gaps_judge(
    fx_repository *repository,
    const fx_snapshot_list *snapshots,
    fx_gap_verdicts *out_verdicts,
    fx_err *err);

/* "WAL 0/5000000 to 0/9000000 of orders-db is missing, found by db1 at 2026-11-23T11:00:00Z: the
 * reason" */
enum { FX_GAP_TEXT_BYTES = FX_GAP_OBJECT_REASON_BYTES + 320 };
void fx_gap_format(const fx_gap_object *gap, char out_text[FX_GAP_TEXT_BYTES]);

/*
 * Can this backup be replayed up to `target`, past the gaps that are known? A gap in the way is
 * told as a warning (likewise, where nobody can say whether there are gaps), which is all where
 * `is_ignored`, or where no target is given (0): then the server replays up to it. errors:
 * NOT_FOUND (a gap lies before the target), and the store's
 */
typedef struct fx_gap_question {
    const fx_base_backup *backup;
    fx_wall target;
    bool is_ignored;
} fx_gap_question;
FX_MUST_USE fx_code fx_gaps_check_target(
    fx_repository *repository,
    const fx_gap_question *question,
    const fx_events *events,
    fx_err *err);
