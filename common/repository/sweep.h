/*
 * What is left of a scope that was erased: nobody can open it, so that it only takes room. Why this
 * needs no protocol beside writers: docs/format.md, "Erased scopes".
 */
#pragma once

#include "common/repository/erasure.h"
#include "common/repository/repository.h"

typedef struct fx_sweep_report {
    uint64_t scope_count; /* erased ones */
    uint64_t snapshot_count;
    uint64_t pack_count;
    uint64_t other_count; /* index objects, vouchers, named streams, snapshots that arrive */
    uint64_t removed_bytes;
} fx_sweep_report;

typedef struct fx_sweep_options {
    bool dry_run;                  /* only counts */
    fx_progress_function progress; /* NULL: nobody asks */
    void *ctx;
} fx_sweep_options;

/*
 * Removes it, of all scopes that the keyring says were erased, where a record in the repository
 * signed with the scope's newest key says so too. Key objects and records stay: they are the proof.
 *
 * errors: NOT_FOUND (there is no such scope), HELD (one of its snapshots is; nothing of that scope
 * was removed), and the store's. Whenever it is broken off, the next one goes on.
 */
FX_MUST_USE fx_code fx_repository_sweep_erased(
    const char *url,
    const fx_keyring *keyring,
    const fx_sweep_options *options,
    fx_sweep_report *out_report,
    fx_err *err);
