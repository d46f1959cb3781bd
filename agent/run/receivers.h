/* WAL receivers: a thread for each service that keeps its WAL in the repository. */
#pragma once

#include "agent/backup/wal.h"
#include "agent/run/gaps.h"
#include "common/config/agent_config.h"

typedef struct fx_receivers fx_receivers;

/* Borrows all. Where nothing is to be received, does nothing. errors: the repository's */
FX_MUST_USE fx_code fx_receivers_open(
    const fx_agent_config *config,
    fx_gaps *gaps,
    const fx_log *log,
    fx_receivers **out_receivers,
    fx_err *err);
void fx_receivers_free(fx_receivers *receivers);
FX_DEFINE_AUTO(fx_receivers);

/* Where the service's primary is, so that segments are closed there; "": this host. Begins to
 * receive. Does not wait. */
void fx_receivers_set_primary(
    fx_receivers *receivers, const char *service, const char *address, uint32_t port);

/* False for a service whose WAL is not received here, or not at the moment. */
bool fx_receivers_status(fx_receivers *receivers, const char *service, fx_wal_status *out_status);
