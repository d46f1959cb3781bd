/* The configuration of fortress-agent: a YAML file, read once, checked as a whole. */
#pragma once

#include "common/base/log.h"
#include "common/config/tls.h"

/* Texts belong to the configuration. Optional ones are NULL when absent unless a default is given.
 */

typedef struct fx_config_coordinator {
    char *name;
    char *region;
    char *url;
    char *endorsement_key; /* file: PEM, public */
} fx_config_coordinator;

typedef struct fx_config_repository {
    char *url;
    char *key_file;
    char *scope;       /* that is written to; NULL: the key file's first */
    char *compression; /* "none" or a level; NULL: the usual one */
} fx_config_repository;

typedef struct fx_config_postgres {
    char *bin_dir;
    char *data_dir;
    char *run_as; /* NULL or "": as the agent itself */
    char *conninfo;
    char *replication_conninfo;
    char *
        options; /* further command-line settings: "-c port=5433 …", blanks separate; may be NULL */
    bool no_rewind; /* a diverged old primary is not rewound by itself */
} fx_config_postgres;

typedef struct fx_config_wal {
    bool receive;
    char *slot;
    unsigned switch_after_s; /* 0: only full segments */
} fx_config_wal;

typedef struct fx_config_managed {
    char *name;
    fx_config_postgres *postgres;
    fx_config_wal wal;
} fx_config_managed;

typedef enum fx_config_job_kind { FX_CONFIG_JOB_FILES, FX_CONFIG_JOB_POSTGRES } fx_config_job_kind;

typedef struct fx_config_job {
    char *name;
    fx_config_job_kind kind;
    char *service; /* postgres: one of the services */
    char **paths;  /* files */
    unsigned paths_count;
    char **exclude; /* files: patterns as of fnmatch(3) */
    unsigned exclude_count;
    unsigned interval_s; /* 0: only when ordered */
} fx_config_job;

typedef struct fx_config_probe {
    char *name;
    char *kind; /* "postgres", "tcp", "http", "process" */
    char *target;
    char *service;        /* NULL: of no service */
    char *subject;        /* NULL: this host */
    unsigned interval_ms; /* default 1000 */
    unsigned timeout_ms;  /* default 500 */
} fx_config_probe;

typedef struct fx_agent_config {
    unsigned version;
    char *cluster;
    char *host;
    char *region;
    char *state_dir;
    fx_log_level log_level;
    fx_config_tls *tls;
    fx_config_coordinator *coordinators; /* in order of preference */
    unsigned coordinators_count;
    fx_config_repository *repository; /* NULL: nothing is backed up */
    fx_config_managed *services;
    unsigned services_count;
    fx_config_job *jobs;
    unsigned jobs_count;
    fx_config_probe *probes;
    unsigned probes_count;
} fx_agent_config;

enum {
    FX_CONFIG_COORDINATOR_MAX = 9,
    FX_CONFIG_SERVICE_MAX = 8,
    FX_CONFIG_JOB_MAX = 64,
    FX_CONFIG_PROBE_MAX = 64,
    FX_CONFIG_PATH_MAX = 64,
};

/* Relative paths come out absolute or relative to where `path` is. errors: as a file's, INVALID */
FX_MUST_USE fx_code
fx_agent_config_load(const char *path, fx_agent_config **out_config, fx_err *err);
/* The level that content is compressed with; FX_ZIP_NONE: it is not (common/zip/zip.h). */
int fx_config_compression(const fx_config_repository *repository);
void fx_agent_config_free(fx_agent_config *config);
FX_DEFINE_AUTO(fx_agent_config);
