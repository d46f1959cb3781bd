/* The configuration of a coordinator: docs/architecture.md, "Configuration". Door to libcyaml. */
#pragma once

#include "common/base/err.h"
#include "common/base/log.h"
#include "common/config/tls.h"

enum {
    FX_COORDINATOR_PEER_MAX = 8,
    FX_COORDINATOR_ENDPOINT_MAX = 9,
    FX_COORDINATOR_SERVICE_MAX = 32,
    FX_COORDINATOR_MEMBER_MAX = 8,
    FX_COORDINATOR_HOST_SERVICE_MAX = 8, /* as many as a host's one lease holds */
    FX_COORDINATOR_REPOSITORY_MAX = 16,
};

/* All texts are owned by the configuration; paths are resolved against its folder. */
typedef struct fx_coordinator_peer {
    char *name;
    char *region;
    char *url;
    char *endorsement_key; /* PEM file of the public half */
} fx_coordinator_peer;

typedef struct fx_coordinator_listen {
    char *agents; /* "tls+tcp://127.0.1.1:7400" */
    char *api;    /* "127.0.1.1:7443" */
} fx_coordinator_listen;

/* The etcd member that this coordinator starts and adopts. */
typedef struct fx_coordinator_member {
    char *name;
    char *data_dir;
    char *client_url;
    char *peer_url;
    char *initial_cluster;
} fx_coordinator_member;

typedef struct fx_coordinator_etcd {
    char **endpoints; /* own region's first */
    unsigned endpoints_count;
    fx_config_tls *tls;
    fx_coordinator_member *member; /* NULL: the cluster is somebody else's */
    uint64_t quota_bytes;          /* of its database; 0: etcd's default, 2 GiB */
    uint32_t history_decisions;    /* so many are kept; 0: 1000 */
    uint32_t history_plans;        /* finished ones; 0: 200 */
} fx_coordinator_etcd;

/* Milliseconds; 0 where the file says nothing: the default of fx_policy_default(). */
typedef struct fx_coordinator_policy {
    uint32_t lease_ms;
    uint32_t renewal_ms;
    uint32_t margin_ms;
    uint32_t silence_max_ms;
    uint32_t view_max_age_ms;
    uint32_t unhealthy_max_ms;
    uint32_t leader_silence_ms;
    uint32_t cool_down_ms;
    uint32_t gather_max_ms;
    uint64_t lag_max_bytes;
} fx_coordinator_policy;

typedef struct fx_coordinator_service_member {
    char *host;
    char *region;
    char *address;
    uint16_t port;
} fx_coordinator_service_member;

typedef struct fx_coordinator_dns {
    char *provider;
    char *zone;
    char *name;
    uint32_t ttl_s;
    char *server;
    uint16_t port;
    char *key_name;
    char *key_algorithm;
    char *key_file;
} fx_coordinator_dns;

typedef struct fx_coordinator_service {
    char *name;
    char *kind;                             /* "postgres" */
    fx_coordinator_service_member *members; /* in order of preference */
    unsigned members_count;
    char *probe_conninfo;    /* NULL: the service is not validated by a write */
    fx_coordinator_dns *dns; /* NULL: nothing to redirect */
} fx_coordinator_service;

typedef struct fx_coordinator_repository {
    char *name;
    char *url;
} fx_coordinator_repository;

typedef struct fx_coordinator_config {
    uint32_t version;
    char *cluster;
    char *name;
    char *region;
    char *state_dir;
    fx_log_level *log_level; /* NULL: FX_INFO */
    fx_config_tls *tls;
    char *endorsement_key; /* PEM file of the private half */
    fx_coordinator_listen *listen;
    char *api_tokens;
    fx_coordinator_peer *peers;
    unsigned peers_count;
    fx_coordinator_etcd *etcd;
    fx_coordinator_policy policy;
    fx_coordinator_service *services;
    unsigned services_count;
    fx_coordinator_repository *repositories;
    unsigned repositories_count;
} fx_coordinator_config;

/* errors: NOT_FOUND, DENIED, IO, INVALID with file and line or the key that is wrong */
FX_MUST_USE fx_code
fx_coordinator_config_load(const char *path, fx_coordinator_config **out_config, fx_err *err);
void fx_coordinator_config_free(fx_coordinator_config *config);
FX_DEFINE_AUTO(fx_coordinator_config);
