/* What the agent asks of the managed PostgreSQL itself: observation, upstream, promotion, files. */
#pragma once

#include "agent/core/service.h"
#include "agent/service/keeper.h"
#include "common/base/lsn.h"

typedef struct fx_observation {
    bool answered;
    bool in_recovery;
    bool healthy; /* answers, and writes where it is primary */
    bool streaming;
    bool follows_goal; /* streams from the goal's upstream */
    uint32_t timeline;
    fx_lsn write_lsn;
    fx_lsn replay_lsn;
    fx_dur replay_lag;
    char detail[256]; /* why not healthy */
} fx_observation;

/* Blocks for about two seconds at most. */
void
fx_follow_observe(const fx_keeper *keeper, const fx_service_goal *goal, fx_observation *out_seen);

/*
 * Lets a running standby follow the goal's upstream: primary_conninfo is changed, by ALTER SYSTEM
 * and a reload, only where it differs. errors: as fx_pg_query()
 */
FX_MUST_USE fx_code fx_follow_upstream(
    const fx_keeper *keeper, const fx_service_goal *goal, const char *host, fx_err *err);

/* pg_promote, observed to be done. The guard must know before. */
FX_MUST_USE fx_code fx_follow_promote(const fx_keeper *keeper, fx_mono deadline, fx_err *err);

FX_MUST_USE fx_code fx_follow_checkpoint(const fx_keeper *keeper, fx_err *err);

/* What pg_controldata says of a server's files. */
typedef struct fx_control {
    char state[64];
    bool is_shut_down; /* in order: nothing is to be recovered */
    fx_lsn checkpoint; /* where the latest begins */
    uint32_t timeline; /* of it */
    fx_lsn recovered;  /* a standby's: it has replayed up to here at least, 0 none */
    uint32_t recovered_timeline;
} fx_control;

FX_MUST_USE fx_code
fx_follow_read_control(const fx_keeper *keeper, fx_control *out_control, fx_err *err);

/*
 * How a stopped server's files were left, and its latest checkpoint, which after an orderly stop is
 * where it ended. A copy that has not been recovered yet (backup_label) counts as a standby's.
 */
FX_MUST_USE fx_code fx_follow_read_files(
    const fx_keeper *keeper, fx_service_files *out_files, fx_lsn *out_checkpoint, fx_err *err);
