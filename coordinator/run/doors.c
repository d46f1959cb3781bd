/* DNS, validation as a client would, and this coordinator's own sight of the members. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/pg/pg.h"
#include "coordinator/run/daemon.h"

enum { LOOK_MS = 1000, CONNINFO_MAX_BYTES = 1024, ADDRESS_BYTES = 64 };
_Static_assert(sizeof(((fx_member *)0)->address) == ADDRESS_BYTES, "a member's address fits");
_Static_assert((int)FX_DNS_ADDRESS_MAX_BYTES <= (int)ADDRESS_BYTES, "a resolved address fits");

static const fx_coordinator_service *
find_service(const fx_daemon *daemon, const fx_name *name)
{
    for (unsigned i = 0; i < daemon->config->services_count; i++) {
        if (strcmp(daemon->config->services[i].name, name->text) == 0) {
            return &daemon->config->services[i];
        }
    }
    return NULL;
}

/* ---- looking at members
 * ---------------------------------------------------------------------------------- */

/* A server that answers, whatever it says, is there. */
static bool
answers(fx_code code)
{
    return code == FX_OK || code == FX_ERR_DENIED || code == FX_ERR_BUSY;
}

static void
look(void *ctx)
{
    fx_run_look *of = ctx;
    fx_err err = {0};
    FX_AUTO(fx_pg) conn = NULL;
    fx_mono deadline = fx_mono_after(fx_clock_mono(), FX_DUR_MS(LOOK_MS));
    of->reachable = answers(fx_pg_open(of->conninfo, deadline, &conn, &err));
}

static void
looked(void *ctx)
{
    fx_run_look *of = ctx;
    fx_daemon *daemon = of->daemon;
    of->looking = false;
    fx_monitor_lock(&daemon->monitor);
    fx_fleet_see(daemon->fleet, &of->service, &of->host, of->reachable, fx_clock_mono());
    fx_monitor_unlock(&daemon->monitor);
}

void
fx_run_look_at_members(void *ctx)
{
    fx_daemon *daemon = ctx;
    for (size_t i = 0; i < daemon->look_count && !daemon->stopping; i++) {
        fx_run_look *of = &daemon->looks[i];
        if (!of->looking) {
            of->looking = true;
            fx_loop_work(daemon->loop, look, looked, of);
        }
    }
}

static fx_code
make_conninfo(
    const char *base,
    const char *host,
    const char *address,
    uint16_t port,
    char *out_text,
    fx_err *err)
{
    char port_text[8];
    (void)snprintf(port_text, sizeof port_text, "%u", (unsigned)port);
    const fx_pg_option options[] = {{"host", host}, {"hostaddr", address}, {"port", port_text}};
    FX_BUF_AUTO text;
    fx_buf_init(&text, CONNINFO_MAX_BYTES - 1);
    if (fx_pg_conninfo_with(base, options, 3, &text, err) != FX_OK) {
        return err->code;
    }
    memcpy(out_text, fx_buf_text(&text), text.size_bytes + 1);
    return FX_OK;
}

fx_code
fx_run_looks_open(fx_daemon *daemon, fx_err *err)
{
    size_t most = (size_t)FX_SERVICE_MAX * FX_MEMBER_MAX;
    daemon->looks = calloc(most, sizeof *daemon->looks);
    FX_ASSERT(daemon->looks != NULL);
    for (size_t i = 0; i < daemon->wanted_count; i++) {
        const fx_service *service = &daemon->wanted[i];
        const fx_coordinator_service *config = find_service(daemon, &service->name);
        FX_ASSERT(config != NULL);
        for (size_t k = 0; config->probe_conninfo != NULL && k < service->member_count; k++) {
            const fx_member *member = &service->members[k];
            fx_run_look *of = &daemon->looks[daemon->look_count++];
            of->daemon = daemon;
            of->service = service->name;
            of->host = member->host;
            if (make_conninfo(
                    config->probe_conninfo,
                    member->address,
                    NULL,
                    member->port,
                    of->conninfo,
                    err) != FX_OK) {
                return fx_err_wrap(err, "probe_conninfo of service %s", service->name.text);
            }
        }
    }
    return FX_OK;
}

/* ---- DNS and validation
 * ------------------------------------------------------------------------------------ */

static fx_dns *
dns_of(const fx_daemon *daemon, const fx_service *service)
{
    for (size_t i = 0; i < daemon->wanted_count; i++) {
        if (fx_same(&daemon->wanted[i].name, &service->name)) {
            return daemon->dns[i];
        }
    }
    return NULL;
}

static const fx_member *
primary_of(const fx_service *service)
{
    for (size_t i = 0; i < service->member_count; i++) {
        if (fx_same(&service->members[i].host, &service->primary)) {
            return &service->members[i];
        }
    }
    return NULL;
}

fx_code
fx_run_dns_open(fx_daemon *daemon, fx_err *err)
{
    for (size_t i = 0; i < daemon->wanted_count; i++) {
        const fx_coordinator_service *config = find_service(daemon, &daemon->wanted[i].name);
        FX_ASSERT(config != NULL);
        if (config->dns == NULL) {
            continue;
        }
        if (fx_dns_open(config->dns, &daemon->dns[i], err) != FX_OK) {
            return fx_err_wrap(err, "dns of service %s", config->name);
        }
        if (fx_dns_can(daemon->dns[i], FX_DNS_FOR_TESTS)) {
            return fx_fail(
                err,
                FX_ERR_INVALID,
                "could not use dns provider \"%.50s\" for service %s: it is for tests",
                config->dns->provider,
                config->name);
        }
    }
    return FX_OK;
}

fx_code
fx_run_redirect(void *ctx, const fx_service *service, fx_mono deadline, fx_err *err)
{
    const fx_daemon *daemon = ctx;
    const fx_member *primary = primary_of(service);
    if (find_service(daemon, &service->name) == NULL || primary == NULL) {
        return fx_fail(
            err,
            FX_ERR_NOT_FOUND,
            "could not redirect %s: this coordinator's configuration does not have it",
            service->name.text);
    }
    fx_dns *dns = dns_of(daemon, service);
    const char *const addresses[] = {primary->address};
    return dns == NULL ? FX_OK : fx_dns_set(dns, addresses, 1, service->epoch.value, deadline, err);
}

fx_code
fx_run_observe(
    void *ctx,
    const fx_service *service,
    fx_mono deadline,
    fx_observation *out_observation,
    fx_err *err)
{
    const fx_daemon *daemon = ctx;
    const fx_member *primary = primary_of(service);
    if (find_service(daemon, &service->name) == NULL || primary == NULL) {
        return fx_fail(
            err,
            FX_ERR_NOT_FOUND,
            "could not observe the name of %s: this coordinator's configuration does not have it",
            service->name.text);
    }
    fx_dns *dns = dns_of(daemon, service);
    if (dns == NULL) {
        *out_observation = (fx_observation){.is_so = true, .fact = "it has no name in DNS"};
        return FX_OK;
    }
    const char *const addresses[] = {primary->address};
    fx_dns_target target = {addresses, 1, service->epoch.value};
    fx_dns_records records = {0};
    bool is_so = false;
    if (fx_dns_observe(dns, &target, deadline, &is_so, &records, err) != FX_OK) {
        return err->code;
    }
    out_observation->is_so = is_so;
    (void)snprintf(
        out_observation->fact,
        sizeof out_observation->fact,
        "the name server says epoch %llu, %u addresses, the first %s",
        (unsigned long long)records.epoch,
        records.addresses_count,
        records.addresses_count > 0 ? records.addresses[0] : "none");
    return FX_OK;
}

/* A transaction id is given, and its commit written, only by a primary. */
static fx_code
write_probe(const char *conninfo, fx_mono deadline, fx_err *err)
{
    FX_AUTO(fx_pg) conn = NULL;
    if (fx_pg_open(conninfo, deadline, &conn, err) != FX_OK) {
        return err->code;
    }
    return fx_pg_exec(conn, "SELECT pg_catalog.pg_current_xact_id()", deadline, err);
}

/* The address that the name gives now; the primary's own where there is no name. */
static fx_code
resolve(
    const fx_daemon *daemon,
    const fx_service *service,
    const fx_member *primary,
    fx_mono deadline,
    char out_address[ADDRESS_BYTES],
    fx_err *err)
{
    fx_dns *dns = dns_of(daemon, service);
    fx_dns_records records = {0};
    if (dns == NULL) {
        memcpy(out_address, primary->address, sizeof primary->address);
        return FX_OK;
    }
    if (fx_dns_get(dns, deadline, &records, err) != FX_OK) {
        return err->code;
    }
    if (records.addresses_count == 0 || records.epoch != service->epoch.value) {
        return fx_fail(
            err,
            FX_ERR_CONFLICT,
            "the name of %s gives %u addresses of epoch %llu",
            service->name.text,
            records.addresses_count,
            (unsigned long long)records.epoch);
    }
    memcpy(out_address, records.addresses[0], FX_DNS_ADDRESS_MAX_BYTES);
    return FX_OK;
}

fx_code
fx_run_validate(void *ctx, const fx_service *service, fx_mono deadline, fx_err *err)
{
    const fx_daemon *daemon = ctx;
    const fx_coordinator_service *config = find_service(daemon, &service->name);
    const fx_member *primary = primary_of(service);
    if (config == NULL || primary == NULL) {
        return fx_fail(
            err,
            FX_ERR_NOT_FOUND,
            "could not validate %s: this coordinator's configuration does not have it",
            service->name.text);
    }
    if (config->probe_conninfo == NULL) {
        return FX_OK; /* the agent's own report said that it takes writes */
    }
    char conninfo[CONNINFO_MAX_BYTES];
    char address[ADDRESS_BYTES];
    if (resolve(daemon, service, primary, deadline, address, err) != FX_OK ||
        make_conninfo(
            config->probe_conninfo,
            config->dns != NULL ? config->dns->name : address,
            address,
            primary->port,
            conninfo,
            err) != FX_OK ||
        write_probe(conninfo, deadline, err) != FX_OK) {
        return fx_err_wrap(err, "writing to %s as a client would", service->name.text);
    }
    return FX_OK;
}

/* ---- endorsements: a worker waits for what the loop asks
 * ---------------------------------------------------- */

/* Owned by two: the worker that waits, and the loop. The last one frees it. */
typedef struct ask {
    fx_monitor monitor;
    const fx_daemon *daemon;
    size_t peer;
    unsigned char order[FX_ORDER_MAX_BYTES];
    size_t order_bytes;
    bool abandoned; /* the worker is gone */
    bool answered;
    unsigned char signature[FX_SIGN_BYTES];
    fx_err err;
} ask;

static void
ask_free(ask *of)
{
    fx_monitor_deinit(&of->monitor);
    free(of);
}

static void
asked(void *ctx, const fx_endorsement *endorsement, const fx_err *err)
{
    ask *of = ctx;
    fx_monitor_lock(&of->monitor);
    if (endorsement != NULL) {
        memcpy(of->signature, endorsement->signature, FX_SIGN_BYTES);
    } else {
        of->err = *err;
    }
    of->answered = true;
    bool alone = of->abandoned;
    fx_monitor_wake(&of->monitor);
    fx_monitor_unlock(&of->monitor);
    if (alone) {
        ask_free(of);
    }
}

static void
begin_to_ask(void *ctx)
{
    ask *of = ctx;
    fx_err err = {0};
    fx_bytes order = {.data = of->order, .size_bytes = of->order_bytes};
    if (of->daemon->stopping) {
        fx_ignore(fx_fail(&err, FX_ERR_CANCELLED, "this coordinator stops"), "told below");
        asked(of, NULL, &err);
        return;
    }
    if (fx_peer_endorse(of->daemon->peers[of->peer], order, asked, of, &err) != FX_OK) {
        asked(of, NULL, &err);
    }
}

fx_code
fx_run_endorse(
    void *ctx,
    size_t index,
    fx_bytes order,
    fx_mono deadline,
    unsigned char out_signature[FX_SIGN_BYTES],
    fx_err *err)
{
    const fx_daemon *daemon = ctx;
    FX_ASSERT(order.size_bytes <= FX_ORDER_MAX_BYTES);
    ask *of = calloc(1, sizeof *of);
    FX_ASSERT(of != NULL);
    fx_monitor_init(&of->monitor);
    of->daemon = daemon;
    of->peer = index;
    memcpy(of->order, order.data, order.size_bytes);
    of->order_bytes = order.size_bytes;
    fx_loop_post(daemon->loop, begin_to_ask, of);
    fx_monitor_lock(&of->monitor);
    bool in_time = true;
    while (!of->answered && in_time) {
        in_time = fx_monitor_wait_until(&of->monitor, deadline);
    }
    bool answered = of->answered;
    of->abandoned = !answered;
    fx_monitor_unlock(&of->monitor);
    if (!answered) {
        return fx_fail(
            err,
            FX_ERR_TIMEOUT,
            "%s did not say in time whether it signs",
            daemon->executor.peers[index].name.text);
    }
    fx_code code = of->err.code;
    if (code == FX_OK) {
        memcpy(out_signature, of->signature, FX_SIGN_BYTES);
    } else {
        *err = of->err;
    }
    ask_free(of);
    return code;
}
