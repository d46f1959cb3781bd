#include "common/repository/chunker.h"

#include "common/repository/repository.h"

/*
 * A cut is where the masked bits of the hash are zero. The high bits depend on all of the last 64
 * bytes. 22 bits up to the usual length and 18 after it: cuts at 1.2 MiB on average, few chunks
 * near the limits.
 */
enum { WINDOW_BYTES = 64 };

static const fx_chunk_limits usual_limits = {
    .min_bytes = FX_CHUNK_MIN_BYTES,
    .usual_bytes = (size_t)1024 * 1024,
    .max_bytes = FX_CHUNK_MAX_BYTES,
    .bits_before = 22,
    .bits_after = 18,
};

#define HIGH_BITS(count) (~UINT64_C(0) << (64 - (count)))

/* Part of the format only in so far as other numbers would deduplicate badly with what is stored.
 */
static const uint64_t gear_seed = UINT64_C(0x466f727472657373);

/* source: Steele, Lea and Flood, SplitMix64 */
static uint64_t
next_number(uint64_t *state)
{
    *state += UINT64_C(0x9e3779b97f4a7c15);
    uint64_t mixed = *state;
    mixed = (mixed ^ (mixed >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    mixed = (mixed ^ (mixed >> 27)) * UINT64_C(0x94d049bb133111eb);
    return mixed ^ (mixed >> 31);
}

void
fx_chunker_init_with(fx_chunker *chunker, const fx_chunk_limits *limits)
{
    FX_ASSERT(limits->min_bytes > WINDOW_BYTES && limits->min_bytes <= limits->usual_bytes);
    FX_ASSERT(limits->usual_bytes <= limits->max_bytes);
    chunker->limits = *limits;
    uint64_t state = gear_seed;
    for (size_t index = 0; index < 256; index++) {
        chunker->gear[index] = next_number(&state);
    }
    fx_chunker_reset(chunker);
}

void
fx_chunker_init(fx_chunker *chunker)
{
    fx_chunker_init_with(chunker, &usual_limits);
}

void
fx_chunker_reset(fx_chunker *chunker)
{
    chunker->hash = 0;
    chunker->length_bytes = 0;
}

/* Hashes from `at` up to `end` or the first cut; gives the place after the last byte hashed. */
static size_t
scan(fx_chunker *chunker, const unsigned char *data, size_t at, size_t end, uint64_t mask)
{
    uint64_t hash = chunker->hash;
    while (at < end) {
        hash = (hash << 1) + chunker->gear[data[at]];
        at++;
        if ((hash & mask) == 0) {
            break;
        }
    }
    chunker->hash = hash;
    return at;
}

/* The end of the stretch that follows what there is, and the mask that decides in it. */
static size_t
stretch_end(const fx_chunker *chunker, uint64_t *out_mask)
{
    const fx_chunk_limits *limits = &chunker->limits;
    if (chunker->length_bytes < limits->min_bytes) {
        *out_mask = 0;
        return limits->min_bytes;
    }
    if (chunker->length_bytes < limits->usual_bytes) {
        *out_mask = HIGH_BITS(limits->bits_before);
        return limits->usual_bytes;
    }
    *out_mask = HIGH_BITS(limits->bits_after);
    return limits->max_bytes;
}

/* Bytes before the shortest length only warm the hash up, and only the last 64 of them matter. */
static size_t
skip_to_minimum(fx_chunker *chunker, const unsigned char *data, size_t at, size_t end)
{
    size_t min_bytes = chunker->limits.min_bytes;
    size_t blind_bytes = min_bytes - WINDOW_BYTES;
    if (chunker->length_bytes < blind_bytes) {
        size_t left_bytes = blind_bytes - chunker->length_bytes;
        size_t step_bytes = end - at < left_bytes ? end - at : left_bytes;
        chunker->length_bytes += step_bytes;
        at += step_bytes;
    }
    while (at < end && chunker->length_bytes < min_bytes) {
        chunker->hash = (chunker->hash << 1) + chunker->gear[data[at]];
        chunker->length_bytes++;
        at++;
    }
    return at;
}

size_t
fx_chunker_take(fx_chunker *chunker, fx_bytes bytes, bool *out_is_end)
{
    size_t max_bytes = chunker->limits.max_bytes;
    FX_ASSERT(chunker->length_bytes < max_bytes);
    const unsigned char *data = bytes.data;
    size_t at = skip_to_minimum(chunker, data, 0, bytes.size_bytes);
    *out_is_end = false;
    while (at < bytes.size_bytes) {
        uint64_t mask = 0;
        size_t room_bytes = stretch_end(chunker, &mask) - chunker->length_bytes;
        size_t left_bytes = bytes.size_bytes - at;
        size_t end = at + (left_bytes < room_bytes ? left_bytes : room_bytes);
        size_t next = scan(chunker, data, at, end, mask);
        chunker->length_bytes += next - at;
        at = next;
        if ((chunker->hash & mask) == 0 || chunker->length_bytes == max_bytes) {
            *out_is_end = true;
            fx_chunker_reset(chunker);
            break;
        }
    }
    return at;
}
