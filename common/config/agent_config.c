#include "common/config/agent_config.h"

#include <string.h>

#include "common/config/fields.h"
#include "common/zip/zip.h"

#define LIST(type, member, entry, max)                                                             \
    CYAML_FIELD_SEQUENCE(                                                                          \
        #member, CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, type, member, entry, 0, max)
#define FLAG(type, member) CYAML_FIELD_BOOL(#member, CYAML_FLAG_OPTIONAL, type, member)

static const cyaml_strval_t job_kinds[] = {
    {"files", FX_CONFIG_JOB_FILES}, {"postgres", FX_CONFIG_JOB_POSTGRES}};

static const cyaml_schema_field_t coordinator_fields[] = {
    TEXT(fx_config_coordinator, name),
    TEXT(fx_config_coordinator, region),
    TEXT(fx_config_coordinator, url),
    TEXT(fx_config_coordinator, endorsement_key),
    CYAML_FIELD_END};
static const cyaml_schema_value_t coordinator_entry = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, fx_config_coordinator, coordinator_fields)};

static const cyaml_schema_field_t repository_fields[] = {
    TEXT(fx_config_repository, url),
    TEXT(fx_config_repository, key_file),
    TEXT_OPTIONAL(fx_config_repository, scope),
    TEXT_OPTIONAL(fx_config_repository, compression),
    CYAML_FIELD_END};

static const cyaml_schema_field_t postgres_fields[] = {
    TEXT(fx_config_postgres, bin_dir),
    TEXT(fx_config_postgres, data_dir),
    CYAML_FIELD_STRING_PTR(
        "run_as", CYAML_FLAG_OPTIONAL, fx_config_postgres, run_as, 0, FX_YAML_TEXT_MAX_BYTES),
    TEXT(fx_config_postgres, conninfo),
    TEXT(fx_config_postgres, replication_conninfo),
    TEXT_OPTIONAL(fx_config_postgres, options),
    FLAG(fx_config_postgres, no_rewind),
    CYAML_FIELD_END};

static const cyaml_schema_field_t wal_fields[] = {
    FLAG(fx_config_wal, receive),
    TEXT_OPTIONAL(fx_config_wal, slot),
    NUMBER(fx_config_wal, switch_after_s),
    CYAML_FIELD_END};

static const cyaml_schema_field_t service_fields[] = {
    TEXT(fx_config_managed, name),
    CYAML_FIELD_MAPPING_PTR(
        "postgres", CYAML_FLAG_DEFAULT, fx_config_managed, postgres, postgres_fields),
    CYAML_FIELD_MAPPING("wal", CYAML_FLAG_OPTIONAL, fx_config_managed, wal, wal_fields),
    CYAML_FIELD_END};
static const cyaml_schema_value_t service_entry = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, fx_config_managed, service_fields)};

static const cyaml_schema_field_t job_fields[] = {
    TEXT(fx_config_job, name),
    CYAML_FIELD_ENUM(
        "kind",
        CYAML_FLAG_STRICT,
        fx_config_job,
        kind,
        job_kinds,
        sizeof job_kinds / sizeof job_kinds[0]),
    TEXT_OPTIONAL(fx_config_job, service),
    LIST(fx_config_job, paths, &fx_fields_text, FX_CONFIG_PATH_MAX),
    LIST(fx_config_job, exclude, &fx_fields_text, FX_CONFIG_PATH_MAX),
    NUMBER(fx_config_job, interval_s),
    CYAML_FIELD_END};
static const cyaml_schema_value_t job_entry = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, fx_config_job, job_fields)};

static const cyaml_schema_field_t probe_fields[] = {
    TEXT(fx_config_probe, name),
    TEXT(fx_config_probe, kind),
    TEXT(fx_config_probe, target),
    TEXT_OPTIONAL(fx_config_probe, service),
    TEXT_OPTIONAL(fx_config_probe, subject),
    NUMBER(fx_config_probe, interval_ms),
    NUMBER(fx_config_probe, timeout_ms),
    CYAML_FIELD_END};
static const cyaml_schema_value_t probe_entry = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, fx_config_probe, probe_fields)};

static const cyaml_schema_field_t agent_fields[] = {
    CYAML_FIELD_UINT("version", CYAML_FLAG_DEFAULT, fx_agent_config, version),
    TEXT(fx_agent_config, cluster),
    TEXT(fx_agent_config, host),
    TEXT(fx_agent_config, region),
    TEXT(fx_agent_config, state_dir),
    LOG_LEVEL(fx_agent_config),
    CYAML_FIELD_MAPPING_PTR("tls", CYAML_FLAG_DEFAULT, fx_agent_config, tls, fx_fields_tls),
    CYAML_FIELD_SEQUENCE(
        "coordinators",
        CYAML_FLAG_POINTER,
        fx_agent_config,
        coordinators,
        &coordinator_entry,
        1,
        FX_CONFIG_COORDINATOR_MAX),
    CYAML_FIELD_MAPPING_PTR(
        "repository", CYAML_FLAG_OPTIONAL, fx_agent_config, repository, repository_fields),
    LIST(fx_agent_config, services, &service_entry, FX_CONFIG_SERVICE_MAX),
    LIST(fx_agent_config, jobs, &job_entry, FX_CONFIG_JOB_MAX),
    LIST(fx_agent_config, probes, &probe_entry, FX_CONFIG_PROBE_MAX),
    CYAML_FIELD_END};

static const cyaml_schema_value_t agent_schema = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, fx_agent_config, agent_fields)};

static void
resolve_all(const char *path, fx_agent_config *config)
{
    fx_yaml_resolve(path, &config->state_dir);
    fx_fields_resolve_tls(path, config->tls);
    for (unsigned i = 0; i < config->coordinators_count; i++) {
        fx_yaml_resolve(path, &config->coordinators[i].endorsement_key);
    }
    if (config->repository != NULL) {
        fx_yaml_resolve_url(path, &config->repository->url);
        fx_yaml_resolve(path, &config->repository->key_file);
    }
    for (unsigned i = 0; i < config->services_count; i++) {
        fx_yaml_resolve(path, &config->services[i].postgres->data_dir);
        fx_yaml_resolve(path, &config->services[i].postgres->bin_dir);
    }
    for (unsigned i = 0; i < config->jobs_count; i++) {
        for (unsigned k = 0; k < config->jobs[i].paths_count; k++) {
            fx_yaml_resolve(path, &config->jobs[i].paths[k]);
        }
    }
}

static void
fill_defaults(fx_agent_config *config)
{
    for (unsigned i = 0; i < config->services_count; i++) {
        fx_config_wal *wal = &config->services[i].wal;
        if (wal->slot == NULL) {
            wal->slot = fx_yaml_text("fortress_wal");
        }
    }
    for (unsigned i = 0; i < config->probes_count; i++) {
        fx_config_probe *probe = &config->probes[i];
        probe->interval_ms = probe->interval_ms == 0 ? 1000 : probe->interval_ms;
        probe->timeout_ms = probe->timeout_ms == 0 ? 500 : probe->timeout_ms;
    }
}

static const fx_config_managed *
find_service(const fx_agent_config *config, const char *name)
{
    for (unsigned i = 0; name != NULL && i < config->services_count; i++) {
        if (strcmp(config->services[i].name, name) == 0) {
            return &config->services[i];
        }
    }
    return NULL;
}

static fx_code
check_services(const fx_agent_config *config, fx_err *err)
{
    for (unsigned i = 0; i < config->services_count; i++) {
        const fx_config_managed *service = &config->services[i];
        if (fx_fields_check_name(service->name, "name of a service", err) != FX_OK) {
            return err->code;
        }
        if (find_service(config, service->name) != service) {
            return fx_fail(err, FX_ERR_INVALID, "service \"%s\" is listed twice", service->name);
        }
        if (service->wal.receive && config->repository == NULL) {
            return fx_fail(
                err,
                FX_ERR_INVALID,
                "service \"%s\" receives WAL: add a repository to keep it in",
                service->name);
        }
    }
    return FX_OK;
}

static fx_code
check_jobs(const fx_agent_config *config, fx_err *err)
{
    for (unsigned i = 0; i < config->jobs_count; i++) {
        const fx_config_job *job = &config->jobs[i];
        if (fx_fields_check_name(job->name, "name of a job", err) != FX_OK) {
            return err->code;
        }
        for (unsigned k = 0; k < i; k++) {
            if (strcmp(config->jobs[k].name, job->name) == 0) {
                return fx_fail(err, FX_ERR_INVALID, "job \"%s\" is listed twice", job->name);
            }
        }
        if (config->repository == NULL) {
            return fx_fail(err, FX_ERR_INVALID, "job \"%s\" needs a repository", job->name);
        }
        if (job->kind == FX_CONFIG_JOB_FILES && job->paths_count == 0) {
            return fx_fail(err, FX_ERR_INVALID, "job \"%s\" needs at least one path", job->name);
        }
        if (job->kind == FX_CONFIG_JOB_POSTGRES && find_service(config, job->service) == NULL) {
            return fx_fail(
                err,
                FX_ERR_INVALID,
                "job \"%s\" needs a service of this host, not \"%s\"",
                job->name,
                job->service == NULL ? "" : job->service);
        }
    }
    return FX_OK;
}

static fx_code
check(const fx_agent_config *config, fx_err *err)
{
    if (fx_fields_check_version(config->version, err) != FX_OK ||
        fx_fields_check_name(config->cluster, "cluster", err) != FX_OK ||
        fx_fields_check_name(config->host, "host", err) != FX_OK ||
        fx_fields_check_name(config->region, "region", err) != FX_OK) {
        return err->code;
    }
    for (unsigned i = 0; i < config->coordinators_count; i++) {
        if (fx_fields_check_coordinator(
                config->coordinators[i].name, config->coordinators[i].region, err) != FX_OK) {
            return err->code;
        }
    }
    int ignored = 0;
    const fx_config_repository *repository = config->repository;
    if (repository != NULL && repository->compression != NULL &&
        fx_zip_level_parse(repository->compression, &ignored, err) != FX_OK) {
        return err->code;
    }
    if (check_services(config, err) != FX_OK || check_jobs(config, err) != FX_OK) {
        return err->code;
    }
    for (unsigned i = 0; i < config->probes_count; i++) {
        if (fx_fields_check_name(config->probes[i].name, "name of a probe", err) != FX_OK) {
            return err->code;
        }
    }
    return FX_OK;
}

int
fx_config_compression(const fx_config_repository *repository)
{
    int level = FX_ZIP_USUAL_LEVEL;
    fx_err ignored = {0};
    if (repository->compression != NULL) {
        fx_ignore(
            fx_zip_level_parse(repository->compression, &level, &ignored),
            "it was checked when it was loaded");
    }
    return level;
}

fx_code
fx_agent_config_load(const char *path, fx_agent_config **out_config, fx_err *err)
{
    void *data = NULL;
    if (fx_yaml_load(path, &agent_schema, &data, NULL, err) != FX_OK) {
        return err->code;
    }
    FX_AUTO(fx_agent_config) config = data;
    resolve_all(path, config);
    fill_defaults(config);
    if (check(config, err) != FX_OK) {
        return fx_err_wrap(err, "checking the configuration \"%s\"", path);
    }
    *out_config = FX_TAKE(config);
    return FX_OK;
}

void
fx_agent_config_free(fx_agent_config *config)
{
    fx_yaml_free(&agent_schema, config, 0);
}
