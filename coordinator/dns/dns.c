#include "coordinator/dns/dns.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

static const fx_dns_driver *const drivers[] = {
#define FX_DNS_DRIVER(name) &fx_dns_driver_##name,
#include "coordinator/dns/drivers.def"
#undef FX_DNS_DRIVER
};

/* Each lost race means that another writer won one: more are not to be expected. */
enum { DNS_MAGIC = 0x6a0d9c41, ATTEMPTS_MAX = 16 };

struct fx_dns {
    uint32_t magic;
    const fx_dns_driver *driver;
    char name[FX_DNS_NAME_MAX_BYTES];
    uint32_t ttl_s;
    _Alignas(max_align_t) unsigned char state[];
};

static const fx_dns_driver *
find_driver(const char *name)
{
    for (size_t i = 0; i < sizeof drivers / sizeof drivers[0]; i++) {
        if (strcmp(drivers[i]->name, name) == 0) {
            return drivers[i];
        }
    }
    return NULL;
}

/* Without regard to case and to a final dot. */
static bool
is_within(const char *name, const char *zone)
{
    size_t name_bytes = strlen(name) - (name[0] != '\0' && name[strlen(name) - 1] == '.');
    size_t zone_bytes = strlen(zone) - (zone[0] != '\0' && zone[strlen(zone) - 1] == '.');
    if (name_bytes == 0 || zone_bytes == 0 || name_bytes < zone_bytes) {
        return false;
    }
    const char *end = name + (name_bytes - zone_bytes);
    return strncasecmp(end, zone, zone_bytes) == 0 && (end == name || end[-1] == '.');
}

static fx_code
check_config(const fx_coordinator_dns *config, fx_err *err)
{
    if (config->provider == NULL || config->name == NULL || config->zone == NULL) {
        return fx_fail(
            err, FX_ERR_INVALID, "could not use dns: provider, zone and name are needed");
    }
    if (find_driver(config->provider) == NULL) {
        return fx_fail(
            err,
            FX_ERR_UNSUPPORTED,
            "could not use \"%.50s\" as the provider of %.100s: rfc2136 is known",
            config->provider,
            config->name);
    }
    if (strlen(config->name) >= FX_DNS_NAME_MAX_BYTES || !is_within(config->name, config->zone)) {
        return fx_fail(
            err,
            FX_ERR_INVALID,
            "could not use \"%.100s\": it is not within the zone \"%.100s\"",
            config->name,
            config->zone);
    }
    if (config->ttl_s == 0 || config->ttl_s > FX_DNS_TTL_MAX_S) {
        return fx_fail(
            err,
            FX_ERR_INVALID,
            "could not use %" PRIu32 " as ttl_s of %.100s: 1 to %d seconds are",
            config->ttl_s,
            config->name,
            FX_DNS_TTL_MAX_S);
    }
    return FX_OK;
}

fx_code
fx_dns_open(const fx_coordinator_dns *config, fx_dns **out_dns, fx_err *err)
{
    FX_ASSERT(config != NULL);
    FX_ASSERT(out_dns != NULL);

    if (check_config(config, err) != FX_OK) {
        return err->code;
    }
    const fx_dns_driver *driver = find_driver(config->provider);
    FX_ASSERT(driver != NULL);
    FX_AUTO(fx_dns) dns = calloc(1, sizeof *dns + driver->state_bytes);
    FX_ASSERT(dns != NULL);
    dns->magic = DNS_MAGIC;
    dns->driver = driver;
    dns->ttl_s = config->ttl_s;
    (void)snprintf(dns->name, sizeof dns->name, "%s", config->name);
    if (driver->open(dns->state, config, err) != FX_OK) {
        return fx_err_wrap(err, "preparing changes of the name %.200s", config->name);
    }
    *out_dns = FX_TAKE(dns);
    return FX_OK;
}

void
fx_dns_free(fx_dns *dns)
{
    if (dns == NULL) {
        return;
    }
    FX_ASSERT(dns->magic == DNS_MAGIC);
    dns->driver->close(dns->state);
    dns->magic = 0;
    free(dns);
}

bool
fx_dns_can(const fx_dns *dns, fx_dns_ability ability)
{
    FX_ASSERT(dns->magic == DNS_MAGIC);
    return (dns->driver->abilities & ability) != 0;
}

static int
compare_addresses(const void *left, const void *right)
{
    return strcmp(left, right);
}

void
fx_dns_records_sort(fx_dns_records *records)
{
    FX_ASSERT(records->addresses_count <= FX_DNS_ADDRESS_MAX);
    qsort(
        records->addresses,
        records->addresses_count,
        sizeof records->addresses[0],
        compare_addresses);
}

bool
fx_dns_records_equal(const fx_dns_records *left, const fx_dns_records *right)
{
    bool equal = left->epoch == right->epoch && left->ttl_s == right->ttl_s &&
                 left->addresses_count == right->addresses_count;
    for (unsigned i = 0; equal && i < left->addresses_count; i++) {
        equal = strcmp(left->addresses[i], right->addresses[i]) == 0;
    }
    return equal;
}

/* Writes the address as inet_ntop does, so that equal ones are equal texts. */
static fx_code
keep_address(const char *address, fx_dns_records *records, fx_err *err)
{
    unsigned char binary[sizeof(struct in6_addr)];
    char *to = records->addresses[records->addresses_count];
    int family = strchr(address, ':') != NULL ? AF_INET6 : AF_INET;
    if (inet_pton(family, address, binary) != 1 ||
        inet_ntop(family, binary, to, FX_DNS_ADDRESS_MAX_BYTES) == NULL) {
        return fx_fail(
            err, FX_ERR_INVALID, "could not put \"%.100s\" into DNS: it is no address", address);
    }
    for (unsigned i = 0; i < records->addresses_count; i++) {
        if (strcmp(records->addresses[i], to) == 0) {
            return fx_fail(
                err, FX_ERR_INVALID, "could not put %s into DNS: it is given twice", address);
        }
    }
    records->addresses_count++;
    return FX_OK;
}

static fx_code
set_attempt(fx_dns *dns, const fx_dns_records *wanted, fx_mono deadline, fx_err *err)
{
    fx_dns_records seen = {0};
    if (dns->driver->get(dns->state, deadline, &seen, err) != FX_OK) {
        return err->code;
    }
    if (seen.epoch > wanted->epoch) {
        return fx_fail(
            err,
            FX_ERR_STALE,
            "could not set %.100s for epoch %" PRIu64 ": it says epoch %" PRIu64 " already",
            dns->name,
            wanted->epoch,
            seen.epoch);
    }
    return dns->driver->replace(dns->state, &seen, wanted, deadline, err);
}

static fx_code
make_wanted(const fx_dns *dns, const fx_dns_target *target, fx_dns_records *out_wanted, fx_err *err)
{
    FX_ASSERT(target->epoch > 0);
    if (target->addresses_count == 0 || target->addresses_count > FX_DNS_ADDRESS_MAX) {
        return fx_fail(
            err,
            FX_ERR_INVALID,
            "could not set %.100s to %u addresses: 1 to %d are possible",
            dns->name,
            target->addresses_count,
            FX_DNS_ADDRESS_MAX);
    }
    *out_wanted = (fx_dns_records){.ttl_s = dns->ttl_s, .epoch = target->epoch};
    for (unsigned i = 0; i < target->addresses_count; i++) {
        if (keep_address(target->addresses[i], out_wanted, err) != FX_OK) {
            return err->code;
        }
    }
    fx_dns_records_sort(out_wanted);
    return FX_OK;
}

fx_code
fx_dns_set(
    fx_dns *dns,
    const char *const *addresses,
    unsigned addresses_count,
    uint64_t epoch,
    fx_mono deadline,
    fx_err *err)
{
    FX_ASSERT(dns->magic == DNS_MAGIC);
    fx_dns_target target = {addresses, addresses_count, epoch};
    fx_dns_records wanted = {0};
    if (make_wanted(dns, &target, &wanted, err) != FX_OK) {
        return err->code;
    }
    fx_code code = FX_ERR_CONFLICT;
    for (int i = 0; i < ATTEMPTS_MAX && code == FX_ERR_CONFLICT; i++) {
        code = set_attempt(dns, &wanted, deadline, err);
    }
    if (code == FX_ERR_CONFLICT) {
        err->outcome = FX_CLASS_TRANSIENT;
    }
    return code == FX_OK ? FX_OK : fx_err_wrap(err, "setting the name %.200s", dns->name);
}

/* The driver's replace of what is there by the same is a question: is it still so? */
static fx_code
observe(
    fx_dns *dns,
    const fx_dns_records *wanted,
    fx_mono deadline,
    bool *out_is_so,
    fx_dns_records *out_records,
    fx_err *err)
{
    fx_dns_records seen = {0};
    if (dns->driver->get(dns->state, deadline, &seen, err) != FX_OK) {
        return err->code;
    }
    bool is_so = fx_dns_records_equal(&seen, wanted);
    if (is_so && dns->driver->replace(dns->state, &seen, wanted, deadline, err) != FX_OK) {
        return err->code;
    }
    *out_is_so = is_so;
    *out_records = seen;
    return FX_OK;
}

fx_code
fx_dns_observe(
    fx_dns *dns,
    const fx_dns_target *target,
    fx_mono deadline,
    bool *out_is_so,
    fx_dns_records *out_records,
    fx_err *err)
{
    FX_ASSERT(dns->magic == DNS_MAGIC);
    fx_dns_records wanted = {0};
    if (make_wanted(dns, target, &wanted, err) != FX_OK) {
        return err->code;
    }
    fx_code code = FX_ERR_CONFLICT;
    for (int i = 0; i < ATTEMPTS_MAX && code == FX_ERR_CONFLICT; i++) {
        code = observe(dns, &wanted, deadline, out_is_so, out_records, err);
    }
    return code == FX_OK ? FX_OK : fx_err_wrap(err, "observing the name %.200s", dns->name);
}

fx_code
fx_dns_get(fx_dns *dns, fx_mono deadline, fx_dns_records *out_records, fx_err *err)
{
    FX_ASSERT(dns->magic == DNS_MAGIC);
    FX_ASSERT(out_records != NULL);
    if (dns->driver->get(dns->state, deadline, out_records, err) != FX_OK) {
        return fx_err_wrap(err, "reading the name %.200s", dns->name);
    }
    return FX_OK;
}
