#include "agent/core/order_check.h"

#include <string.h>

static bool
is_same(const fx_name *left, const fx_name *right)
{
    return strcmp(left->text, right->text) == 0;
}

fx_order_verdict
fx_order_check(const fx_order_claim *claim, const fx_order_place *place)
{
    if (!is_same(&claim->cluster, &place->cluster)) {
        return FX_ORDER_OTHER_CLUSTER;
    }
    if (!is_same(&claim->host, &place->host)) {
        return FX_ORDER_OTHER_HOST;
    }
    if (place->id_known) {
        return FX_ORDER_KNOWN;
    }
    if (!claim->kind_known) {
        return FX_ORDER_UNKNOWN_KIND;
    }
    if (claim->needs_endorsement && place->regions < FX_ORDER_REGIONS_LEAST) {
        return FX_ORDER_UNENDORSED;
    }
    if (claim->needs_service && !place->service_known) {
        return FX_ORDER_UNKNOWN_SERVICE;
    }
    if (claim->needs_service && claim->epoch < place->epoch_seen) {
        return FX_ORDER_STALE;
    }
    return FX_ORDER_MAY_RUN;
}

const char *
fx_order_verdict_text(fx_order_verdict verdict)
{
    switch (verdict) {
    case FX_ORDER_MAY_RUN:
        return "it may run";
    case FX_ORDER_KNOWN:
        return "it is known already";
    case FX_ORDER_OTHER_CLUSTER:
        return "it is of another cluster";
    case FX_ORDER_OTHER_HOST:
        return "it is for another host";
    case FX_ORDER_UNKNOWN_SERVICE:
        return "this host does not manage its service";
    case FX_ORDER_UNKNOWN_KIND:
        return "this release does not know its kind";
    case FX_ORDER_UNENDORSED:
        return "coordinators of fewer than two regions endorse it";
    case FX_ORDER_STALE:
        return "its epoch is below the highest seen here";
    }
    return "unknown verdict";
}
