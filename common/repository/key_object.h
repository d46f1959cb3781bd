/*
 * Key objects: what a repository tells of its scopes' keys without a secret, and which scopes were
 * erased. Bytes: docs/format.md, "Key objects".
 */
#pragma once

#include "common/repository/key.h"
#include "common/store/store.h"

enum { FX_KEY_OBJECT_MAX_BYTES = 128 * 1024 };

typedef struct fx_key_recipient {
    fx_name label;
    char kind[16];
    char name[FX_RECIPIENT_NAME_BYTES];
} fx_key_recipient;

typedef struct fx_key_object {
    fx_scope_id scope;
    fx_name label;
    uint32_t version;
    uint32_t serial;
    fx_wall created;
    unsigned char public_key[FX_BOX_KEY_BYTES];
    unsigned char verify_key[FX_SIGN_KEY_BYTES];
    unsigned char id_check[FX_ID_CHECK_BYTES];
    fx_key_recipient *recipients;
    size_t recipient_count;
    fx_export *exports;
    size_t export_count;
} fx_key_object;
void fx_key_object_free(fx_key_object *object);
FX_DEFINE_AUTO(fx_key_object);

/* What is to be told of a version now, but for the serial number. */
fx_key_object *fx_key_object_of(
    const fx_keyring *keyring, const fx_keyring_scope *scope, const fx_key_version *version);

/* Checks digest and signature; not that the scope is one of ours. errors: DAMAGED, UNSUPPORTED */
FX_MUST_USE fx_code fx_key_object_decode(fx_bytes bytes, fx_key_object **out_object, fx_err *err);
/* Signs it. errors: LIMIT */
FX_MUST_USE fx_code fx_key_object_encode(
    const fx_key_object *object,
    const unsigned char sign[FX_SIGN_KEY_BYTES],
    fx_buf *out,
    fx_err *err);

/* The name in the store, "keys/SCOPE/VERSION-SERIAL". */
enum { FX_KEY_OBJECT_NAME_BYTES = 48 };
void fx_key_object_name(
    const fx_scope_id *scope,
    uint32_t version,
    uint32_t serial,
    char out_name[FX_KEY_OBJECT_NAME_BYTES]);

/* The names of key objects that a store has. */
typedef struct fx_key_name {
    fx_scope_id scope;
    uint32_t version;
    uint32_t serial;
} fx_key_name;
typedef struct fx_key_names {
    fx_key_name *items; /* by scope, version, serial */
    size_t count;
} fx_key_names;
/* Names that are none of these are passed over. errors: the store's, LIMIT */
FX_MUST_USE fx_code
fx_key_names_list(fx_store *store, const char *prefix, fx_key_names *out_names, fx_err *err);
void fx_key_names_free(fx_key_names *names);

/* `*out_object` NULL before. errors: the store's, DAMAGED (also when it says to be another) */
FX_MUST_USE fx_code fx_key_object_load(
    fx_store *store, const fx_key_name *name, fx_key_object **out_object, fx_err *err);

/*
 * Puts a key object for every key version that can be read here, unless the newest one there says
 * the same. errors: the store's, CONFLICT (another key has the name)
 */
FX_MUST_USE fx_code fx_publish_keys(fx_store *store, const fx_repository_key *key, fx_err *err);

/*
 * Has the store a key of the scope that is written to? If not, of which other?
 * errors: WRONG_KEY (of none of the key's scopes), the store's
 */
FX_MUST_USE fx_code fx_check_keys(
    fx_store *store, const fx_repository_key *key, bool *out_is_write_scope_there, fx_err *err);

/* Is it whole, and where `key` has the scope, that of the key? errors: DAMAGED, CONFLICT,
 * UNSUPPORTED, the store's */
FX_MUST_USE fx_code fx_key_object_verify(
    fx_store *store, const char *store_key, const fx_repository_key *key, fx_err *err);
