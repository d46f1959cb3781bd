#include "agent/run/jobs.h"

#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "agent/core/schedule.h"
#include "agent/restore/restore.h"
#include "agent/source/postgres/base_backup.h"
#include "agent/source/source.h"
#include "common/base/clock.h"
#include "common/base/monitor.h"

enum { LOOK_MS = 1000 };

typedef struct entry {
    fx_jobs *owner;
    const fx_config_job *config;
    fx_schedule_entry schedule;
    bool looked_up; /* whether the repository has a snapshot of an earlier process */
    bool has_snapshot;
    fx_snapshot snapshot;
} entry;

struct fx_jobs {
    fx_loop *loop;
    const fx_agent_config *config;
    fx_gaps *gaps;
    const fx_log *log;
    fx_loop_timer *timer;
    atomic_bool cancel;
    fx_monitor monitor; /* guards schedule and snapshot of the entries */
    entry *entries;
    size_t count;
};

static const char *
kind_of(const fx_config_job *job)
{
    return job->kind == FX_CONFIG_JOB_FILES ? "files" : "postgres";
}

static const char *
conninfo_of(const fx_jobs *jobs, const fx_config_job *job)
{
    for (unsigned i = 0; job->service != NULL && i < jobs->config->services_count; i++) {
        if (strcmp(jobs->config->services[i].name, job->service) == 0) {
            return jobs->config->services[i].postgres->conninfo;
        }
    }
    return NULL;
}

static fx_code
open_repository(
    const fx_jobs *jobs, fx_repository_key **out_key, fx_repository **out_repository, fx_err *err)
{
    const fx_config_repository *where = jobs->config->repository;
    if (where == NULL) {
        return fx_fail(err, FX_ERR_NOT_FOUND, "this host is configured without a repository");
    }
    FX_AUTO(fx_repository_key) key = NULL;
    if (fx_repository_key_load(where->key_file, &key, err) != FX_OK ||
        fx_repository_key_select(key, where->scope, err) != FX_OK ||
        fx_repository_open(where->url, key, out_repository, err) != FX_OK) {
        return err->code;
    }
    fx_repository_set_compression(*out_repository, fx_config_compression(where));
    char cache[PATH_MAX];
    fx_err ignored = {0};
    (void)snprintf(cache, sizeof cache, "%s/cache", jobs->config->state_dir);
    fx_ignore(fx_repository_use_cache(*out_repository, cache, &ignored), "it saves time only");
    *out_key = FX_TAKE(key);
    return FX_OK;
}

static void
on_warning(void *ctx, const char *path, const char *reason)
{
    const entry *one = ctx;
    FX_LOG(
        one->owner->log,
        WARN,
        "backup.warning",
        FX_STR("job", one->config->name),
        FX_STR("path", path),
        FX_STR("reason", reason));
}

static fx_code
back_up(entry *one, fx_snapshot *out_snapshot, fx_err *err)
{
    fx_jobs *jobs = one->owner;
    const fx_config_job *job = one->config;
    FX_AUTO(fx_repository_key) key = NULL;
    FX_AUTO(fx_repository) repository = NULL;
    const fx_source_driver *driver = NULL;
    if (fx_source_find(kind_of(job), &driver, err) != FX_OK ||
        open_repository(jobs, &key, &repository, err) != FX_OK) {
        return fx_err_wrap(err, "running the job \"%s\"", job->name);
    }
    const char *conninfo[] = {conninfo_of(jobs, job)};
    bool files = job->kind == FX_CONFIG_JOB_FILES;
    fx_backup_options options = {
        .host = jobs->config->host,
        .name = job->name,
        .what = files ? (const char *const *)job->paths : conninfo,
        .what_count = files ? job->paths_count : 1,
    };
    fx_events events = {.ctx = one, .warning = on_warning, .cancel = &jobs->cancel};
    if (driver->backup(repository, &options, &events, out_snapshot, err) != FX_OK) {
        return fx_err_wrap(err, "running the job \"%s\"", job->name);
    }
    return FX_OK;
}

/* A note that cannot be read closes nothing: the gaps stay shown. */
static void
close_gaps(const entry *one, const fx_snapshot *snapshot)
{
    if (one->config->kind == FX_CONFIG_JOB_FILES || one->config->service == NULL) {
        return;
    }
    fx_err err;
    fx_base_backup base;
    size_t count = 0;
    fx_code code = fx_base_backup_read_note(snapshot, &base, &err);
    if (code == FX_OK) {
        fx_gap_cover cover = {
            .service = fx_name_of(one->config->service),
            .start = base.start,
            .began = snapshot->began,
            .now = fx_clock_wall(),
            .snapshot = snapshot->id,
        };
        code = fx_gaps_close(one->owner->gaps, &cover, &count, &err);
    }
    if (code != FX_OK) {
        FX_LOG(one->owner->log, ERROR, "wal.gaps_not_closed", FX_ERR_FIELD(&err));
    } else if (count > 0) {
        FX_LOG(
            one->owner->log,
            INFO,
            "wal.gaps_closed",
            FX_STR("service", one->config->service),
            FX_STR("snapshot", snapshot->id),
            FX_INT("count", count));
    }
}

static bool
begin(entry *one)
{
    fx_monitor_lock(&one->owner->monitor);
    bool free_to_run = !one->schedule.running;
    one->schedule.running = true;
    fx_monitor_unlock(&one->owner->monitor);
    return free_to_run;
}

static fx_code
run_begun(entry *one, fx_snapshot *out_snapshot, fx_err *err)
{
    fx_jobs *jobs = one->owner;
    fx_mono began = fx_clock_mono();
    fx_snapshot snapshot;
    fx_code code = back_up(one, &snapshot, err);
    fx_monitor_lock(&jobs->monitor);
    one->schedule.running = false;
    if (code == FX_OK) {
        one->schedule.last_began = snapshot.began;
        one->schedule.failure_count = 0;
        one->snapshot = snapshot;
        one->has_snapshot = true;
    } else {
        one->schedule.failure_count++;
        one->schedule.last_failed = fx_clock_mono();
    }
    fx_monitor_unlock(&jobs->monitor);
    if (code == FX_OK) {
        FX_LOG(
            jobs->log,
            INFO,
            "backup.done",
            FX_STR("job", one->config->name),
            FX_STR("snapshot", snapshot.id),
            FX_INT("size_bytes", snapshot.size_bytes),
            FX_INT("warnings", snapshot.warning_count),
            FX_DUR("took_ms", fx_mono_since(fx_clock_mono(), began)));
        close_gaps(one, &snapshot);
        *out_snapshot = snapshot;
    }
    return code;
}

/* What an earlier process saved counts: a restarted agent does not back everything up again. */
static void
look_up(entry *one)
{
    fx_err err;
    FX_AUTO(fx_repository_key) key = NULL;
    FX_AUTO(fx_repository) repository = NULL;
    char source[128];
    (void)snprintf(source, sizeof source, "%s:%s", kind_of(one->config), one->config->name);
    fx_snapshot snapshot = {0};
    fx_wall any = {.ns = 0};
    bool found =
        open_repository(one->owner, &key, &repository, &err) == FX_OK &&
        fx_repository_find(
            repository, "latest", source, one->owner->config->host, any, &snapshot, &err) == FX_OK;
    if (found) {
        close_gaps(one, &snapshot); /* the agent may have ended between the backup and this */
    }
    fx_monitor_lock(&one->owner->monitor);
    one->looked_up = true;
    one->schedule.running = false;
    if (found) {
        one->snapshot = snapshot;
        one->has_snapshot = true;
        one->schedule.last_began = snapshot.began;
    }
    fx_monitor_unlock(&one->owner->monitor);
}

static void
work(void *ctx)
{
    entry *one = ctx;
    if (!one->looked_up) {
        look_up(one);
        return; /* the next look decides */
    }
    fx_err err;
    fx_snapshot snapshot;
    if (run_begun(one, &snapshot, &err) != FX_OK) {
        fx_log_write(
            one->owner->log,
            err.code == FX_ERR_CANCELLED ? FX_WARN : FX_ERROR,
            "backup.failed",
            FX_STR("job", one->config->name),
            FX_ERR_FIELD(&err),
            FX_FIELD_LAST);
    }
}

static void
on_time(void *ctx)
{
    fx_jobs *jobs = ctx;
    for (size_t i = 0; i < jobs->count; i++) {
        entry *one = &jobs->entries[i];
        fx_monitor_lock(&jobs->monitor);
        bool due = !one->schedule.running &&
                   (!one->looked_up ||
                    fx_schedule_is_due(&one->schedule, fx_clock_wall(), fx_clock_mono()));
        one->schedule.running = one->schedule.running || due;
        fx_monitor_unlock(&jobs->monitor);
        if (due) {
            fx_loop_work(jobs->loop, work, NULL, one);
        }
    }
}

fx_jobs *
fx_jobs_open(fx_loop *loop, const fx_agent_config *config, fx_gaps *gaps, const fx_log *log)
{
    fx_jobs *jobs = calloc(1, sizeof *jobs);
    FX_ASSERT(jobs != NULL);
    *jobs = (fx_jobs){
        .loop = loop, .config = config, .gaps = gaps, .log = log, .count = config->jobs_count};
    fx_monitor_init(&jobs->monitor);
    jobs->entries = calloc(jobs->count + 1, sizeof *jobs->entries);
    FX_ASSERT(jobs->entries != NULL);
    for (size_t i = 0; i < jobs->count; i++) {
        jobs->entries[i].owner = jobs;
        jobs->entries[i].config = &config->jobs[i];
        jobs->entries[i].schedule.interval = FX_DUR_MS((int64_t)config->jobs[i].interval_s * 1000);
    }
    jobs->timer = fx_loop_timer_start(loop, FX_DUR_MS(LOOK_MS), FX_DUR_MS(LOOK_MS), on_time, jobs);
    return jobs;
}

void
fx_jobs_stop(fx_jobs *jobs)
{
    if (jobs != NULL) {
        fx_loop_timer_stop(FX_TAKE(jobs->timer));
        atomic_store(&jobs->cancel, true);
    }
}

void
fx_jobs_free(fx_jobs *jobs)
{
    if (jobs != NULL) {
        fx_monitor_deinit(&jobs->monitor);
        free(jobs->entries);
        free(jobs);
    }
}

fx_code
fx_jobs_run(fx_jobs *jobs, const char *name, fx_snapshot *out_snapshot, fx_err *err)
{
    for (size_t i = 0; i < jobs->count; i++) {
        if (strcmp(jobs->entries[i].config->name, name) == 0) {
            if (!begin(&jobs->entries[i])) {
                return fx_fail(err, FX_ERR_BUSY, "the job \"%s\" runs already", name);
            }
            return run_begun(&jobs->entries[i], out_snapshot, err);
        }
    }
    return fx_fail(err, FX_ERR_NOT_FOUND, "this host has no job \"%s\"", name);
}

fx_code
fx_jobs_restore(
    fx_jobs *jobs, const char *snapshot, const char *target, const char *path, fx_err *err)
{
    FX_AUTO(fx_repository_key) key = NULL;
    FX_AUTO(fx_repository) repository = NULL;
    fx_snapshot found;
    fx_wall any = {.ns = 0};
    if (target[0] != '/') {
        return fx_fail(err, FX_ERR_INVALID, "the target must be an absolute path");
    }
    if (open_repository(jobs, &key, &repository, err) != FX_OK ||
        fx_repository_find(repository, snapshot, NULL, NULL, any, &found, err) != FX_OK) {
        return err->code;
    }
    fx_restore_options options = {
        .target = target,
        .path = path[0] == '\0' ? NULL : path,
        .url = jobs->config->repository->url,
        .key_file = jobs->config->repository->key_file,
    };
    fx_events events = {.cancel = &jobs->cancel};
    fx_restore_result result;
    return fx_restore(repository, &found, &options, &events, &result, err);
}

size_t
fx_jobs_count(const fx_jobs *jobs)
{
    return jobs->count;
}

const char *
fx_jobs_name(const fx_jobs *jobs, size_t index)
{
    return jobs->entries[index].config->name;
}

bool
fx_jobs_newest(fx_jobs *jobs, size_t index, fx_snapshot *out_snapshot)
{
    FX_ASSERT(index < jobs->count);
    fx_monitor_lock(&jobs->monitor);
    bool has = jobs->entries[index].has_snapshot;
    if (has) {
        *out_snapshot = jobs->entries[index].snapshot;
    }
    fx_monitor_unlock(&jobs->monitor);
    return has;
}
