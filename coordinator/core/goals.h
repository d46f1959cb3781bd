/* What a host is told: goals, orders, which results it may forget, when to report again. */
#pragma once

#include "coordinator/core/model.h"

typedef struct fx_goal {
    fx_name service;
    fx_epoch epoch;
    fx_role role;
    fx_name primary;
    fx_member upstream;
} fx_goal;

typedef struct fx_goals {
    fx_goal items[FX_SERVICE_MAX];
    size_t count;
    fx_dur next_report;
} fx_goals;

fx_goals fx_goals_for(
    const fx_ledger *ledger,
    const fx_view *view,
    const fx_policy *policy,
    const fx_host_view *host,
    fx_mono now);

enum { FX_ORDERS_MAX = 16 };

typedef struct fx_orders {
    const fx_signed_order *deliver[FX_ORDERS_MAX]; /* borrowed from the ledger */
    size_t deliver_count;
    fx_id acknowledge[FX_RESULT_MAX];
    size_t acknowledge_count;
} fx_orders;

fx_orders fx_orders_for(const fx_ledger *ledger, const fx_host_view *host);
