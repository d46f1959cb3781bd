/*
 * Cuts a stream of bytes where its content says so, so that an insertion moves only the cuts around
 * it. A gear hash over the last 64 bytes, with normalised lengths: few cuts before the usual
 * length, many after it. Pure.
 *
 * source: Xia et al., FastCDC, USENIX ATC 2016
 */
#pragma once

#include "common/base/base.h"

/* Place it anywhere; about 2 KiB. */
typedef struct fx_chunker {
    uint64_t gear[256];
    uint64_t hash;
    size_t length_bytes; /* of the chunk so far */
} fx_chunker;

void fx_chunker_init(fx_chunker *chunker);

/* Forgets the chunk so far: the next byte begins one. */
void fx_chunker_reset(fx_chunker *chunker);

/*
 * Takes bytes of the current chunk: gives how many of `bytes` belong to it, and in `out_is_end`
 * whether it ends there (the next byte then begins a new one). Lengths are FX_CHUNK_MIN_BYTES to
 * FX_CHUNK_MAX_BYTES.
 */
FX_MUST_USE size_t fx_chunker_take(fx_chunker *chunker, fx_bytes bytes, bool *out_is_end);
