/* Reading the ledger, leadership, and carrying out what the leader decides. */
#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "coordinator/core/observe.h"
#include "coordinator/core/outcome.h"
#include "coordinator/run/daemon.h"

/* ---- reading the ledger
 * -------------------------------------------------------------------------------- */

static void
read_ledger(void *ctx)
{
    fx_daemon *daemon = ctx;
    daemon->read_err = (fx_err){0};
    daemon->asked_at = fx_clock_mono();
    fx_mono deadline = fx_mono_after(fx_clock_mono(), FX_DUR_MS(FX_RUN_READ_MS));
    fx_ignore(
        fx_ledger_read(&daemon->ledger_door, deadline, daemon->reading, &daemon->read_err),
        "told by read_err on the loop");
    daemon->read_at = fx_clock_mono();
}

/* A renewal of our own may have been committed after this read was made. */
static void
keep_newer_leases(fx_ledger *fresh, const fx_ledger *known)
{
    for (size_t i = 0; i < fresh->lease_count; i++) {
        const fx_lease *lease = fx_ledger_lease(known, &fresh->leases[i].host);
        if (lease != NULL && lease->revision.value > fresh->leases[i].revision.value) {
            fresh->leases[i] = *lease;
        }
    }
}

static void
tell_store(fx_daemon *daemon)
{
    bool lost = daemon->read_err.code != FX_OK;
    if (lost && !daemon->store_lost) {
        FX_LOG(&daemon->log, WARN, "ledger.lost", FX_ERR_FIELD(&daemon->read_err));
    } else if (!lost && daemon->store_lost) {
        FX_LOG(
            &daemon->log, INFO, "ledger.found", FX_INT("revision", daemon->ledger->revision.value));
    }
    daemon->store_lost = lost;
}

static void
tell_leader(fx_daemon *daemon)
{
    const fx_leader *leader = &daemon->ledger->leader;
    if (leader->term != daemon->leader_term) {
        daemon->leader_term = leader->term;
        FX_LOG(
            &daemon->log,
            INFO,
            "leader.changed",
            FX_STR("leader", leader->coordinator.text),
            FX_STR("region", leader->region.text),
            FX_INT("term", leader->term));
    }
}

static void
ledger_read(void *ctx)
{
    fx_daemon *daemon = ctx;
    fx_monitor_lock(&daemon->monitor);
    daemon->is_reading = false;
    if (daemon->read_err.code == FX_OK) {
        fx_ledger *fresh = daemon->reading;
        fresh->asked_at = daemon->asked_at;
        fresh->read_at = daemon->read_at;
        fx_ledger_observe(fresh, daemon->has_ledger ? daemon->ledger : NULL, &daemon->policy);
        if (daemon->has_ledger) {
            keep_newer_leases(fresh, daemon->ledger);
        }
        daemon->reading = daemon->ledger;
        daemon->ledger = fresh;
        daemon->has_ledger = true;
        tell_leader(daemon);
    }
    tell_store(daemon);
    bool again = daemon->read_again && !daemon->stopping;
    daemon->read_again = false;
    fx_monitor_unlock(&daemon->monitor);
    if (again) {
        fx_run_poll(daemon);
    }
    fx_run_tick(daemon);
}

void
fx_run_poll(void *ctx)
{
    fx_daemon *daemon = ctx;
    if (daemon->is_reading) {
        daemon->read_again = true;
        return;
    }
    if (!daemon->stopping) {
        daemon->is_reading = true;
        fx_loop_work(daemon->loop, read_ledger, ledger_read, daemon);
    }
}

/* ---- leadership
 * ------------------------------------------------------------------------------------------ */

typedef struct lead_job {
    fx_daemon *daemon;
    fx_leadership decision;
    fx_err err;
} lead_job;

static void
lead(void *ctx)
{
    lead_job *job = ctx;
    fx_mono deadline = fx_mono_after(fx_clock_mono(), FX_DUR_MS(FX_RUN_READ_MS));
    fx_revision revision = {0};
    fx_ignore(
        fx_ledger_lead(&job->daemon->ledger_door, &job->decision, deadline, &revision, &job->err),
        "told by job->err on the loop");
}

static void
led(void *ctx)
{
    lead_job *job = ctx;
    fx_daemon *daemon = job->daemon;
    daemon->leading_in_flight = false;
    bool took = job->decision.act == FX_LEADERSHIP_TAKE;
    if (job->err.code == FX_OK) {
        daemon->beat_at = fx_clock_mono();
        if (took) {
            FX_LOG(
                &daemon->log,
                INFO,
                "leadership.taken",
                FX_INT("term", job->decision.leader.term),
                FX_STR("reason", job->decision.reason));
        }
    } else {
        FX_LOG(
            &daemon->log,
            DEBUG,
            took ? "leadership.untaken" : "beat.failed",
            FX_ERR_FIELD(&job->err));
    }
    bool poll = took || job->err.code != FX_OK;
    free(job);
    if (poll) {
        fx_run_poll(daemon);
    }
}

static void
decide_leadership(fx_daemon *daemon, fx_mono now)
{
    fx_leadership decision =
        fx_leadership_decide(daemon->ledger, &daemon->self, &daemon->policy, daemon->beat_at, now);
    if (decision.act == FX_LEADERSHIP_FOLLOW || daemon->leading_in_flight || daemon->store_lost) {
        return;
    }
    lead_job *job = calloc(1, sizeof *job);
    FX_ASSERT(job != NULL);
    job->daemon = daemon;
    job->decision = decision;
    daemon->leading_in_flight = true;
    fx_loop_work(daemon->loop, lead, led, job);
}

/* ---- commands
 * -------------------------------------------------------------------------------------------- */

typedef struct command_job {
    fx_daemon *daemon;
    fx_command command;
    uint32_t first;
    fx_attempt outcome;
} command_job;

static void
execute(void *ctx)
{
    command_job *job = ctx;
    job->outcome = fx_execute(&job->daemon->executor, &job->command, job->first);
}

static void
executed(void *ctx)
{
    command_job *job = ctx;
    fx_daemon *daemon = job->daemon;
    fx_attempt_end(daemon->attempts, &daemon->attempt_count, &job->command, &job->outcome);
    bool changed = fx_command_is_transaction(job->command.kind);
    free(job);
    if (changed) {
        fx_run_poll(daemon);
    } else {
        fx_run_tick(daemon);
    }
}

/* Which peers were heard lately, by their index in the executor. */
static uint32_t
heard_peers(const fx_daemon *daemon, const fx_view *view, fx_mono now)
{
    uint32_t heard = 0;
    for (size_t i = 1; i < view->coordinator_count; i++) {
        const fx_coordinator_view *peer = &view->coordinators[i];
        if (peer->heard &&
            !fx_dur_over(fx_mono_since(now, peer->heard_at), daemon->policy.view_max_age)) {
            heard |= UINT32_C(1) << (i - 1);
        }
    }
    return heard;
}

static void
start_command(fx_daemon *daemon, const fx_command *command, uint32_t first)
{
    command_job *job = calloc(1, sizeof *job);
    FX_ASSERT(job != NULL);
    job->daemon = daemon;
    job->command = *command;
    job->first = first;
    fx_attempt_begin(daemon->attempts, &daemon->attempt_count, command);
    fx_loop_work(daemon->loop, execute, executed, job);
}

/* Why nothing is done is told once, and again when it changes. */
static void
tell_notes(fx_daemon *daemon)
{
    const fx_commands *commands = daemon->commands;
    for (size_t i = 0; i < commands->note_count; i++) {
        bool known = false;
        for (size_t k = 0; k < daemon->note_count; k++) {
            known = known || fx_same(&daemon->notes[k].service, &commands->notes[i].service);
        }
        if (!known) {
            FX_LOG(
                &daemon->log,
                WARN,
                "decision.withheld",
                FX_STR("service", commands->notes[i].service.text),
                FX_STR("reason", commands->notes[i].text));
        }
    }
    memcpy(daemon->notes, commands->notes, sizeof daemon->notes);
    daemon->note_count = commands->note_count;
}

void
fx_run_tick(void *ctx)
{
    fx_daemon *daemon = ctx;
    if (!daemon->has_ledger || daemon->stopping) {
        return;
    }
    fx_mono now = fx_clock_mono();
    fx_monitor_lock(&daemon->monitor);
    const fx_view *view = fx_fleet_view(daemon->fleet, now);
    decide_leadership(daemon, now);
    fx_situation situation = {
        .ledger = daemon->ledger,
        .view = view,
        .policy = &daemon->policy,
        .self = &daemon->self,
        .wanted = daemon->wanted,
        .wanted_count = daemon->wanted_count,
        .attempts = daemon->attempts,
        .attempt_count = daemon->attempt_count,
        .now = now,
        .wall = fx_clock_wall(),
    };
    fx_decide(&situation, daemon->commands);
    tell_notes(daemon);
    uint32_t first = heard_peers(daemon, view, now);
    for (size_t i = 0; i < daemon->commands->count; i++) {
        start_command(daemon, &daemon->commands->items[i], first);
    }
    fx_monitor_unlock(&daemon->monitor);
}

void
fx_run_digest(void *ctx)
{
    fx_daemon *daemon = ctx;
    FX_BUF_AUTO digest;
    fx_buf_init(&digest, 1024UL * 1024UL);
    fx_err err = {0};
    fx_monitor_lock(&daemon->monitor);
    fx_code code =
        fx_fleet_digest(daemon->fleet, daemon->ledger->leader.term, fx_clock_mono(), &digest, &err);
    fx_monitor_unlock(&daemon->monitor);
    if (code != FX_OK) {
        FX_LOG(&daemon->log, ERROR, "digest.failed", FX_ERR_FIELD(&err));
        return;
    }
    for (size_t i = 0; i < daemon->executor.peer_count && !daemon->stopping; i++) {
        fx_peer_send_digest(daemon->peers[i], fx_buf_bytes(&digest));
    }
}
