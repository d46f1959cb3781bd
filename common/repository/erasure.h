/*
 * Erasing a scope: its private keys are destroyed in a key file, and a signed record in the
 * repository says so, who else may have keys, and what is out of reach. Bytes: docs/format.md,
 * "Erasures".
 */
#pragma once

#include "common/repository/key_object.h"

enum { FX_ERASURE_NOTE_BYTES = 192, FX_ERASURE_PATH_BYTES = 512, FX_HOLDER_MAX = 1024 };

typedef struct fx_holder {
    fx_name label;
    char kind[16]; /* of a recipient, or "export" */
    char name[FX_RECIPIENT_NAME_BYTES];
    bool is_destroyed; /* in this key file; else nobody has confirmed it */
    char note[FX_ERASURE_NOTE_BYTES];
} fx_holder;

typedef struct fx_erasure {
    fx_scope_id scope;
    fx_name label;
    uint32_t serial;
    uint32_t key_version;
    unsigned char verify_key[FX_SIGN_KEY_BYTES];
    fx_wall at;
    char host[FX_NAME_MAX_BYTES + 1];
    char key_file[FX_ERASURE_PATH_BYTES];
    bool is_done; /* else it was about to be done */
    fx_holder *holders;
    size_t holder_count;
} fx_erasure;
void fx_erasure_free(fx_erasure *erasure);
FX_DEFINE_AUTO(fx_erasure);

/* What no erasing reaches; ends with NULL. */
extern const char *const fx_erasure_out_of_reach[];

/* errors: DAMAGED (also a signature that its key did not make), UNSUPPORTED */
FX_MUST_USE fx_code fx_erasure_decode(fx_bytes bytes, fx_erasure **out_erasure, fx_err *err);
FX_MUST_USE fx_code fx_erasure_encode(
    const fx_erasure *erasure,
    const unsigned char sign[FX_SIGN_KEY_BYTES],
    fx_buf *out,
    fx_err *err);

/*
 * Who has or had keys of the scope, as the keyring and the repository's key objects tell.
 * errors: the store's
 */
FX_MUST_USE fx_code fx_erasure_describe(
    fx_store *store,
    const fx_keyring *keyring,
    const fx_keyring_scope *scope,
    fx_erasure **out_erasure,
    fx_err *err);

/* Signs the record and puts it under the next serial number. errors: the store's */
FX_MUST_USE fx_code fx_erasure_put(
    fx_store *store, fx_erasure *erasure, const unsigned char sign[FX_SIGN_KEY_BYTES], fx_err *err);

/* How many records of a finished erasure the repository has, each of one key file. errors: the
 * store's; damaged ones are not counted */
FX_MUST_USE fx_code
fx_erasure_count_done(fx_store *store, const fx_scope_id *scope, size_t *out_count, fx_err *err);

/* Is there a record of a finished erasure, signed with the newest key that the keyring has of the
 * scope? Who cannot sign so may put records, but proves nothing. errors: the store's */
FX_MUST_USE fx_code
fx_erasure_is_proven(fx_store *store, const fx_keyring_scope *scope, bool *out_proven, fx_err *err);

/* Is the object whole, and where `key` has the scope, signed with its key? errors: DAMAGED,
 * UNSUPPORTED, the store's */
FX_MUST_USE fx_code fx_erasure_verify(
    fx_store *store, const char *store_key, const fx_repository_key *key, fx_err *err);
