/*
 * Cuts a stream of bytes where its content says so, so that an insertion moves only the cuts around
 * it. A gear hash over the last 64 bytes, with normalised lengths: few cuts before the usual
 * length, many after it. Pure.
 *
 * source: Xia et al., FastCDC, USENIX ATC 2016
 */
#pragma once

#include "common/base/base.h"

/* Lengths, and how many bits of the hash must be zero at a cut, up to the usual length and after.
 */
typedef struct fx_chunk_limits {
    size_t min_bytes; /* more than 64 */
    size_t usual_bytes;
    size_t max_bytes;
    unsigned bits_before;
    unsigned bits_after;
} fx_chunk_limits;

/* Place it anywhere; about 2 KiB. */
typedef struct fx_chunker {
    uint64_t gear[256];
    uint64_t hash;
    size_t length_bytes; /* of the chunk so far */
    fx_chunk_limits limits;
} fx_chunker;

/* With the format's limits: FX_CHUNK_MIN_BYTES, 1 MiB, FX_CHUNK_MAX_BYTES. */
void fx_chunker_init(fx_chunker *chunker);
/* With others: to measure what they would give. */
void fx_chunker_init_with(fx_chunker *chunker, const fx_chunk_limits *limits);

/* Forgets the chunk so far: the next byte begins one. */
void fx_chunker_reset(fx_chunker *chunker);

/*
 * Takes bytes of the current chunk: gives how many of `bytes` belong to it, and in `out_is_end`
 * whether it ends there (the next byte then begins a new one).
 */
FX_MUST_USE size_t fx_chunker_take(fx_chunker *chunker, fx_bytes bytes, bool *out_is_end);
