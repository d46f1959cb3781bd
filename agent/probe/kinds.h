/* The kinds of probes, each in a file of its own; fx_probe_run() chooses. */
#pragma once

#include "agent/probe/probe.h"

FX_MUST_USE fx_code fx_probe_postgres_run(
    const fx_probe_config *config, fx_mono deadline, fx_probe_result *result, fx_err *err);
FX_MUST_USE fx_code fx_probe_tcp_run(
    const fx_probe_config *config, fx_mono deadline, fx_probe_result *result, fx_err *err);
FX_MUST_USE fx_code fx_probe_http_run(
    const fx_probe_config *config, fx_mono deadline, fx_probe_result *result, fx_err *err);
FX_MUST_USE fx_code fx_probe_process_run(
    const fx_probe_config *config, fx_mono deadline, fx_probe_result *result, fx_err *err);
