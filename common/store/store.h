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

/* errors: NOT_FOUND, DENIED, IO, UNREACHABLE, TIMEOUT (UNKNOWN) */
FX_MUST_USE fx_code
fx_store_remove(fx_store *store, const char *key, fx_mono deadline, fx_err *err);

/* ---- for drivers ----------------------------------------------------------------------------- */

/* What a driver provides: every member. Keys have been checked. */
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
} fx_store_driver;

#define FX_STORE_DRIVER(name) extern const fx_store_driver fx_store_driver_##name;
#include "common/store/drivers.def"
#undef FX_STORE_DRIVER
