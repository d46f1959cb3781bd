#include "coordinator/core/goals.h"

#include "coordinator/core/observe.h"
#include "coordinator/core/target.h"

static fx_dur
shorter(fx_dur left, fx_dur right)
{
    return left.ns < right.ns ? left : right;
}

fx_goals
fx_goals_for(
    const fx_ledger *ledger,
    const fx_view *view,
    const fx_policy *policy,
    const fx_host_view *host,
    fx_mono now)
{
    fx_goals goals = {.next_report = FX_DUR_MS(FX_REPORT_SLOWEST_MS)};
    if (host->wants_lease) {
        goals.next_report = FX_DUR_MS(1000);
    }
    for (size_t i = 0; i < ledger->service_count; i++) {
        const fx_service *service = &ledger->services[i];
        if (fx_service_member(service, &host->host) == NULL) {
            continue;
        }
        fx_goal *goal = &goals.items[goals.count++];
        *goal = (fx_goal){
            .service = service->name,
            .epoch = service->epoch,
            .primary = service->primary,
            .role = FX_ROLE_STANDBY,
        };
        bool moving = fx_ledger_plan(ledger, &service->name) != NULL ||
                      service->dns_epoch.value != service->epoch.value;
        /* A plan waits for what members say; a standby that is to be chosen must be known. */
        goals.next_report = shorter(goals.next_report, moving ? FX_DUR_MS(500) : FX_DUR_MS(2000));
        if (fx_same(&service->primary, &host->host)) {
            goal->role = FX_ROLE_PRIMARY;
            continue;
        }
        const fx_member *upstream =
            fx_upstream_for(ledger, view, policy, service, &host->host, now);
        if (upstream != NULL) {
            goal->upstream = *upstream;
        }
    }
    return goals;
}

static bool
is_final(fx_order_state state)
{
    return state != FX_ORDER_NONE && state != FX_ORDER_RUNNING;
}

static void
deliver(fx_orders *orders, const fx_signed_order *order)
{
    if (orders->deliver_count < FX_ORDERS_MAX && order->size_bytes > 0) {
        orders->deliver[orders->deliver_count++] = order;
    }
}

static bool
is_delivered(const fx_orders *orders, const fx_id *id)
{
    for (size_t i = 0; i < orders->deliver_count; i++) {
        if (fx_same_id(&orders->deliver[i]->id, id)) {
            return true;
        }
    }
    return false;
}

static void
deliver_fences(const fx_ledger *ledger, const fx_host_view *host, fx_orders *orders)
{
    for (size_t i = 0; i < ledger->plan_count; i++) {
        const fx_plan *plan = &ledger->plans[i];
        const fx_step *step = fx_plan_step(plan);
        if (fx_same(&plan->from_host, &host->host) && step != NULL && step->kind == FX_STEP_FENCE) {
            deliver(orders, &step->order);
        }
    }
}

static void
deliver_promotions(const fx_ledger *ledger, const fx_host_view *host, fx_orders *orders)
{
    for (size_t i = 0; i < ledger->service_count; i++) {
        const fx_service *service = &ledger->services[i];
        const fx_service_state *state = fx_host_service(host, &service->name);
        bool done = state != NULL && state->role == FX_ROLE_PRIMARY &&
                    state->epoch_seen.value == service->epoch.value;
        if (fx_same(&service->primary, &host->host) && !done) {
            deliver(orders, &service->promotion);
        }
    }
}

fx_orders
fx_orders_for(const fx_ledger *ledger, const fx_host_view *host)
{
    fx_orders orders = {0};
    deliver_fences(ledger, host, &orders);
    deliver_promotions(ledger, host, &orders);
    for (size_t i = 0; i < ledger->request_count; i++) {
        const fx_request *request = &ledger->requests[i];
        if (fx_same(&request->host, &host->host) && request->result_state[0] == '\0') {
            deliver(&orders, &request->order);
        }
    }
    /* What nobody waits for any more may be forgotten by the host. */
    for (size_t i = 0; i < host->result_count; i++) {
        const fx_order_result *result = &host->results[i];
        if (is_final(result->state) && !is_delivered(&orders, &result->order)) {
            orders.acknowledge[orders.acknowledge_count++] = result->order;
        }
    }
    return orders;
}
