/*
 * What the agent should ask of a managed server's guard now. Pure: the same facts give the same
 * act.
 */
#pragma once

#include "common/base/name.h"
#include "common/base/time.h"

typedef enum fx_service_role {
    FX_SERVICE_ROLE_NONE,
    FX_SERVICE_ROLE_PRIMARY,
    FX_SERVICE_ROLE_STANDBY,
    FX_SERVICE_ROLE_HELD,
} fx_service_role;

enum { FX_SERVICE_ADDRESS_BYTES = 64 };

/* What the ledger says, as a coordinator told it. */
typedef struct fx_service_goal {
    bool known; /* false: nobody told yet */
    uint64_t epoch;
    fx_service_role role;
    fx_name primary_host;
    fx_name upstream_host; /* none: follow nobody */
    char upstream_address[FX_SERVICE_ADDRESS_BYTES];
    uint32_t upstream_port;
} fx_service_goal;

/* How the server's files were left. source: pg_controldata, "Database cluster state" */
typedef enum fx_service_files {
    FX_SERVICE_FILES_UNKNOWN,
    FX_SERVICE_FILES_PRIMARY, /* in production, shut down */
    FX_SERVICE_FILES_STANDBY, /* in archive recovery, shut down in recovery */
} fx_service_files;

typedef struct fx_service_facts {
    fx_service_goal goal;
    uint64_t epoch_seen;
    uint64_t promotion_epoch;    /* of the endorsed order on disk, 0 none */
    uint64_t last_primary_epoch; /* the epoch in which this host was primary last, 0 never */
    bool lease_live;
    fx_service_files files;
    /* the guard's word */
    bool stopped;      /* nothing runs, and nothing is about to */
    bool changing;     /* stopping, or starting: wait */
    bool runs_primary; /* under the lease */
    bool runs_standby;
    uint64_t fenced_epoch;
    /* the server's own word */
    bool answered;
    bool in_recovery;
} fx_service_facts;

typedef enum fx_service_act {
    FX_SERVICE_LEAVE, /* as it is */
    FX_SERVICE_START_PRIMARY,
    FX_SERVICE_START_STANDBY,
    FX_SERVICE_PROMOTE, /* tell the guard, then pg_promote */
    FX_SERVICE_FENCE,   /* it runs as a primary without the right to */
} fx_service_act;

typedef struct fx_service_decision {
    fx_service_act act;
    uint64_t epoch; /* to ask with */
    const char *reason;
} fx_service_decision;

fx_service_decision fx_service_decide(const fx_service_facts *facts);

/* Whether this host should have a lease for the service, and in which epoch (0: no). */
uint64_t fx_service_lease_epoch(const fx_service_facts *facts);
