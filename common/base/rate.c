#include "common/base/rate.h"

bool
fx_rate_take(fx_rate *rate, fx_mono now, uint64_t *out_suppressed)
{
    FX_ASSERT(rate->burst > 0);
    FX_ASSERT(rate->refill.ns > 0);
    if (rate->filled_at.ns == 0) {
        rate->tokens = rate->burst;
        rate->filled_at = now;
    }
    int64_t earned = fx_mono_since(now, rate->filled_at).ns / rate->refill.ns;
    if (earned >= (int64_t)(rate->burst - rate->tokens)) {
        rate->tokens = rate->burst;
        rate->filled_at = now;
    } else {
        rate->tokens += (uint32_t)earned;
        rate->filled_at.ns += earned * rate->refill.ns;
    }
    if (rate->tokens == 0) {
        rate->suppressed++;
        return false;
    }
    rate->tokens--;
    *out_suppressed = rate->suppressed;
    rate->suppressed = 0;
    return true;
}
