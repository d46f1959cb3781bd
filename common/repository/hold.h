/*
 * Holds: what no policy and nobody forgets until it is released. Each is an object of its own, a
 * release a further one, so that the history stays. Bytes, and why a hold that was put is never
 * overrun: docs/format.md, "Holds".
 *
 * thread: any
 */
#pragma once

#include "common/repository/repository.h"

enum { FX_HOLD_KIND_BYTES = 16, FX_HOLD_REASON_BYTES = 512 };

typedef struct fx_hold {
    char snapshot[FX_SNAPSHOT_ID_TEXT_BYTES];
    uint32_t serial;
    char kind[FX_HOLD_KIND_BYTES]; /* "legal", "anomaly"; of a release "": all; "unreadable" */
    bool is_release;
    bool is_forgetting; /* no hold: the snapshot is about to be forgotten */
    bool is_in_force;   /* a hold that nothing released */
    char reason[FX_HOLD_REASON_BYTES];
    fx_name who;  /* a user, as he was called there; perhaps none */
    fx_name host; /* likewise */
    fx_wall at;   /* by that host's clock, for people */
} fx_hold;

typedef struct fx_hold_list {
    fx_hold *items; /* by snapshot and serial */
    size_t count;
} fx_hold_list;
void fx_hold_list_free(fx_hold_list *list);

/*
 * All that were ever put, of one snapshot (its whole id) or of all (NULL); needs no key. One that
 * cannot be read is a hold. errors: the store's
 */
FX_MUST_USE fx_code fx_hold_list_all(
    fx_repository *repository, const char *snapshot_id, fx_hold_list *out_list, fx_err *err);

/* The first that is in force for the snapshot, or NULL. */
const fx_hold *fx_hold_find(const fx_hold_list *list, const char *snapshot_id);

/* "legal hold 1 of ada on db1 since 2026-11-23T11:00:00Z: the reason" */
enum { FX_HOLD_TEXT_BYTES = FX_HOLD_REASON_BYTES + 256 };
void fx_hold_format(const fx_hold *hold, char out_text[FX_HOLD_TEXT_BYTES]);

/*
 * Puts a hold or a release; `what` gives snapshot (the whole id), kind, is_release, reason, who and
 * host. A hold that is acknowledged was there before any forgetting of the snapshot began.
 * errors: INVALID (kind, reason), NOT_FOUND (there is no such snapshot, or it went meanwhile), BUSY
 *         (it is about to be forgotten), and the store's
 */
FX_MUST_USE fx_code fx_hold_put(fx_repository *repository, const fx_hold *what, fx_err *err);

/* Is the object whole, and of that name? errors: DAMAGED, UNSUPPORTED, the store's */
FX_MUST_USE fx_code fx_hold_verify(fx_repository *repository, const char *store_key, fx_err *err);

/*
 * For who forgets: says so under the next serial number, after which no hold can be put, unless one
 * is in force. errors: HELD (naming it), and the store's
 */
FX_MUST_USE fx_code fx_hold_begin_forget(
    fx_repository *repository, const char *snapshot_id, uint32_t *out_serial, fx_err *err);
/* The snapshot is gone, or stays after all. */
FX_MUST_USE fx_code fx_hold_end_forget(
    fx_repository *repository, const char *snapshot_id, uint32_t serial, fx_err *err);
