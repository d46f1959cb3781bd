/* A set of ids: open addressing, at most three quarters full. Ids are HMACs, so spread evenly. */
#pragma once

#include "common/repository/repository.h"

typedef struct fx_id_set {
    fx_chunk_id *slots;
    bool *used;
    size_t capacity; /* a power of two, or 0 */
    size_t count;
} fx_id_set;

void fx_id_set_free(fx_id_set *set);

/* False if it was there already. */
bool fx_id_set_add(fx_id_set *set, const fx_chunk_id *id);
/* Adds all of another. */
void fx_id_set_add_all(fx_id_set *set, const fx_id_set *others);
bool fx_id_set_has(const fx_id_set *set, const fx_chunk_id *id);
