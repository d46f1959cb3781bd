/*
 * A made-up cluster in three regions: orders-db in epoch 3 with its primary on use1-db1, a standby
 * that streams, one that does not, a switchover in flight for billing-db, whose primary is silent.
 */
#pragma once

#include "coordinator/api/api.h"

/* Of three etcd members the last does not answer; the first leads, and is at 70 % of its quota. */
void fx_example_store(fx_store_health *out_store, fx_mono now);
void fx_example_ledger(fx_ledger *out_ledger, fx_mono now, fx_wall wall);
void fx_example_view(fx_view *out_view, fx_mono now);

/* A failover that ended a minute before `wall`. */
void fx_example_finished_plan(fx_plan *out_plan, fx_wall wall);
void fx_example_decision(fx_decision_record *out_decision, fx_wall wall);
