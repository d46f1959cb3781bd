/*
 * An object store holds backups as whole, immutable objects under keys like "packs/0a/0a1b…".
 * Drivers live in common/store/NAME/; the conformance suite says what all of them keep.
 */
#pragma once

#include "common/base/buf.h"
#include "common/base/time.h"

enum {
    FX_STORE_KEY_MAX_BYTES = 512,
    FX_STORE_URL_MAX_BYTES = 2048,
    FX_STORE_OBJECT_MAX_BYTES = 128 * 1024 * 1024,
};

typedef struct fx_store fx_store;

/*
 * Opens "NAME:REST"; an address without a known name is a path. It makes nothing.
 * errors: INVALID, and the driver's: NOT_FOUND, DENIED, UNREACHABLE
 */
FX_MUST_USE fx_code fx_store_open(const char *url, fx_store **out_store, fx_err *err);
void fx_store_free(fx_store *store);

/* Lets this process open drivers that keep nothing or fail on purpose; only tests do. */
void fx_store_allow_test_drivers(void);

FX_DEFINE_AUTO(fx_store);

/* What some stores can and others cannot. */
typedef enum fx_store_ability {
    FX_STORE_CAN_APPEND = 1 << 0,    /* fx_store_append */
    FX_STORE_CAN_RETAIN = 1 << 1,    /* fx_store_put_retained, fx_store_retain */
    FX_STORE_TELLS_TIMES = 1 << 2,   /* fx_store_list_times */
    FX_STORE_NEEDS_TICKETS = 1 << 3, /* to remove: fx_store_check_ticket */
    FX_STORE_CAN_DIGEST = 1 << 4,    /* fx_store_digest */
} fx_store_ability;

/*
 * Whether the tickets that this process was given permit to remove the object, as far as can be
 * told without asking; always where the store needs none (not FX_STORE_NEEDS_TICKETS). What the
 * store itself says of it comes with fx_store_remove.
 *
 * errors: DENIED (says what is wrong and what to do), DAMAGED, and a file's
 */
FX_MUST_USE fx_code fx_store_check_ticket(const fx_store *store, const char *key, fx_err *err);

/* Asks nobody: a store that has the ability can still refuse a call (no Object Lock there). */
bool fx_store_can(const fx_store *store, fx_store_ability ability);

/* Makes what the store needs to begin with (a folder, a bucket); success if it is there. */
FX_MUST_USE fx_code fx_store_prepare(fx_store *store, fx_err *err);

/*
 * Creates one object, durably; never replaces one.
 *
 * owns:   borrows `key` and `body` until it returns
 * units:  body at most FX_STORE_OBJECT_MAX_BYTES
 * errors: EXISTS, DENIED, NO_SPACE, LIMIT, INVALID (key), UNREACHABLE, TIMEOUT (UNKNOWN: it may
 * exist) thread: any; several at once source: If-None-Match, RFC 9110 section 13.1.2
 */
FX_MUST_USE fx_code
fx_store_put(fx_store *store, const char *key, fx_bytes body, fx_mono deadline, fx_err *err);

/*
 * Appends bytes [offset, offset + size) of an object to `out`; less only where the object ends
 * before. errors: NOT_FOUND, DENIED, IO, LIMIT, UNREACHABLE, TIMEOUT
 */
FX_MUST_USE fx_code fx_store_get(
    fx_store *store,
    const char *key,
    uint64_t offset,
    uint64_t size_bytes,
    fx_mono deadline,
    fx_buf *out,
    fx_err *err);

/* errors: NOT_FOUND, DENIED, IO, UNREACHABLE, TIMEOUT */
FX_MUST_USE fx_code fx_store_stat(
    fx_store *store, const char *key, fx_mono deadline, uint64_t *out_size_bytes, fx_err *err);

enum { FX_STORE_DIGEST_BYTES = 32 };

/*
 * Has the store read an object where it lies, and say the SHA-256 of all of it: nothing of it comes
 * over the network. Its word is as good as the store. errors: NOT_FOUND, DENIED, IO, UNREACHABLE,
 * TIMEOUT, UNSUPPORTED (not FX_STORE_CAN_DIGEST)
 */
FX_MUST_USE fx_code fx_store_digest(
    fx_store *store,
    const char *key,
    fx_mono deadline,
    unsigned char out_digest[FX_STORE_DIGEST_BYTES],
    fx_err *err);

typedef void (*fx_store_visit)(void *ctx, const char *key, uint64_t size_bytes);

/*
 * Visits every object whose key begins with `prefix`, bytewise ascending. Sees every put that
 * returned before it began. An object put or removed meanwhile may be seen or not.
 */
FX_MUST_USE fx_code fx_store_list(
    fx_store *store,
    const char *prefix,
    fx_mono deadline,
    fx_store_visit visit,
    void *ctx,
    fx_err *err);

/* `stored`: when the object came to be, by the store's own clock, which no client sets. */
typedef void (*fx_store_visit_time)(void *ctx, const char *key, fx_wall stored);

/* As fx_store_list; visits nothing where the store does not tell (not FX_STORE_TELLS_TIMES). */
FX_MUST_USE fx_code fx_store_list_times(
    fx_store *store,
    const char *prefix,
    fx_mono deadline,
    fx_store_visit_time visit,
    void *ctx,
    fx_err *err);

/* errors: NOT_FOUND, DENIED, IO, UNREACHABLE, TIMEOUT (UNKNOWN) */
FX_MUST_USE fx_code
fx_store_remove(fx_store *store, const char *key, fx_mono deadline, fx_err *err);

/*
 * Adds bytes to the end of an object, durably: the only change that any object ever sees. `offset`
 * must be the object's size; at 0 the object is made. What fx_store_put created is never added to.
 *
 * errors: CONFLICT (it has another size: fx_store_stat tells which), NOT_FOUND (offset above 0),
 *         EXISTS (it was stored whole), LIMIT, DENIED, NO_SPACE, UNREACHABLE, TIMEOUT (UNKNOWN:
 * all, a part or nothing was added), UNSUPPORTED (not FX_STORE_CAN_APPEND) thread: any; of several
 * appends at one offset one succeeds
 */
FX_MUST_USE fx_code fx_store_append(
    fx_store *store,
    const char *key,
    uint64_t offset,
    fx_bytes bytes,
    fx_mono deadline,
    fx_err *err);

/* Until when an object cannot be removed, and by whom not. source: S3 Object Lock */
typedef struct fx_store_retention {
    fx_wall until;    /* rounded up to a second */
    bool is_absolute; /* for the account's owner too (COMPLIANCE); else GOVERNANCE */
} fx_store_retention;

/*
 * fx_store_put of an object that is retained from its first instant on. errors: as put; UNSUPPORTED
 * (not FX_STORE_CAN_RETAIN, or the bucket has no Object Lock)
 */
FX_MUST_USE fx_code fx_store_put_retained(
    fx_store *store,
    const char *key,
    fx_bytes body,
    const fx_store_retention *retention,
    fx_mono deadline,
    fx_err *err);

/* Retains an object that is there, or for longer. errors: NOT_FOUND, DENIED (it would become
 * shorter), UNSUPPORTED, UNREACHABLE, TIMEOUT (UNKNOWN) */
FX_MUST_USE fx_code fx_store_retain(
    fx_store *store,
    const char *key,
    const fx_store_retention *retention,
    fx_mono deadline,
    fx_err *err);

typedef enum fx_store_finding {
    FX_STORE_NOT_KNOWN, /* could not be learned, or was not looked at */
    FX_STORE_NO,
    FX_STORE_YES,
} fx_store_finding;

enum { FX_STORE_NOTE_MAX_BYTES = 200, FX_STORE_NOTES_MAX = 8 };

/* What a store proved to be when it was tried. */
typedef struct fx_store_examination {
    fx_store_finding can_put, can_get, can_list, can_remove, can_append;
    fx_store_finding refuses_replacement; /* of an object, by the server itself */
    fx_store_finding lists_consistently;  /* a put and a removal are seen by the next list */
    fx_store_finding versioning;          /* what is removed stays as a version */
    fx_store_finding object_lock;
    char lock_mode[16]; /* GOVERNANCE, COMPLIANCE; "": no retention by default */
    uint32_t lock_days; /* by default */
    bool knows_clock_skew;
    fx_dur clock_skew;          /* the server's clock less ours; to a second */
    fx_store_finding leftovers; /* of uploads that never ended */
    uint32_t leftover_count;
    fx_dur put_took, get_took;
    char server[64];                                         /* as it calls itself; "" */
    char notes[FX_STORE_NOTES_MAX][FX_STORE_NOTE_MAX_BYTES]; /* what a person should know */
    uint32_t note_count;
} fx_store_examination;

/*
 * Tries the store with an object "examination/…" of its own, which it removes where it may. A
 * refusal is a finding with a note; it fails only where nothing could be learned: errors: DENIED,
 * NOT_FOUND, INVALID, UNREACHABLE, TIMEOUT
 */
FX_MUST_USE fx_code fx_store_examine(
    fx_store *store, fx_mono deadline, fx_store_examination *out_examination, fx_err *err);

/* ---- for drivers ----------------------------------------------------------------------------- */

/*
 * What a driver provides: every member, but for those of an ability that it never has. Keys have
 * been checked.
 */
typedef struct fx_store_driver {
    const char *name;
    bool for_tests; /* refused unless the process allows them */
    size_t state_bytes;
    fx_code (*open)(void *state, const char *rest, fx_err *err);
    void (*close)(void *state); /* never fails; also called after a failed open */
    fx_code (*prepare)(void *state, fx_err *err);
    fx_code (*put)(void *state, const char *key, fx_bytes body, fx_mono deadline, fx_err *err);
    fx_code (*get)(
        void *state,
        const char *key,
        uint64_t offset,
        uint64_t size_bytes,
        fx_mono deadline,
        fx_buf *out,
        fx_err *err);
    fx_code (*stat)(
        void *state, const char *key, fx_mono deadline, uint64_t *out_size_bytes, fx_err *err);
    fx_code (*list)(
        void *state,
        const char *prefix,
        fx_mono deadline,
        fx_store_visit visit,
        void *ctx,
        fx_err *err);
    fx_code (*remove)(void *state, const char *key, fx_mono deadline, fx_err *err);
    /* Adds what only the driver knows to what the family has tried. */
    fx_code (*examine)(void *state, fx_mono deadline, fx_store_examination *to, fx_err *err);
    unsigned (*abilities)(const void *state); /* of fx_store_ability */
    fx_code (*append)(
        void *state,
        const char *key,
        uint64_t offset,
        fx_bytes bytes,
        fx_mono deadline,
        fx_err *err);
    fx_code (*check_ticket)(const void *state, const char *key, fx_err *err);
    fx_code (*digest)(
        void *state,
        const char *key,
        fx_mono deadline,
        unsigned char out_digest[FX_STORE_DIGEST_BYTES],
        fx_err *err);
    fx_code (*put_retained)(
        void *state,
        const char *key,
        fx_bytes body,
        const fx_store_retention *retention,
        fx_mono deadline,
        fx_err *err);
    fx_code (*retain)(
        void *state,
        const char *key,
        const fx_store_retention *retention,
        fx_mono deadline,
        fx_err *err);
    fx_code (*list_times)(
        void *state,
        const char *prefix,
        fx_mono deadline,
        fx_store_visit_time visit,
        void *ctx,
        fx_err *err);
} fx_store_driver;

/*
 * For drivers: may this be an object's key? Parts between slashes of letters, digits, '.', '_' and
 * '-', none empty and none beginning with a dot. What else lies in a store is none of ours.
 */
bool fx_store_is_key(const char *key);

/* One more note, cut to its room; dropped where there is none. */
void fx_store_note(fx_store_examination *to, const char *fmt, ...) FX_PRINTF(2, 3);

/* For drivers: fails with TIMEOUT (TRANSIENT) once the deadline has passed. */
FX_MUST_USE fx_code fx_store_check_deadline(fx_mono deadline, const char *key, fx_err *err);

#define FX_STORE_DRIVER(name) extern const fx_store_driver fx_store_driver_##name;
#include "common/store/drivers.def"
#undef FX_STORE_DRIVER
