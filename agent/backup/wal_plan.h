/* From where WAL must be received: what is stored already, along the server's own history. Pure. */
#pragma once

#include "common/base/err.h"
#include "common/base/lsn.h"

enum { FX_WAL_TIMELINE_MAX = 1024 };

/* The end of what is stored, for each timeline. Zero-initialise. */
typedef struct fx_wal_stored {
    struct {
        uint32_t timeline;
        uint64_t next_segment; /* one past the highest that is stored */
    } items[FX_WAL_TIMELINE_MAX];
    size_t count;
} fx_wal_stored;

/* errors: LIMIT (too many timelines) */
FX_MUST_USE fx_code
fx_wal_stored_note(fx_wal_stored *stored, uint32_t timeline, uint64_t segment, fx_err *err);

/* The timelines that led to the server's own, oldest first; the last has no end. */
typedef struct fx_wal_chain {
    struct {
        uint32_t timeline;
        fx_lsn end; /* where the next one branches off; UINT64_MAX of the last */
    } items[FX_WAL_TIMELINE_MAX];
    size_t count;
} fx_wal_chain;

/*
 * Reads a timeline history file; empty for timeline 1. errors: INVALID, LIMIT
 *
 * source: PostgreSQL 15 documentation, 26.3.6 Timelines; timeline.c readTimeLineHistory()
 */
FX_MUST_USE fx_code
fx_wal_chain_read(fx_bytes history, uint32_t timeline, fx_wal_chain *out_chain, fx_err *err);

/* The timeline of the chain that holds `lsn`. */
uint32_t fx_wal_chain_timeline_at(const fx_wal_chain *chain, fx_lsn lsn);

/*
 * Where to go on: after the newest stored segment that lies on the chain, at a segment's start.
 * False when nothing of this chain is stored.
 */
bool fx_wal_resume(
    const fx_wal_chain *chain,
    const fx_wal_stored *stored,
    uint32_t segment_bytes,
    uint32_t *out_timeline,
    fx_lsn *out_start);
