/* The scopes of a repository: told, published, erased. */
#pragma once

#include "common/repository/erasure.h"

/* Puts the key objects that a repository lacks of the scopes that can be read here. errors: as
 * fx_publish_keys(), NOT_FOUND (no repository) */
FX_MUST_USE fx_code
fx_repository_publish(const char *url, const fx_repository_key *key, fx_err *err);

/* `newest` tells of the newest key version; NULL where its object is damaged. */
typedef struct fx_scope_summary {
    fx_scope_id id;
    uint32_t version_count;
    const fx_key_object *newest;
    size_t erasure_count; /* key files that were confirmed to have lost its keys */
} fx_scope_summary;
typedef void (*fx_scope_visit)(void *ctx, const fx_scope_summary *summary);
/* In order of id; needs no key. errors: the store's, NOT_FOUND (no repository) */
FX_MUST_USE fx_code
fx_repository_list_scopes(const char *url, fx_scope_visit visit, void *ctx, fx_err *err);

/* Who has or had keys of a scope; nothing is changed. errors: the store's, WRONG_KEY (the
 * repository does not have it) */
FX_MUST_USE fx_code fx_repository_describe_scope(
    const char *url,
    const fx_keyring *keyring,
    const fx_keyring_scope *scope,
    fx_erasure **out_erasure,
    fx_err *err);

typedef struct fx_erase_request {
    const char *url;
    fx_keyring_edit *edit; /* of the key file */
    fx_keyring *keyring;   /* that it holds */
    fx_opener *opener;
    const char *scope; /* label or id */
} fx_erase_request;

/*
 * Records that it is about to be done, destroys the scope's private keys and the id key in the key
 * file, and records that it is done. May be called again after a failure on the way: it goes on
 * where it was. errors: NOT_FOUND, WRONG_KEY (erased already; the repository does not have it),
 * those of opening the keys, of saving the file and the store's
 */
FX_MUST_USE fx_code
fx_repository_erase_scope(const fx_erase_request *request, fx_erasure **out_erasure, fx_err *err);
