/*
 * Which objects a host may put into a depot. Pure. Most are harmless: nothing is replaced. Some
 * speak about other hosts' backups (docs/format.md, "Collecting"), and a stolen host must not.
 */
#pragma once

#include "common/base/base.h"

typedef enum fx_depot_put {
    FX_DEPOT_PUT_FREELY,
    FX_DEPOT_PUT_OWN_LEASE,  /* who put the lease of that name; a collector; a replicator, if no
                                other host did */
    FX_DEPOT_PUT_SETTLEMENT, /* a collector; a replicator, if no other host put that lease */
    FX_DEPOT_PUT_REPLICATOR, /* only a replicator or a collector */
    FX_DEPOT_PUT_COLLECTOR,  /* only a collector */
    FX_DEPOT_PUT_NEVER,      /* not a key that a depot keeps */
} fx_depot_put;

enum { FX_DEPOT_KEY_DEPTH_MAX = 7 }; /* slashes in a key: a list goes no deeper */

/*
 * By a key that is one. For OWN_LEASE and SETTLEMENT *out_lease is the part of the key that names
 * the lease: "leases/" and that is the lease's own key.
 */
fx_depot_put fx_depot_put_rule(const char *key, const char **out_lease);

/*
 * Objects that say only that something is going on, and keep nothing: who put one and may collect
 * or replicate takes it away again without a ticket.
 */
bool fx_depot_is_passing(const char *key);
