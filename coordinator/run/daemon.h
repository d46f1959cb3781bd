/* What the files of the daemon share. Only they include it; the door is run.h. */
#pragma once

#include "common/base/monitor.h"
#include "common/config/coordinator_config.h"
#include "common/crypto/sign.h"
#include "common/loop/loop.h"
#include "coordinator/api/api.h"
#include "coordinator/catalog/catalog.h"
#include "coordinator/core/decide.h"
#include "coordinator/core/upkeep.h"
#include "coordinator/dns/dns.h"
#include "coordinator/fleet/fleet.h"
#include "coordinator/fleet/listener.h"
#include "coordinator/fleet/peer.h"
#include "coordinator/ledger/etcd.h"
#include "coordinator/ledger/ledger.h"
#include "coordinator/plan/executor.h"

enum {
    FX_RUN_POLL_MS = 500,
    FX_RUN_READ_MS = 1200,
    FX_RUN_RENEW_MS = 1000,
    FX_RUN_TICK_MS = 100,
    FX_RUN_DIGEST_MS = 1000,
    FX_RUN_LOOK_MS = 2000,
    FX_RUN_TEND_MS = 1000,
    FX_RUN_ENDORSE_MAX = 4,
    FX_RUN_HISTORY_MS = 2000,
    FX_RUN_UPKEEP_MS = 5000,
};

typedef struct fx_daemon fx_daemon;
typedef struct fx_run_store fx_run_store;

/* A member of a service that is looked at; one look at a time. */
typedef struct fx_run_look {
    fx_daemon *daemon;
    fx_name service;
    fx_name host;
    char conninfo[1024];
    bool looking;
    bool reachable;
} fx_run_look;

/* Leases that one transaction renews. */
typedef struct fx_run_batch {
    fx_daemon *daemon;
    fx_listener_message *messages[FX_LEDGER_RENEW_MAX];
    fx_lease leases[FX_LEDGER_RENEW_MAX];
    size_t count;
    fx_revision revision;
    fx_err err;
} fx_run_batch;

// NOLINTNEXTLINE(clang-analyzer-optin.performance.Padding): one of it; grouped by who may touch it
struct fx_daemon {
    /* Fixed once running. */
    const fx_coordinator_config *config;
    fx_log log;
    fx_policy policy;
    fx_candidate self;
    fx_service *wanted;
    size_t wanted_count;
    fx_loop *loop;
    fx_link_sender sender;
    fx_listener *listener;
    fx_peer *peers[FX_COORDINATOR_MAX]; /* as in the executor */
    fx_dns *dns[FX_SERVICE_MAX];        /* as in `wanted`; NULL: no name */
    fx_run_store *store;
    fx_ledger_door ledger_door;
    fx_sign_key *key;
    fx_verify_key *peer_keys[FX_COORDINATOR_MAX];
    fx_executor executor;
    fx_catalog *catalog;
    fx_api *api;

    /* The loop's, and under the lock because the API's thread copies it. */
    fx_monitor monitor;
    fx_fleet *fleet;
    fx_ledger *ledger;
    bool has_ledger;
    fx_store_health store_health;

    /* The loop's alone. */
    fx_ledger *reading; /* the worker's while `is_reading` */
    fx_err read_err;
    fx_mono asked_at;
    fx_mono read_at;
    bool is_reading;
    bool read_again;
    bool store_lost;
    fx_attempt attempts[FX_ATTEMPT_MAX];
    size_t attempt_count;
    fx_commands *commands;
    fx_note notes[FX_SERVICE_MAX]; /* the last told */
    size_t note_count;
    bool leading_in_flight;
    fx_mono beat_at;
    uint64_t leader_term; /* last told in the log */
    fx_listener_message *waiting[FX_LEDGER_RENEW_MAX];
    size_t waiting_count;
    fx_run_batch batch; /* the worker's while `is_renewing` */
    bool is_renewing;
    struct {
        fx_name host;
        fx_mono at;
    } granted[FX_HOST_MAX];
    size_t granted_count;
    struct {
        fx_name host;
        uint64_t hash;
    } noted[FX_HOST_MAX];
    size_t noted_count;
    size_t endorsing_count;
    fx_run_look *looks;
    size_t look_count;
    fx_upkeep_past upkeep_past; /* the worker's while `upkeeping` */
    bool upkeeping;
    fx_mono upkeep_at;              /* last time as leader; 0: never */
    fx_store_trouble store_trouble; /* last told in the log */
    fx_loop_timer *timers[6];
    size_t timer_count;
    bool tending;
    bool stopping;
};

/* reports.c */
void fx_run_take_message(void *ctx, fx_listener_message *message);
void fx_run_renew(fx_daemon *daemon);
void fx_run_drop_waiting(fx_daemon *daemon);

/* lead.c */
void fx_run_poll(void *ctx);
void fx_run_tick(void *ctx);
void fx_run_digest(void *ctx);

/* doors.c: what the executor uses, on worker threads, and looking at members. */
fx_code fx_run_endorse(
    void *ctx,
    size_t index,
    fx_bytes order,
    fx_mono deadline,
    unsigned char out_signature[FX_SIGN_BYTES],
    fx_err *err);
fx_code fx_run_redirect(void *ctx, const fx_service *service, fx_mono deadline, fx_err *err);
fx_code fx_run_validate(void *ctx, const fx_service *service, fx_mono deadline, fx_err *err);
fx_code fx_run_observe(
    void *ctx,
    const fx_service *service,
    fx_mono deadline,
    fx_observation *out_observation,
    fx_err *err);
FX_MUST_USE fx_code fx_run_dns_open(fx_daemon *daemon, fx_err *err);
FX_MUST_USE fx_code fx_run_looks_open(fx_daemon *daemon, fx_err *err);
void fx_run_look_at_members(void *ctx);

/* store.c: etcd, with a member of our own if so configured. */
FX_MUST_USE fx_code fx_run_store_open(fx_daemon *daemon, fx_err *err);
void fx_run_store_close(fx_run_store *store);
fx_etcd *fx_run_etcd(const fx_run_store *store);
/* Sees to it that the region's etcd member runs, if it is ours. */
void fx_run_tend(void *ctx);

/* upkeep.c */
void fx_run_upkeep(void *ctx);
int64_t fx_run_quota_bytes(const fx_coordinator_etcd *config);

/* state.c: what the API shows. */
FX_MUST_USE fx_code fx_run_api_open(fx_daemon *daemon, fx_err *err);
