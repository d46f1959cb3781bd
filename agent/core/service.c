#include "agent/core/service.h"

/* The ledger, the endorsed order on disk: two of the three that make the right to write. */
static bool
is_chosen(const fx_service_facts *facts)
{
    const fx_service_goal *goal = &facts->goal;
    return goal->known && goal->role == FX_SERVICE_ROLE_PRIMARY && goal->epoch > 0 &&
           facts->promotion_epoch == goal->epoch && goal->epoch >= facts->epoch_seen &&
           goal->epoch > facts->fenced_epoch;
}

uint64_t
fx_service_lease_epoch(const fx_service_facts *facts)
{
    FX_ASSERT(facts != NULL);
    if (is_chosen(facts)) {
        return facts->goal.epoch;
    }
    return facts->runs_primary ? facts->promotion_epoch : 0;
}

/*
 * Files of a primary go on where they were only if nobody else can have been primary since. Others
 * start as a standby and are promoted, which opens a timeline of its own.
 */
static bool
goes_on_as_primary(const fx_service_facts *facts)
{
    return facts->files == FX_SERVICE_FILES_PRIMARY &&
           (facts->last_primary_epoch == 0 ||
            facts->last_primary_epoch + 1 >= facts->promotion_epoch);
}

static fx_service_decision
decide_chosen(const fx_service_facts *facts)
{
    fx_service_decision decision = {.act = FX_SERVICE_LEAVE, .epoch = facts->promotion_epoch};
    if (!facts->lease_live) {
        decision.reason = "waits for the lease";
    } else if (facts->stopped) {
        decision.act =
            goes_on_as_primary(facts) ? FX_SERVICE_START_PRIMARY : FX_SERVICE_START_STANDBY;
        decision.reason = "is to be primary";
    } else if (facts->runs_standby || (facts->runs_primary && facts->in_recovery)) {
        decision.act = facts->answered ? FX_SERVICE_PROMOTE : FX_SERVICE_LEAVE;
        decision.reason = "is to be primary";
    } else {
        decision.reason = "is primary";
    }
    return decision;
}

static fx_service_decision
decide_standby(const fx_service_facts *facts)
{
    fx_service_decision decision = {.act = FX_SERVICE_LEAVE, .epoch = facts->goal.epoch};
    decision.reason = "is a standby";
    if (facts->stopped) {
        decision.act = FX_SERVICE_START_STANDBY;
        decision.reason = "is to be a standby";
    } else if (facts->runs_primary) {
        decision.act = FX_SERVICE_FENCE;
        decision.reason = "another host is primary";
    }
    return decision;
}

fx_service_decision
fx_service_decide(const fx_service_facts *facts)
{
    FX_ASSERT(facts != NULL);
    fx_service_decision decision = {.act = FX_SERVICE_LEAVE, .reason = "nobody told the goal yet"};
    if (facts->changing) {
        decision.reason = "is starting or stopping";
        return decision;
    }
    if (facts->runs_standby && facts->answered && !facts->in_recovery) {
        decision.act = FX_SERVICE_FENCE; /* somebody promoted it by hand */
        decision.epoch = facts->epoch_seen;
        decision.reason = "was promoted without the right to write";
        return decision;
    }
    if (!facts->goal.known) {
        return decision;
    }
    if (facts->goal.epoch < facts->epoch_seen) {
        decision.reason = "the goal is of an older epoch";
        return decision;
    }
    if (is_chosen(facts)) {
        return decide_chosen(facts);
    }
    if (facts->goal.role == FX_SERVICE_ROLE_STANDBY) {
        return decide_standby(facts);
    }
    decision.reason = "has no endorsed order for this epoch";
    return decision;
}
