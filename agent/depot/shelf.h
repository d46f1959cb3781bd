/*
 * One repository of a depot on disk: a posix store whose objects also tell which host put them, in
 * the extended attribute user.fortress.host.
 */
#pragma once

#include "common/base/name.h"
#include "common/crypto/digest.h"
#include "common/store/posix/place.h"

typedef struct fx_shelf fx_shelf;

/*
 * Makes the folder if need be and locks it: a folder has one depot. Removes the parts of objects
 * that a crash left.
 *
 * errors: BUSY (another depot has it), UNSUPPORTED (its file system keeps no user attributes),
 *         DENIED, NO_SPACE, IO
 */
FX_MUST_USE fx_code fx_shelf_open(const char *path, fx_shelf **out_shelf, fx_err *err);
void fx_shelf_free(fx_shelf *shelf);
FX_DEFINE_AUTO(fx_shelf);

const char *fx_shelf_path(const fx_shelf *shelf);

/* For what needs no owner: get and remove. */
fx_store *fx_shelf_store(const fx_shelf *shelf);

uint64_t fx_shelf_free_bytes(const fx_shelf *shelf);

/* Who put an object, and its size; a name of none where nobody knows. errors: NOT_FOUND, DENIED, IO
 */
FX_MUST_USE fx_code fx_shelf_owner(
    const fx_shelf *shelf,
    const char *key,
    fx_name *out_owner,
    uint64_t *out_size_bytes,
    fx_err *err);

/* Visits every object with its owner. */
typedef void (*fx_shelf_visit)(void *ctx, const fx_name *owner, uint64_t size_bytes);
FX_MUST_USE fx_code
fx_shelf_count(const fx_shelf *shelf, fx_shelf_visit visit, void *ctx, fx_err *err);

/* Objects with a prefix above `after`, in order, until `visit` says that it is enough. */
FX_MUST_USE fx_code fx_shelf_list(const fx_shelf *shelf, const fx_place_walk *walk, fx_err *err);

/* ---- new objects
 * ----------------------------------------------------------------------------------- */

/* An object that is being written: nobody sees it. */
typedef struct fx_stage fx_stage;

/* errors: EXISTS, INVALID (key), NO_SPACE, IO */
FX_MUST_USE fx_code fx_stage_begin(
    const fx_shelf *shelf,
    const fx_name *owner,
    const char *key,
    uint64_t size_bytes,
    fx_stage **out_stage,
    fx_err *err);

/* How much of it is there, and is to be. */
uint64_t fx_stage_done_bytes(const fx_stage *stage);
uint64_t fx_stage_size_bytes(const fx_stage *stage);
const char *fx_stage_key(const fx_stage *stage);

/* errors: LIMIT (more than was said), NO_SPACE, IO */
FX_MUST_USE fx_code fx_stage_add(fx_stage *stage, fx_bytes bytes, fx_err *err);

/*
 * Gives it its name, durably, unless there is one. An object named by a SHA-256 must have it: what
 * lies under such a name counts as stored for everyone.
 *
 * errors: EXISTS, CONFLICT (not all parts are there), DAMAGED (another SHA-256), NO_SPACE, IO
 */
FX_MUST_USE fx_code fx_stage_commit(fx_stage *stage, fx_err *err);

/* What was not committed is gone. */
void fx_stage_free(fx_stage *stage);
FX_DEFINE_AUTO(fx_stage);

/* As fx_store_append, but to objects of the same owner alone. errors: as there; DENIED (another's)
 */
FX_MUST_USE fx_code fx_shelf_append(
    fx_shelf *shelf,
    const fx_name *owner,
    const char *key,
    uint64_t offset,
    fx_bytes bytes,
    fx_err *err);

/* ---- looking
 * --------------------------------------------------------------------------------------- */

typedef struct fx_shelf_finding {
    uint64_t size_bytes;
    unsigned char sha256[FX_SHA256_BYTES];
    bool is_named; /* the key ends in a SHA-256 */
    bool is_whole; /* and it is that of the content */
} fx_shelf_finding;

/* Reads all of an object. errors: NOT_FOUND, DENIED, IO */
FX_MUST_USE fx_code
fx_shelf_scrub(const fx_shelf *shelf, const char *key, fx_shelf_finding *out_finding, fx_err *err);
