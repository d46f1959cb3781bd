/*
 * Gaps: what should be in named streams and is not, and never will be. Each is a readable object,
 * so that who restores where nothing but the repository is left learns of it. Nothing says that a
 * gap is over: that follows from what else is there. Bytes: docs/format.md, "Gaps".
 *
 * thread: any
 */
#pragma once

#include "common/base/lsn.h"
#include "common/repository/repository.h"

enum { FX_GAP_STREAM_BYTES = 128, FX_GAP_OBJECT_REASON_BYTES = 256 };

typedef struct fx_gap_object {
    char id[2 * FX_ID_BYTES + 1];     /* SHA-256 of the object, hex; filled in by reading */
    char stream[FX_GAP_STREAM_BYTES]; /* what the streams' names begin with: "wal/SYSTEM/" */
    uint32_t timeline;                /* 0: not known */
    uint32_t segment_bytes;           /* that a whole stream holds */
    fx_lsn from;                      /* the first byte that is missing */
    fx_lsn to;                        /* the first that is not */
    fx_wall found;                    /* by that host's clock */
    fx_name service;                  /* perhaps none */
    fx_name host;                     /* likewise */
    char reason[FX_GAP_OBJECT_REASON_BYTES];
} fx_gap_object;

typedef struct fx_gap_object_list {
    fx_gap_object *items; /* in the order in which they were found */
    size_t count;
    size_t unreadable_count;
} fx_gap_object_list;
void fx_gap_object_list_free(fx_gap_object_list *list);

/*
 * Puts it; the same one again is success. Needs no key. errors: INVALID (no name of streams; ends
 * before it begins), DAMAGED (it is there, and damaged), and the store's
 */
FX_MUST_USE fx_code
fx_gap_object_put(fx_repository *repository, const fx_gap_object *gap, fx_err *err);

/* All of them; what cannot be read is counted. Needs no key. errors: the store's, LIMIT */
FX_MUST_USE fx_code
fx_gap_object_list_all(fx_repository *repository, fx_gap_object_list *out_list, fx_err *err);

/* The object of that name. errors: DAMAGED, UNSUPPORTED */
FX_MUST_USE fx_code
fx_gap_object_decode(const char *store_key, fx_bytes object, fx_gap_object *out_gap, fx_err *err);
