/* A name in memory, for tests: provider "fake". */
#include <pthread.h>

#include "coordinator/dns/dns.h"

typedef struct fake_dns {
    pthread_mutex_t lock;
    fx_dns_records records;
} fake_dns;

static fx_code
fake_open(void *state, const fx_coordinator_dns *config, fx_err *err)
{
    (void)config;
    (void)err;
    fake_dns *fake = state;
    int result = pthread_mutex_init(&fake->lock, NULL);
    FX_ASSERT(result == 0);
    return FX_OK;
}

static void
fake_close(void *state)
{
    fake_dns *fake = state;
    (void)pthread_mutex_destroy(&fake->lock);
}

static fx_code
fake_get(void *state, fx_mono deadline, fx_dns_records *out_records, fx_err *err)
{
    (void)deadline;
    (void)err;
    fake_dns *fake = state;
    (void)pthread_mutex_lock(&fake->lock);
    *out_records = fake->records;
    (void)pthread_mutex_unlock(&fake->lock);
    return FX_OK;
}

static fx_code
fake_replace(
    void *state,
    const fx_dns_records *seen,
    const fx_dns_records *wanted,
    fx_mono deadline,
    fx_err *err)
{
    (void)deadline;
    fake_dns *fake = state;
    fx_code code = FX_OK;
    (void)pthread_mutex_lock(&fake->lock);
    bool is_check = fx_dns_records_equal(seen, wanted);
    if (fake->records.epoch != seen->epoch ||
        (is_check && !fx_dns_records_equal(&fake->records, seen))) {
        code = fx_fail(err, FX_ERR_CONFLICT, "could not set the name: it was changed meanwhile");
    } else {
        fake->records = *wanted;
    }
    (void)pthread_mutex_unlock(&fake->lock);
    return code;
}

const fx_dns_driver fx_dns_driver_fake = {
    .name = "fake",
    .abilities = FX_DNS_ANSWERS_AT_ONCE | FX_DNS_FOR_TESTS,
    .state_bytes = sizeof(fake_dns),
    .open = fake_open,
    .close = fake_close,
    .get = fake_get,
    .replace = fake_replace,
};
