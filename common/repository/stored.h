/*
 * Lists of a store's objects, and checking one of them in memory: by its name, its digest and its
 * structure without a key, by every blob of it with one.
 */
#pragma once

#include "common/repository/key.h"
#include "common/store/store.h"

typedef struct fx_stored {
    char *store_key;
    uint64_t size_bytes;
} fx_stored;

typedef struct fx_stored_list {
    fx_stored *items; /* ascending by key */
    size_t count;
    bool overflow;
} fx_stored_list;
void fx_stored_list_free(fx_stored_list *list);

/* Nothing where the store is not there yet. errors: the store's, LIMIT */
FX_MUST_USE fx_code
fx_stored_list_read(fx_store *store, const char *prefix, fx_stored_list *out_list, fx_err *err);
/* NULL: it is not in the list. */
const fx_stored *fx_stored_find(const fx_stored_list *list, const char *store_key);
/* The same keys, whatever their sizes. */
bool fx_stored_list_is_same(const fx_stored_list *left, const fx_stored_list *right);
uint64_t fx_stored_list_bytes(const fx_stored_list *list);

/* Has what lies below such a name the SHA-256 of its bytes for the name's last part? */
bool fx_stored_is_named_by_digest(const char *store_key);

/*
 * Are these the bytes of the object of that name? Without a key (NULL) a stream is checked by its
 * structure only: its bytes have no readable digest. errors: DAMAGED, UNSUPPORTED
 */
FX_MUST_USE fx_code
fx_stored_check(const char *store_key, fx_bytes bytes, const fx_repository_key *key, fx_err *err);

/* Reads an object whole and checks it. errors: also the store's */
FX_MUST_USE fx_code fx_stored_get(
    fx_store *store,
    const char *store_key,
    const fx_repository_key *key,
    fx_buf *out_bytes,
    fx_err *err);
