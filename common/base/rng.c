#include "common/base/rng.h"

static uint64_t
rotate_left(uint64_t value, unsigned bits)
{
    return (value << bits) | (value >> (64 - bits));
}

/* splitmix64 spreads any seed, zero too, over the state. */
static uint64_t
splitmix(uint64_t *seed)
{
    *seed += UINT64_C(0x9e3779b97f4a7c15);
    uint64_t z = *seed;
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

void
fx_rng_init(fx_rng *rng, uint64_t seed)
{
    for (size_t i = 0; i < 4; i++) {
        rng->state[i] = splitmix(&seed);
    }
}

uint64_t
fx_rng_next(fx_rng *rng)
{
    uint64_t *s = rng->state;
    uint64_t result = rotate_left(s[1] * 5, 7) * 9;
    uint64_t shifted = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= shifted;
    s[3] = rotate_left(s[3], 45);
    return result;
}

uint64_t
fx_rng_below(fx_rng *rng, uint64_t bound)
{
    FX_ASSERT(bound > 0);
    uint64_t threshold = (0 - bound) % bound; /* values below it would make some results likelier */
    for (;;) {
        uint64_t value = fx_rng_next(rng);
        if (value >= threshold) {
            return value % bound;
        }
    }
}
