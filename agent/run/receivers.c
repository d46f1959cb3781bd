#include "agent/run/receivers.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

enum { CONNINFO_MAX_BYTES = 8192, ADDRESS_BYTES = 64 };

typedef struct receiver {
    const fx_config_managed *service;
    fx_repository *repository; /* of this receiver alone */
    fx_wal_receiver *wal;      /* NULL until the primary is known */
    char address[ADDRESS_BYTES];
    uint32_t port;
    fx_buf primary;
    pthread_t thread;
} receiver;

struct fx_receivers {
    const fx_log *log;
    fx_repository_key *key;
    receiver all[FX_CONFIG_SERVICE_MAX];
    size_t count;
};

static void *
run(void *ctx)
{
    receiver *one = ctx;
    fx_wal_receiver_run(one->wal);
    return NULL;
}

static void
stop(receiver *one)
{
    if (one->wal != NULL) {
        fx_wal_receiver_stop(one->wal);
        (void)pthread_join(one->thread, NULL);
        fx_wal_receiver_free(FX_TAKE(one->wal));
    }
}

static fx_code
start(const fx_receivers *receivers, receiver *one, fx_err *err)
{
    char port[16];
    (void)snprintf(port, sizeof port, "%" PRIu32, one->port);
    const fx_pg_option options[] = {{"host", one->address}, {"port", port}};
    fx_buf_clear(&one->primary);
    if (one->address[0] != '\0' &&
        fx_pg_conninfo_with(one->service->postgres->conninfo, options, 2, &one->primary, err) !=
            FX_OK) {
        return err->code;
    }
    const fx_wal_config config = {
        .conninfo = one->service->postgres->conninfo,
        .primary_conninfo = one->address[0] != '\0' ? fx_buf_text(&one->primary) : NULL,
        .slot = one->service->wal.slot,
        .switch_after = FX_DUR_MS((int64_t)one->service->wal.switch_after_s * 1000),
        .repository = one->repository,
        .log = receivers->log,
    };
    FX_AUTO(fx_wal_receiver) wal = NULL;
    if (fx_wal_receiver_new(&config, &wal, err) != FX_OK) {
        return err->code;
    }
    one->wal = FX_TAKE(wal);
    int result = pthread_create(&one->thread, NULL, run, one);
    if (result != 0) {
        fx_wal_receiver_free(FX_TAKE(one->wal));
        return fx_fail_errno(err, result, "could not start a thread");
    }
    return FX_OK;
}

fx_code
fx_receivers_open(
    const fx_agent_config *config, const fx_log *log, fx_receivers **out_receivers, fx_err *err)
{
    FX_AUTO(fx_receivers) receivers = calloc(1, sizeof *receivers);
    FX_ASSERT(receivers != NULL);
    receivers->log = log;
    for (unsigned i = 0; i < config->services_count; i++) {
        if (!config->services[i].wal.receive) {
            continue;
        }
        if (receivers->key == NULL &&
            fx_repository_key_load(config->repository->key_file, &receivers->key, err) != FX_OK) {
            return err->code;
        }
        receiver *one = &receivers->all[receivers->count++];
        *one = (receiver){.service = &config->services[i]};
        fx_buf_init(&one->primary, CONNINFO_MAX_BYTES);
        if (fx_repository_open(config->repository->url, receivers->key, &one->repository, err) !=
            FX_OK) {
            return fx_err_wrap(err, "opening the repository for WAL");
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
        stop(&receivers->all[i]);
        fx_repository_free(receivers->all[i].repository);
        fx_buf_free(&receivers->all[i].primary);
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
    if (one == NULL ||
        (one->wal != NULL && strcmp(one->address, address) == 0 && one->port == port)) {
        return;
    }
    fx_err err;
    stop(one);
    (void)snprintf(one->address, sizeof one->address, "%s", address);
    one->port = port;
    if (start(receivers, one, &err) != FX_OK) {
        FX_LOG(receivers->log, ERROR, "wal.not_received", FX_ERR_FIELD(&err));
    }
}

bool
fx_receivers_status(fx_receivers *receivers, const char *service, fx_wal_status *out_status)
{
    receiver *one = find(receivers, service);
    if (one == NULL || one->wal == NULL) {
        return false;
    }
    fx_wal_receiver_status(one->wal, out_status);
    return true;
}
