/*
 * An old primary that wrote what the new one never got cannot follow it: pg_rewind takes its files
 * back to where the two parted, and everything since from the upstream.
 */
#pragma once

#include "agent/core/service.h"
#include "agent/service/follow.h"
#include "agent/service/fork.h"

/* What is remembered from step to step; begins as zeros. thread: the stepping one */
typedef struct fx_rejoin {
    fx_service_goal goal; /* that the rest is about */
    fx_mono apart_since;  /* it runs and does not stream, 0: it streams */
    fx_mono next_look;
    fx_mono next_try;
    unsigned failure_count;
    bool diverged;
    char detail[160]; /* why the last try failed */
} fx_rejoin;

typedef struct fx_rejoin_facts {
    const fx_keeper *keeper;
    const fx_service_goal *goal;
    bool may_rewind; /* the goal is a standby's of the newest epoch, and no lease is held */
    bool starts;     /* the server is stopped and about to be started */
    bool runs;       /* as a standby that answers */
    bool streaming;
    fx_fork_position at; /* of the one that runs */
} fx_rejoin_facts;

typedef enum fx_rejoin_act {
    FX_REJOIN_LEAVE, /* go on as if there were no rewinding */
    FX_REJOIN_HOLD,  /* do not start it */
    FX_REJOIN_STOP,  /* stop it, for it has diverged; then see what its files say */
    FX_REJOIN_REWIND,
} fx_rejoin_act;

/* `trouble` is what to report, "" for nothing. Blocks for less than two seconds. */
fx_rejoin_act fx_rejoin_look(fx_rejoin *rejoin, const fx_rejoin_facts *facts, char trouble[256]);

/* Fences and rewinds; a failure is remembered for the next look. */
FX_MUST_USE fx_code fx_rejoin_run(fx_rejoin *rejoin, const fx_rejoin_facts *facts, fx_err *err);

/*
 * Asks the goal's upstream whether one of the positions is not of its history. An upstream that is
 * itself in recovery is not asked: false. errors: those of fx_pg_open() and fx_pg_query()
 */
FX_MUST_USE fx_code fx_rejoin_has_diverged(
    const fx_keeper *keeper,
    const fx_service_goal *goal,
    const fx_fork_position *positions,
    size_t count,
    bool *out_diverged,
    fx_err *err);

/* The same of a stopped server's files. */
FX_MUST_USE fx_code fx_rejoin_have_files_diverged(
    const fx_keeper *keeper, const fx_service_goal *goal, bool *out_diverged, fx_err *err);

/* True from the beginning of a rewind until one succeeds: nothing may start on such files. */
bool fx_rejoin_is_unfinished(const fx_keeper *keeper);

/*
 * Runs pg_rewind against the goal's upstream. The server must be stopped and stay so. The host's
 * own configuration files stay as they are, also when the rewind is interrupted and tried again;
 * standby.signal is there afterwards. errors: as fx_keeper_run()
 */
FX_MUST_USE fx_code
fx_rejoin_rewind(const fx_keeper *keeper, const fx_service_goal *goal, fx_err *err);
