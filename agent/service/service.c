#include "agent/service/service.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <unistd.h>

#include "agent/service/follow.h"
#include "agent/service/keeper.h"
#include "agent/service/rejoin.h"
#include "agent/service/store.h"
#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/base/monitor.h"

enum {
    FOLDER_BYTES = 512,
    GUARD_ANSWER_MS = 1000,
    START_ANSWER_MS = 2000,
    LEASE_TICK_MS = 100,
    ADOPTED_MARGIN_MS = 1000, /* of a lease that the guard has from an earlier agent */
    STEP_MS = 500,
    FENCE_CHECK_MS = 450, /* after the moment to fence: the guard kills within 330 ms */
    FENCE_SHOWN_MS = 3000,
    STOP_DIVERGED_MS = 60000,
    HUNG_MS = 10000,          /* a guard answers within milliseconds */
    NOT_LISTENING_MS = 45000, /* it ends what an earlier life left first, for 30 s at most */
    HUNG_ASKED_LEAST = 4,     /* one question and a machine that slept are not enough */
    FENCE_ANSWER_MS = 150,    /* a silent guard still leaves time to kill it within the margin */
};

// NOLINTNEXTLINE(clang-analyzer-optin.performance.Padding): grouped by who uses it
struct fx_service {
    const fx_service_options *options;
    char folder[FOLDER_BYTES];
    fx_name name;
    fx_keeper keeper;           /* of the stepping thread */
    uint32_t timeline;          /* of the stepping thread: the highest of the running server */
    fx_rejoin rejoin;           /* likewise */
    fx_mono guard_silent_since; /* likewise; 0: it answered when asked last */
    unsigned guard_silent_count;
    atomic_bool cancel;
    pthread_t lease_thread;
    pthread_t step_thread;
    bool has_lease_thread;
    bool has_step_thread;

    fx_monitor monitor; /* guards what follows */
    bool stopping;
    bool poked;
    fx_service_goal goal;
    fx_lease_end lease;
    bool lease_changed;
    fx_lease_end guard_lease; /* the guard has this one for certain, and fences at its end */
    uint64_t epoch_seen;
    uint64_t promotion_epoch;
    uint64_t last_primary_epoch;
    bool may_be_primary; /* the guard said so, or was asked to make it so, since the last fence */
    fx_guard_status guard;
    bool guard_known;
    fx_lsn stopped_lsn;
    fx_service_report report;
    fx_service_facts facts;
};

/* ---- leases: the first thread --------------------------------------------------------------- */

static uint64_t
current_lease_epoch(const fx_service *service)
{
    return fx_service_lease_epoch(&service->facts);
}

/* With the monitor held: the guard said that it has a lease until `end`. */
static void
note_guard_lease(fx_service *service, fx_mono end)
{
    if (end.ns > service->guard_lease.end.ns) {
        fx_dur margin = service->lease.margin;
        service->guard_lease = (fx_lease_end){
            .end = end, .margin = margin.ns > 0 ? margin : FX_DUR_MS(ADOPTED_MARGIN_MS)};
    }
}

/* When the guard must have fenced, if it got no lease since. With the monitor held. */
static fx_mono
fence_check_at(const fx_service *service)
{
    return fx_mono_after(fx_lease_fence_at(&service->guard_lease), FX_DUR_MS(FENCE_CHECK_MS));
}

/* True when the guard took it; asks no longer than `deadline`. */
static bool
hand_over_lease(fx_service *service, uint64_t epoch, const fx_lease_end *lease, fx_mono deadline)
{
    fx_err err;
    fx_guard_request request = {
        .kind = FX_GUARD_LEASE,
        .epoch = epoch,
        .lease_end = lease->end,
        .lease_margin = lease->margin};
    if (fx_guard_ask(service->folder, &request, deadline, NULL, &err) != FX_OK) {
        FX_LOG(
            service->options->log,
            WARN,
            "lease.not_handed_over",
            FX_STR("service", service->name.text),
            FX_ERR_FIELD(&err));
        return false;
    }
    return true;
}

/*
 * True when the guard answers that nothing runs as primary, or that it has a later lease after all
 * than `known` (*out_end): its word that it took it was lost.
 */
static bool
guard_is_in_order(const fx_service *service, const fx_lease_end *known, fx_mono *out_end)
{
    fx_err err;
    fx_guard_status status;
    fx_guard_request request = {.kind = FX_GUARD_STATUS};
    fx_mono deadline = fx_mono_after(fx_clock_mono(), FX_DUR_MS(FENCE_ANSWER_MS));
    if (fx_guard_ask(service->folder, &request, deadline, &status, &err) != FX_OK) {
        return false;
    }
    *out_end = status.lease_end;
    return !status.primary || status.lease_end.ns > known->end.ns;
}

static void
fence_instead_of_guard(fx_service *service)
{
    fx_err err;
    fx_mono deadline = fx_mono_after(fx_clock_mono(), FX_DUR_MS(30000));
    FX_LOG(
        service->options->log,
        ERROR,
        "guard.silent_at_lease_end",
        FX_STR("service", service->name.text),
        FX_STR("doing", "killing it and its server"));
    if (fx_keeper_kill_all(&service->keeper, deadline, &err) != FX_OK) {
        FX_LOG(service->options->log, ERROR, "service.fence_failed", FX_ERR_FIELD(&err));
    }
}

/* True from the moment at which the guard must have fenced, until it was looked at. */
static bool
must_check_fence(const fx_service *service, fx_mono now)
{
    return service->may_be_primary && service->guard_lease.end.ns > 0 &&
           now.ns >= fence_check_at(service).ns;
}

/* With the monitor held, which it gives up meanwhile. */
static void
check_fence(fx_service *service)
{
    fx_lease_end known = service->guard_lease;
    fx_mono end = known.end;
    fx_monitor_unlock(&service->monitor);
    if (!guard_is_in_order(service, &known, &end)) {
        fence_instead_of_guard(service);
    }
    fx_monitor_lock(&service->monitor);
    note_guard_lease(service, end);
    if (service->guard_lease.end.ns == known.end.ns) {
        service->may_be_primary = false;
    }
}

/*
 * With the monitor held, which it gives up meanwhile. A guard that does not answer must not keep
 * this thread from the moment at which it has to be fenced itself.
 */
static void
hand_over(fx_service *service, uint64_t epoch, fx_mono now)
{
    fx_lease_end lease = service->lease;
    fx_mono deadline = fx_mono_after(now, FX_DUR_MS(GUARD_ANSWER_MS));
    if (service->may_be_primary && service->guard_lease.end.ns > 0 &&
        fence_check_at(service).ns < deadline.ns) {
        deadline = fence_check_at(service);
    }
    service->lease_changed = false;
    fx_monitor_unlock(&service->monitor);
    bool taken = hand_over_lease(service, epoch, &lease, deadline);
    fx_monitor_lock(&service->monitor);
    if (taken) {
        note_guard_lease(service, lease.end);
    }
}

/*
 * The lease that counts for the fence is the one that the guard has. The host's own may be renewed
 * for long while its guard hangs, and then nobody would fence if the agent died, too.
 */
static void *
run_leases(void *ctx)
{
    fx_service *service = ctx;
    fx_monitor_lock(&service->monitor);
    while (!service->stopping) {
        fx_mono now = fx_clock_mono();
        uint64_t epoch = current_lease_epoch(service);
        if (must_check_fence(service, now)) {
            check_fence(service);
        } else if (service->lease_changed && epoch > 0 && fx_lease_is_live(&service->lease, now)) {
            hand_over(service, epoch, now);
        }
        if (!service->stopping) {
            (void)fx_monitor_wait_until(
                &service->monitor, fx_mono_after(fx_clock_mono(), FX_DUR_MS(LEASE_TICK_MS)));
        }
    }
    fx_monitor_unlock(&service->monitor);
    return NULL;
}

/* ---- steps: the second thread --------------------------------------------------------------- */

/* Epochs go to disk before they count. */
static fx_code
see_epoch(fx_service *service, uint64_t epoch, fx_err *err)
{
    fx_monitor_lock(&service->monitor);
    bool higher = epoch > service->epoch_seen;
    bool lower = epoch < service->epoch_seen;
    fx_code code = FX_OK;
    if (lower) {
        code = fx_fail(
            err,
            FX_ERR_STALE,
            "the highest epoch seen is higher than %llu",
            (unsigned long long)epoch);
    } else if (higher) {
        code = fx_service_store_write(service->folder, FX_SERVICE_EPOCH, epoch, err);
        service->epoch_seen = code == FX_OK ? epoch : service->epoch_seen;
    }
    fx_monitor_unlock(&service->monitor);
    return code;
}

static bool
ask_status(fx_service *service, fx_guard_status *out_status, fx_err *err)
{
    fx_guard_request request = {.kind = FX_GUARD_STATUS};
    fx_mono deadline = fx_mono_after(fx_clock_mono(), FX_DUR_MS(GUARD_ANSWER_MS));
    return fx_guard_ask(service->folder, &request, deadline, out_status, err) == FX_OK;
}

static void
note_guard(fx_service *service, const fx_guard_status *status)
{
    service->guard = *status;
    service->guard_known = true;
    service->may_be_primary = service->may_be_primary || status->primary;
    if (status->lease_end.ns > service->lease.end.ns && service->lease.end.ns == 0) {
        /* Adopted: until a grant of our own comes, what the guard knows is what we watch. */
        service->lease =
            (fx_lease_end){.end = status->lease_end, .margin = FX_DUR_MS(ADOPTED_MARGIN_MS)};
    }
    note_guard_lease(service, status->lease_end);
    if (status->lease_end.ns < service->lease.end.ns) {
        service->lease_changed = true; /* a new guard, or one that was not reached: hand it over */
        fx_monitor_wake(&service->monitor);
    }
    if (status->epoch > service->epoch_seen) {
        service->epoch_seen = status->epoch; /* the guard has it on disk */
    }
}

static void
gather_facts(fx_service *service, const fx_observation *seen, fx_service_files files, fx_mono now)
{
    fx_service_facts facts = {
        .goal = service->goal,
        .epoch_seen = service->epoch_seen,
        .promotion_epoch = service->promotion_epoch,
        .last_primary_epoch = service->last_primary_epoch,
        .lease_live = fx_lease_is_live(&service->lease, now),
        .files = files,
        .fenced_epoch = service->guard.fenced_epoch,
        .answered = seen->answered,
        .in_recovery = seen->in_recovery,
    };
    switch (service->guard.state) {
    case FX_GUARD_DOWN:
    case FX_GUARD_HELD:
        facts.stopped = true;
        break;
    case FX_GUARD_STARTING:
    case FX_GUARD_FENCING:
        facts.changing = true;
        facts.runs_primary = service->guard.primary;
        break;
    case FX_GUARD_RUNS_STANDBY:
        facts.runs_standby = true;
        break;
    case FX_GUARD_RUNS_PRIMARY:
        facts.runs_primary = true;
        break;
    }
    service->facts = facts;
}

static fx_service_role
role_of(const fx_service *service, const fx_observation *seen)
{
    if (service->guard.state == FX_GUARD_HELD) {
        return FX_SERVICE_ROLE_HELD;
    }
    if (service->facts.stopped || !service->guard_known) {
        return FX_SERVICE_ROLE_NONE;
    }
    if (seen->answered) {
        return seen->in_recovery ? FX_SERVICE_ROLE_STANDBY : FX_SERVICE_ROLE_PRIMARY;
    }
    return service->facts.runs_primary ? FX_SERVICE_ROLE_PRIMARY : FX_SERVICE_ROLE_STANDBY;
}

static void
write_report(fx_service *service, const fx_observation *seen, const char *trouble)
{
    fx_service_report report = {
        .service = service->name,
        .role = role_of(service, seen),
        .epoch_seen = service->epoch_seen,
        .fenced_epoch = service->guard.fenced_epoch,
        .write_lsn = seen->write_lsn,
        .replay_lsn = seen->replay_lsn,
        .stopped_lsn = service->stopped_lsn,
        .timeline = seen->timeline,
        .replay_lag = seen->replay_lag,
        .healthy = seen->healthy && trouble[0] == '\0',
        .streaming = seen->streaming,
        .lease_epoch = fx_service_lease_epoch(&service->facts),
    };
    if (seen->streaming && seen->follows_goal) {
        report.upstream = service->goal.upstream_host;
    }
    const char *why = trouble[0] != '\0' ? trouble : seen->detail;
    if (why[0] == '\0' && service->facts.stopped) {
        why = service->guard.detail;
    }
    (void)snprintf(report.detail, sizeof report.detail, "%s", why);
    service->report = report;
    fx_monitor_wake(&service->monitor);
}

static fx_code
ask_guard(fx_service *service, const fx_guard_request *request, fx_mono deadline, fx_err *err)
{
    return fx_guard_ask(service->folder, request, deadline, NULL, err);
}

static fx_code
note_primary(fx_service *service, uint64_t epoch, fx_err *err)
{
    if (fx_service_store_write(service->folder, FX_SERVICE_PRIMARY_EPOCH, epoch, err) != FX_OK) {
        return err->code;
    }
    fx_monitor_lock(&service->monitor);
    service->last_primary_epoch = epoch;
    service->may_be_primary = true;
    service->stopped_lsn = (fx_lsn){0};
    fx_monitor_unlock(&service->monitor);
    return FX_OK;
}

static fx_code
act(fx_service *service, const fx_service_decision *decision, fx_err *err)
{
    fx_mono soon = fx_mono_after(fx_clock_mono(), FX_DUR_MS(START_ANSWER_MS));
    fx_mono later = fx_mono_after(fx_clock_mono(), FX_DUR_MS(45000));
    fx_guard_request request = {.epoch = decision->epoch};
    switch (decision->act) {
    case FX_SERVICE_LEAVE:
        return FX_OK;
    case FX_SERVICE_START_STANDBY:
        request.kind = FX_GUARD_START_STANDBY;
        return ask_guard(service, &request, soon, err);
    case FX_SERVICE_FENCE:
        request.kind = FX_GUARD_FENCE;
        return ask_guard(service, &request, later, err);
    case FX_SERVICE_START_PRIMARY:
        request.kind = FX_GUARD_START_PRIMARY;
        if (note_primary(service, decision->epoch, err) != FX_OK) {
            return err->code;
        }
        return ask_guard(service, &request, soon, err);
    case FX_SERVICE_PROMOTE:
        request.kind = FX_GUARD_PROMOTED;
        if (note_primary(service, decision->epoch, err) != FX_OK ||
            ask_guard(service, &request, soon, err) != FX_OK) {
            return err->code;
        }
        return fx_follow_promote(&service->keeper, later, err);
    }
    return FX_OK;
}

static void
log_act(const fx_service *service, const fx_service_decision *decision)
{
    static const char *const names[] = {
        "leave", "start primary", "start standby", "promote", "fence"};
    FX_LOG(
        service->options->log,
        INFO,
        "service.act",
        FX_STR("service", service->name.text),
        FX_STR("act", names[decision->act]),
        FX_INT("epoch", decision->epoch),
        FX_STR("reason", decision->reason));
}

/* A standby that does not stream knows only what is on disk, which may be older than what it had.
 */
static void
remember_timeline(fx_service *service, fx_observation *seen)
{
    if (!seen->answered) {
        return;
    }
    if (seen->timeline > service->timeline) {
        service->timeline = seen->timeline;
    }
    seen->timeline = service->timeline;
}

static void
show_trouble(fx_service *service, const fx_observation *seen, const char *trouble)
{
    fx_monitor_lock(&service->monitor);
    write_report(service, seen, trouble);
    fx_monitor_unlock(&service->monitor);
}

static fx_code
stop_diverged(fx_service *service, uint64_t epoch, fx_err *err)
{
    fx_guard_request request = {.kind = FX_GUARD_FENCE, .epoch = epoch, .orderly = true};
    fx_mono deadline = fx_mono_after(fx_clock_mono(), FX_DUR_MS(STOP_DIVERGED_MS));
    return ask_guard(service, &request, deadline, err);
}

/* True when nothing else is to be done in this step. Blocks for as long as pg_rewind runs. */
static bool
rejoin(
    fx_service *service,
    const fx_service_goal *goal,
    const fx_service_decision *decision,
    const fx_observation *seen,
    char trouble[256])
{
    fx_err err;
    const fx_service_facts *known = &service->facts; /* only this thread changes what is read */
    fx_rejoin_facts facts = {
        .keeper = &service->keeper,
        .goal = goal,
        .may_rewind = goal->known && goal->role == FX_SERVICE_ROLE_STANDBY &&
                      goal->epoch >= known->epoch_seen && goal->upstream_address[0] != '\0' &&
                      goal->upstream_port != 0 && !known->runs_primary,
        .starts =
            decision->act == FX_SERVICE_START_STANDBY || decision->act == FX_SERVICE_START_PRIMARY,
        .runs = known->runs_standby && seen->answered && seen->in_recovery,
        .streaming = seen->streaming,
        .at = {.timeline = seen->timeline, .lsn = seen->replay_lsn},
    };
    fx_code code = FX_OK;
    char why[256] = "";
    switch (fx_rejoin_look(&service->rejoin, &facts, why)) {
    case FX_REJOIN_LEAVE:
        if (why[0] != '\0') {
            (void)snprintf(trouble, 256, "%s", why);
        }
        return false;
    case FX_REJOIN_HOLD:
        break;
    case FX_REJOIN_STOP:
        show_trouble(service, seen, why);
        code = stop_diverged(service, goal->epoch, &err);
        break;
    case FX_REJOIN_REWIND:
        show_trouble(service, seen, why);
        code = fx_rejoin_run(&service->rejoin, &facts, &err);
        why[0] = '\0';
        break;
    }
    if (code != FX_OK) {
        FX_LOG(service->options->log, ERROR, "standby.not_rewound", FX_ERR_FIELD(&err));
        (void)snprintf(why, sizeof why, "%.200s", err.message);
    }
    (void)snprintf(trouble, 256, "%s", why);
    return true;
}

/* True once a guard that lives has not answered for so long that it never will. */
static bool
has_guard_hung(fx_service *service, fx_code why, fx_mono now)
{
    if (service->guard_silent_count++ == 0) {
        service->guard_silent_since = now;
    }
    fx_dur limit = why == FX_ERR_TIMEOUT ? FX_DUR_MS(HUNG_MS) : FX_DUR_MS(NOT_LISTENING_MS);
    return service->guard_silent_count >= HUNG_ASKED_LEAST &&
           fx_dur_over(fx_mono_since(now, service->guard_silent_since), limit);
}

/* Under the lease or not: a guard that hangs keeps its lock, so that no other could begin. */
static void
end_hung_guard(fx_service *service)
{
    fx_err err;
    FX_LOG(
        service->options->log,
        ERROR,
        "guard.hangs",
        FX_STR("service", service->name.text),
        FX_STR("doing", "killing it and its server, then starting another"));
    fx_mono deadline = fx_mono_after(fx_clock_mono(), FX_DUR_MS(30000));
    if (fx_keeper_kill_all(&service->keeper, deadline, &err) != FX_OK) {
        FX_LOG(service->options->log, ERROR, "guard.not_ended", FX_ERR_FIELD(&err));
    }
    service->guard_silent_count = 0;
}

static void
keep_guard(fx_service *service, fx_code why)
{
    fx_err err;
    if (has_guard_hung(service, why, fx_clock_mono())) {
        end_hung_guard(service);
    }
    if (fx_keeper_ensure(&service->keeper, &err) != FX_OK) {
        FX_LOG(service->options->log, ERROR, "guard.not_kept", FX_ERR_FIELD(&err));
    }
}

static void
step_once(fx_service *service, char trouble[256])
{
    fx_err err;
    trouble[0] = '\0';
    fx_guard_status status;
    if (!ask_status(service, &status, &err)) {
        keep_guard(service, err.code);
        (void)snprintf(trouble, 256, "no answer from the guard: %.200s", err.message);
        fx_observation nothing = {.answered = false};
        fx_monitor_lock(&service->monitor);
        service->guard_known = false;
        write_report(service, &nothing, trouble);
        fx_monitor_unlock(&service->monitor);
        return;
    }
    service->guard_silent_count = 0;
    fx_observation seen = {.answered = false};
    fx_service_files files = FX_SERVICE_FILES_UNKNOWN;
    fx_monitor_lock(&service->monitor);
    fx_service_goal goal = service->goal;
    fx_monitor_unlock(&service->monitor);
    if (status.state == FX_GUARD_RUNS_PRIMARY || status.state == FX_GUARD_RUNS_STANDBY) {
        fx_follow_observe(&service->keeper, &goal, &seen);
        remember_timeline(service, &seen);
    } else if (status.state == FX_GUARD_DOWN || status.state == FX_GUARD_HELD) {
        fx_lsn checkpoint;
        service->timeline = 0;
        if (fx_follow_read_files(&service->keeper, &files, &checkpoint, &err) != FX_OK) {
            (void)snprintf(trouble, 256, "%s", err.message);
        }
    }
    fx_monitor_lock(&service->monitor);
    note_guard(service, &status);
    gather_facts(service, &seen, files, fx_clock_mono());
    fx_service_decision decision = fx_service_decide(&service->facts);
    fx_monitor_unlock(&service->monitor);

    if (rejoin(service, &goal, &decision, &seen, trouble)) {
        decision.act = FX_SERVICE_LEAVE; /* its files went another way than the upstream's */
    } else if (decision.act != FX_SERVICE_LEAVE) {
        log_act(service, &decision);
        if (act(service, &decision, &err) != FX_OK) {
            FX_LOG(service->options->log, WARN, "service.act_failed", FX_ERR_FIELD(&err));
            (void)snprintf(trouble, 256, "%s", err.message);
        }
    } else if (
        seen.answered && seen.in_recovery && goal.role == FX_SERVICE_ROLE_STANDBY &&
        fx_follow_upstream(&service->keeper, &goal, service->options->host, &err) != FX_OK) {
        (void)snprintf(trouble, 256, "%s", err.message);
    }
    fx_monitor_lock(&service->monitor);
    write_report(service, &seen, trouble);
    fx_monitor_unlock(&service->monitor);
}

static void *
run_steps(void *ctx)
{
    fx_service *service = ctx;
    char trouble[256];
    fx_monitor_lock(&service->monitor);
    while (!service->stopping) {
        service->poked = false;
        fx_monitor_unlock(&service->monitor);
        step_once(service, trouble);
        fx_monitor_lock(&service->monitor);
        fx_mono until = fx_mono_after(fx_clock_mono(), FX_DUR_MS(STEP_MS));
        while (!service->stopping && !service->poked &&
               fx_monitor_wait_until(&service->monitor, until)) {
        }
    }
    fx_monitor_unlock(&service->monitor);
    return NULL;
}

/* ---- beginning and end ---------------------------------------------------------------------- */

fx_code
fx_service_open(const fx_service_options *options, fx_service **out_service, fx_err *err)
{
    fx_service *self = calloc(1, sizeof *self);
    FX_ASSERT(self != NULL);
    self->options = options;
    self->name = fx_name_of(options->config->name);
    fx_monitor_init(&self->monitor);
    FX_AUTO(fx_service) service = self;
    int length =
        snprintf(service->folder, FOLDER_BYTES, "%s/%s", options->state_dir, options->config->name);
    if (length < 0 || length >= FOLDER_BYTES) {
        return fx_fail(err, FX_ERR_LIMIT, "the state folder's path is too long");
    }
    service->keeper = (fx_keeper){
        .config = options->config,
        .folder = service->folder,
        .no_cgroup = options->no_cgroup,
        .log = options->log,
        .cancel = &service->cancel,
    };
    if (fx_file_make_folder(service->folder, 0700, err) != FX_OK ||
        fx_service_store_read(service->folder, FX_SERVICE_EPOCH, &service->epoch_seen, err) !=
            FX_OK ||
        fx_service_store_read(
            service->folder, FX_SERVICE_PRIMARY_EPOCH, &service->last_primary_epoch, err) !=
            FX_OK) {
        return fx_err_wrap(err, "opening service \"%s\"", options->config->name);
    }
    service->report.service = service->name;
    (void)snprintf(service->report.detail, sizeof service->report.detail, "not yet looked at");
    *out_service = FX_TAKE(service);
    return FX_OK;
}

fx_code
fx_service_start(fx_service *service, fx_err *err)
{
    int result = pthread_create(&service->lease_thread, NULL, run_leases, service);
    service->has_lease_thread = result == 0;
    if (result == 0) {
        result = pthread_create(&service->step_thread, NULL, run_steps, service);
        service->has_step_thread = result == 0;
    }
    return result == 0 ? FX_OK : fx_fail_errno(err, result, "could not start a thread");
}

void
fx_service_stop(fx_service *service)
{
    fx_monitor_lock(&service->monitor);
    service->stopping = true;
    atomic_store(&service->cancel, true);
    fx_monitor_wake(&service->monitor);
    fx_monitor_unlock(&service->monitor);
    if (service->has_lease_thread) {
        (void)pthread_join(service->lease_thread, NULL);
        service->has_lease_thread = false;
    }
    if (service->has_step_thread) {
        (void)pthread_join(service->step_thread, NULL);
        service->has_step_thread = false;
    }
}

void
fx_service_free(fx_service *service)
{
    if (service == NULL) {
        return;
    }
    fx_service_stop(service);
    fx_monitor_deinit(&service->monitor);
    free(service);
}

/* ---- from other threads --------------------------------------------------------------------- */

static void
poke(fx_service *service)
{
    service->poked = true;
    fx_monitor_wake(&service->monitor);
}

static bool
is_same_goal(const fx_service_goal *left, const fx_service_goal *right)
{
    return left->known == right->known && left->epoch == right->epoch &&
           left->role == right->role && fx_name_is(&left->primary_host, &right->primary_host) &&
           fx_name_is(&left->upstream_host, &right->upstream_host) &&
           strcmp(left->upstream_address, right->upstream_address) == 0 &&
           left->upstream_port == right->upstream_port;
}

void
fx_service_set_goal(fx_service *service, const fx_service_goal *goal)
{
    fx_monitor_lock(&service->monitor);
    if (!is_same_goal(&service->goal, goal)) {
        service->goal = *goal;
        service->facts.goal = service->goal;
        poke(service);
    }
    fx_monitor_unlock(&service->monitor);
}

void
fx_service_set_lease(fx_service *service, const fx_lease_end *lease)
{
    fx_monitor_lock(&service->monitor);
    if (lease->end.ns > service->lease.end.ns) {
        service->lease = *lease;
        service->lease_changed = true;
        poke(service);
    }
    fx_monitor_unlock(&service->monitor);
}

void
fx_service_get_report(fx_service *service, fx_service_report *out_report)
{
    fx_monitor_lock(&service->monitor);
    service->report.lease_epoch = fx_service_lease_epoch(&service->facts);
    service->report.epoch_seen = service->epoch_seen; /* also before the first look at the server */
    *out_report = service->report;
    fx_monitor_unlock(&service->monitor);
}

fx_code
fx_service_load_promotion(fx_service *service, fx_buf *out_order, fx_err *err)
{
    return fx_service_store_read_promotion(service->folder, out_order, err);
}

void
fx_service_trust_promotion(fx_service *service, uint64_t epoch)
{
    fx_monitor_lock(&service->monitor);
    service->promotion_epoch = epoch;
    service->facts.promotion_epoch = epoch;
    service->lease_changed = true;
    poke(service);
    fx_monitor_unlock(&service->monitor);
}

/* ---- orders --------------------------------------------------------------------------------- */

fx_code
fx_service_promote(
    fx_service *service, uint64_t epoch, fx_bytes signed_order, fx_mono deadline, fx_err *err)
{
    fx_monitor_lock(&service->monitor);
    uint64_t fenced_epoch = service->guard.fenced_epoch;
    fx_monitor_unlock(&service->monitor);
    if (epoch <= fenced_epoch) {
        return fx_fail(
            err,
            FX_ERR_DENIED,
            "could not promote: fenced up to epoch %llu",
            (unsigned long long)fenced_epoch);
    }
    if (see_epoch(service, epoch, err) != FX_OK ||
        fx_service_store_write_promotion(service->folder, signed_order, err) != FX_OK) {
        return err->code;
    }
    fx_service_trust_promotion(service, epoch);
    fx_monitor_lock(&service->monitor);
    const fx_service_report *report = &service->report;
    while (!service->stopping && !(report->role == FX_SERVICE_ROLE_PRIMARY && report->healthy &&
                                   service->last_primary_epoch == epoch)) {
        if (!fx_monitor_wait_until(&service->monitor, deadline)) {
            break;
        }
    }
    bool done = report->role == FX_SERVICE_ROLE_PRIMARY && report->healthy &&
                service->last_primary_epoch == epoch;
    char detail[160];
    (void)snprintf(detail, sizeof detail, "%.150s", report->detail);
    fx_monitor_unlock(&service->monitor);
    if (!done) {
        return fx_fail(
            err, FX_ERR_TIMEOUT, "the server was not seen to take writes in time: %s", detail);
    }
    return FX_OK;
}

fx_code
fx_service_fence(
    fx_service *service,
    uint64_t epoch,
    bool orderly,
    fx_mono deadline,
    fx_lsn *out_stopped,
    fx_err *err)
{
    if (see_epoch(service, epoch, err) != FX_OK) {
        return err->code;
    }
    if (orderly) {
        fx_err ignored;
        fx_ignore(
            fx_follow_checkpoint(&service->keeper, &ignored),
            "it shortens the stop, which makes a checkpoint by itself");
    }
    fx_guard_request request = {.kind = FX_GUARD_FENCE, .epoch = epoch, .orderly = orderly};
    fx_code code = FX_OK;
    do { /* a guard that has just died is started again by the stepping thread */
        code = fx_guard_ask(service->folder, &request, deadline, NULL, err);
        if (code == FX_ERR_NOT_FOUND || code == FX_ERR_UNREACHABLE) {
            fx_clock_sleep(FX_DUR_MS(200));
        }
    } while ((code == FX_ERR_NOT_FOUND || code == FX_ERR_UNREACHABLE) &&
             fx_clock_mono().ns < deadline.ns);
    if (code != FX_OK) {
        return fx_err_wrap(err, "fencing \"%s\"", service->name.text);
    }
    fx_lsn stopped = {0};
    fx_service_files files = FX_SERVICE_FILES_UNKNOWN;
    if (orderly && fx_follow_read_files(&service->keeper, &files, &stopped, err) != FX_OK) {
        return fx_err_wrap(err, "reading where the fenced server stopped");
    }
    fx_monitor_lock(&service->monitor);
    service->stopped_lsn = stopped;
    service->may_be_primary = false;
    poke(service);
    fx_mono soon = fx_mono_after(fx_clock_mono(), FX_DUR_MS(FENCE_SHOWN_MS));
    while (service->report.fenced_epoch < epoch && /* the next report shows it, result and all */
           fx_monitor_wait_until(&service->monitor, soon)) {
    }
    fx_monitor_unlock(&service->monitor);
    *out_stopped = stopped;
    return FX_OK;
}
