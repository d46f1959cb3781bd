#include "agent/core/lease.h"

bool
fx_lease_extend(fx_lease_end *lease, fx_mono request_sent, fx_dur length, fx_dur margin)
{
    FX_ASSERT(lease != NULL);
    if (length.ns <= 0 || margin.ns <= 0 || margin.ns >= length.ns ||
        fx_dur_over(length, FX_LEASE_LONGEST)) {
        return false;
    }
    fx_mono end = fx_mono_after(request_sent, length);
    if (end.ns > lease->end.ns) {
        lease->end = end;
        lease->margin = margin;
    }
    return true;
}

fx_mono
fx_lease_fence_at(const fx_lease_end *lease)
{
    FX_ASSERT(lease != NULL);
    return (fx_mono){.ns = lease->end.ns - lease->margin.ns};
}

bool
fx_lease_is_live(const fx_lease_end *lease, fx_mono now)
{
    return lease->end.ns > 0 && now.ns < fx_lease_fence_at(lease).ns;
}
