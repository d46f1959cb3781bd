#include "agent/core/target_choice.h"

static bool
has_own(const fx_target_choice *choice, size_t *out_target)
{
    for (size_t i = 0; i < choice->count; i++) {
        if (choice->own[i]) {
            *out_target = i;
            return true;
        }
    }
    return false;
}

size_t
fx_target_choose(fx_target_choice *choice, fx_mono now)
{
    FX_ASSERT(choice->count > 0 && choice->count <= FX_TARGET_MAX);
    size_t own = 0;
    if (choice->own[choice->current]) {
        choice->own_tried_at = now;
    } else if (
        choice->failures == 0 && has_own(choice, &own) &&
        fx_dur_over(fx_mono_since(now, choice->own_tried_at), choice->retry_own)) {
        choice->own_tried_at = now;
        return own;
    }
    return choice->current;
}

void
fx_target_succeeded(fx_target_choice *choice, size_t target)
{
    choice->current = target;
    choice->failures = 0;
}

/* A failed try of the own region leaves what works as it is. */
void
fx_target_failed(fx_target_choice *choice, size_t target)
{
    if (target == choice->current) {
        choice->current = (choice->current + 1) % choice->count;
        choice->failures++;
    }
}

bool
fx_target_choice_is_first_round(const fx_target_choice *choice)
{
    return choice->failures < choice->count;
}
