/* The configuration of `fortress-agent depot`: a YAML file, read once, checked as a whole. */
#pragma once

#include "common/config/agent_config.h"

typedef enum fx_depot_access {
    FX_DEPOT_WRITE, /* and read */
    FX_DEPOT_READ,
    FX_DEPOT_COLLECT,   /* write, and put what speaks about other hosts' backups */
    FX_DEPOT_REPLICATE, /* write, and put what comes with others' backups from another tier */
} fx_depot_access;

typedef struct fx_depot_host {
    char *name;             /* the common name of its certificate */
    fx_depot_access access; /* default write */
    uint64_t quota_bytes;   /* of all that it may have stored; 0: no limit */
} fx_depot_host;

typedef struct fx_depot_coordinator {
    char *name;
    char *region;
    char *endorsement_key; /* file: PEM, public */
} fx_depot_coordinator;

typedef struct fx_depot_repository {
    char *name; /* in the address: depot:HOST:PORT/NAME */
    char *path; /* the folder that keeps it */
    fx_depot_host *hosts;
    unsigned hosts_count;
} fx_depot_repository;

typedef struct fx_depot_config {
    unsigned version;
    char *cluster;
    char *host; /* this one: the common name of its certificate */
    char *listen;
    fx_log_level log_level;
    fx_config_tls *tls;
    fx_depot_coordinator *coordinators; /* whose tickets count; none: nothing is ever removed */
    unsigned coordinators_count;
    fx_depot_repository *depots;
    unsigned depots_count;
    unsigned connection_max;       /* default 256 */
    unsigned request_max;          /* carried out at a time; default 32 */
    unsigned host_requests_second; /* of one host, on average; default 2000 */
} fx_depot_config;

enum {
    FX_DEPOT_CONFIG_REPOSITORY_MAX = 256,
    FX_DEPOT_CONFIG_HOST_MAX = 4096,
    FX_DEPOT_CONFIG_CONNECTION_MAX = 4096,
    FX_DEPOT_CONFIG_REQUEST_MAX = 256,
    FX_DEPOT_CONFIG_RATE_MAX = 100000,
};

/* Relative paths come out absolute or relative to where `path` is. errors: as a file's, INVALID */
FX_MUST_USE fx_code
fx_depot_config_load(const char *path, fx_depot_config **out_config, fx_err *err);
void fx_depot_config_free(fx_depot_config *config);
FX_DEFINE_AUTO(fx_depot_config);
