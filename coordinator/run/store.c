/* etcd as the ledger's store, with the region's member as a process that outlives this one. */
#include <stdlib.h>

#include "common/base/clock.h"
#include "coordinator/ledger/etcd.h"
#include "coordinator/ledger/member.h"
#include "coordinator/run/daemon.h"

struct fx_run_store {
    fx_daemon *daemon;
    fx_etcd *etcd;
    fx_etcd_member *member; /* NULL: the cluster is somebody else's */
    bool failed_before;
    fx_err err;
};

static fx_etcd_member *
new_member(const fx_daemon *daemon)
{
    const fx_coordinator_config *config = daemon->config;
    const fx_coordinator_member *member = config->etcd->member;
    const fx_config_tls *tls = config->etcd->tls;
    if (member == NULL) {
        return NULL;
    }
    fx_member_options options = {
        .binary = "etcd",
        .name = member->name,
        .data_dir = member->data_dir,
        .client_url = member->client_url,
        .peer_url = member->peer_url,
        .initial_cluster = member->initial_cluster,
        .cluster = config->cluster,
        .state_dir = config->state_dir,
        .quota_bytes = fx_run_quota_bytes(config->etcd),
        .ca_file = tls == NULL ? NULL : tls->ca,
        .certificate_file = tls == NULL ? NULL : tls->certificate,
        .key_file = tls == NULL ? NULL : tls->key,
        .log = &daemon->log,
    };
    return fx_etcd_member_new(&options);
}

fx_code
fx_run_store_open(fx_daemon *daemon, fx_err *err)
{
    const fx_coordinator_etcd *config = daemon->config->etcd;
    const char *endpoints[FX_COORDINATOR_ENDPOINT_MAX];
    for (unsigned i = 0; i < config->endpoints_count; i++) {
        endpoints[i] = config->endpoints[i];
    }
    fx_http_tls tls = {0};
    if (config->tls != NULL) {
        tls = (fx_http_tls){
            .ca_file = config->tls->ca,
            .certificate_file = config->tls->certificate,
            .key_file = config->tls->key,
        };
    }
    fx_etcd *etcd = NULL;
    if (fx_etcd_open(
            endpoints, config->endpoints_count, config->tls == NULL ? NULL : &tls, &etcd, err) !=
        FX_OK) {
        return err->code;
    }
    fx_run_store *store = calloc(1, sizeof *store);
    FX_ASSERT(store != NULL);
    store->daemon = daemon;
    store->etcd = etcd;
    store->member = new_member(daemon);
    daemon->store = store;
    daemon->ledger_door.store = fx_etcd_store(etcd);
    daemon->ledger_door.cluster = fx_name_of(daemon->config->cluster);
    return FX_OK;
}

fx_etcd *
fx_run_etcd(const fx_run_store *store)
{
    return store->etcd;
}

void
fx_run_store_close(fx_run_store *store)
{
    if (store != NULL) {
        fx_etcd_member_free(store->member);
        fx_etcd_free(store->etcd);
        free(store);
    }
}

static void
tend(void *ctx)
{
    fx_run_store *store = ctx;
    store->err = (fx_err){0};
    fx_ignore(
        fx_etcd_member_tend(store->member, fx_clock_mono(), &store->err),
        "told by store->err on the loop");
}

static void
tended(void *ctx)
{
    fx_run_store *store = ctx;
    store->daemon->tending = false;
    bool failed = store->err.code != FX_OK;
    if (failed && !store->failed_before) {
        FX_LOG(&store->daemon->log, ERROR, "member.untended", FX_ERR_FIELD(&store->err));
    }
    store->failed_before = failed;
}

void
fx_run_tend(void *ctx)
{
    fx_daemon *daemon = ctx;
    if (daemon->store->member == NULL || daemon->tending || daemon->stopping) {
        return;
    }
    daemon->tending = true;
    fx_loop_work(daemon->loop, tend, tended, daemon->store);
}
