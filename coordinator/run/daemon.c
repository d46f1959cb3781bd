#include "coordinator/run/run.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/file.h"
#include "coordinator/run/daemon.h"

enum { CATALOG_REFRESH_S = 30 };

/* ---- what the configuration says, as the core wants it
 * ------------------------------------------------- */

static fx_dur
or_default(uint32_t ms, fx_dur fallback)
{
    return ms == 0 ? fallback : FX_DUR_MS((int64_t)ms);
}

static fx_policy
policy_of(const fx_coordinator_policy *config)
{
    fx_policy policy = fx_policy_default();
    policy.lease = or_default(config->lease_ms, policy.lease);
    policy.renewal = or_default(config->renewal_ms, policy.renewal);
    policy.margin = or_default(config->margin_ms, policy.margin);
    policy.silence_max = or_default(config->silence_max_ms, policy.silence_max);
    policy.view_max_age = or_default(config->view_max_age_ms, policy.view_max_age);
    policy.unhealthy_max = or_default(config->unhealthy_max_ms, policy.unhealthy_max);
    policy.leader_silence = or_default(config->leader_silence_ms, policy.leader_silence);
    policy.cool_down = or_default(config->cool_down_ms, policy.cool_down);
    policy.gather_max = or_default(config->gather_max_ms, policy.gather_max);
    if (config->lag_max_bytes != 0) {
        policy.lag_max_bytes = config->lag_max_bytes;
    }
    return policy;
}

static void
set_wanted(fx_daemon *daemon)
{
    _Static_assert((int)FX_COORDINATOR_HOST_SERVICE_MAX <= (int)FX_MEMBER_MAX, "a lease holds all");
    const fx_coordinator_config *config = daemon->config;
    daemon->wanted = calloc(FX_SERVICE_MAX, sizeof *daemon->wanted);
    FX_ASSERT(daemon->wanted != NULL);
    for (unsigned i = 0; i < config->services_count; i++) {
        const fx_coordinator_service *from = &config->services[i];
        fx_service *to = &daemon->wanted[daemon->wanted_count++];
        to->name = fx_name_of(from->name);
        for (unsigned k = 0; k < from->members_count; k++) {
            fx_member *member = &to->members[to->member_count++];
            member->host = fx_name_of(from->members[k].host);
            member->region = fx_name_of(from->members[k].region);
            member->port = from->members[k].port;
            (void)snprintf(member->address, sizeof member->address, "%s", from->members[k].address);
        }
    }
}

/* Place among all coordinators by name: they try for leadership one after the other. */
static size_t
rank_of(const fx_coordinator_config *config)
{
    size_t rank = 0;
    for (unsigned i = 0; i < config->peers_count; i++) {
        rank += strcmp(config->peers[i].name, config->name) < 0;
    }
    return rank;
}

static void
set_self(fx_daemon *daemon)
{
    daemon->self = (fx_candidate){
        .name = fx_name_of(daemon->config->name),
        .region = fx_name_of(daemon->config->region),
        .rank = rank_of(daemon->config),
    };
    fx_name cluster = fx_name_of(daemon->config->cluster);
    fx_link_sender_init(&daemon->sender, &cluster, &daemon->self.name, fx_clock_wall());
    memcpy(daemon->self.incarnation, daemon->sender.incarnation, FX_INCARNATION_BYTES);
}

/* Two with one name would both believe that they are the other's later life. */
static fx_code
lock_state(const fx_coordinator_config *config, int *out_fd, fx_err *err)
{
    if (fx_file_make_folder(config->state_dir, 0700, err) != FX_OK) {
        return fx_err_wrap(err, "state_dir");
    }
    char path[4096 + 32];
    (void)snprintf(path, sizeof path, "%s/coordinator.lock", config->state_dir);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) {
        return fx_fail_errno(err, errno, "could not open %s", path);
    }
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        (void)close(fd);
        return fx_fail(
            err, FX_ERR_BUSY, "could not lock %s: a coordinator runs on this folder already", path);
    }
    *out_fd = fd;
    return FX_OK;
}

/* ---- opening
 * -----------------------------------------------------------------------------------------------
 */

static fx_code
open_executor(fx_daemon *daemon, fx_err *err)
{
    const fx_coordinator_config *config = daemon->config;
    fx_executor *executor = &daemon->executor;
    if (fx_sign_key_load(config->endorsement_key, &daemon->key, err) != FX_OK) {
        return fx_err_wrap(err, "endorsement_key");
    }
    *executor = (fx_executor){
        .ledger = &daemon->ledger_door,
        .cluster = fx_name_of(config->cluster),
        .self = daemon->self.name,
        .region = daemon->self.region,
        .key = daemon->key,
        .doors =
            {
                .ctx = daemon,
                .endorse = fx_run_endorse,
                .redirect = fx_run_redirect,
                .observe = fx_run_observe,
                .validate = fx_run_validate,
            },
        .log = &daemon->log,
    };
    for (unsigned i = 0; i < config->peers_count; i++) {
        const fx_coordinator_peer *peer = &config->peers[i];
        if (fx_verify_key_load(peer->endorsement_key, &daemon->peer_keys[i], err) != FX_OK) {
            return fx_err_wrap(err, "endorsement_key of peer %s", peer->name);
        }
        executor->peers[executor->peer_count++] = (fx_executor_peer){
            .name = fx_name_of(peer->name),
            .region = fx_name_of(peer->region),
            .key = daemon->peer_keys[i],
        };
    }
    return FX_OK;
}

static void
open_fleet(fx_daemon *daemon)
{
    fx_name peers[FX_COORDINATOR_MAX];
    fx_name regions[FX_COORDINATOR_MAX];
    for (size_t i = 0; i < daemon->executor.peer_count; i++) {
        peers[i] = daemon->executor.peers[i].name;
        regions[i] = daemon->executor.peers[i].region;
    }
    fx_fleet_options options = {
        .self = daemon->self.name,
        .self_region = daemon->self.region,
        .peers = peers,
        .peer_regions = regions,
        .peer_count = daemon->executor.peer_count,
        .now = fx_clock_mono(),
    };
    daemon->fleet = fx_fleet_new(&options);
    daemon->ledger = calloc(1, sizeof *daemon->ledger);
    daemon->reading = calloc(1, sizeof *daemon->reading);
    daemon->commands = calloc(1, sizeof *daemon->commands);
    FX_ASSERT(daemon->ledger != NULL);
    FX_ASSERT(daemon->reading != NULL);
    FX_ASSERT(daemon->commands != NULL);
}

static fx_code
open_link(fx_daemon *daemon, fx_err *err)
{
    const fx_coordinator_config *config = daemon->config;
    const fx_wire_tls tls = {
        .ca_file = config->tls->ca,
        .certificate_file = config->tls->certificate,
        .key_file = config->tls->key,
    };
    for (size_t i = 0; i < daemon->executor.peer_count; i++) {
        fx_peer_options peer = {
            .loop = daemon->loop,
            .sender = &daemon->sender,
            .url = config->peers[i].url,
            .tls = tls,
            .name = daemon->executor.peers[i].name,
            .region = daemon->executor.peers[i].region,
            .log = &daemon->log,
        };
        if (fx_peer_open(&peer, &daemon->peers[i], err) != FX_OK) {
            return fx_err_wrap(err, "peer %s", config->peers[i].name);
        }
    }
    fx_listener_options listener = {
        .loop = daemon->loop,
        .sender = &daemon->sender,
        .url = config->listen->agents,
        .tls = tls,
        .handler = fx_run_take_message,
        .ctx = daemon,
        .log = &daemon->log,
    };
    return fx_listener_open(&listener, &daemon->listener, err);
}

static fx_code
open_catalog(fx_daemon *daemon, fx_err *err)
{
    const fx_coordinator_config *config = daemon->config;
    fx_catalog_repository repositories[FX_CATALOG_REPOSITORY_MAX];
    for (unsigned i = 0; i < config->repositories_count; i++) {
        repositories[i] =
            (fx_catalog_repository){config->repositories[i].name, config->repositories[i].url};
    }
    char path[4096 + 32];
    (void)snprintf(path, sizeof path, "%s/catalog.sqlite", config->state_dir);
    fx_catalog_options options = {
        .path = path,
        .repositories = repositories,
        .repository_count = config->repositories_count,
        .log = &daemon->log,
    };
    return fx_catalog_open(&options, &daemon->catalog, err);
}

static void
add_timer(fx_daemon *daemon, int64_t period_ms, fx_loop_call call)
{
    daemon->timers[daemon->timer_count++] =
        fx_loop_timer_start(daemon->loop, FX_DUR_MS(0), FX_DUR_MS(period_ms), call, daemon);
}

static void
stop(void *ctx)
{
    fx_daemon *daemon = ctx;
    if (daemon->stopping) {
        return;
    }
    daemon->stopping = true;
    FX_LOG(&daemon->log, INFO, "coordinator.stopping");
    for (size_t i = 0; i < daemon->timer_count; i++) {
        fx_loop_timer_stop(daemon->timers[i]);
    }
    fx_catalog_stop(daemon->catalog);
    fx_listener_free(daemon->listener);
    daemon->listener = NULL;
    fx_loop_stop(daemon->loop);
}

static fx_code
open_all(fx_daemon *daemon, fx_err *err)
{
    set_self(daemon);
    if (open_executor(daemon, err) != FX_OK || fx_run_looks_open(daemon, err) != FX_OK ||
        fx_run_dns_open(daemon, err) != FX_OK || fx_run_store_open(daemon, err) != FX_OK) {
        return err->code;
    }
    open_fleet(daemon);
    if (open_catalog(daemon, err) != FX_OK || open_link(daemon, err) != FX_OK) {
        return err->code;
    }
    return fx_run_api_open(daemon, err);
}

static void
close_all(fx_daemon *daemon)
{
    fx_api_free(daemon->api);
    fx_listener_free(daemon->listener);
    for (size_t i = 0; i < FX_COORDINATOR_MAX; i++) {
        fx_peer_free(daemon->peers[i]); /* ends what workers wait for */
        daemon->peers[i] = NULL;
    }
    fx_loop_free(daemon->loop); /* waits for what runs on worker threads */
    fx_catalog_free(daemon->catalog);
    fx_run_store_close(daemon->store);
    fx_fleet_free(daemon->fleet);
    for (size_t i = 0; i < FX_SERVICE_MAX; i++) {
        fx_dns_free(daemon->dns[i]);
    }
    fx_sign_key_free(daemon->key);
    for (size_t i = 0; i < FX_COORDINATOR_MAX; i++) {
        fx_verify_key_free(daemon->peer_keys[i]);
    }
    free(daemon->ledger);
    free(daemon->reading);
    free(daemon->commands);
    free(daemon->wanted);
    free(daemon->looks);
}

static void
run_loop(fx_daemon *daemon)
{
    fx_loop_on_signal(daemon->loop, SIGTERM, stop, daemon);
    fx_loop_on_signal(daemon->loop, SIGINT, stop, daemon);
    fx_catalog_start(daemon->catalog, daemon->loop, FX_DUR_MS((int64_t)CATALOG_REFRESH_S * 1000));
    add_timer(daemon, FX_RUN_TEND_MS, fx_run_tend);
    add_timer(daemon, FX_RUN_POLL_MS, fx_run_poll);
    add_timer(daemon, FX_RUN_TICK_MS, fx_run_tick);
    add_timer(daemon, FX_RUN_DIGEST_MS, fx_run_digest);
    add_timer(daemon, FX_RUN_LOOK_MS, fx_run_look_at_members);
    add_timer(daemon, FX_RUN_UPKEEP_MS, fx_run_upkeep);
    FX_LOG(
        &daemon->log,
        INFO,
        "coordinator.running",
        FX_STR("name", daemon->config->name),
        FX_STR("region", daemon->config->region),
        FX_STR("agents", daemon->config->listen->agents),
        FX_STR("api", daemon->config->listen->api),
        FX_STR("version", FX_VERSION));
    fx_loop_run(daemon->loop);
}

fx_code
fx_run_coordinator(const fx_coordinator_config *config, fx_err *err)
{
    int lock_fd = -1;
    if (lock_state(config, &lock_fd, err) != FX_OK) {
        return err->code;
    }
    fx_daemon *daemon = calloc(1, sizeof *daemon);
    FX_ASSERT(daemon != NULL);
    daemon->config = config;
    daemon->log = (fx_log){
        .fd = STDERR_FILENO,
        .min_level = config->log_level == NULL ? FX_INFO : *config->log_level,
        .program = "coordinator",
    };
    daemon->policy = policy_of(&config->policy);
    daemon->loop = fx_loop_new();
    fx_monitor_init(&daemon->monitor);
    set_wanted(daemon);
    fx_code code = open_all(daemon, err);
    if (code == FX_OK) {
        run_loop(daemon);
    }
    close_all(daemon);
    fx_monitor_deinit(&daemon->monitor);
    free(daemon);
    (void)close(lock_fd);
    return code;
}
