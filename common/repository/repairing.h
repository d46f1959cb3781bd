/* One repair, as its parts see it: repair.c looks and heals; repair_keyed.c does what only a key
 * can tell. */
#pragma once

#include "common/base/monitor.h"
#include "common/repository/internal.h"
#include "common/repository/repair.h"

enum { FX_REPAIR_TIERS_MAX = 8, FX_REPAIR_TEXT_BYTES = FX_KEY_TEXT_BYTES + 512 };

/* An object that is damaged, or missing. */
typedef struct fx_wound {
    char *store_key;
    bool is_tried;
    bool is_healed;
} fx_wound;

typedef struct fx_repairing {
    const fx_repair_options *options;
    fx_repair_report *report;
    fx_store *store;
    fx_store *tiers[FX_REPAIR_TIERS_MAX];
    size_t tier_count;
    fx_id_set marked;   /* packs that a collector is about to remove */
    fx_id_set good;     /* packs that were read and are what they should be */
    fx_monitor monitor; /* guards all below, and the report, while threads check */
    fx_progress progress;
    uint64_t listed_bytes; /* to check, so far */
    bool has_listed_all;
    fx_wound *wounds;
    size_t wound_count;
    fx_id_set known; /* digests of their keys */
} fx_repairing;

/* Tells what is wrong. */
void fx_repairing_find(const fx_repairing *work, const char *text);

/* From the thread that all others work for, when they do not. */
void fx_repairing_tell(
    const fx_repairing *work,
    const char *step,
    const char *what,
    uint64_t count,
    uint64_t total_count);

/* Has an object healed that is damaged or missing. False if it was known already. */
bool fx_repairing_add(fx_repairing *work, const char *store_key);

/* Heals what was not tried yet. errors: CANCELLED, the stores' */
FX_MUST_USE fx_code fx_repairing_heal(fx_repairing *work, fx_err *err);

/* How many could not be healed, or were not tried. */
size_t fx_repairing_open_count(const fx_repairing *work);

/* Heals packs that are missing, and names the snapshots that need what cannot be healed. errors: as
 * the stores' */
FX_MUST_USE fx_code fx_repairing_with_key(fx_repairing *work, const char *url, fx_err *err);
