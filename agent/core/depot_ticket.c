#include "agent/core/depot_ticket.h"

#include <string.h>

static const int64_t minute_ns = INT64_C(60) * 1000 * FX_NS_PER_MS;

static bool
is_same(const fx_name *left, const fx_name *right)
{
    return strcmp(left->text, right->text) == 0;
}

static bool
names_key(const fx_depot_claim *claim, const char *key)
{
    for (size_t i = 0; i < claim->key_count; i++) {
        if (strcmp(claim->keys[i], key) == 0) {
            return true;
        }
    }
    return false;
}

static fx_depot_verdict
check_time(const fx_depot_claim *claim, fx_wall now)
{
    if (claim->issued.ns > now.ns + FX_DEPOT_CLOCK_SKEW_MAX_MINUTES * minute_ns) {
        return FX_DEPOT_NOT_YET;
    }
    if (claim->expires.ns <= now.ns) {
        return FX_DEPOT_EXPIRED;
    }
    if (claim->expires.ns - claim->issued.ns >
        (int64_t)FX_DEPOT_TICKET_MAX_HOURS * 60 * minute_ns) {
        return FX_DEPOT_TOO_LONG;
    }
    return FX_DEPOT_MAY_REMOVE;
}

fx_depot_verdict
fx_depot_ticket_check(const fx_depot_claim *claim, const fx_depot_scene *scene)
{
    if (!claim->present) {
        return FX_DEPOT_NO_TICKET;
    }
    if (!is_same(&claim->cluster, &scene->cluster)) {
        return FX_DEPOT_OTHER_CLUSTER;
    }
    if (!is_same(&claim->depot, &scene->depot)) {
        return FX_DEPOT_OTHER_DEPOT;
    }
    if (!is_same(&claim->repository, &scene->repository)) {
        return FX_DEPOT_OTHER_REPOSITORY;
    }
    if (scene->regions < FX_DEPOT_REGIONS_LEAST) {
        return FX_DEPOT_UNENDORSED;
    }
    fx_depot_verdict verdict = check_time(claim, scene->now);
    for (size_t i = 0; verdict == FX_DEPOT_MAY_REMOVE && i < scene->key_count; i++) {
        verdict = names_key(claim, scene->keys[i]) ? FX_DEPOT_MAY_REMOVE : FX_DEPOT_OTHER_KEY;
    }
    return verdict;
}

const char *
fx_depot_verdict_text(fx_depot_verdict verdict)
{
    switch (verdict) {
    case FX_DEPOT_MAY_REMOVE:
        return "it may be removed";
    case FX_DEPOT_NO_TICKET:
        return "a depot removes by a ticket of two coordinators alone";
    case FX_DEPOT_OTHER_CLUSTER:
        return "the ticket is of another cluster";
    case FX_DEPOT_OTHER_DEPOT:
        return "the ticket is for another depot";
    case FX_DEPOT_OTHER_REPOSITORY:
        return "the ticket is for another repository";
    case FX_DEPOT_UNENDORSED:
        return "coordinators of fewer than two regions endorse the ticket";
    case FX_DEPOT_NOT_YET:
        return "the ticket was issued in the future: look at the clocks";
    case FX_DEPOT_EXPIRED:
        return "the ticket has expired";
    case FX_DEPOT_TOO_LONG:
        return "the ticket is valid for more than a week";
    case FX_DEPOT_OTHER_KEY:
        return "the ticket does not name it";
    }
    return "unknown verdict";
}
