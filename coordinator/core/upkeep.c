#include "coordinator/core/upkeep.h"

static const fx_dur again_after = {.ns = INT64_C(600) * 1000000000}; /* in peace */
static const fx_dur urgent_after = {.ns = INT64_C(20) * 1000000000}; /* without space */

static bool
is_beyond(const fx_store_health *health, int64_t size_bytes, int64_t percent)
{
    return size_bytes > health->quota_bytes / 100 * percent;
}

const fx_store_member *
fx_store_largest(const fx_store_health *health)
{
    const fx_store_member *largest = NULL;
    for (size_t i = 0; i < health->member_count; i++) {
        const fx_store_member *member = &health->members[i];
        if (member->answers && (largest == NULL || member->size_bytes > largest->size_bytes)) {
            largest = member;
        }
    }
    return largest;
}

static bool
is_filling(const fx_store_health *health)
{
    const fx_store_member *largest = fx_store_largest(health);
    return largest != NULL && is_beyond(health, largest->size_bytes, FX_STORE_FILLING_PERCENT);
}

fx_store_trouble
fx_store_judge(const fx_store_health *health)
{
    if (health->corrupt) {
        return FX_STORE_CORRUPT;
    }
    if (health->no_space) {
        return FX_STORE_NO_SPACE;
    }
    return is_filling(health) ? FX_STORE_FILLING : FX_STORE_WELL;
}

static bool
all_answer(const fx_store_health *health)
{
    for (size_t i = 0; i < health->member_count; i++) {
        if (!health->members[i].answers) {
            return false;
        }
    }
    return health->member_count > 0;
}

static bool
is_due(fx_mono last, fx_dur pause, fx_mono now)
{
    return last.ns == 0 || fx_dur_over(fx_mono_since(now, last), pause);
}

/* Would its file become much smaller, and may it stand still again? */
static bool
is_sparse(const fx_store_health *health, const fx_upkeep_past *past, size_t index, fx_mono now)
{
    const fx_store_member *member = &health->members[index];
    if (health->no_space) {
        return is_beyond(health, member->size_bytes, FX_STORE_FILLING_PERCENT) &&
               is_due(past->defragmented_at[index], urgent_after, now);
    }
    return is_beyond(health, member->size_bytes, FX_STORE_SPARSE_PERCENT) &&
           member->size_bytes / 2 > member->in_use_bytes &&
           is_due(past->defragmented_at[index], again_after, now);
}

/* Gives member_count if none is sparse. */
static size_t
find_sparse(const fx_store_health *health, const fx_upkeep_past *past, fx_mono now)
{
    size_t found = health->member_count;
    for (size_t i = 0; i < health->member_count; i++) {
        if (is_sparse(health, past, i, now) &&
            (found == health->member_count || !health->members[i].leads)) {
            found = i;
        }
    }
    return found;
}

fx_upkeep
fx_upkeep_decide(const fx_store_health *health, const fx_upkeep_past *past, fx_mono now)
{
    fx_upkeep nothing = {.act = FX_UPKEEP_NOTHING};
    if (health->corrupt || !all_answer(health)) {
        return nothing; /* the first is for a person, the second for a better moment */
    }
    if (health->no_space && is_due(past->compacted_at, urgent_after, now)) {
        return (fx_upkeep){.act = FX_UPKEEP_COMPACT};
    }
    size_t sparse = find_sparse(health, past, now);
    if (sparse < health->member_count) {
        return (fx_upkeep){.act = FX_UPKEEP_DEFRAGMENT, .member = sparse};
    }
    if (health->no_space && !is_filling(health)) {
        return (fx_upkeep){.act = FX_UPKEEP_DISARM};
    }
    return nothing;
}
