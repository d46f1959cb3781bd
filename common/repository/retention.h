/*
 * Which snapshots a policy keeps, and why. Pure: same snapshots, policy and time give the same.
 * What it rests on, and what a stolen host can reach: docs/reference/retention.md.
 */
#pragma once

#include "common/repository/repository.h"

/* How many are kept of each; 0: none for that reason. Periods are of UTC; weeks begin on Monday. */
typedef struct fx_retention {
    unsigned last;
    unsigned hourly;
    unsigned daily;
    unsigned weekly;
    unsigned monthly;
    unsigned yearly;
    fx_dur within;       /* all that are younger than that */
    fx_dur claim_window; /* how long after its claimed end a snapshot may have been stored; 0:
                            FX_RETENTION_CLAIM_WINDOW_S */
} fx_retention;

enum {
    FX_RETENTION_CLAIM_WINDOW_S = 3600,
    FX_RETENTION_SKEW_S = 300,              /* between the clocks of hosts and store */
    FX_RETENTION_BACKUP_MAX_S = 30 * 86400, /* a backup that claims to have taken longer lies */
};

typedef enum fx_keep {
    FX_KEEP_LAST = 1,
    FX_KEEP_HOURLY = 2,
    FX_KEEP_DAILY = 4,
    FX_KEEP_WEEKLY = 8,
    FX_KEEP_MONTHLY = 16,
    FX_KEEP_YEARLY = 32,
    FX_KEEP_WITHIN = 64,
    FX_KEEP_LAST_HOURS = 128, /* with `last` of 2 and more: the first of each of so many hours */
    FX_KEEP_NEWEST = 256,     /* of a data set, nothing else keeps it */
} fx_keep;

/* Whether a snapshot's claimed times agree with when the store got it. */
typedef enum fx_claim {
    FX_CLAIM_BELIEVED,
    FX_CLAIM_UNCHECKED, /* the store does not tell: the claim counts, but not beyond now */
    FX_CLAIM_LATER,     /* it claims to be of after it was stored: judged by when it was stored */
    FX_CLAIM_EARLIER,   /* of long before, as copies do: judged by its claim */
} fx_claim;

enum { FX_PERIOD_KINDS = 5 }; /* hourly to yearly */

typedef struct fx_verdict {
    unsigned keep; /* a set of fx_keep; 0: it may be forgotten */
    fx_claim claim;
    fx_wall time; /* that it was judged by */
    /* For each kind of period that the policy has: what stands for the snapshot's own; NULL: the
     * period is older than those that are kept. */
    const fx_snapshot *standing[FX_PERIOD_KINDS];
} fx_verdict;

/* A policy that would keep nothing is a mistake, not a wish. */
bool fx_retention_is_empty(const fx_retention *policy);

/*
 * Sets of snapshots with the same host, source and tags are decided each for itself; within a set
 * those whose claims are believed, and those that claim to be earlier or later, again each for
 * itself: so that none of these takes the place of one of those. Of each period the snapshot that
 * was stored first stands for it. `out_verdicts` has a place for each item and refers to items.
 */
void fx_retention_decide(
    const fx_snapshot *items,
    size_t count,
    const fx_retention *policy,
    fx_wall now,
    fx_verdict *out_verdicts);

/*
 * For a person: "daily 2026-11-22, last", or why not: "its day 2026-11-22 has 12ab34cd56ef". At
 * least FX_VERDICT_TEXT_BYTES of room.
 */
enum { FX_VERDICT_TEXT_BYTES = 512 };
void fx_verdict_format(
    const fx_verdict *verdict, const fx_retention *policy, char out_text[FX_VERDICT_TEXT_BYTES]);
/* "" where the claim is believed. */
const char *fx_claim_text(fx_claim claim);

/* "hourly", and the period of the snapshot: "2026-11-22T10", "2026-11-22", "2026-W47"…; false: the
 * policy has none of the kind (0 to FX_PERIOD_KINDS - 1). */
enum { FX_PERIOD_TEXT_BYTES = 32 };
bool fx_verdict_period(
    const fx_verdict *verdict,
    const fx_retention *policy,
    unsigned kind,
    const char **out_name,
    char out_period[FX_PERIOD_TEXT_BYTES]);
