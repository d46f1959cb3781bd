/* Makes a restored data directory ready to start and to replay WAL to the wanted time. */
#pragma once

#include "agent/source/source.h"

/* Member `settle` of the driver. errors: INVALID (the time is not reachable), EXISTS, IO, NO_SPACE
 */
FX_MUST_USE fx_code fx_postgres_settle(
    fx_repository *repository,
    const fx_snapshot *snapshot,
    const fx_settle_options *options,
    const fx_events *events,
    fx_err *err);

/* Member `check`. errors: INVALID (the time is not reachable), NOT_FOUND (WAL on the way to it is
 * missing), and the store's */
FX_MUST_USE fx_code fx_postgres_check(
    fx_repository *repository,
    const fx_snapshot *snapshot,
    const fx_check_options *options,
    const fx_events *events,
    fx_err *err);
