/*
 * The agreed state behind typed calls: one consistent read of all live records, and transactions
 * that compare revisions. Keys lie below /fortress/CLUSTER/live/ and /fortress/CLUSTER/history/.
 * All calls block, on worker threads.
 *
 * thread: any; calls do not share state, the store below says what may run at once
 */
#pragma once

#include "common/base/buf.h"
#include "coordinator/core/decide.h"
#include "coordinator/core/leadership.h"

enum { FX_LEDGER_KEY_BYTES = 256, FX_LEDGER_TOUCH_MAX = 48, FX_LEDGER_VALUE_MAX_BYTES = 64 * 1024 };

/* What a transaction does with one key. */
typedef struct fx_ledger_touch {
    char key[FX_LEDGER_KEY_BYTES];
    bool compare; /* the key must have been changed last at `revision`; 0: must be absent */
    int64_t revision;
    bool put;
    bool remove;
    fx_bytes value;
} fx_ledger_touch;

/* Keys below `prefix`, at most `max` of them. */
typedef struct fx_ledger_listing {
    const char *prefix;
    size_t max;
} fx_ledger_listing;

/* `total`: how many there are below the prefix in all. */
typedef void (*fx_ledger_visit_key)(void *ctx, const char *key, size_t total);

typedef void (*fx_ledger_visit)(void *ctx, const char *key, fx_bytes value, int64_t mod_revision);

/* A linearizable store of keys with revisions: etcd, or a model of it. */
typedef struct fx_ledger_store {
    void *ctx;
    /*
     * Visits every key below `prefix` as of one revision; `newest_max` other than 0: only so many,
     * the last changed first. errors: UNREACHABLE, TIMEOUT, LIMIT, DAMAGED
     */
    fx_code (*read)(
        void *ctx,
        const char *prefix,
        size_t newest_max,
        fx_mono deadline,
        fx_ledger_visit visit,
        void *visit_ctx,
        int64_t *out_revision,
        fx_err *err);
    /* Visits the keys that were changed first, these first. errors: as read's */
    fx_code (*list_oldest)(
        void *ctx,
        const fx_ledger_listing *what,
        fx_mono deadline,
        fx_ledger_visit_key visit,
        void *visit_ctx,
        fx_err *err);
    /* errors: CONFLICT (a compare failed), UNREACHABLE, TIMEOUT (outcome UNKNOWN: it may be done)
     */
    fx_code (*commit)(
        void *ctx,
        const fx_ledger_touch *touches,
        size_t count,
        fx_mono deadline,
        int64_t *out_revision,
        fx_err *err);
} fx_ledger_store;

typedef struct fx_ledger_door {
    fx_ledger_store store;
    fx_name cluster;
} fx_ledger_door;

/*
 * Reads all live records; `read_at` and what is observed are the caller's (fx_ledger_observe).
 * Records that cannot be read fail the whole: deciding on half of the state is worse than waiting.
 */
FX_MUST_USE fx_code
fx_ledger_read(const fx_ledger_door *door, fx_mono deadline, fx_ledger *out_ledger, fx_err *err);

/* Commits the transaction that a command is. errors: as the store's commit */
FX_MUST_USE fx_code fx_ledger_commit(
    const fx_ledger_door *door,
    const fx_command *command,
    fx_mono deadline,
    fx_revision *out_revision,
    fx_err *err);

/* Takes leadership, or beats. */
FX_MUST_USE fx_code fx_ledger_lead(
    const fx_ledger_door *door,
    const fx_leadership *decision,
    fx_mono deadline,
    fx_revision *out_revision,
    fx_err *err);

/* Puts renewed lease records, each if its revision is still the one given. At most
 * FX_LEDGER_RENEW_MAX. */
enum { FX_LEDGER_RENEW_MAX = FX_LEDGER_TOUCH_MAX };
FX_MUST_USE fx_code fx_ledger_renew(
    const fx_ledger_door *door,
    const fx_lease *leases,
    size_t count,
    fx_mono deadline,
    fx_revision *out_revision,
    fx_err *err);

/* errors: EXISTS (the id is taken), LIMIT (too many requests wait) and as the store's */
FX_MUST_USE fx_code fx_ledger_submit_request(
    const fx_ledger_door *door, const fx_request *request, fx_mono deadline, fx_err *err);

/* The newest first. */
FX_MUST_USE fx_code fx_ledger_read_plans(
    const fx_ledger_door *door,
    fx_mono deadline,
    fx_plan *out_plans,
    size_t max,
    size_t *out_count,
    fx_err *err);
FX_MUST_USE fx_code fx_ledger_read_decisions(
    const fx_ledger_door *door,
    fx_mono deadline,
    fx_decision *out_decisions,
    size_t max,
    size_t *out_count,
    fx_err *err);

/* How much of the history is kept, the newest. */
typedef struct fx_history_keep {
    size_t decisions;
    size_t plans;
} fx_history_keep;

/*
 * Removes the oldest of the history beyond `keep`: at most FX_LEDGER_PRUNE_MAX plans and as many
 * decisions, each in a transaction that compares the leader's key. To be repeated until
 * `out_removed` is 0. errors: as the store's
 */
enum { FX_LEDGER_PRUNE_MAX = FX_LEDGER_TOUCH_MAX - 1 };
FX_MUST_USE fx_code fx_ledger_prune(
    const fx_ledger_door *door,
    const fx_history_keep *keep,
    fx_revision leader_revision,
    fx_mono deadline,
    size_t *out_removed,
    fx_err *err);

/* Copies what is there: the struct is large and mostly empty. */
void fx_ledger_copy(fx_ledger *to, const fx_ledger *from);
