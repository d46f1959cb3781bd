#include "common/config/coordinator_config.h"

#include <string.h>

#include "common/config/fields.h"

enum { DECISIONS_LEAST = 100, PLANS_LEAST = 20 };
static const uint64_t quota_least_bytes = UINT64_C(16) << 20;
static const uint64_t quota_most_bytes = UINT64_C(8) << 30;

static const cyaml_schema_field_t listen_fields[] = {
    TEXT(fx_coordinator_listen, agents), TEXT(fx_coordinator_listen, api), CYAML_FIELD_END};

static const cyaml_schema_field_t peer_fields[] = {
    TEXT(fx_coordinator_peer, name),
    TEXT(fx_coordinator_peer, region),
    TEXT(fx_coordinator_peer, url),
    TEXT(fx_coordinator_peer, endorsement_key),
    CYAML_FIELD_END};
static const cyaml_schema_value_t peer_entry = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, fx_coordinator_peer, peer_fields)};

static const cyaml_schema_field_t etcd_member_fields[] = {
    TEXT(fx_coordinator_member, name),
    TEXT(fx_coordinator_member, data_dir),
    TEXT(fx_coordinator_member, client_url),
    TEXT(fx_coordinator_member, peer_url),
    TEXT(fx_coordinator_member, initial_cluster),
    CYAML_FIELD_END};

static const cyaml_schema_field_t etcd_fields[] = {
    CYAML_FIELD_SEQUENCE(
        "endpoints",
        CYAML_FLAG_POINTER,
        fx_coordinator_etcd,
        endpoints,
        &fx_fields_text,
        1,
        FX_COORDINATOR_ENDPOINT_MAX),
    CYAML_FIELD_MAPPING_PTR("tls", CYAML_FLAG_OPTIONAL, fx_coordinator_etcd, tls, fx_fields_tls),
    CYAML_FIELD_MAPPING_PTR(
        "member", CYAML_FLAG_OPTIONAL, fx_coordinator_etcd, member, etcd_member_fields),
    NUMBER(fx_coordinator_etcd, quota_bytes),
    NUMBER(fx_coordinator_etcd, history_decisions),
    NUMBER(fx_coordinator_etcd, history_plans),
    CYAML_FIELD_END};

static const cyaml_schema_field_t policy_fields[] = {
    NUMBER(fx_coordinator_policy, lease_ms),
    NUMBER(fx_coordinator_policy, renewal_ms),
    NUMBER(fx_coordinator_policy, margin_ms),
    NUMBER(fx_coordinator_policy, silence_max_ms),
    NUMBER(fx_coordinator_policy, view_max_age_ms),
    NUMBER(fx_coordinator_policy, unhealthy_max_ms),
    NUMBER(fx_coordinator_policy, leader_silence_ms),
    NUMBER(fx_coordinator_policy, cool_down_ms),
    NUMBER(fx_coordinator_policy, gather_max_ms),
    NUMBER(fx_coordinator_policy, lag_max_bytes),
    CYAML_FIELD_END};

static const cyaml_schema_field_t service_member_fields[] = {
    TEXT(fx_coordinator_service_member, host),
    TEXT(fx_coordinator_service_member, region),
    TEXT(fx_coordinator_service_member, address),
    CYAML_FIELD_UINT("port", CYAML_FLAG_DEFAULT, fx_coordinator_service_member, port),
    CYAML_FIELD_END};
static const cyaml_schema_value_t service_member_entry = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, fx_coordinator_service_member, service_member_fields)};

static const cyaml_schema_field_t dns_fields[] = {
    TEXT(fx_coordinator_dns, provider),
    TEXT(fx_coordinator_dns, zone),
    TEXT(fx_coordinator_dns, name),
    NUMBER(fx_coordinator_dns, ttl_s),
    TEXT_OPTIONAL(fx_coordinator_dns, server),
    NUMBER(fx_coordinator_dns, port),
    TEXT_OPTIONAL(fx_coordinator_dns, key_name),
    TEXT_OPTIONAL(fx_coordinator_dns, key_algorithm),
    TEXT_OPTIONAL(fx_coordinator_dns, key_file),
    CYAML_FIELD_END};

static const cyaml_schema_field_t service_fields[] = {
    TEXT(fx_coordinator_service, name),
    TEXT_OPTIONAL(fx_coordinator_service, kind),
    CYAML_FIELD_SEQUENCE(
        "members",
        CYAML_FLAG_POINTER,
        fx_coordinator_service,
        members,
        &service_member_entry,
        1,
        FX_COORDINATOR_MEMBER_MAX),
    TEXT_OPTIONAL(fx_coordinator_service, probe_conninfo),
    CYAML_FIELD_MAPPING_PTR("dns", CYAML_FLAG_OPTIONAL, fx_coordinator_service, dns, dns_fields),
    CYAML_FIELD_END};
static const cyaml_schema_value_t service_entry = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, fx_coordinator_service, service_fields)};

static const cyaml_schema_field_t repository_fields[] = {
    TEXT(fx_coordinator_repository, name), TEXT(fx_coordinator_repository, url), CYAML_FIELD_END};
static const cyaml_schema_value_t repository_entry = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, fx_coordinator_repository, repository_fields)};

#define LIST(member, entry, max)                                                                   \
    CYAML_FIELD_SEQUENCE(                                                                          \
        #member,                                                                                   \
        CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL,                                                  \
        fx_coordinator_config,                                                                     \
        member,                                                                                    \
        entry,                                                                                     \
        0,                                                                                         \
        max)

static const cyaml_schema_field_t coordinator_fields[] = {
    CYAML_FIELD_UINT("version", CYAML_FLAG_DEFAULT, fx_coordinator_config, version),
    TEXT(fx_coordinator_config, cluster),
    TEXT(fx_coordinator_config, name),
    TEXT(fx_coordinator_config, region),
    TEXT(fx_coordinator_config, state_dir),
    CYAML_FIELD_ENUM_PTR(
        "log_level",
        CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL | CYAML_FLAG_STRICT,
        fx_coordinator_config,
        log_level,
        fx_fields_log_levels,
        sizeof fx_fields_log_levels / sizeof fx_fields_log_levels[0]),
    CYAML_FIELD_MAPPING_PTR("tls", CYAML_FLAG_DEFAULT, fx_coordinator_config, tls, fx_fields_tls),
    TEXT(fx_coordinator_config, endorsement_key),
    CYAML_FIELD_MAPPING_PTR(
        "listen", CYAML_FLAG_DEFAULT, fx_coordinator_config, listen, listen_fields),
    TEXT(fx_coordinator_config, api_tokens),
    LIST(peers, &peer_entry, FX_COORDINATOR_PEER_MAX),
    CYAML_FIELD_MAPPING_PTR("etcd", CYAML_FLAG_DEFAULT, fx_coordinator_config, etcd, etcd_fields),
    CYAML_FIELD_MAPPING(
        "policy", CYAML_FLAG_OPTIONAL, fx_coordinator_config, policy, policy_fields),
    LIST(services, &service_entry, FX_COORDINATOR_SERVICE_MAX),
    LIST(repositories, &repository_entry, FX_COORDINATOR_REPOSITORY_MAX),
    CYAML_FIELD_END};

static const cyaml_schema_value_t coordinator_schema = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, fx_coordinator_config, coordinator_fields)};

static void
resolve_all(const char *path, fx_coordinator_config *config)
{
    fx_yaml_resolve(path, &config->state_dir);
    fx_yaml_resolve(path, &config->endorsement_key);
    fx_yaml_resolve(path, &config->api_tokens);
    fx_fields_resolve_tls(path, config->tls);
    fx_fields_resolve_tls(path, config->etcd->tls);
    if (config->etcd->member != NULL) {
        fx_yaml_resolve(path, &config->etcd->member->data_dir);
    }
    for (unsigned i = 0; i < config->peers_count; i++) {
        fx_yaml_resolve(path, &config->peers[i].endorsement_key);
    }
    for (unsigned i = 0; i < config->services_count; i++) {
        if (config->services[i].dns != NULL) {
            fx_yaml_resolve(path, &config->services[i].dns->key_file);
        }
    }
    for (unsigned i = 0; i < config->repositories_count; i++) {
        fx_yaml_resolve_url(path, &config->repositories[i].url);
    }
}

static fx_code
check_peers(const fx_coordinator_config *config, fx_err *err)
{
    for (unsigned i = 0; i < config->peers_count; i++) {
        const fx_coordinator_peer *peer = &config->peers[i];
        if (fx_fields_check_name(peer->name, "coordinator in \"peers\"", err) != FX_OK ||
            fx_fields_check_name(peer->region, "region in \"peers\"", err) != FX_OK) {
            return err->code;
        }
        bool twice = strcmp(peer->name, config->name) == 0;
        for (unsigned k = 0; k < i; k++) {
            twice = twice || strcmp(peer->name, config->peers[k].name) == 0;
        }
        if (twice) {
            return fx_fail(
                err, FX_ERR_INVALID, "\"peers\" names %s, which is known already", peer->name);
        }
    }
    return FX_OK;
}

static fx_code
check_service(const fx_coordinator_service *service, fx_err *err)
{
    if (fx_fields_check_name(service->name, "service", err) != FX_OK) {
        return err->code;
    }
    if (service->kind != NULL && strcmp(service->kind, "postgres") != 0) {
        return fx_fail(
            err,
            FX_ERR_UNSUPPORTED,
            "service %s is of kind \"%s\": this version moves \"postgres\" only",
            service->name,
            service->kind);
    }
    for (unsigned i = 0; i < service->members_count; i++) {
        const fx_coordinator_service_member *member = &service->members[i];
        if (fx_fields_check_name(member->host, "host in \"members\"", err) != FX_OK ||
            fx_fields_check_name(member->region, "region in \"members\"", err) != FX_OK) {
            return fx_err_wrap(err, "service %s", service->name);
        }
        if (strlen(member->address) > 63 || member->port == 0) {
            return fx_fail(
                err,
                FX_ERR_INVALID,
                "service %s: member %s needs an address of at most 63 characters and a port",
                service->name,
                member->host);
        }
        for (unsigned k = 0; k < i; k++) {
            if (strcmp(member->host, service->members[k].host) == 0) {
                return fx_fail(
                    err,
                    FX_ERR_INVALID,
                    "service %s lists member %s twice",
                    service->name,
                    member->host);
            }
        }
    }
    return FX_OK;
}

static bool
has_member(const fx_coordinator_service *service, const char *host)
{
    for (unsigned i = 0; i < service->members_count; i++) {
        if (strcmp(service->members[i].host, host) == 0) {
            return true;
        }
    }
    return false;
}

/* A service that its host's lease has no room for would cost that host the whole lease. */
static fx_code
check_room(const fx_coordinator_config *config, const fx_coordinator_service *service, fx_err *err)
{
    for (unsigned i = 0; i < service->members_count; i++) {
        unsigned count = 0;
        for (unsigned k = 0; k < config->services_count; k++) {
            count += has_member(&config->services[k], service->members[i].host) ? 1 : 0;
        }
        if (count > FX_COORDINATOR_HOST_SERVICE_MAX) {
            return fx_fail(
                err,
                FX_ERR_LIMIT,
                "host %s is a member of %u services: a host has at most %d",
                service->members[i].host,
                count,
                FX_COORDINATOR_HOST_SERVICE_MAX);
        }
    }
    return FX_OK;
}

static fx_code
check_services(const fx_coordinator_config *config, fx_err *err)
{
    for (unsigned i = 0; i < config->services_count; i++) {
        if (check_service(&config->services[i], err) != FX_OK ||
            check_room(config, &config->services[i], err) != FX_OK) {
            return err->code;
        }
        for (unsigned k = 0; k < i; k++) {
            if (strcmp(config->services[i].name, config->services[k].name) == 0) {
                return fx_fail(
                    err, FX_ERR_INVALID, "service %s is listed twice", config->services[i].name);
            }
        }
    }
    return FX_OK;
}

static fx_code
check_policy(const fx_coordinator_policy *policy, fx_err *err)
{
    uint64_t lease = policy->lease_ms == 0 ? 8000 : policy->lease_ms;
    uint64_t renewal = policy->renewal_ms == 0 ? 2000 : policy->renewal_ms;
    uint64_t margin = policy->margin_ms == 0 ? 1000 : policy->margin_ms;
    if (lease < 2 * renewal + margin) {
        return fx_fail(
            err,
            FX_ERR_INVALID,
            "\"policy\": a lease of %llu ms bears no lost renewal: it must be at least twice "
            "renewal_ms and margin_ms together",
            (unsigned long long)lease);
    }
    if (policy->silence_max_ms != 0 && policy->silence_max_ms < 3000) {
        return fx_fail(
            err,
            FX_ERR_INVALID,
            "\"policy\": silence_max_ms must be at least 3000: hosts report every second and "
            "coordinators tell one another every second");
    }
    return FX_OK;
}

/* What a person needs after a bad night is kept whatever the file says. */
static fx_code
check_etcd(const fx_coordinator_etcd *etcd, fx_err *err)
{
    if (etcd->quota_bytes != 0 &&
        (etcd->quota_bytes < quota_least_bytes || etcd->quota_bytes > quota_most_bytes)) {
        return fx_fail(
            err, FX_ERR_INVALID, "\"etcd\": quota_bytes must be 16 MiB to 8 GiB, in bytes");
    }
    if (etcd->history_decisions != 0 && etcd->history_decisions < DECISIONS_LEAST) {
        return fx_fail(
            err,
            FX_ERR_INVALID,
            "\"etcd\": history_decisions must be at least %d",
            DECISIONS_LEAST);
    }
    if (etcd->history_plans != 0 && etcd->history_plans < PLANS_LEAST) {
        return fx_fail(
            err, FX_ERR_INVALID, "\"etcd\": history_plans must be at least %d", PLANS_LEAST);
    }
    return FX_OK;
}

static fx_code
check_all(const fx_coordinator_config *config, fx_err *err)
{
    if (config->version != 1) {
        return fx_fail(
            err,
            FX_ERR_UNSUPPORTED,
            "\"version\" is %u: this program reads version 1",
            (unsigned)config->version);
    }
    if (fx_fields_check_name(config->cluster, "cluster", err) != FX_OK ||
        fx_fields_check_name(config->name, "coordinator", err) != FX_OK ||
        fx_fields_check_name(config->region, "region", err) != FX_OK ||
        check_peers(config, err) != FX_OK || check_services(config, err) != FX_OK ||
        check_etcd(config->etcd, err) != FX_OK) {
        return err->code;
    }
    return check_policy(&config->policy, err);
}

fx_code
fx_coordinator_config_load(const char *path, fx_coordinator_config **out_config, fx_err *err)
{
    void *data = NULL;
    if (fx_yaml_load(path, &coordinator_schema, &data, NULL, err) != FX_OK) {
        return err->code;
    }
    fx_coordinator_config *config = data;
    resolve_all(path, config);
    if (check_all(config, err) != FX_OK) {
        fx_coordinator_config_free(config);
        return fx_err_wrap(err, "reading configuration %s", path);
    }
    *out_config = config;
    return FX_OK;
}

void
fx_coordinator_config_free(fx_coordinator_config *config)
{
    if (config != NULL) {
        fx_yaml_free(&coordinator_schema, config, 0);
    }
}
