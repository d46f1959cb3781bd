/* Finds things in ledger and view, and folds a new read of the ledger into what was observed. */
#pragma once

#include "coordinator/core/model.h"

/* NULL where there is none. Borrowed. */
const fx_service *fx_ledger_service(const fx_ledger *ledger, const fx_name *service);
const fx_lease *fx_ledger_lease(const fx_ledger *ledger, const fx_name *host);
const fx_plan *fx_ledger_plan(const fx_ledger *ledger, const fx_name *service);
const fx_host_view *fx_view_host(const fx_view *view, const fx_name *host);
const fx_service_state *fx_host_service(const fx_host_view *host, const fx_name *service);
const fx_order_result *fx_host_result(const fx_host_view *host, const fx_id *order);
const fx_member *fx_service_member(const fx_service *service, const fx_name *host);

/* First step that is not done; NULL when all are. */
const fx_step *fx_plan_step(const fx_plan *plan);

bool fx_lease_holds(const fx_lease *lease, const fx_name *service, fx_epoch epoch);

/*
 * Carries over from the read before since when each lease record, the beat and each plan's step
 * have been unchanged: what is new is seen since the arrival of this answer. `before` NULL: the
 * first read.
 */
void fx_ledger_observe(fx_ledger *fresh, const fx_ledger *before, const fx_policy *policy);
