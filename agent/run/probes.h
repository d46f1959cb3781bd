/* The configured probes: each looks again and again on a worker thread; the newest result counts.
 */
#pragma once

#include "agent/probe/probe.h"
#include "common/config/agent_config.h"
#include "common/loop/loop.h"

typedef struct fx_probes fx_probes;

typedef struct fx_probe_view {
    const fx_config_probe *config;
    bool seen; /* false: `result` is not there yet */
    fx_probe_result result;
    fx_dur age; /* since the observation ended */
} fx_probe_view;

/* Borrows loop and configuration. errors: INVALID (a kind that there is not) */
FX_MUST_USE fx_code
fx_probes_open(fx_loop *loop, const fx_agent_config *config, fx_probes **out_probes, fx_err *err);
/* After the loop has stopped and before it is freed: a probe under way is the loop's to wait for.
 */
void fx_probes_stop(fx_probes *probes);
/* After the loop was freed. */
void fx_probes_free(fx_probes *probes);
FX_DEFINE_AUTO(fx_probes);

size_t fx_probes_count(const fx_probes *probes);
void fx_probes_get(const fx_probes *probes, size_t index, fx_probe_view *out_view);
