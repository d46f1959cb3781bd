#include "agent/run/receivers.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/monitor.h"

enum { CONNINFO_MAX_BYTES = 8192, ADDRESS_BYTES = 64, RETRY_MS = 10000 };

typedef struct place {
    char address[ADDRESS_BYTES]; /* "": this host */
    uint32_t port;
} place;

/*
 * One thread for the receiver's whole life: whoever names another primary only tells it, so that
 * nobody waits for the end of a connection.
 */
typedef struct receiver {
    fx_receivers *owner;
    const fx_config_managed *service;
    fx_repository *repository; /* of this receiver alone */
    pthread_t thread;
    bool has_thread;

    fx_monitor monitor;   /* guards what follows */
    fx_wal_receiver *wal; /* NULL until the primary is known; changed by its thread only */
    place primary;
    bool is_told;
    bool is_changed; /* since `wal` was made */
    bool stopping;
} receiver;

struct fx_receivers {
    const fx_log *log;
    fx_gaps *gaps;
    fx_repository_key *key;
    receiver all[FX_CONFIG_SERVICE_MAX];
    size_t count;
};

/* ---- its thread ----------------------------------------------------------------------------- */

static void
on_gap(void *ctx, const fx_wal_gap *found)
{
    const receiver *one = ctx;
    fx_err err;
    fx_gap gap = {
        .service = fx_name_of(one->service->name),
        .from = found->from,
        .to = found->to.value > found->from.value ? found->to : found->from,
        .since = found->found_at,
        .timeline = found->timeline,
        .segment_bytes = found->segment_bytes,
    };
    (void)snprintf(gap.system, sizeof gap.system, "%s", found->system);
    (void)snprintf(gap.reason, sizeof gap.reason, "%s", found->reason);
    if (fx_gaps_add(one->owner->gaps, &gap, &err) != FX_OK) {
        FX_LOG(one->owner->log, ERROR, "wal.gap_not_recorded", FX_ERR_FIELD(&err));
    }
}

static fx_code
make_wal(receiver *one, const place *primary, fx_buf *conninfo, fx_err *err)
{
    char port[16];
    (void)snprintf(port, sizeof port, "%" PRIu32, primary->port);
    const fx_pg_option options[] = {{"host", primary->address}, {"port", port}};
    bool is_elsewhere = primary->address[0] != '\0';
    fx_buf_clear(conninfo);
    if (is_elsewhere &&
        fx_pg_conninfo_with(one->service->postgres->conninfo, options, 2, conninfo, err) != FX_OK) {
        return err->code;
    }
    const fx_wal_config config = {
        .conninfo = one->service->postgres->conninfo,
        .primary_conninfo = is_elsewhere ? fx_buf_text(conninfo) : NULL,
        .slot = one->service->wal.slot,
        .switch_after = FX_DUR_MS((int64_t)one->service->wal.switch_after_s * 1000),
        .repository = one->repository,
        .log = one->owner->log,
        .gap = on_gap,
        .ctx = one,
    };
    return fx_wal_receiver_new(&config, &one->wal, err);
}

/* With the lock held. */
static void
wait_to_begin(receiver *one, bool has_failed)
{
    fx_mono retry_at = fx_mono_after(fx_clock_mono(), FX_DUR_MS(RETRY_MS));
    while (!one->stopping && !one->is_changed) {
        if (!has_failed) {
            fx_monitor_wait(&one->monitor);
        } else if (!fx_monitor_wait_until(&one->monitor, retry_at)) {
            return;
        }
    }
}

static void *
run(void *ctx)
{
    receiver *one = ctx;
    FX_BUF_AUTO conninfo;
    fx_buf_init(&conninfo, CONNINFO_MAX_BYTES);
    bool has_failed = false;
    fx_monitor_lock(&one->monitor);
    for (;;) {
        wait_to_begin(one, has_failed);
        if (one->stopping) {
            break;
        }
        fx_err err;
        place primary = one->primary;
        one->is_changed = false;
        has_failed = make_wal(one, &primary, &conninfo, &err) != FX_OK;
        if (has_failed) {
            FX_LOG(one->owner->log, ERROR, "wal.not_received", FX_ERR_FIELD(&err));
            continue;
        }
        fx_monitor_unlock(&one->monitor);
        fx_wal_receiver_run(one->wal); /* until it is told of a change, or to stop */
        fx_monitor_lock(&one->monitor);
        fx_wal_receiver_free(FX_TAKE(one->wal));
    }
    fx_monitor_unlock(&one->monitor);
    return NULL;
}

/* ---- from other threads --------------------------------------------------------------------- */

/* With the lock held. */
static void
interrupt(receiver *one)
{
    if (one->wal != NULL) {
        fx_wal_receiver_stop(one->wal);
    }
    fx_monitor_wake(&one->monitor);
}

static fx_code
open_one(fx_receivers *receivers, const fx_agent_config *config, unsigned index, fx_err *err)
{
    receiver *one = &receivers->all[receivers->count];
    *one = (receiver){.owner = receivers, .service = &config->services[index]};
    if (fx_repository_open(config->repository->url, receivers->key, &one->repository, err) !=
        FX_OK) {
        return fx_err_wrap(err, "opening the repository for WAL");
    }
    fx_repository_set_compression(one->repository, fx_config_compression(config->repository));
    fx_monitor_init(&one->monitor);
    receivers->count++;
    int result = pthread_create(&one->thread, NULL, run, one);
    one->has_thread = result == 0;
    return result == 0 ? FX_OK : fx_fail_errno(err, result, "could not start a thread");
}

fx_code
fx_receivers_open(
    const fx_agent_config *config,
    fx_gaps *gaps,
    const fx_log *log,
    fx_receivers **out_receivers,
    fx_err *err)
{
    FX_AUTO(fx_receivers) receivers = calloc(1, sizeof *receivers);
    FX_ASSERT(receivers != NULL);
    receivers->log = log;
    receivers->gaps = gaps;
    for (unsigned i = 0; i < config->services_count; i++) {
        if (!config->services[i].wal.receive) {
            continue;
        }
        if (receivers->key == NULL &&
            (fx_repository_key_load(config->repository->key_file, &receivers->key, err) != FX_OK ||
             fx_repository_key_select(receivers->key, config->repository->scope, err) != FX_OK)) {
            return err->code;
        }
        if (open_one(receivers, config, i, err) != FX_OK) {
            return err->code;
        }
    }
    *out_receivers = FX_TAKE(receivers);
    return FX_OK;
}

void
fx_receivers_free(fx_receivers *receivers)
{
    if (receivers == NULL) {
        return;
    }
    for (size_t i = 0; i < receivers->count; i++) {
        receiver *one = &receivers->all[i];
        fx_monitor_lock(&one->monitor);
        one->stopping = true;
        interrupt(one);
        fx_monitor_unlock(&one->monitor);
    }
    for (size_t i = 0; i < receivers->count; i++) {
        receiver *one = &receivers->all[i];
        if (one->has_thread) {
            (void)pthread_join(one->thread, NULL);
        }
        fx_monitor_deinit(&one->monitor);
        fx_repository_free(one->repository);
    }
    fx_repository_key_free(receivers->key);
    free(receivers);
}

static receiver *
find(fx_receivers *receivers, const char *service)
{
    for (size_t i = 0; i < receivers->count; i++) {
        if (strcmp(receivers->all[i].service->name, service) == 0) {
            return &receivers->all[i];
        }
    }
    return NULL;
}

void
fx_receivers_set_primary(
    fx_receivers *receivers, const char *service, const char *address, uint32_t port)
{
    receiver *one = find(receivers, service);
    if (one == NULL) {
        return;
    }
    fx_monitor_lock(&one->monitor);
    if (!one->is_told || strcmp(one->primary.address, address) != 0 || one->primary.port != port) {
        (void)snprintf(one->primary.address, sizeof one->primary.address, "%s", address);
        one->primary.port = port;
        one->is_told = true;
        one->is_changed = true;
        interrupt(one);
    }
    fx_monitor_unlock(&one->monitor);
}

bool
fx_receivers_status(fx_receivers *receivers, const char *service, fx_wal_status *out_status)
{
    receiver *one = find(receivers, service);
    if (one == NULL) {
        return false;
    }
    fx_monitor_lock(&one->monitor);
    bool has = one->wal != NULL;
    if (has) {
        fx_wal_receiver_status(one->wal, out_status);
    }
    fx_monitor_unlock(&one->monitor);
    return has;
}
