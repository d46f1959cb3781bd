/* May this coordinator sign this order? Only what the ledger itself asks for. */
#pragma once

#include "coordinator/core/model.h"

/*
 * `ledger` is a fresh linearizable read of this coordinator's own. NULL: sign; else why not.
 */
const char *fx_endorse_refused(const fx_ledger *ledger, const fx_order_spec *order);
