/* Looks at etcd's databases, and where this coordinator leads keeps them small: the history is cut,
 * members are defragmented, an alarm is ended once there is room. */
#include <stdlib.h>

#include "common/base/clock.h"
#include "coordinator/ledger/maintenance.h"
#include "coordinator/run/daemon.h"

enum {
    UPKEEP_MS = 60000,
    PRUNE_MS = 5000,
    PRUNE_ROUNDS_MAX = 100,
    ACTS_MAX = 3 * FX_STORE_MEMBER_MAX,
    DECISIONS_KEPT = 1000,
    PLANS_KEPT = 200,
};

typedef struct upkeep_job {
    fx_daemon *daemon;
    fx_revision leader; /* 0: only look */
    fx_store_health health;
    size_t pruned;
    fx_err err;
} upkeep_job;

int64_t
fx_run_quota_bytes(const fx_coordinator_etcd *config)
{
    return config->quota_bytes == 0 ? FX_ETCD_QUOTA_BYTES : (int64_t)config->quota_bytes;
}

/* ---- on a worker
 * ------------------------------------------------------------------------------------------ */

static fx_mono
in_ms(int64_t ms)
{
    return fx_mono_after(fx_clock_mono(), FX_DUR_MS(ms));
}

static fx_code
prune(upkeep_job *job, fx_err *err)
{
    const fx_coordinator_etcd *config = job->daemon->config->etcd;
    fx_history_keep keep = {
        .decisions = config->history_decisions == 0 ? DECISIONS_KEPT : config->history_decisions,
        .plans = config->history_plans == 0 ? PLANS_KEPT : config->history_plans,
    };
    size_t removed = 1;
    for (int i = 0; i < PRUNE_ROUNDS_MAX && removed > 0; i++) {
        if (fx_ledger_prune(
                &job->daemon->ledger_door, &keep, job->leader, in_ms(PRUNE_MS), &removed, err) !=
            FX_OK) {
            return err->code;
        }
        job->pruned += removed;
    }
    return FX_OK;
}

static fx_code
act(upkeep_job *job, fx_upkeep next, fx_err *err)
{
    fx_etcd *etcd = fx_run_etcd(job->daemon->store);
    fx_upkeep_past *past = &job->daemon->upkeep_past;
    const fx_log *log = &job->daemon->log;
    switch (next.act) {
    case FX_UPKEEP_COMPACT:
        past->compacted_at = fx_clock_mono();
        FX_LOG(log, WARN, "etcd.compacting", FX_INT("revision", job->health.revision));
        return fx_etcd_compact(etcd, job->health.revision, in_ms(FX_ETCD_DEFRAGMENT_MS), err);
    case FX_UPKEEP_DEFRAGMENT:
        past->defragmented_at[next.member] = fx_clock_mono();
        FX_LOG(
            log,
            INFO,
            "etcd.defragmenting",
            FX_STR("endpoint", job->health.members[next.member].endpoint),
            FX_INT("size_bytes", job->health.members[next.member].size_bytes));
        return fx_etcd_defragment(etcd, next.member, in_ms(FX_ETCD_DEFRAGMENT_MS), err);
    case FX_UPKEEP_DISARM:
        FX_LOG(log, WARN, "etcd.disarming", FX_STR("alarm", "NOSPACE"));
        return fx_etcd_disarm(etcd, in_ms(PRUNE_MS), err);
    case FX_UPKEEP_NOTHING:
        break;
    }
    return FX_OK;
}

/* Of a cluster that is somebody else's only the own keys are kept small. */
static fx_code
make_room(upkeep_job *job, fx_err *err)
{
    const fx_coordinator_etcd *config = job->daemon->config->etcd;
    fx_etcd *etcd = fx_run_etcd(job->daemon->store);
    for (int i = 0; i < ACTS_MAX && config->member != NULL; i++) {
        fx_upkeep next = fx_upkeep_decide(&job->health, &job->daemon->upkeep_past, fx_clock_mono());
        if (next.act == FX_UPKEEP_NOTHING) {
            return FX_OK;
        }
        if (act(job, next, err) != FX_OK) {
            return err->code;
        }
        fx_etcd_look(etcd, fx_run_quota_bytes(config), &job->health);
    }
    return FX_OK;
}

static void
upkeep(void *ctx)
{
    upkeep_job *job = ctx;
    fx_daemon *daemon = job->daemon;
    fx_etcd_look(
        fx_run_etcd(daemon->store), fx_run_quota_bytes(daemon->config->etcd), &job->health);
    if (job->leader.value != 0 && prune(job, &job->err) == FX_OK) {
        fx_ignore(make_room(job, &job->err), "told by job->err on the loop");
    }
}

/* ---- on the loop
 * ------------------------------------------------------------------------------------------ */

static void
tell_trouble(fx_daemon *daemon, const fx_store_health *health)
{
    fx_store_trouble trouble = fx_store_judge(health);
    const fx_store_member *largest = fx_store_largest(health);
    if (trouble == daemon->store_trouble) {
        return;
    }
    static const char *const names[] = {
        [FX_STORE_WELL] = "none",
        [FX_STORE_FILLING] = "filling",
        [FX_STORE_NO_SPACE] = "NOSPACE",
        [FX_STORE_CORRUPT] = "CORRUPT",
    };
    fx_log_write(
        &daemon->log,
        trouble == FX_STORE_WELL      ? FX_INFO
        : trouble == FX_STORE_FILLING ? FX_WARN
                                      : FX_ERROR,
        "etcd.trouble",
        FX_STR("trouble", names[trouble]),
        FX_INT("size_bytes", largest == NULL ? 0 : largest->size_bytes),
        FX_INT("quota_bytes", health->quota_bytes),
        FX_FIELD_LAST);
    daemon->store_trouble = trouble;
}

static void
upkept(void *ctx)
{
    upkeep_job *job = ctx;
    fx_daemon *daemon = job->daemon;
    daemon->upkeeping = false;
    tell_trouble(daemon, &job->health);
    fx_monitor_lock(&daemon->monitor);
    daemon->store_health = job->health;
    fx_monitor_unlock(&daemon->monitor);
    if (job->pruned > 0) {
        FX_LOG(&daemon->log, INFO, "history.pruned", FX_INT("removed", job->pruned));
    }
    if (job->err.code != FX_OK) {
        FX_LOG(&daemon->log, WARN, "upkeep.failed", FX_ERR_FIELD(&job->err));
    }
    free(job);
}

void
fx_run_upkeep(void *ctx)
{
    fx_daemon *daemon = ctx;
    if (daemon->upkeeping || daemon->stopping) {
        return;
    }
    fx_mono now = fx_clock_mono();
    upkeep_job *job = calloc(1, sizeof *job);
    FX_ASSERT(job != NULL);
    job->daemon = daemon;
    bool leads = daemon->has_ledger && fx_leads(daemon->ledger, &daemon->self);
    bool due = daemon->upkeep_at.ns == 0 || daemon->store_health.no_space ||
               fx_dur_over(fx_mono_since(now, daemon->upkeep_at), FX_DUR_MS(UPKEEP_MS));
    if (leads && due) {
        job->leader = daemon->ledger->leader.revision;
        daemon->upkeep_at = now;
    }
    daemon->upkeeping = true;
    fx_loop_work(daemon->loop, upkeep, upkept, job);
}
