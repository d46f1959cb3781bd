/* DNS, validation as a client would, and this coordinator's own sight of the members. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/pg/pg.h"
#include "coordinator/run/daemon.h"

enum { LOOK_MS = 1000, CONNINFO_MAX_BYTES = 1024 };

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

fx_code
fx_run_redirect(void *ctx, const fx_service *service, fx_mono deadline, fx_err *err)
{
    const fx_daemon *daemon = ctx;
    const fx_coordinator_service *config = find_service(daemon, &service->name);
    (void)deadline;
    if (config == NULL) {
        return fx_fail(
            err, FX_ERR_NOT_FOUND, "service %s is not in the configuration", service->name.text);
    }
    if (config->dns == NULL) {
        return FX_OK;
    }
    return fx_fail(err, FX_ERR_UNSUPPORTED, "could not redirect %s", service->name.text);
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

fx_code
fx_run_validate(void *ctx, const fx_service *service, fx_mono deadline, fx_err *err)
{
    const fx_daemon *daemon = ctx;
    const fx_coordinator_service *config = find_service(daemon, &service->name);
    const fx_member *member = NULL;
    for (size_t i = 0; i < service->member_count; i++) {
        if (fx_same(&service->members[i].host, &service->primary)) {
            member = &service->members[i];
        }
    }
    if (config == NULL || member == NULL) {
        return fx_fail(
            err, FX_ERR_NOT_FOUND, "service %s is not in the configuration", service->name.text);
    }
    if (config->probe_conninfo == NULL) {
        return FX_OK; /* the agent's own report said that it takes writes */
    }
    char conninfo[CONNINFO_MAX_BYTES];
    if (make_conninfo(config->probe_conninfo, member->address, NULL, member->port, conninfo, err) !=
            FX_OK ||
        write_probe(conninfo, deadline, err) != FX_OK) {
        return fx_err_wrap(err, "writing to %s as a client would", service->name.text);
    }
    return FX_OK;
}
