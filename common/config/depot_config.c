#include "common/config/depot_config.h"

#include <string.h>

#include "common/config/fields.h"

enum { CONNECTIONS_USUAL = 256, REQUESTS_USUAL = 32, RATE_USUAL = 2000 };

static const cyaml_strval_t accesses[] = {
    {"write", FX_DEPOT_WRITE},
    {"read", FX_DEPOT_READ},
    {"collect", FX_DEPOT_COLLECT},
    {"replicate", FX_DEPOT_REPLICATE}};

static const cyaml_schema_field_t coordinator_fields[] = {
    TEXT(fx_depot_coordinator, name),
    TEXT(fx_depot_coordinator, region),
    TEXT(fx_depot_coordinator, endorsement_key),
    CYAML_FIELD_END};
static const cyaml_schema_value_t coordinator_entry = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, fx_depot_coordinator, coordinator_fields)};

static const cyaml_schema_field_t host_fields[] = {
    TEXT(fx_depot_host, name),
    CYAML_FIELD_ENUM(
        "access",
        CYAML_FLAG_OPTIONAL | CYAML_FLAG_STRICT,
        fx_depot_host,
        access,
        accesses,
        sizeof accesses / sizeof accesses[0]),
    NUMBER(fx_depot_host, quota_bytes),
    CYAML_FIELD_END};
static const cyaml_schema_value_t host_entry = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, fx_depot_host, host_fields)};

static const cyaml_schema_field_t repository_fields[] = {
    TEXT(fx_depot_repository, name),
    TEXT(fx_depot_repository, path),
    CYAML_FIELD_SEQUENCE(
        "hosts",
        CYAML_FLAG_POINTER,
        fx_depot_repository,
        hosts,
        &host_entry,
        1,
        FX_DEPOT_CONFIG_HOST_MAX),
    CYAML_FIELD_END};
static const cyaml_schema_value_t repository_entry = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, fx_depot_repository, repository_fields)};

static const cyaml_schema_field_t depot_fields[] = {
    CYAML_FIELD_UINT("version", CYAML_FLAG_DEFAULT, fx_depot_config, version),
    TEXT(fx_depot_config, cluster),
    TEXT(fx_depot_config, host),
    TEXT(fx_depot_config, listen),
    LOG_LEVEL(fx_depot_config),
    CYAML_FIELD_MAPPING_PTR("tls", CYAML_FLAG_DEFAULT, fx_depot_config, tls, fx_fields_tls),
    CYAML_FIELD_SEQUENCE(
        "coordinators",
        CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL,
        fx_depot_config,
        coordinators,
        &coordinator_entry,
        0,
        FX_CONFIG_COORDINATOR_MAX),
    CYAML_FIELD_SEQUENCE(
        "depots",
        CYAML_FLAG_POINTER,
        fx_depot_config,
        depots,
        &repository_entry,
        1,
        FX_DEPOT_CONFIG_REPOSITORY_MAX),
    NUMBER(fx_depot_config, connection_max),
    NUMBER(fx_depot_config, request_max),
    NUMBER(fx_depot_config, host_requests_second),
    CYAML_FIELD_END};

static const cyaml_schema_value_t depot_schema = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, fx_depot_config, depot_fields)};

static void
resolve_all(const char *path, fx_depot_config *config)
{
    fx_fields_resolve_tls(path, config->tls);
    for (unsigned i = 0; i < config->coordinators_count; i++) {
        fx_yaml_resolve(path, &config->coordinators[i].endorsement_key);
    }
    for (unsigned i = 0; i < config->depots_count; i++) {
        fx_yaml_resolve(path, &config->depots[i].path);
    }
}

static fx_code
take_number(unsigned *number, unsigned usual, unsigned most, const char *what, fx_err *err)
{
    *number = *number == 0 ? usual : *number;
    return *number <= most
               ? FX_OK
               : fx_fail(
                     err, FX_ERR_INVALID, "%s is %u: at most %u is possible", what, *number, most);
}

static fx_code
check_numbers(fx_depot_config *config, fx_err *err)
{
    if (take_number(
            &config->connection_max,
            CONNECTIONS_USUAL,
            FX_DEPOT_CONFIG_CONNECTION_MAX,
            "connection_max",
            err) != FX_OK ||
        take_number(
            &config->request_max,
            REQUESTS_USUAL,
            FX_DEPOT_CONFIG_REQUEST_MAX,
            "request_max",
            err) != FX_OK) {
        return err->code;
    }
    return take_number(
        &config->host_requests_second,
        RATE_USUAL,
        FX_DEPOT_CONFIG_RATE_MAX,
        "host_requests_second",
        err);
}

static fx_code
check_hosts(const fx_depot_repository *repository, fx_err *err)
{
    for (unsigned i = 0; i < repository->hosts_count; i++) {
        const char *name = repository->hosts[i].name;
        if (fx_fields_check_name(name, "name of a depot's host", err) != FX_OK) {
            return err->code;
        }
        for (unsigned k = 0; k < i; k++) {
            if (strcmp(repository->hosts[k].name, name) == 0) {
                return fx_fail(
                    err,
                    FX_ERR_INVALID,
                    "host \"%s\" is listed twice in depot \"%s\"",
                    name,
                    repository->name);
            }
        }
    }
    return FX_OK;
}

static fx_code
check_depots(const fx_depot_config *config, fx_err *err)
{
    for (unsigned i = 0; i < config->depots_count; i++) {
        const fx_depot_repository *depot = &config->depots[i];
        if (fx_fields_check_name(depot->name, "name of a depot", err) != FX_OK ||
            check_hosts(depot, err) != FX_OK) {
            return err->code;
        }
        for (unsigned k = 0; k < i; k++) {
            if (strcmp(config->depots[k].name, depot->name) == 0 ||
                strcmp(config->depots[k].path, depot->path) == 0) {
                return fx_fail(
                    err,
                    FX_ERR_INVALID,
                    "depot \"%s\": its name or its path is another's too",
                    depot->name);
            }
        }
    }
    return FX_OK;
}

static fx_code
check(fx_depot_config *config, fx_err *err)
{
    if (fx_fields_check_version(config->version, err) != FX_OK ||
        fx_fields_check_name(config->cluster, "cluster", err) != FX_OK ||
        fx_fields_check_name(config->host, "host", err) != FX_OK ||
        check_numbers(config, err) != FX_OK) {
        return err->code;
    }
    for (unsigned i = 0; i < config->coordinators_count; i++) {
        if (fx_fields_check_coordinator(
                config->coordinators[i].name, config->coordinators[i].region, err) != FX_OK) {
            return err->code;
        }
    }
    return check_depots(config, err);
}

fx_code
fx_depot_config_load(const char *path, fx_depot_config **out_config, fx_err *err)
{
    void *data = NULL;
    if (fx_yaml_load(path, &depot_schema, &data, NULL, err) != FX_OK) {
        return err->code;
    }
    FX_AUTO(fx_depot_config) config = data;
    resolve_all(path, config);
    if (check(config, err) != FX_OK) {
        return fx_err_wrap(err, "checking the configuration \"%s\"", path);
    }
    *out_config = FX_TAKE(config);
    return FX_OK;
}

void
fx_depot_config_free(fx_depot_config *config)
{
    fx_yaml_free(&depot_schema, config, 0);
}
