/*
 * Whether a ticket permits a depot to remove what a host asks for, apart from its signatures. Pure.
 */
#pragma once

#include "common/base/name.h"
#include "common/base/time.h"

typedef enum fx_depot_verdict {
    FX_DEPOT_MAY_REMOVE,
    FX_DEPOT_NO_TICKET,
    FX_DEPOT_OTHER_CLUSTER,
    FX_DEPOT_OTHER_DEPOT,
    FX_DEPOT_OTHER_REPOSITORY,
    FX_DEPOT_UNENDORSED,
    FX_DEPOT_NOT_YET, /* issued in the future: one of the two clocks is wrong */
    FX_DEPOT_EXPIRED,
    FX_DEPOT_TOO_LONG, /* it says that it is valid for longer than any may be */
    FX_DEPOT_OTHER_KEY,
} fx_depot_verdict;

/* What the ticket says. */
typedef struct fx_depot_claim {
    bool present;
    fx_name cluster;
    fx_name depot;
    fx_name repository;
    fx_wall issued;
    fx_wall expires; /* after `issued` */
    const char *const *keys;
    size_t key_count;
} fx_depot_claim;

/* What is so here. */
typedef struct fx_depot_scene {
    fx_name cluster;
    fx_name depot;
    fx_name repository; /* that is asked about */
    size_t regions;     /* distinct regions with a valid endorsement */
    fx_wall now;
    const char *const *keys; /* that are to be removed */
    size_t key_count;
} fx_depot_scene;

enum {
    FX_DEPOT_REGIONS_LEAST = 2,
    FX_DEPOT_TICKET_MAX_HOURS = 7 * 24,
    FX_DEPOT_CLOCK_SKEW_MAX_MINUTES = 10,
};

/* All of the scene's keys must be among the claim's. */
fx_depot_verdict fx_depot_ticket_check(const fx_depot_claim *claim, const fx_depot_scene *scene);

/* Why not, for the refusal. */
const char *fx_depot_verdict_text(fx_depot_verdict verdict);
