/*
 * A managed PostgreSQL on this host: keeps its guard alive, turns goals, leases and orders into
 * requests to the guard, lets a standby follow its upstream, and observes.
 *
 * Two threads of its own, so that neither a slow database nor a full worker pool delays a lease:
 * one hands leases to the guard and makes sure that it fences in time, the other does the rest.
 */
#pragma once

#include "agent/core/lease.h"
#include "agent/core/service.h"
#include "common/base/buf.h"
#include "common/base/log.h"
#include "common/base/lsn.h"
#include "common/config/agent_config.h"

typedef struct fx_service fx_service;

typedef struct fx_service_options {
    const fx_config_managed *config;
    const char *state_dir; /* of the agent; the service's is below it */
    const char *host;
    bool no_cgroup;
    const fx_log *log;
} fx_service_options;

/* What a report says of a service. */
typedef struct fx_service_report {
    fx_name service;
    fx_service_role role;
    uint64_t epoch_seen;
    uint64_t fenced_epoch;
    fx_lsn write_lsn;
    fx_lsn replay_lsn;
    fx_lsn stopped_lsn;
    uint32_t timeline;
    fx_dur replay_lag;
    bool healthy;
    bool streaming;
    fx_name upstream;
    uint64_t lease_epoch; /* the epoch that a lease is wanted for, 0: none is */
    char detail[256];
} fx_service_report;

/* Borrows `options` and what it points to; reads what is on disk. errors: IO, DAMAGED */
FX_MUST_USE fx_code
fx_service_open(const fx_service_options *options, fx_service **out_service, fx_err *err);

/* Begins to work; a guard that runs already is adopted. */
FX_MUST_USE fx_code fx_service_start(fx_service *service, fx_err *err);

/* Ends the threads, and orders that wait with TIMEOUT; guard and server run on. */
void fx_service_stop(fx_service *service);
void fx_service_free(fx_service *service);
FX_DEFINE_AUTO(fx_service);

/* thread: any, never blocks for long */
void fx_service_set_goal(fx_service *service, const fx_service_goal *goal);
void fx_service_set_lease(fx_service *service, const fx_lease_end *lease);
void fx_service_get_report(fx_service *service, fx_service_report *out_report);

/* The stored endorsed order (a serialised link.SignedOrder), for checking it anew after a restart.
 */
FX_MUST_USE fx_code fx_service_load_promotion(fx_service *service, fx_buf *out_order, fx_err *err);

/* Trusts the stored order for `epoch`: its endorsements were checked. */
void fx_service_trust_promotion(fx_service *service, uint64_t epoch);

/*
 * Carries out a PROMOTE order whose endorsements were checked: order and epoch go to disk, then it
 * waits until the server was seen to take writes. Blocks.
 *
 * errors: STALE, DENIED (fenced), TIMEOUT (UNKNOWN)
 * thread: a worker's
 */
FX_MUST_USE fx_code fx_service_promote(
    fx_service *service, uint64_t epoch, fx_bytes signed_order, fx_mono deadline, fx_err *err);

/* Carries out a FENCE order likewise; `out_stopped` is 0 unless the stop was orderly. */
FX_MUST_USE fx_code fx_service_fence(
    fx_service *service,
    uint64_t epoch,
    bool orderly,
    fx_mono deadline,
    fx_lsn *out_stopped,
    fx_err *err);
