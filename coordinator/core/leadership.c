#include "coordinator/core/leadership.h"

#include <string.h>

enum { TRY_APART_MS = 150 };

bool
fx_leads(const fx_ledger *ledger, const fx_candidate *self)
{
    return fx_same(&ledger->leader.coordinator, &self->name) &&
           memcmp(ledger->leader.incarnation, self->incarnation, FX_INCARNATION_BYTES) == 0;
}

static fx_leadership
take(const fx_ledger *ledger, const fx_candidate *self, const char *reason)
{
    fx_leadership taken = {.act = FX_LEADERSHIP_TAKE, .reason = reason};
    taken.leader = (fx_leader){
        .revision = ledger->leader.revision,
        .coordinator = self->name,
        .region = self->region,
        .term = ledger->leader.term + 1,
    };
    memcpy(taken.leader.incarnation, self->incarnation, FX_INCARNATION_BYTES);
    taken.beat = (fx_beat){.revision = ledger->beat.revision, .term = taken.leader.term};
    return taken;
}

fx_leadership
fx_leadership_decide(
    const fx_ledger *ledger,
    const fx_candidate *self,
    const fx_policy *policy,
    fx_mono beat_at,
    fx_mono now)
{
    if (fx_leads(ledger, self)) {
        if (fx_mono_since(now, beat_at).ns < policy->beat.ns) {
            return (fx_leadership){.act = FX_LEADERSHIP_FOLLOW, .reason = "beat is young"};
        }
        fx_beat beat = ledger->beat;
        beat.term = ledger->leader.term;
        beat.count++;
        return (fx_leadership){
            .act = FX_LEADERSHIP_BEAT, .leader = ledger->leader, .beat = beat, .reason = "leads"};
    }
    if (fx_name_is_none(&ledger->leader.coordinator)) {
        return take(ledger, self, "nobody leads");
    }
    if (fx_same(&ledger->leader.coordinator, &self->name)) {
        return take(ledger, self, "an earlier life of this coordinator led");
    }
    fx_dur patience = {
        .ns = policy->leader_silence.ns + (int64_t)self->rank * TRY_APART_MS * FX_NS_PER_MS};
    if (fx_dur_over(fx_mono_since(now, ledger->beat_seen_since), patience)) {
        return take(ledger, self, "the leader has given no sign of life for too long");
    }
    return (fx_leadership){.act = FX_LEADERSHIP_FOLLOW, .reason = "another leads"};
}
