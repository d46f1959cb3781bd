/* What a stolen host that can only write has, and may do to others: packs that do not hold what
 * they say. */
#pragma once

#include "common/repository/key.h"
#include "common/repository/repository.h"

/* What such a host has of the first scope of a key file, which lies open. NULL: it cannot be read
 */
fx_repository_key *fx_write_only_key(const char *key_path);

/*
 * Puts a pack whose directory has the id of `content`, but which holds other bytes, and an index
 * object that names it. errors: of the store
 */
FX_MUST_USE fx_code
fx_poison_pack(const char *url, const fx_repository_key *key, fx_bytes content, fx_err *err);

/* Puts an index object which says of a pack that is there that it holds `content`. */
FX_MUST_USE fx_code fx_poison_index(
    const char *url,
    const fx_repository_key *key,
    const char *pack_path,
    fx_bytes content,
    fx_err *err);
