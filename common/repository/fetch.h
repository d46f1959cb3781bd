/*
 * Gets many chunks at once, in the order of the packs and not of the asking: each byte range of a
 * pack is read once for all that is wanted of it, and opened by several threads.
 */
#pragma once

#include "common/repository/repository.h"

#include <stdatomic.h>

/* A place where a chunk's content goes. */
typedef struct fx_want {
    fx_chunk_id chunk;
    uint64_t offset; /* these two as the caller likes */
    void *target;
    uint32_t size_bytes; /* of the content; another is damage */
} fx_want;

/*
 * Takes what was wanted: authenticated content with the right id. `content.data` NULL: it will not
 * come, some failure ended the whole; only tidy up. Runs on worker threads, several at once; a
 * failure ends the whole.
 */
typedef fx_code (*fx_fetch_take)(void *ctx, const fx_want *want, fx_bytes content, fx_err *err);

typedef struct fx_fetcher fx_fetcher;

/* Borrows all. `cancel` may be NULL. */
fx_fetcher *
fx_fetcher_new(const fx_chunks *chunks, fx_fetch_take take, void *ctx, const atomic_bool *cancel);
/* Without fx_fetcher_finish() before it, what is still wanted is given back without content. */
void fx_fetcher_free(fx_fetcher *fetcher);
FX_DEFINE_AUTO(fx_fetcher);

/*
 * Wants a chunk: `take` will be called once for it, also after a failure here. Waits while there is
 * enough to do. errors: the first of all wants so far: NOT_FOUND, DAMAGED, CANCELLED, of `take`…
 * thread: one
 */
FX_MUST_USE fx_code fx_fetcher_add(fx_fetcher *fetcher, const fx_want *want, fx_err *err);

/* Begins to get what was added, after what was begun before; does not wait for it. thread: one */
FX_MUST_USE fx_code fx_fetcher_begin(fx_fetcher *fetcher, fx_err *err);

/* The same, and waits for all. */
FX_MUST_USE fx_code fx_fetcher_finish(fx_fetcher *fetcher, fx_err *err);
