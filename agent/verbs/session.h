/* The repository that a verb works on, opened with its key. */
#pragma once

#include "agent/verbs/options.h"
#include "common/json/json.h"
#include "common/repository/repository.h"

typedef struct fx_session {
    fx_repository_key *key;
    fx_repository *repository;
} fx_session;

/* The key of --key-file, writing to --scope. errors: INVALID (none named), and those of loading it
 */
FX_MUST_USE fx_code
fx_session_load_key(const fx_options *options, fx_repository_key **out_key, fx_err *err);

/* errors: INVALID (no key file named) and those of loading the key and opening the repository */
FX_MUST_USE fx_code
fx_session_open(const fx_options *options, fx_session *out_session, fx_err *err);

/*
 * Keeps a copy of the index in FORTRESS_CACHE_DIR, or else where the user's caches are. Who
 * verifies must not: a copy says nothing of the store.
 */
void fx_session_use_cache(fx_session *session);

/* The folder that such copies lie in, made if need be; false: there is none that can be used. */
FX_MUST_USE bool fx_session_cache_folder(char *out_path, size_t room_bytes);

void fx_session_close(fx_session *session);

/* Is it of the --host, --source and all the --tag that were given? */
bool fx_session_wants(const fx_options *options, const fx_snapshot *snapshot);

/* A snapshot as JSON, for events. */
fx_json *fx_snapshot_json(const fx_snapshot *snapshot);
