/* Which snapshots a policy keeps, and why. Pure: same snapshots, policy and time give the same. */
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
    fx_dur within; /* all that are younger than that */
} fx_retention;

typedef enum fx_keep {
    FX_KEEP_LAST = 1,
    FX_KEEP_HOURLY = 2,
    FX_KEEP_DAILY = 4,
    FX_KEEP_WEEKLY = 8,
    FX_KEEP_MONTHLY = 16,
    FX_KEEP_YEARLY = 32,
    FX_KEEP_WITHIN = 64,
} fx_keep;

/* A policy that would keep nothing is a mistake, not a wish. */
bool fx_retention_is_empty(const fx_retention *policy);

/*
 * For each snapshot the reasons to keep it, as a set of fx_keep; 0: it may be forgotten. Data sets
 * (host and source) are decided each for itself. Of each period the newest snapshot stands for it.
 * A snapshot that claims to be of the future counts as of now, so that it cannot be the newest for
 * ever. `out_keep` has a place for each item.
 */
void fx_retention_decide(
    const fx_snapshot *items,
    size_t count,
    const fx_retention *policy,
    fx_wall now,
    unsigned *out_keep);

/* "last, daily": at least FX_KEEP_TEXT_BYTES of room. */
enum { FX_KEEP_TEXT_BYTES = 80 };
void fx_keep_format(unsigned keep, char out_text[FX_KEEP_TEXT_BYTES]);
