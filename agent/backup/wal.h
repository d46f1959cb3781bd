/*
 * Receives PostgreSQL's WAL into the repository, segment by segment, as long as it runs: named
 * streams "wal/SYSTEM/000000010000000000000004" and "wal/SYSTEM/00000002.history".
 *
 * The position reported to the server never passes what is durable in the repository. When the
 * server waits for its WAL to be received before it shuts down, the open segment is stored as
 * "wal/SYSTEM/SEGMENT.LENGTH.partial" first.
 */
#pragma once

#include "common/base/log.h"
#include "common/pg/pg.h"
#include "common/repository/repository.h"

/* WAL that the repository lacks and will not get: bounds on the server's own scale. */
typedef struct fx_wal_gap {
    char system[24];
    uint32_t timeline;
    uint32_t segment_bytes;
    fx_lsn from;
    fx_lsn to;
    fx_wall found_at;
    char reason[160];
} fx_wal_gap;

typedef struct fx_wal_config {
    const char *conninfo;         /* of a role with REPLICATION; primary or standby */
    const char *primary_conninfo; /* where segments are switched while `conninfo` is a standby;
                                     NULL: nowhere */
    const char *slot;             /* a physical slot, created if missing */
    fx_dur switch_after;       /* ask a primary to close a segment that is open so long; 0: never */
    fx_repository *repository; /* used by no other thread meanwhile */
    const fx_log *log;
    void (*gap)(void *ctx, const fx_wal_gap *gap); /* on the receiver's thread; may be NULL */
    void *ctx;
} fx_wal_config;

typedef struct fx_wal_status {
    bool streaming;
    char system[24];
    uint32_t timeline;
    fx_lsn received; /* in memory */
    fx_lsn stored;   /* WAL before it is durable in the repository */
    fx_wall stored_at;
    uint64_t segment_count; /* stored since the start */
    uint64_t gap_count;
    char error[FX_ERR_MESSAGE_MAX_BYTES]; /* why it does not stream, or "" */
    fx_wall error_since;
} fx_wal_status;

typedef struct fx_wal_receiver fx_wal_receiver;

/* Borrows everything that `config` points to until freed. errors: INVALID (slot name) */
FX_MUST_USE fx_code
fx_wal_receiver_new(const fx_wal_config *config, fx_wal_receiver **out_receiver, fx_err *err);
void fx_wal_receiver_free(fx_wal_receiver *receiver);
FX_DEFINE_AUTO(fx_wal_receiver);

/* Receives until told to stop; reconnects by itself with growing pauses (0.2 s to 10 s, with
 * jitter). */
void fx_wal_receiver_run(fx_wal_receiver *receiver);

/* Makes fx_wal_receiver_run() return within about a second. thread: any, also a signal handler */
void fx_wal_receiver_stop(fx_wal_receiver *receiver);

/* thread: any */
void fx_wal_receiver_status(fx_wal_receiver *receiver, fx_wal_status *out_status);
