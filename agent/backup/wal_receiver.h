/*
 * What the parts of the WAL receiver share: wal.c owns it, connects and begins anew; wal_keep.c
 * stores what came; wal_slot.c knows the server's timelines and the slot, and where to go on;
 * wal_stream.c takes the stream. No other file includes it.
 */
#pragma once

#include "agent/backup/wal.h"
#include "agent/backup/wal_plan.h"

#include "common/base/clock.h"
#include "common/base/monitor.h"
#include "common/base/rng.h"

#include <stdatomic.h>

enum {
    FX_WAL_CONNECT_MAX_MS = 10000,
    FX_WAL_COMMAND_MAX_MS = 30000,
    FX_WAL_SLOT_BYTES = 64,
};

struct fx_wal_receiver {
    fx_wal_config config;
    char slot[FX_WAL_SLOT_BYTES];
    atomic_bool stop;
    fx_rng rng;
    fx_monitor monitor; /* protects status */
    fx_wal_status status;

    /* What follows belongs to the thread of fx_wal_receiver_run(). */
    fx_pg *conn;
    char system[24];
    uint32_t segment_bytes;
    fx_wal_stored *stored;
    fx_wal_chain *chain;
    uint32_t timeline;
    fx_lsn segment_start; /* of the open segment: WAL before it is stored */
    fx_lsn durable;       /* further than that after a partial was stored */
    unsigned char *segment;
    size_t segment_filled;
    fx_mono unsaved_since;
    fx_mono switch_tried;
    fx_mono heard;
    fx_mono told;
    bool asked;
    uint64_t progress; /* segments stored: resets the pause between attempts */
};

static inline fx_mono
fx_wal_after_ms(int64_t length_ms)
{
    return fx_mono_after(fx_clock_mono(), FX_DUR_MS(length_ms));
}

static inline int64_t
fx_wal_ms_since(fx_mono then)
{
    return fx_dur_ms(fx_mono_since(fx_clock_mono(), then));
}

/* The end of what is in memory. */
static inline fx_lsn
fx_wal_received_to(const fx_wal_receiver *receiver)
{
    return (fx_lsn){.value = receiver->segment_start.value + receiver->segment_filled};
}

/* ---- status: wal.c ------------------------------------------------------------------------------
 */

/* For fx_wal_receiver_status(). */
void fx_wal_publish(fx_wal_receiver *receiver, bool streaming);

/* Logs and passes on that the WAL between the two will never be received. */
void fx_wal_report_gap(fx_wal_receiver *receiver, fx_lsn from, fx_lsn to, const char *reason);

/* ---- what is stored: wal_keep.c -----------------------------------------------------------------
 */

/* Learns which segments of this system the repository holds. errors: the repository's, LIMIT */
FX_MUST_USE fx_code fx_wal_load_stored(fx_wal_receiver *receiver, fx_err *err);

/* `file`: as PostgreSQL names it. errors: the repository's */
FX_MUST_USE fx_code
fx_wal_put(fx_wal_receiver *receiver, const char *file, fx_bytes content, fx_err *err);

/* The open segment, full; the next one is open then. errors: DAMAGED, the repository's, LIMIT */
FX_MUST_USE fx_code fx_wal_store_segment(fx_wal_receiver *receiver, fx_err *err);

/* What there is of the open segment, which stays open. errors: as above */
FX_MUST_USE fx_code fx_wal_store_partial(fx_wal_receiver *receiver, fx_err *err);

/* ---- timelines and the slot: wal_slot.c ---------------------------------------------------------
 */

/* Stores the history of `timeline` and reads it; timeline 1 has none. errors: the server's,
 * FAILED, INVALID (history), the repository's */
FX_MUST_USE fx_code fx_wal_take_history(fx_wal_receiver *receiver, uint32_t timeline, fx_err *err);

/* Goes on behind what is stored of this chain, else with the oldest WAL that the slot keeps; makes
 * the slot if need be. errors: the server's, FAILED */
FX_MUST_USE fx_code fx_wal_find_start(fx_wal_receiver *receiver, fx_err *err);

/* The segment that holds `position` is open from now on, and empty. */
void fx_wal_go_to(fx_wal_receiver *receiver, uint32_t timeline, fx_lsn position);

/* The server no longer has the WAL that is due: goes on with the oldest that it will keep, and
 * reports the gap. errors: NOT_FOUND (nothing newer either), the server's, FAILED */
FX_MUST_USE fx_code fx_wal_skip_gap(fx_wal_receiver *receiver, const char *reason, fx_err *err);

/* ---- streaming: wal_stream.c --------------------------------------------------------------------
 */

/* Receives on the open connection until told to stop; follows the server from timeline to
 * timeline. errors: the server's, the repository's, TIMEOUT, UNREACHABLE, DAMAGED, NOT_FOUND */
FX_MUST_USE fx_code fx_wal_stream(fx_wal_receiver *receiver, fx_err *err);
