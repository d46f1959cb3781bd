/* Backup jobs: run when due or ordered, on worker threads, one run a job at a time. */
#pragma once

#include "agent/run/gaps.h"
#include "common/config/agent_config.h"
#include "common/loop/loop.h"
#include "common/repository/repository.h"

typedef struct fx_jobs fx_jobs;

/* Borrows all; looks for due jobs every second. A base backup closes the gaps that it makes
 * history.
 */
fx_jobs *
fx_jobs_open(fx_loop *loop, const fx_agent_config *config, fx_gaps *gaps, const fx_log *log);
/* Starts nothing any more and asks running backups to end: CANCELLED. */
void fx_jobs_stop(fx_jobs *jobs);
/* After the loop was freed. */
void fx_jobs_free(fx_jobs *jobs);
FX_DEFINE_AUTO(fx_jobs);

/*
 * Runs a job now. errors: NOT_FOUND (no such job), BUSY (it runs), and the backup's
 * thread: a worker's
 */
FX_MUST_USE fx_code
fx_jobs_run(fx_jobs *jobs, const char *name, fx_snapshot *out_snapshot, fx_err *err);

/* Restores a snapshot into a new folder. thread: a worker's */
FX_MUST_USE fx_code fx_jobs_restore(
    fx_jobs *jobs, const char *snapshot, const char *target, const char *path, fx_err *err);

size_t fx_jobs_count(const fx_jobs *jobs);
const char *fx_jobs_name(const fx_jobs *jobs, size_t index);
/* The newest snapshot that this process knows of the job; false: none. */
bool fx_jobs_newest(fx_jobs *jobs, size_t index, fx_snapshot *out_snapshot);
