/* What the API shows and hands on. All of this runs on the API's thread. */
#include <stdlib.h>

#include "common/base/clock.h"
#include "coordinator/run/daemon.h"

static void
read_state(void *ctx, fx_ledger *out_ledger, fx_view *out_view, fx_store_health *out_store)
{
    fx_daemon *daemon = ctx;
    fx_monitor_lock(&daemon->monitor);
    fx_ledger_copy(out_ledger, daemon->ledger);
    fx_view_copy(out_view, fx_fleet_view(daemon->fleet, fx_clock_mono()));
    *out_store = daemon->store_health;
    fx_monitor_unlock(&daemon->monitor);
}

static fx_mono
history_deadline(void)
{
    return fx_mono_after(fx_clock_mono(), FX_DUR_MS(FX_RUN_HISTORY_MS));
}

static fx_code
read_plans(void *ctx, fx_plan *out_plans, size_t max, size_t *out_count, fx_err *err)
{
    const fx_daemon *daemon = ctx;
    return fx_ledger_read_plans(
        &daemon->ledger_door, history_deadline(), out_plans, max, out_count, err);
}

static fx_code
read_decisions(
    void *ctx, fx_decision_record *out_decisions, size_t max, size_t *out_count, fx_err *err)
{
    const fx_daemon *daemon = ctx;
    return fx_ledger_read_decisions(
        &daemon->ledger_door, history_deadline(), out_decisions, max, out_count, err);
}

static fx_code
submit_request(void *ctx, const fx_request *request, fx_err *err)
{
    const fx_daemon *daemon = ctx;
    return fx_ledger_submit_request(&daemon->ledger_door, request, history_deadline(), err);
}

fx_code
fx_run_api_open(fx_daemon *daemon, fx_err *err)
{
    const fx_coordinator_config *config = daemon->config;
    fx_api_options options = {
        .cluster = config->cluster,
        .listen = config->listen->api,
        .certificate_file = config->tls->certificate,
        .key_file = config->tls->key,
        .tokens_file = config->api_tokens,
        .policy = daemon->policy,
        .source =
            {
                .ctx = daemon,
                .read_state = read_state,
                .read_plans = read_plans,
                .read_decisions = read_decisions,
                .submit_request = submit_request,
            },
        .catalog = daemon->catalog,
        .log = &daemon->log,
    };
    return fx_api_open(&options, &daemon->api, err);
}
