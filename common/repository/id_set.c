#include "common/repository/id_set.h"

#include <string.h>

static size_t
slot_of(const fx_id_set *set, const fx_chunk_id *id)
{
    uint64_t hash = 0;
    memcpy(&hash, id->bytes, sizeof hash);
    size_t slot = (size_t)hash & (set->capacity - 1);
    while (set->used[slot] && memcmp(set->slots[slot].bytes, id->bytes, FX_ID_BYTES) != 0) {
        slot = (slot + 1) & (set->capacity - 1);
    }
    return slot;
}

static void
grow(fx_id_set *set)
{
    fx_id_set larger = {
        .capacity = set->capacity == 0 ? 1024 : set->capacity * 2, .count = set->count};
    larger.slots = calloc(larger.capacity, sizeof *larger.slots);
    larger.used = calloc(larger.capacity, sizeof *larger.used);
    FX_ASSERT(larger.slots != NULL && larger.used != NULL);
    for (size_t i = 0; i < set->capacity; i++) {
        if (set->used[i]) {
            size_t slot = slot_of(&larger, &set->slots[i]);
            larger.slots[slot] = set->slots[i];
            larger.used[slot] = true;
        }
    }
    fx_id_set_free(set);
    *set = larger;
}

void
fx_id_set_free(fx_id_set *set)
{
    free(set->slots);
    free(set->used);
    *set = (fx_id_set){0};
}

bool
fx_id_set_add(fx_id_set *set, const fx_chunk_id *id)
{
    if (set->count * 4 >= set->capacity * 3) {
        grow(set);
    }
    size_t slot = slot_of(set, id);
    /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): grow() has put new slots in place */
    if (set->used[slot]) {
        return false;
    }
    set->slots[slot] = *id;
    set->used[slot] = true;
    set->count++;
    return true;
}

void
fx_id_set_add_all(fx_id_set *set, const fx_id_set *others)
{
    for (size_t i = 0; i < others->capacity; i++) {
        if (others->used[i]) {
            (void)fx_id_set_add(set, &others->slots[i]);
        }
    }
}

bool
fx_id_set_has(const fx_id_set *set, const fx_chunk_id *id)
{
    return set->count > 0 && set->used[slot_of(set, id)];
}
