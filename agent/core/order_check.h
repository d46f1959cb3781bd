/* Whether an order may be carried out here, apart from its signatures. Pure. */
#pragma once

#include "common/base/name.h"

typedef enum fx_order_verdict {
    FX_ORDER_MAY_RUN,
    FX_ORDER_KNOWN, /* carried out before, or under way: report its result again */
    FX_ORDER_OTHER_CLUSTER,
    FX_ORDER_OTHER_HOST,
    FX_ORDER_UNKNOWN_SERVICE,
    FX_ORDER_UNKNOWN_KIND,
    FX_ORDER_UNENDORSED,
    FX_ORDER_STALE, /* of an epoch below the highest seen */
} fx_order_verdict;

/* What the order says. */
typedef struct fx_order_claim {
    fx_name cluster;
    fx_name host;
    fx_name service; /* none: not about a service */
    uint64_t epoch;
    bool kind_known;
    bool needs_endorsement; /* by its kind */
    bool needs_service;     /* by its kind: an epoch is compared */
} fx_order_claim;

/* What is so here. */
typedef struct fx_order_place {
    fx_name cluster;
    fx_name host;
    bool id_known;       /* in the journal */
    bool service_known;  /* managed by this host */
    uint64_t epoch_seen; /* highest epoch of the service on this host's disk */
    size_t regions;      /* distinct regions with a valid endorsement */
} fx_order_place;

enum { FX_ORDER_REGIONS_LEAST = 2 };

/* An id that is known answers before all else but cluster and host: its result is what counts. */
fx_order_verdict fx_order_check(const fx_order_claim *claim, const fx_order_place *place);

/* For the result's detail: why not. */
const char *fx_order_verdict_text(fx_order_verdict verdict);
