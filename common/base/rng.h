/* A seeded random generator for jitter, simulation and tests. Never for keys: see common/crypto. */
#pragma once

#include "common/base/base.h"

/* xoshiro256** 1.0. source: Blackman and Vigna, prng.di.unimi.it/xoshiro256starstar.c */
typedef struct fx_rng {
    uint64_t state[4];
} fx_rng;

/* Same seed, same numbers. */
void fx_rng_init(fx_rng *rng, uint64_t seed);

uint64_t fx_rng_next(fx_rng *rng);

/* Uniform in [0, bound); bound > 0. */
uint64_t fx_rng_below(fx_rng *rng, uint64_t bound);
