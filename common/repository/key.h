/*
 * The keys that this process holds, opened: of each scope of the keyring that it may open. See
 * docs/format.md, "Keys".
 */
#pragma once

#include "common/crypto/sign.h"
#include "common/keyring/wrap.h"
#include "common/repository/repository.h"

typedef struct fx_scope_version {
    uint32_t number;
    fx_wall created;
    unsigned char public_key[FX_BOX_KEY_BYTES];
    unsigned char verify_key[FX_SIGN_KEY_BYTES];
    unsigned char private_key[FX_BOX_KEY_BYTES]; /* these two only where the scope can be read */
    unsigned char sign[FX_SIGN_KEY_BYTES];
} fx_scope_version;

typedef struct fx_scope_keys {
    fx_scope_id id;
    fx_name label;
    fx_scope_state state;
    bool can_read;  /* private keys are here */
    bool can_write; /* the id key is */
    fx_err reason;  /* why neither */
    unsigned char id_check[FX_ID_CHECK_BYTES];
    unsigned char id_key[FX_KEY_BYTES];
    fx_scope_version *versions; /* ascending from 1; the last is written with */
    size_t version_count;
} fx_scope_keys;

struct fx_repository_key {
    const fx_keyring *keyring; /* that it was opened of */
    fx_keyring *own;           /* the same where it is freed with the key, else NULL */
    fx_scope_keys *scopes;
    size_t scope_count;
    size_t write_scope; /* its number */
};

/* Opens what can be opened of a keyring, which it borrows. errors: as fx_repository_key_load() */
FX_MUST_USE fx_code fx_repository_key_of(
    const fx_keyring *keyring, fx_opener *opener, fx_repository_key **out_key, fx_err *err);

/* NULL where the keyring does not have it. */
const fx_scope_keys *fx_repository_key_scope(const fx_repository_key *key, const fx_scope_id *id);

/* Of the scope that is written to. */
const fx_scope_keys *fx_repository_key_writes(const fx_repository_key *key);
const unsigned char *fx_repository_key_id_key(const fx_repository_key *key);

/*
 * Signs with a scope's newest key: what only who can read the scope can say. `use` names the kind
 * of statement, so that none passes for another. errors: WRONG_KEY (no private key here)
 */
FX_MUST_USE fx_code fx_scope_sign(
    const fx_scope_keys *scope,
    const char *use,
    fx_bytes statement,
    unsigned char out_signature[FX_SIGN_BYTES],
    fx_err *err);
/* Was it signed with the scope's key of that version? Needs no private key. */
bool fx_scope_check(
    const fx_scope_keys *scope,
    uint32_t version,
    const char *use,
    fx_bytes statement,
    const unsigned char signature[FX_SIGN_BYTES]);

/* The same with a bare key. */
void fx_statement_sign(
    const unsigned char sign[FX_SIGN_KEY_BYTES],
    const char *use,
    fx_bytes statement,
    unsigned char out_signature[FX_SIGN_BYTES]);
bool fx_statement_check(
    const unsigned char verify_key[FX_SIGN_KEY_BYTES],
    const char *use,
    fx_bytes statement,
    const unsigned char signature[FX_SIGN_BYTES]);
