/* `fortress-agent run`: wires the daemon's parts together. */
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "agent/run/agent.h"
#include "agent/verbs/exit_code.h"
#include "agent/verbs/verb.h"
#include "common/base/clock.h"
#include "common/base/file.h"

enum { PATH_BYTES = 512 };

static const char help[] =
    "Usage: fortress-agent run --config FILE [--no-cgroup]\n"
    "Protects this host's services as the configuration says, until SIGTERM. Guards and databases\n"
    "run on afterwards; the next agent adopts them.\n"
    "\n"
    "  --config FILE  docs/reference/agent-configuration.md\n"
    "  --no-cgroup    guards do not use cgroups\n";

fx_service *
fx_agent_find_service(fx_agent *agent, const char *name)
{
    for (size_t i = 0; i < agent->service_count; i++) {
        if (strcmp(agent->config->services[i].name, name) == 0) {
            return agent->services[i];
        }
    }
    return NULL;
}

static fx_code
on_report(void *ctx, fx_buf *out, fx_err *err)
{
    return fx_agent_report(ctx, out, err);
}

static fx_service_role
role_of(Fortress__Link__Role role)
{
    switch (role) {
    case FORTRESS__LINK__ROLE__ROLE_PRIMARY:
        return FX_SERVICE_ROLE_PRIMARY;
    case FORTRESS__LINK__ROLE__ROLE_STANDBY:
        return FX_SERVICE_ROLE_STANDBY;
    case FORTRESS__LINK__ROLE__ROLE_HELD:
        return FX_SERVICE_ROLE_HELD;
    case FORTRESS__LINK__ROLE__ROLE_NONE:
    case _FORTRESS__LINK__ROLE_IS_INT_SIZE:
        break;
    }
    return FX_SERVICE_ROLE_NONE;
}

static void
take_goal(fx_agent *agent, const Fortress__Link__Goal *message)
{
    fx_service *service = fx_agent_find_service(agent, message->service);
    if (service == NULL) {
        return; /* the ledger names a service that this host's configuration does not */
    }
    fx_err err;
    fx_service_goal goal = {
        .known = true,
        .epoch = message->epoch,
        .role = role_of(message->role),
        .upstream_port = message->upstream_port,
    };
    fx_ignore(
        fx_name_parse(message->primary_host, "host", &goal.primary_host, &err), "none is well");
    fx_ignore(
        fx_name_parse(message->upstream_host, "host", &goal.upstream_host, &err), "none is well");
    (void)snprintf(
        goal.upstream_address, sizeof goal.upstream_address, "%s", message->upstream_address);
    fx_service_set_goal(service, &goal);
    bool standby = goal.role == FX_SERVICE_ROLE_STANDBY;
    fx_receivers_set_primary(
        agent->receivers,
        message->service,
        standby ? goal.upstream_address : "",
        standby ? goal.upstream_port : 0);
}

static void
take_lease(fx_agent *agent, const fx_reporter_reply *reply)
{
    const Fortress__Link__ReportReply *message = reply->message;
    fx_dur length = {.ns = message->lease_ns};
    fx_dur margin = {.ns = message->margin_ns};
    if (!message->lease_granted) {
        if (message->lease_refused_reason[0] != '\0') {
            FX_LOG(
                agent->log, WARN, "lease.refused", FX_STR("reason", message->lease_refused_reason));
        }
        return;
    }
    if (!fx_lease_extend(&agent->lease, reply->sent_at, length, margin)) {
        FX_LOG(
            agent->log,
            ERROR,
            "lease.makes_no_sense",
            FX_DUR("lease_ms", length),
            FX_DUR("margin_ms", margin));
        return;
    }
    for (size_t i = 0; i < agent->service_count; i++) {
        fx_service_set_lease(agent->services[i], &agent->lease);
    }
}

static void
on_reply(void *ctx, const fx_reporter_reply *reply)
{
    fx_agent *agent = ctx;
    fx_err err;
    const Fortress__Link__ReportReply *message = reply->message;
    for (size_t i = 0; i < message->n_goals; i++) {
        take_goal(agent, message->goals[i]);
    }
    take_lease(agent, reply);
    for (size_t i = 0; i < message->n_acknowledged_orders; i++) {
        if (fx_journal_acknowledge(agent->journal, message->acknowledged_orders[i], &err) !=
            FX_OK) {
            FX_LOG(agent->log, ERROR, "order.not_recorded", FX_ERR_FIELD(&err));
        }
    }
    for (size_t i = 0; i < message->n_orders; i++) {
        fx_agent_take_order(agent, message->orders[i]);
    }
}

static fx_code
open_services(fx_agent *agent, fx_err *err)
{
    for (unsigned i = 0; i < agent->config->services_count; i++) {
        agent->service_options[i] = (fx_service_options){
            .config = &agent->config->services[i],
            .state_dir = agent->config->state_dir,
            .host = agent->config->host,
            .no_cgroup = agent->no_cgroup,
            .log = agent->log,
        };
        if (fx_service_open(&agent->service_options[i], &agent->services[i], err) != FX_OK) {
            return err->code;
        }
        agent->service_count++;
    }
    return FX_OK;
}

static fx_code
open_endorsers(fx_agent *agent, fx_err *err)
{
    for (unsigned i = 0; i < agent->config->coordinators_count; i++) {
        const fx_config_coordinator *one = &agent->config->coordinators[i];
        fx_name name = fx_name_of(one->name);
        fx_name region = fx_name_of(one->region);
        if (fx_endorsers_add(&agent->endorsers, &name, &region, one->endorsement_key, err) !=
            FX_OK) {
            return fx_err_wrap(err, "pinning the key of coordinator \"%s\"", one->name);
        }
    }
    return FX_OK;
}

static fx_code
open_reporter(fx_agent *agent, fx_err *err)
{
    fx_reporter_target targets[FX_REPORTER_TARGET_MAX];
    size_t count = 0;
    for (unsigned i = 0; i < agent->config->coordinators_count && count < FX_REPORTER_TARGET_MAX;
         i++) {
        const fx_config_coordinator *one = &agent->config->coordinators[i];
        targets[count++] = (fx_reporter_target){
            .name = fx_name_of(one->name), .region = fx_name_of(one->region), .url = one->url};
    }
    const fx_config_tls *tls = agent->config->tls;
    fx_reporter_options options = {
        .loop = agent->loop,
        .sender = &agent->sender,
        .region = agent->region,
        .targets = targets,
        .target_count = count,
        .tls = {.ca_file = tls->ca, .certificate_file = tls->certificate, .key_file = tls->key},
        .report = on_report,
        .reply = on_reply,
        .ctx = agent,
        .log = agent->log,
    };
    return fx_reporter_open(&options, &agent->reporter, err);
}

static fx_code
open_all(fx_agent *agent, fx_err *err)
{
    char path[PATH_BYTES];
    char gaps_path[PATH_BYTES];
    (void)snprintf(path, sizeof path, "%s/orders", agent->config->state_dir);
    (void)snprintf(gaps_path, sizeof gaps_path, "%s/gaps", agent->config->state_dir);
    if (fx_file_make_folder(agent->config->state_dir, 0700, err) != FX_OK ||
        fx_journal_open(path, &agent->journal, err) != FX_OK ||
        fx_gaps_open(gaps_path, &agent->gaps, err) != FX_OK ||
        open_endorsers(agent, err) != FX_OK || open_services(agent, err) != FX_OK ||
        fx_receivers_open(agent->config, agent->gaps, agent->log, &agent->receivers, err) !=
            FX_OK ||
        fx_probes_open(agent->loop, agent->config, &agent->probes, err) != FX_OK) {
        return err->code;
    }
    agent->jobs = fx_jobs_open(agent->loop, agent->config, agent->gaps, agent->log);
    agent->gap_upload = fx_gap_upload_open(agent->loop, agent->config, agent->gaps, agent->log);
    fx_agent_trust_promotions(agent);
    for (size_t i = 0; i < agent->service_count; i++) {
        if (fx_service_start(agent->services[i], err) != FX_OK) {
            return err->code;
        }
    }
    if (open_reporter(agent, err) != FX_OK) {
        return err->code;
    }
    agent->changes =
        fx_changes_start(agent->loop, agent->services, agent->service_count, agent->reporter);
    return FX_OK;
}

static void
close_all(fx_agent *agent)
{
    fx_changes_free(FX_TAKE(agent->changes));
    fx_reporter_free(FX_TAKE(agent->reporter));
    fx_probes_stop(agent->probes);
    fx_jobs_stop(agent->jobs);
    fx_gap_upload_stop(agent->gap_upload);
    fx_receivers_free(agent->receivers);
    for (size_t i = 0; i < agent->service_count; i++) {
        fx_service_stop(agent->services[i]); /* lets an order that waits for it end */
    }
    fx_loop_free(agent->loop); /* waits for work under way */
    for (size_t i = 0; i < agent->service_count; i++) {
        fx_service_free(agent->services[i]);
    }
    fx_probes_free(agent->probes);
    fx_jobs_free(agent->jobs);
    fx_gap_upload_free(agent->gap_upload);
    fx_gaps_free(agent->gaps);
    fx_journal_free(agent->journal);
    fx_endorsers_deinit(&agent->endorsers);
}

static void
on_signal(void *ctx)
{
    fx_agent *agent = ctx;
    FX_LOG(agent->log, INFO, "agent.stopping");
    fx_loop_stop(agent->loop);
}

static fx_code
run(const fx_agent_config *config, const fx_log *log, bool no_cgroup, fx_err *err)
{
    fx_agent agent = {
        .config = config,
        .log = log,
        .no_cgroup = no_cgroup,
        .cluster = fx_name_of(config->cluster),
        .host = fx_name_of(config->host),
        .region = fx_name_of(config->region),
        .loop = fx_loop_new(),
    };
    fx_link_sender_init(&agent.sender, &agent.cluster, &agent.host, fx_clock_wall());
    fx_code code = open_all(&agent, err);
    if (code == FX_OK) {
        fx_loop_on_signal(agent.loop, SIGTERM, on_signal, &agent);
        fx_loop_on_signal(agent.loop, SIGINT, on_signal, &agent);
        FX_LOG(log, INFO, "agent.ready", FX_STR("host", config->host));
        fx_loop_run(agent.loop);
    }
    close_all(&agent);
    return code;
}

int
fx_run_verb(int argc, char **argv)
{
    static const struct option list[] = {
        {"config", required_argument, NULL, 'c'},
        {"no-cgroup", no_argument, NULL, 'n'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    const char *path = NULL;
    bool no_cgroup = false;
    optind = 1;
    int letter = 0;
    /* NOLINTNEXTLINE(concurrency-mt-unsafe): one thread so far */
    while ((letter = getopt_long(argc, argv, "h", list, NULL)) != -1) {
        if (letter == 'c') {
            path = optarg;
        } else if (letter == 'n') {
            no_cgroup = true;
        } else {
            (void)fputs(help, letter == 'h' ? stdout : stderr);
            return letter == 'h' ? FX_EXIT_OK : FX_EXIT_USAGE;
        }
    }
    if (path == NULL || optind != argc) {
        (void)fputs(help, stderr);
        return FX_EXIT_USAGE;
    }
    fx_err err;
    FX_AUTO(fx_agent_config) config = NULL;
    if (fx_agent_config_load(path, &config, &err) != FX_OK) {
        return fx_exit_print(&err);
    }
    fx_log log = {.fd = STDERR_FILENO, .min_level = config->log_level, .program = "agent"};
    if (run(config, &log, no_cgroup, &err) != FX_OK) {
        FX_LOG(&log, ERROR, "agent.failed", FX_ERR_FIELD(&err));
        return fx_exit_print(&err);
    }
    return FX_EXIT_OK;
}
