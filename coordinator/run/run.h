/* `fortress-coordinator run`: the daemon, until SIGTERM or SIGINT. */
#pragma once

#include "common/config/coordinator_config.h"

/* errors: whatever keeps it from starting */
FX_MUST_USE fx_code fx_run_coordinator(const fx_coordinator_config *config, fx_err *err);
