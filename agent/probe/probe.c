#include "agent/probe/probe.h"

#include <stdio.h>
#include <string.h>

#include "agent/probe/kinds.h"
#include "common/base/clock.h"

typedef fx_code (*probe_function)(
    const fx_probe_config *config, fx_mono deadline, fx_probe_result *result, fx_err *err);

static const struct {
    const char *name;
    probe_function run;
} kinds[] = {
    [FX_PROBE_POSTGRES] = {"postgres", fx_probe_postgres_run},
    [FX_PROBE_TCP] = {"tcp", fx_probe_tcp_run},
    [FX_PROBE_HTTP] = {"http", fx_probe_http_run},
    [FX_PROBE_PROCESS] = {"process", fx_probe_process_run},
};

fx_code
fx_probe_kind_parse(const char *text, fx_probe_kind *out_kind, fx_err *err)
{
    for (size_t at = 0; at < sizeof kinds / sizeof kinds[0]; at++) {
        if (strcmp(kinds[at].name, text) == 0) {
            *out_kind = (fx_probe_kind)at;
            return FX_OK;
        }
    }
    return fx_fail(
        err, FX_ERR_INVALID, "\"%.40s\" is no kind of probe: postgres, tcp, http or process", text);
}

void
fx_probe_run(const fx_probe_config *config, fx_probe_result *out_result)
{
    FX_ASSERT(config->target != NULL && config->timeout.ns > 0);
    FX_ASSERT((size_t)config->kind < sizeof kinds / sizeof kinds[0]);
    fx_err err = {0};
    fx_probe_result result = {0};
    const fx_mono began = fx_clock_mono();
    const fx_code code =
        kinds[config->kind].run(config, fx_mono_after(began, config->timeout), &result, &err);
    result.ok = code == FX_OK;
    result.code = code;
    if (code != FX_OK) {
        (void)snprintf(result.detail, sizeof result.detail, "%s", err.message);
    }
    result.took = fx_mono_since(fx_clock_mono(), began);
    result.ended = fx_clock_wall();
    *out_result = result;
}
