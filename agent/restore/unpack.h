/*
 * Writes a stored tree into a folder: the calling thread makes folders and plans, others fetch and
 * write content, pack by pack and several files at once.
 */
#pragma once

#include "agent/restore/apply.h"
#include "agent/restore/restore.h"

typedef struct fx_unpack_request {
    fx_chunks chunks;
    int folder_fd;
    bool is_private; /* the folder is ours: nothing but what we write appears in it */
    /* What is there is kept where it is the same already, and replaced where it differs; other
     * entries stay. Else the folder must be empty. */
    bool keeps;
    fx_apply *apply;
    const fx_events *events;
    uint64_t total_count; /* of files; this and the next for progress; 0: not known */
    uint64_t total_bytes;
    fx_restore_result *result;
} fx_unpack_request;

/* errors: DAMAGED, WRONG_KEY, NO_SPACE, CANCELLED…, naming the file */
FX_MUST_USE fx_code
fx_unpack_tree(const fx_unpack_request *request, const fx_chunk_id *root, fx_err *err);

/* One node other than a folder. */
FX_MUST_USE fx_code
fx_unpack_node(const fx_unpack_request *request, const fx_node *node, fx_err *err);
