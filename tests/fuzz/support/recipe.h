/*
 * A fuzzer's bytes, taken off from the front: harnesses that build valid surroundings (a checksum,
 * a signature, a cipher's tag) read from them what to put inside.
 */
#pragma once

#include <string.h>

#include "common/base/buf.h"

typedef struct recipe {
    const unsigned char *at;
    size_t left_bytes;
} recipe;

/* 0 where nothing is left. */
static inline unsigned
recipe_byte(recipe *from)
{
    if (from->left_bytes == 0) {
        return 0;
    }
    from->left_bytes--;
    return *from->at++;
}

/* Little-endian, of `count` bytes. */
static inline uint64_t
recipe_number(recipe *from, unsigned count)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < count; i++) {
        value |= (uint64_t)recipe_byte(from) << (8 * i);
    }
    return value;
}

/* So many, or what is left. */
static inline fx_bytes
recipe_take(recipe *from, size_t size_bytes)
{
    size_t taken = size_bytes < from->left_bytes ? size_bytes : from->left_bytes;
    fx_bytes bytes = {from->at, taken};
    if (taken > 0) {
        from->at += taken;
        from->left_bytes -= taken;
    }
    return bytes;
}

/* With a length of two bytes before it. */
static inline fx_bytes
recipe_piece(recipe *from)
{
    return recipe_take(from, (size_t)recipe_number(from, 2));
}
