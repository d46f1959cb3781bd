/* Walks the chosen paths of the host and stores them as trees, from the leaves up. */
#pragma once

#include "agent/source/source.h"
#include "common/repository/tree.h"

typedef struct fx_walk_request {
    fx_writer *writer;
    const fx_events *events;
    char *const *paths; /* absolute, resolved, sorted; none lies in another */
    size_t path_count;
    const char *const *skip;
    size_t skip_count;
    fx_repository *repository;
    const fx_root *parent_root; /* of the snapshot whose unchanged files are reused, or NULL */
    fx_wall parent_began;
    uint64_t expected_count; /* of files; this and the next for progress; 0: not known */
    uint64_t expected_bytes;
} fx_walk_request;

typedef struct fx_walk_result {
    fx_chunk_id root;
    uint64_t file_count; /* all but folders */
    uint64_t size_bytes; /* of their content; a file with several names counts once */
    uint32_t warning_count;
} fx_walk_result;

/* What cannot be read is a warning; errors: of the repository, CANCELLED */
FX_MUST_USE fx_code
fx_walk(const fx_walk_request *request, fx_walk_result *out_result, fx_err *err);
