/* Arithmetic of the host's lease. Pure. All times are CLOCK_BOOTTIME of this host. */
#pragma once

#include "common/base/time.h"

/* A lease that was never granted has end 0. */
typedef struct fx_lease_end {
    fx_mono end;   /* the right ends here; a successor may begin one margin later */
    fx_dur margin; /* fence this long before the end */
} fx_lease_end;

/* A grant is good for this long at most, whatever a coordinator says. */
#define FX_LEASE_LONGEST FX_DUR_MS(60000)

/*
 * Takes a grant into account: it counts from the instant the request was sent, and never moves the
 * end back. A grant with a length or margin that makes no sense (margin not shorter than the
 * length, longer than FX_LEASE_LONGEST) changes nothing and gives false.
 */
bool fx_lease_extend(fx_lease_end *lease, fx_mono request_sent, fx_dur length, fx_dur margin);

/* When the guard must begin to fence. */
fx_mono fx_lease_fence_at(const fx_lease_end *lease);

/* True while it is not yet time to fence. */
bool fx_lease_is_live(const fx_lease_end *lease, fx_mono now);
