#include "tests/support/example_state.h"

#include <stdio.h>

#define SECOND INT64_C(1000000000)

static const char *const hosts[] = {"usw2-db1", "use1-db1", "euw1-db1"};
static const char *const regions[] = {"us-west-2", "us-east-1", "eu-west-1"};
static const char *const coordinators[] = {"usw2-coord", "use1-coord", "euw1-coord"};
enum { REGION_COUNT = 3 };

static fx_mono
before(fx_mono now, int64_t ms)
{
    return (fx_mono){.ns = now.ns - ms * FX_NS_PER_MS};
}

static fx_wall
earlier(fx_wall wall, int64_t seconds)
{
    return (fx_wall){.ns = wall.ns - seconds * SECOND};
}

static fx_id
id_of(const char *text)
{
    fx_id id;
    (void)snprintf(id.text, sizeof id.text, "%s", text);
    return id;
}

static fx_service
make_service(const char *name, const char *primary, uint64_t epoch, fx_wall changed)
{
    fx_service service = {
        .revision = {40},
        .name = fx_name_of(name),
        .epoch = {epoch},
        .primary = fx_name_of(primary),
        .member_count = REGION_COUNT,
        .changed_at = changed,
        .dns_epoch = {epoch},
    };
    for (size_t i = 0; i < REGION_COUNT; i++) {
        service.members[i].host = fx_name_of(hosts[i]);
        service.members[i].region = fx_name_of(regions[i]);
        (void)snprintf(
            service.members[i].address, sizeof service.members[i].address, "127.0.%zu.1", i + 1);
        service.members[i].port = 5432;
    }
    return service;
}

static void
add_step(fx_plan *plan, fx_step_kind kind, fx_step_state state, fx_wall started)
{
    fx_step *step = &plan->steps[plan->step_count++];
    *step = (fx_step){
        .kind = kind, .state = state, .deadline = FX_DUR_MS(30000), .by = fx_name_of("use1-coord")};
    if (state != FX_STEP_WAITING) {
        step->started = started;
        step->attempts = 1;
    }
    if (state == FX_STEP_DONE) {
        step->finished = (fx_wall){.ns = started.ns + SECOND};
        (void)snprintf(step->detail, sizeof step->detail, "done as planned");
    }
}

static fx_plan
make_plan(const char *id, fx_plan_kind kind, const char *service, fx_wall started)
{
    return (fx_plan){
        .revision = {50},
        .id = id_of(id),
        .kind = kind,
        .state = FX_PLAN_STATE_RUNNING,
        .service = fx_name_of(service),
        .from_host = fx_name_of("usw2-db1"),
        .to_host = fx_name_of("use1-db1"),
        .from_epoch = {1},
        .to_epoch = {2},
        .decision = id_of("d-1"),
        .started = started,
    };
}

void
fx_example_ledger(fx_ledger *out_ledger, fx_mono now, fx_wall wall)
{
    *out_ledger = (fx_ledger){.revision = {60}, .read_at = before(now, 120)};
    out_ledger->leader = (fx_leader){
        .revision = {3},
        .coordinator = fx_name_of("use1-coord"),
        .region = fx_name_of("us-east-1"),
        .term = 7,
    };
    out_ledger->services[0] = make_service("orders-db", "use1-db1", 3, earlier(wall, 3600));
    out_ledger->services[0].last_plan = id_of("p-old");
    out_ledger->services[1] = make_service("billing-db", "usw2-db1", 1, earlier(wall, 86400));
    out_ledger->service_count = 2;
    out_ledger->leases[0] = (fx_lease){
        .revision = {59},
        .host = fx_name_of("use1-db1"),
        .renewal = 1234,
        .open = true,
        .held = {{fx_name_of("orders-db"), {3}}},
        .held_count = 1,
        .renewed_by = fx_name_of("use1-coord"),
        .seen_since = before(now, 1500),
    };
    out_ledger->leases[1] = (fx_lease){
        .revision = {55},
        .host = fx_name_of("usw2-db1"),
        .renewal = 900,
        .open = false,
        .seen_since = before(now, 20000),
    };
    out_ledger->lease_count = 2;
    fx_plan *plan = &out_ledger->plans[0];
    *plan = make_plan("p-running", FX_PLAN_SWITCHOVER, "billing-db", earlier(wall, 5));
    plan->requested_by = fx_name_of("alice");
    add_step(plan, FX_STEP_FENCE, FX_STEP_DONE, earlier(wall, 5));
    add_step(plan, FX_STEP_TAKE_OVER, FX_STEP_DONE, earlier(wall, 4));
    add_step(plan, FX_STEP_PROMOTE, FX_STEP_RUNNING, earlier(wall, 3));
    add_step(plan, FX_STEP_DNS, FX_STEP_WAITING, wall);
    out_ledger->plan_count = 1;
}

static fx_host_view
make_host(size_t index, fx_mono reported_at)
{
    return (fx_host_view){
        .host = fx_name_of(hosts[index]),
        .region = fx_name_of(regions[index]),
        .reported_at = reported_at,
        .heard_by = fx_name_of(coordinators[index]),
    };
}

static fx_service_state
make_replica(const char *service, fx_role role, uint64_t position)
{
    return (fx_service_state){
        .service = fx_name_of(service),
        .role = role,
        .epoch_seen = {3},
        .write_lsn = {position},
        .replay_lsn = {position},
        .timeline = 3,
        .healthy = true,
    };
}

void
fx_example_view(fx_view *out_view, fx_mono now)
{
    *out_view = (fx_view){
        .self = fx_name_of("use1-coord"),
        .self_region = fx_name_of("us-east-1"),
        .began_at = before(now, 100000),
        .coordinator_count = REGION_COUNT,
        .host_count = REGION_COUNT,
    };
    for (size_t i = 0; i < REGION_COUNT; i++) {
        out_view->coordinators[i] = (fx_coordinator_view){
            .coordinator = fx_name_of(coordinators[i]),
            .region = fx_name_of(regions[i]),
            .heard_at = before(now, i == 0 ? 30000 : 400),
            .heard = true,
        };
    }
    out_view->hosts[0] = make_host(0, before(now, 30000));
    out_view->hosts[1] = make_host(1, before(now, 700));
    out_view->hosts[1].wants_lease = true;
    out_view->hosts[1].services[0] = make_replica("orders-db", FX_ROLE_PRIMARY, 0x3000060);
    out_view->hosts[1].service_count = 1;
    out_view->hosts[2] = make_host(2, before(now, 2000));
    out_view->hosts[2].services[0] = make_replica("orders-db", FX_ROLE_STANDBY, 0x3000000);
    out_view->hosts[2].services[0].streaming = true;
    out_view->hosts[2].services[0].replay_lag = FX_DUR_MS(250);
    out_view->hosts[2].services[0].upstream = fx_name_of("use1-db1");
    out_view->hosts[2].service_count = 1;
    out_view->hosts[2].holes[0] = (fx_wal_hole){
        .service = fx_name_of("orders-db"),
        .from = {0x1000000},
        .to = {0x3000000},
        .since = {.ns = INT64_C(1700000000000000000)},
        .reason = "the slot was dropped",
    };
    out_view->hosts[2].hole_count = 1;
    out_view->hosts[2].hole_total = 1;
    out_view->hosts[2].hole_bytes = 0x2000000;
    out_view->hosts[2].results[0] = (fx_order_result){
        .order = id_of("r-example-order"),
        .state = FX_ORDER_RUNNING,
        .detail = "42 % of 1.5 GB",
    };
    out_view->hosts[2].result_count = 1;
}

void
fx_example_finished_plan(fx_plan *out_plan, fx_wall wall)
{
    *out_plan = make_plan("p-old", FX_PLAN_FAILOVER, "orders-db", earlier(wall, 80));
    out_plan->state = FX_PLAN_STATE_DONE;
    out_plan->lost_since = earlier(wall, 90);
    out_plan->finished = earlier(wall, 60);
    add_step(out_plan, FX_STEP_FENCE, FX_STEP_DONE, earlier(wall, 80));
    add_step(out_plan, FX_STEP_TAKE_OVER, FX_STEP_DONE, earlier(wall, 70));
    (void)snprintf(out_plan->outcome, sizeof out_plan->outcome, "orders-db runs on use1-db1");
}

void
fx_example_decision(fx_decision_record *out_decision, fx_wall wall)
{
    *out_decision = (fx_decision_record){
        .id = id_of("d-1"),
        .decided = earlier(wall, 80),
        .coordinator = fx_name_of("use1-coord"),
        .term = 7,
        .ledger_revision = {39},
        .service = fx_name_of("orders-db"),
        .verdict = "failover",
        .reason = "usw2-db1 is silent: two regions agree",
        .plan = id_of("p-old"),
        .evidence_count = 1,
    };
    out_decision->evidence[0] = (fx_evidence){
        .observer_region = fx_name_of("us-east-1"),
        .observer = fx_name_of("use1-coord"),
        .subject = fx_name_of("usw2-db1"),
        .fact = "last heard 5.2 s ago",
    };
}

void
fx_example_store(fx_store_health *out_store, fx_mono now)
{
    *out_store = (fx_store_health){
        .looked_at = {now.ns - 2000 * FX_NS_PER_MS},
        .quota_bytes = 1000,
        .revision = 4711,
        .member_count = 3,
        .members =
            {
                {.endpoint = "https://127.0.1.1:2379",
                 .answers = true,
                 .leads = true,
                 .size_bytes = 700,
                 .in_use_bytes = 300},
                {.endpoint = "https://127.0.2.1:2379",
                 .answers = true,
                 .size_bytes = 500,
                 .in_use_bytes = 300},
                {.endpoint = "https://127.0.3.1:2379"},
            },
    };
}
