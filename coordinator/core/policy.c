#include "coordinator/core/model.h"

fx_policy
fx_policy_default(void)
{
    return (fx_policy){
        .lease = FX_DUR_MS(8000),
        .renewal = FX_DUR_MS(2000),
        .margin = FX_DUR_MS(1000),
        .silence_max = FX_DUR_MS(5000),
        .view_max_age = FX_DUR_MS(3000),
        .unhealthy_max = FX_DUR_MS(10000),
        .leader_silence = FX_DUR_MS(4000),
        .cool_down = FX_DUR_MS(60000),
        .beat = FX_DUR_MS(1000),
        .fence_max = FX_DUR_MS(30000),
        .take_over_max = FX_DUR_MS(30000),
        .promote_max = FX_DUR_MS(60000),
        .dns_max = FX_DUR_MS(60000),
        .validate_max = FX_DUR_MS(60000),
        .retry_min = FX_DUR_MS(1000),
        .retry_max = FX_DUR_MS(15000),
        .request_keep = FX_DUR_MS(600000),
        .gather_max = FX_DUR_MS(3000),
        .lag_max_bytes = UINT64_C(16) * 1024 * 1024,
    };
}
