#include "coordinator/core/endorse.h"

#include "coordinator/core/observe.h"

static const char *
promote_refused(const fx_ledger *ledger, const fx_order_spec *order)
{
    const fx_service *service = fx_ledger_service(ledger, &order->service);
    if (service == NULL) {
        return "the ledger has no such service";
    }
    if (service->epoch.value != order->epoch.value) {
        return "the ledger has the service in another epoch";
    }
    if (!fx_same(&service->primary, &order->host)) {
        return "the ledger gives the service to another host";
    }
    return NULL;
}

static const char *
fence_refused(const fx_ledger *ledger, const fx_order_spec *order)
{
    const fx_plan *plan = fx_ledger_plan(ledger, &order->service);
    if (plan == NULL || !fx_same_id(&plan->id, &order->plan)) {
        return "the ledger has no such plan";
    }
    const fx_step *step = fx_plan_step(plan);
    if (step == NULL || step->kind != FX_STEP_FENCE) {
        return "the plan is past fencing";
    }
    if (!fx_same(&plan->from_host, &order->host) || plan->from_epoch.value != order->epoch.value) {
        return "the plan fences another host or epoch";
    }
    if (order->orderly != (plan->kind == FX_PLAN_SWITCHOVER)) {
        return "the plan fences in another manner";
    }
    return NULL;
}

const char *
fx_endorse_refused(const fx_ledger *ledger, const fx_order_spec *order)
{
    if (order->ledger_revision.value > ledger->revision.value) {
        return "the order speaks of a revision that the ledger does not have yet";
    }
    switch (order->kind) {
    case FX_ORDER_PROMOTE:
        return promote_refused(ledger, order);
    case FX_ORDER_FENCE:
        return fence_refused(ledger, order);
    case FX_ORDER_KIND_NONE:
    case FX_ORDER_BACKUP:
    case FX_ORDER_RESTORE:
    case FX_ORDER_RESTORE_IN_PLACE:
    case FX_ORDER_DELETE:
    case FX_ORDER_RELEASE_KEY:
        break;
    }
    return "the ledger asks for no order of this kind";
}
