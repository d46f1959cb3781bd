/*
 * Whole clusters on virtual time: three regions with a coordinator, an etcd member and a database
 * host each. The decisions are those of production; modelled are etcd (a linearizable store with
 * revisions, gone without a majority), the network (delay, loss, partitions), crashes, agents with
 * leases and guards, clocks whose rates differ, and a name server; answers are lost before and
 * after what they would have told took effect, and some requests arrive long after they were given
 * up. Checked at every change: never two hosts that take writes, epochs only rise, and no leader
 * changes DNS while an earlier change may have happened at which it has not looked since; and at
 * the end, when everything works again: the service does, and its name leads to it.
 *
 * FORTRESS_SIM_RUNS sets how many schedules are tried, FORTRESS_SIM_SEED the first seed; each
 * failure prints its seed, and the same seed gives the same trace (FORTRESS_SIM_TRACE=1 prints it).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/rng.h"
#include "coordinator/core/decide.h"
#include "coordinator/core/endorse.h"
#include "coordinator/core/goals.h"
#include "coordinator/core/observe.h"
#include "coordinator/core/outcome.h"
#include "coordinator/core/renewal.h"

enum { REGIONS = 3, FAULTS_MAX = 12, RUNS_DEFAULT = 500 };

#define SECOND       INT64_C(1000000000)
#define MS(n)        ((n)*FX_NS_PER_MS)
#define FAULTS_UNTIL (70 * SECOND)
#define END_AT       (200 * SECOND)

static const char *const region_names[REGIONS] = {"us-west-2", "us-east-1", "eu-west-1"};
static const char *const host_names[REGIONS] = {"usw2-db", "use1-db", "euw1-db"};
static const char *const coordinator_names[REGIONS] = {"usw2-co", "use1-co", "euw1-co"};

typedef enum mistake {
    MISTAKE_NONE,
    MISTAKE_NO_LEASE_WAIT, /* a leader that takes over without waiting for the lease */
    MISTAKE_LATE_GUARD,    /* a guard that fences three seconds after the lease's end */
    MISTAKE_BLIND_RENEWAL, /* renewals that neither ask the ledger's plan nor compare revisions */
    MISTAKE_BLIND_REPEAT,  /* a change of DNS without an answer counts as failed */
} mistake;

/* ---- the world
 * ------------------------------------------------------------------------------------ */

typedef struct clock_model {
    double rate;
    int64_t offset_ns;
} clock_model;

typedef struct host {
    clock_model clock;
    bool up;       /* the machine */
    bool agent_up; /* the guard goes on without it */
    unsigned life;
    bool broken; /* the database does not answer */
    /* on disk */
    uint64_t epoch_seen;
    uint64_t promoted_epoch;
    uint64_t fenced_epoch;
    uint64_t lsn;
    uint32_t timeline;
    uint64_t stopped_lsn;
    fx_order_result results[FX_RESULT_MAX];
    size_t result_count;
    /* running */
    fx_role role;
    bool accepts; /* takes writes */
    bool starting;
    uint64_t running_epoch;
    int64_t lease_end_ns; /* own clock */
    fx_goal goal;
    bool has_goal;
    bool waits_for_reply;
    int64_t reply_deadline_ns;
    int64_t sent_ns;
    uint64_t sequence;
    size_t asks; /* index of the coordinator that it talks to */
    int64_t next_report_ns;
} host;

typedef struct coordinator {
    clock_model clock;
    bool up;
    unsigned life;
    fx_candidate self;
    fx_ledger *ledger;
    fx_ledger *in_flight;
    bool has_read;
    bool reading;
    bool leading_in_flight;
    int64_t read_sent_ns;
    fx_view *view;
    fx_attempt attempts[FX_ATTEMPT_MAX];
    size_t attempt_count;
    fx_mono beat_at;
    fx_mono granted_at[REGIONS];
    int64_t bad_since_ns[REGIONS];
    bool renewing;
} coordinator;

typedef enum event_kind {
    EVENT_COORDINATOR_TICK,
    EVENT_COORDINATOR_POLL,
    EVENT_COORDINATOR_DIGEST,
    EVENT_READ_AT_STORE,
    EVENT_READ_BACK,
    EVENT_COMMIT_AT_STORE,
    EVENT_COMMIT_BACK,
    EVENT_NAME_AT_SERVER,
    EVENT_NAME_BACK,
    EVENT_LEADERSHIP_AT_STORE,
    EVENT_LEADERSHIP_BACK,
    EVENT_RENEWAL_AT_STORE,
    EVENT_RENEWAL_BACK,
    EVENT_DIGEST,
    EVENT_AGENT_TICK,
    EVENT_REPORT,
    EVENT_REPLY,
    EVENT_GUARD,
    EVENT_FENCED,
    EVENT_STARTED,
    EVENT_DATABASE,
    EVENT_FAULT,
} event_kind;

typedef struct event {
    int64_t at_ns;
    uint64_t order;
    event_kind kind;
    size_t from;
    size_t to;
    unsigned life;
    void *payload; /* freed after the event */
} event;

typedef struct commit_message {
    fx_command command;
    bool signed_already;
    bool given_up; /* arrives late: the answer finds nobody who waits */
    bool unknown;  /* what is told of one that was given up */
    bool ok;
    int64_t revision;
} commit_message;

/* A change of the name, or a question for it. */
typedef struct name_message {
    fx_command command;
    bool given_up;
    fx_attempt_state state;
    bool is_so;
} name_message;

typedef struct leadership_message {
    fx_leadership decision;
    bool ok;
} leadership_message;

typedef struct report_message {
    fx_host_view view;
    int64_t sent_ns; /* agent's clock */
    fx_renewal renewal;
    bool granted;
    fx_goals goals;
    fx_order_spec orders[FX_ORDERS_MAX];
    size_t order_count;
    fx_id acknowledged[FX_RESULT_MAX];
    size_t acknowledged_count;
} report_message;

typedef struct digest_message {
    fx_coordinator_view own; /* times are ages here */
    fx_host_view hosts[REGIONS];
    int64_t ages_ns[REGIONS];
    size_t host_count;
} digest_message;

typedef struct world {
    uint64_t seed;
    mistake mistake;
    bool trace;
    fx_rng rng;
    int64_t now_ns;
    uint64_t next_order;
    event *heap;
    size_t heap_count;
    size_t heap_capacity;
    fx_policy policy;
    fx_policy leader_policy; /* differs from `policy` only by the seeded mistake */
    fx_service wanted;
    fx_ledger *store;
    fx_commands *commands;
    bool link_up[REGIONS][REGIONS];
    bool member_up[REGIONS];
    int64_t slow_until_ns;
    coordinator coordinators[REGIONS];
    host hosts[REGIONS];
    uint64_t last_epoch;
    /* what the name server says */
    uint64_t name_epoch;
    size_t name_host;
    /* the newest change of DNS that a leader sent, and who looked at the name server last */
    uint64_t sent_epoch;
    size_t sent_by;
    unsigned sent_life;
    int64_t sent_at_ns;
    bool sender_knows;
    size_t looked_by;
    unsigned looked_life;
    int64_t looked_at_ns;
    size_t unknowns;
    bool violated;
    char violation[256];
    size_t take_overs;
    size_t plans_done;
    size_t plans_ended;
    size_t finished_by_another;
    char plan_began_by[FX_NAME_MAX_BYTES + 1];
} world;

static void
trace(world *w, const char *what, size_t who, uint64_t number)
{
    if (w->trace) {
        printf(
            "%9.3f %-28s %zu %llu\n",
            (double)w->now_ns / 1e9,
            what,
            who,
            (unsigned long long)number);
    }
}

static int64_t
local_ns(const clock_model *clock, int64_t now_ns)
{
    return clock->offset_ns + (int64_t)((double)now_ns * clock->rate);
}

/* The true time at which a clock will show `local`. */
static int64_t
when_ns(const clock_model *clock, int64_t local)
{
    return (int64_t)((double)(local - clock->offset_ns) / clock->rate) + 1;
}

static fx_mono
coordinator_now(const world *w, size_t c)
{
    return (fx_mono){local_ns(&w->coordinators[c].clock, w->now_ns)};
}

static uint64_t
below(world *w, uint64_t bound)
{
    return fx_rng_below(&w->rng, bound);
}

static bool
chance(world *w, uint64_t percent)
{
    return below(w, 100) < percent;
}

/* ---- events -------------------------------------------------------------------------------------
 */

static bool
is_before(const event *left, const event *right)
{
    return left->at_ns != right->at_ns ? left->at_ns < right->at_ns : left->order < right->order;
}

static void
push(world *w, event new_event)
{
    if (w->heap_count == w->heap_capacity) {
        w->heap_capacity = w->heap_capacity == 0 ? 256 : 2 * w->heap_capacity;
        w->heap = realloc(w->heap, w->heap_capacity * sizeof *w->heap);
        assert_non_null(w->heap);
    }
    new_event.order = w->next_order++;
    size_t at = w->heap_count++;
    while (at > 0 && is_before(&new_event, &w->heap[(at - 1) / 2])) {
        w->heap[at] = w->heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    w->heap[at] = new_event;
}

static event
pop(world *w)
{
    event first = w->heap[0];
    event last = w->heap[--w->heap_count];
    size_t at = 0;
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= w->heap_count) {
            break;
        }
        if (child + 1 < w->heap_count && is_before(&w->heap[child + 1], &w->heap[child])) {
            child++;
        }
        if (!is_before(&w->heap[child], &last)) {
            break;
        }
        w->heap[at] = w->heap[child];
        at = child;
    }
    if (w->heap_count > 0) {
        w->heap[at] = last;
    }
    return first;
}

static void
after(world *w, int64_t delay_ns, event_kind kind, size_t who, unsigned life)
{
    push(
        w,
        (event){.at_ns = w->now_ns + delay_ns, .kind = kind, .from = who, .to = who, .life = life});
}

/* ---- network
 * -------------------------------------------------------------------------------------- */

static int64_t
delay_ns(world *w)
{
    if (w->now_ns < w->slow_until_ns && chance(w, 30)) {
        return MS(50) + (int64_t)below(w, (uint64_t)MS(2500));
    }
    return MS(1) + (int64_t)below(w, (uint64_t)MS(40));
}

static bool
is_lost(world *w)
{
    return w->now_ns < w->slow_until_ns && chance(w, 10);
}

static bool
connected(const world *w, size_t a, size_t b)
{
    return a == b || w->link_up[a][b];
}

/* Reaches a member that reaches a majority? */
static bool
store_serves(const world *w, size_t region)
{
    for (size_t m = 0; m < REGIONS; m++) {
        size_t reached = 0;
        for (size_t o = 0; o < REGIONS; o++) {
            if (w->member_up[m] && w->member_up[o] && connected(w, m, o)) {
                reached++;
            }
        }
        if (reached >= 2 && connected(w, region, m)) {
            return true;
        }
    }
    return false;
}

/* ---- the store
 * -------------------------------------------------------------------------------------- */

static fx_lease *
store_lease(world *w, const fx_name *host_name)
{
    for (size_t i = 0; i < w->store->lease_count; i++) {
        if (fx_same(&w->store->leases[i].host, host_name)) {
            return &w->store->leases[i];
        }
    }
    return NULL;
}

static int64_t
service_revision(const world *w)
{
    return w->store->service_count == 0 ? 0 : w->store->services[0].revision.value;
}

static int64_t
plan_revision(const world *w)
{
    return w->store->plan_count == 0 ? 0 : w->store->plans[0].revision.value;
}

static bool
leases_match(world *w, const fx_command *command)
{
    for (size_t i = 0; i < FX_COMMAND_LEASE_MAX; i++) {
        if (command->lease_touch[i] == FX_TOUCH_NONE) {
            continue;
        }
        const fx_lease *lease = store_lease(w, &command->leases[i].host);
        int64_t revision = lease == NULL ? 0 : lease->revision.value;
        if (revision != command->leases[i].revision.value) {
            return false;
        }
    }
    return true;
}

static bool
command_matches(world *w, const fx_command *command)
{
    bool ok = command->leader_revision.value == w->store->leader.revision.value;
    if (command->service_touch != FX_TOUCH_NONE) {
        ok = ok && command->service.revision.value == service_revision(w);
    }
    if (command->plan_touch != FX_TOUCH_NONE) {
        ok = ok && command->plan.revision.value == plan_revision(w);
    }
    return ok && leases_match(w, command);
}

static void
note_plan(world *w, const fx_command *command)
{
    const fx_plan *plan = &command->plan;
    if (command->plan_touch == FX_TOUCH_PUT && plan->revision.value == 0) {
        memcpy(w->plan_began_by, command->decision.coordinator.text, sizeof w->plan_began_by);
    }
    if (command->plan_touch == FX_TOUCH_DELETE) {
        w->plans_ended++;
        w->plans_done += plan->state == FX_PLAN_STATE_DONE;
        bool another = strcmp(w->plan_began_by, plan->steps[4].by.text) != 0;
        w->finished_by_another += plan->state == FX_PLAN_STATE_DONE && another;
    }
}

static void
violate(world *w, const char *what)
{
    if (!w->violated) {
        w->violated = true;
        (void)snprintf(
            w->violation,
            sizeof w->violation,
            "%s, at %.3f s, seed %llu",
            what,
            (double)w->now_ns / 1e9,
            (unsigned long long)w->seed);
    }
}

static void
store_apply(world *w, const fx_command *command)
{
    fx_ledger *store = w->store;
    store->revision.value++;
    if (command->service_touch == FX_TOUCH_PUT) {
        if (store->service_count > 0 &&
            command->service.epoch.value < store->services[0].epoch.value) {
            violate(w, "the ledger's epoch fell");
        }
        w->take_overs += store->service_count > 0 &&
                         command->service.epoch.value > store->services[0].epoch.value;
        store->service_count = 1;
        store->services[0] = command->service;
        store->services[0].revision = store->revision;
    }
    if (command->plan_touch == FX_TOUCH_PUT) {
        store->plan_count = 1;
        store->plans[0] = command->plan;
        store->plans[0].revision = store->revision;
    } else if (command->plan_touch == FX_TOUCH_DELETE) {
        store->plan_count = 0;
    }
    note_plan(w, command);
    for (size_t i = 0; i < FX_COMMAND_LEASE_MAX; i++) {
        if (command->lease_touch[i] == FX_TOUCH_PUT) {
            fx_lease *lease = store_lease(w, &command->leases[i].host);
            if (lease == NULL) {
                lease = &store->leases[store->lease_count++];
            }
            *lease = command->leases[i];
            lease->revision = store->revision;
        }
    }
}

/* Only what is there: the struct is large. */
static void
copy_ledger(fx_ledger *to, const fx_ledger *from)
{
    to->revision = from->revision;
    to->asked_at = from->asked_at;
    to->leader = from->leader;
    to->beat = from->beat;
    to->service_count = from->service_count;
    to->lease_count = from->lease_count;
    to->plan_count = from->plan_count;
    to->request_count = 0;
    memcpy(to->services, from->services, from->service_count * sizeof from->services[0]);
    memcpy(to->leases, from->leases, from->lease_count * sizeof from->leases[0]);
    memcpy(to->plans, from->plans, from->plan_count * sizeof from->plans[0]);
}

/* ---- invariants
 * --------------------------------------------------------------------------------------- */

static void
set_accepting(world *w, size_t h, bool accepts)
{
    host *changed = &w->hosts[h];
    if (changed->accepts == accepts) {
        return;
    }
    changed->accepts = accepts;
    trace(w, accepts ? "host takes writes" : "host stops", h, changed->running_epoch);
    if (!accepts) {
        return;
    }
    for (size_t o = 0; o < REGIONS; o++) {
        if (o != h && w->hosts[o].accepts) {
            violate(w, "two hosts take writes");
        }
    }
    if (changed->running_epoch < w->last_epoch) {
        violate(w, "an older epoch takes writes again");
    }
    w->last_epoch = changed->running_epoch;
}

/* ---- hosts
 * ------------------------------------------------------------------------------------------- */

static int64_t
host_ns(const world *w, size_t h)
{
    return local_ns(&w->hosts[h].clock, w->now_ns);
}

static bool
lease_is_live(const world *w, size_t h)
{
    int64_t late_ns = w->mistake == MISTAKE_LATE_GUARD ? 4 * SECOND : 0;
    return host_ns(w, h) < w->hosts[h].lease_end_ns - w->policy.margin.ns + late_ns;
}

static bool
may_run_primary(const host *of)
{
    return of->promoted_epoch != 0 && of->promoted_epoch == of->epoch_seen &&
           of->fenced_epoch < of->promoted_epoch;
}

static void
stop_database(world *w, size_t h, fx_role role)
{
    host *of = &w->hosts[h];
    of->role = role;
    of->starting = false;
    set_accepting(w, h, false);
}

static fx_host_view
report_of(const world *w, size_t h)
{
    const host *of = &w->hosts[h];
    fx_host_view view = {
        .host = fx_name_of(host_names[h]),
        .region = fx_name_of(region_names[h]),
        .sequence = of->sequence,
        .service_count = 1,
        .wants_lease = of->role == FX_ROLE_PRIMARY ||
                       (of->has_goal && of->goal.role == FX_ROLE_PRIMARY && may_run_primary(of) &&
                        of->goal.epoch.value == of->promoted_epoch),
        .result_count = of->result_count,
    };
    view.services[0] = (fx_service_state){
        .service = w->wanted.name,
        .role = of->role,
        .epoch_seen = {of->epoch_seen},
        .fenced_epoch = {of->fenced_epoch},
        .write_lsn = {of->lsn},
        .replay_lsn = {of->lsn},
        .stopped_lsn = {of->stopped_lsn},
        .timeline = of->timeline,
        .healthy = !of->broken && (of->accepts || of->role == FX_ROLE_STANDBY),
        .streaming = of->role == FX_ROLE_STANDBY,
    };
    memcpy(view.results, of->results, of->result_count * sizeof of->results[0]);
    return view;
}

static void
send_report(world *w, size_t h)
{
    host *of = &w->hosts[h];
    report_message *message = calloc(1, sizeof *message);
    assert_non_null(message);
    of->sequence++;
    message->view = report_of(w, h);
    message->sent_ns = host_ns(w, h);
    of->sent_ns = message->sent_ns;
    of->waits_for_reply = true;
    of->reply_deadline_ns = w->now_ns + MS(1500);
    push(
        w,
        (event){
            .at_ns = w->now_ns + delay_ns(w),
            .kind = EVENT_REPORT,
            .from = h,
            .to = of->asks,
            .life = of->life,
            .payload = message,
        });
}

static void
agent_tick(world *w, size_t h)
{
    host *of = &w->hosts[h];
    if (of->waits_for_reply && w->now_ns >= of->reply_deadline_ns) {
        of->waits_for_reply = false;
        of->asks = (of->asks + 1) % REGIONS;
        of->next_report_ns = w->now_ns;
    }
    if (!of->waits_for_reply && w->now_ns >= of->next_report_ns) {
        if (of->asks != h && chance(w, 10)) {
            of->asks = h;
        }
        send_report(w, h);
    }
    after(w, MS(100), EVENT_AGENT_TICK, h, of->life);
}

static void
add_result(host *of, const fx_id *id, fx_order_state state)
{
    for (size_t i = 0; i < of->result_count; i++) {
        if (fx_same_id(&of->results[i].order, id)) {
            of->results[i].state = state;
            return;
        }
    }
    if (of->result_count < FX_RESULT_MAX) {
        of->results[of->result_count++] = (fx_order_result){.order = *id, .state = state};
    }
}

static void
carry_out(world *w, size_t h, const fx_order_spec *order)
{
    host *of = &w->hosts[h];
    fx_host_view known = {.result_count = of->result_count};
    memcpy(known.results, of->results, of->result_count * sizeof of->results[0]);
    if (fx_host_result(&known, &order->id) != NULL) {
        return;
    }
    if (order->epoch.value < of->epoch_seen) {
        add_result(of, &order->id, FX_ORDER_REFUSED);
        return;
    }
    of->epoch_seen = order->epoch.value;
    if (order->kind == FX_ORDER_PROMOTE) {
        /* The agent may be killed in the middle: before or after the order is on its disk. */
        bool interrupted = chance(w, 15);
        of->promoted_epoch = interrupted && chance(w, 50) ? of->promoted_epoch : order->epoch.value;
        fx_order_state told = chance(w, 10) ? FX_ORDER_FAILED : FX_ORDER_DONE;
        add_result(of, &order->id, interrupted ? FX_ORDER_UNKNOWN : told);
        return;
    }
    if (chance(w, 5)) {
        add_result(of, &order->id, FX_ORDER_UNKNOWN);
        return;
    }
    /* fence: proof is given only when nothing is left, a moment later */
    of->starting = false;
    trace(w, "host is told to fence", h, order->epoch.value);
    push(
        w,
        (event){
            .at_ns = w->now_ns + (int64_t)below(w, (uint64_t)MS(400)),
            .kind = EVENT_FENCED,
            .from = h,
            .to = order->orderly && chance(w, 90) ? 1 : 0,
            .life = of->life,
            .payload = memcpy(calloc(1, sizeof *order), order, sizeof *order),
        });
}

static void
fenced(world *w, size_t h, bool orderly, const fx_order_spec *order)
{
    host *of = &w->hosts[h];
    stop_database(w, h, FX_ROLE_HELD);
    of->fenced_epoch = order->epoch.value;
    of->stopped_lsn = orderly ? of->lsn : 0;
    add_result(of, &order->id, chance(w, 10) ? FX_ORDER_UNKNOWN : FX_ORDER_DONE);
}

static void
follow_goal(world *w, size_t h)
{
    host *of = &w->hosts[h];
    if (!of->has_goal) {
        return;
    }
    if (of->goal.role == FX_ROLE_PRIMARY) {
        if (of->role != FX_ROLE_PRIMARY && !of->starting && may_run_primary(of) &&
            lease_is_live(w, h) && of->goal.epoch.value == of->promoted_epoch && !of->broken) {
            of->starting = true;
            after(w, MS(20) + (int64_t)below(w, (uint64_t)MS(1000)), EVENT_STARTED, h, of->life);
        }
        return;
    }
    if (of->role == FX_ROLE_PRIMARY && of->goal.epoch.value > of->running_epoch) {
        stop_database(w, h, FX_ROLE_HELD);
    }
    if (of->role != FX_ROLE_STANDBY && of->role != FX_ROLE_PRIMARY && !of->broken &&
        of->goal.epoch.value > of->fenced_epoch) {
        of->role = FX_ROLE_STANDBY;
    }
}

static void
started(world *w, size_t h)
{
    host *of = &w->hosts[h];
    if (!of->starting) {
        return;
    }
    of->starting = false;
    if (!may_run_primary(of) || !lease_is_live(w, h)) {
        return;
    }
    of->timeline += of->running_epoch != of->promoted_epoch;
    of->running_epoch = of->promoted_epoch;
    of->role = FX_ROLE_PRIMARY;
    set_accepting(w, h, true);
}

static void
take_reply(world *w, size_t h, const report_message *reply)
{
    host *of = &w->hosts[h];
    if (reply->sent_ns != of->sent_ns) {
        return; /* of a report that was given up */
    }
    of->waits_for_reply = false;
    of->next_report_ns = w->now_ns + reply->goals.next_report.ns;
    if (reply->goals.count > 0) {
        of->goal = reply->goals.items[0];
        of->has_goal = true;
    }
    if (reply->granted) {
        int64_t end_ns = reply->sent_ns + w->policy.lease.ns;
        of->lease_end_ns = end_ns > of->lease_end_ns ? end_ns : of->lease_end_ns;
        push(
            w,
            (event){
                .at_ns = when_ns(
                    &of->clock,
                    of->lease_end_ns - w->policy.margin.ns +
                        (w->mistake == MISTAKE_LATE_GUARD ? 4 * SECOND : 0)),
                .kind = EVENT_GUARD,
                .from = h,
                .to = h,
                .life = of->life,
            });
    }
    for (size_t i = 0; i < reply->acknowledged_count; i++) {
        for (size_t k = 0; k < of->result_count; k++) {
            if (fx_same_id(&of->results[k].order, &reply->acknowledged[i])) {
                of->results[k] = of->results[--of->result_count];
                break;
            }
        }
    }
    for (size_t i = 0; i < reply->order_count; i++) {
        carry_out(w, h, &reply->orders[i]);
    }
    follow_goal(w, h);
}

/* The guard needs a moment; the margin is there for it. */
static void
guard(world *w, size_t h)
{
    host *of = &w->hosts[h];
    if (!lease_is_live(w, h) && of->role == FX_ROLE_PRIMARY) {
        stop_database(w, h, FX_ROLE_HELD);
    }
}

static void
replicate(world *w)
{
    for (size_t h = 0; h < REGIONS; h++) {
        host *of = &w->hosts[h];
        of->lsn += of->accepts ? 1 + below(w, 1000) : 0;
    }
    for (size_t h = 0; h < REGIONS; h++) {
        host *of = &w->hosts[h];
        for (size_t o = 0; o < REGIONS; o++) {
            const host *source = &w->hosts[o];
            bool streams = of->up && of->role == FX_ROLE_STANDBY && source->up &&
                           connected(w, h, o) &&
                           (source->accepts || source->role == FX_ROLE_STANDBY) &&
                           source->timeline >= of->timeline;
            bool is_upstream = of->has_goal &&
                               fx_same(&of->goal.upstream.host, &(fx_name){0}) == false &&
                               strcmp(of->goal.upstream.host.text, host_names[o]) == 0;
            if (streams && is_upstream && chance(w, 70)) {
                of->timeline = source->timeline;
                of->lsn = source->lsn;
            }
        }
    }
    after(w, MS(200), EVENT_DATABASE, 0, 0);
}

/* ---- coordinators
 * ------------------------------------------------------------------------------------- */

static fx_host_view *
view_slot(fx_view *view, const fx_host_view *report)
{
    for (size_t i = 0; i < view->host_count; i++) {
        if (fx_same(&view->hosts[i].host, &report->host)) {
            return &view->hosts[i];
        }
    }
    fx_host_view *added = &view->hosts[view->host_count++];
    *added = (fx_host_view){.host = report->host, .region = report->region};
    return added;
}

static void
fold_report(fx_view *view, const fx_host_view *report, fx_mono reported_at)
{
    fx_host_view *slot = view_slot(view, report);
    if (slot->sequence > report->sequence) {
        return;
    }
    fx_mono first = slot->first_heard_at.ns != 0 ? slot->first_heard_at : reported_at;
    fx_mono bad = slot->service_count > 0 ? slot->services[0].bad_since : (fx_mono){0};
    *slot = *report;
    slot->first_heard_at = first;
    slot->reported_at = reported_at;
    bool good = report->services[0].healthy && report->services[0].role != FX_ROLE_HELD;
    slot->services[0].bad_since = good ? (fx_mono){0} : bad.ns != 0 ? bad : reported_at;
}

static void
note_heard(fx_coordinator_view *by, const fx_name *host_name, fx_mono at)
{
    for (size_t i = 0; i < by->host_count; i++) {
        if (fx_same(&by->hosts[i].host, host_name)) {
            by->hosts[i].reported_at = at;
            return;
        }
    }
    by->hosts[by->host_count].host = *host_name;
    by->hosts[by->host_count].reported_at = at;
    by->host_count++;
}

static void
answer(world *w, size_t c, size_t h, unsigned life, report_message *message)
{
    coordinator *of = &w->coordinators[c];
    fx_mono now = coordinator_now(w, c);
    message->goals = fx_goals_for(of->ledger, of->view, &w->policy, &message->view, now);
    fx_orders orders = fx_orders_for(of->ledger, &message->view);
    for (size_t i = 0; i < orders.deliver_count; i++) {
        memcpy(&message->orders[i], orders.deliver[i]->bytes, sizeof message->orders[i]);
    }
    message->order_count = orders.deliver_count;
    message->acknowledged_count = orders.acknowledge_count;
    memcpy(message->acknowledged, orders.acknowledge, sizeof orders.acknowledge);
    push(
        w,
        (event){
            .at_ns = w->now_ns + delay_ns(w),
            .kind = EVENT_REPLY,
            .from = c,
            .to = h,
            .life = life,
            .payload = message,
        });
}

/* Gives false if the message is to be freed. */
static bool
hear_report(world *w, size_t c, size_t h, unsigned life, report_message *message)
{
    coordinator *of = &w->coordinators[c];
    if (!of->has_read) {
        return false;
    }
    fx_mono now = coordinator_now(w, c);
    fold_report(of->view, &message->view, now);
    note_heard(&of->view->coordinators[c], &message->view.host, now);
    message->renewal = fx_renewal_decide(
        of->ledger, &message->view, &of->self.name, &w->policy, of->granted_at[h], now);
    if (w->mistake == MISTAKE_BLIND_RENEWAL && message->view.wants_lease) {
        const fx_lease *lease = fx_ledger_lease(of->ledger, &message->view.host);
        message->renewal = (fx_renewal){.act = FX_RENEWAL_RENEW, .lease = *lease};
    }
    if (message->renewal.act != FX_RENEWAL_RENEW || of->renewing) {
        answer(w, c, h, life, message);
        return true;
    }
    of->renewing = true;
    push(
        w,
        (event){
            .at_ns = w->now_ns + delay_ns(w),
            .kind = EVENT_RENEWAL_AT_STORE,
            .from = c,
            .to = h,
            .life = life,
            .payload = message,
        });
    return true;
}

static void
renew_at_store(world *w, event *of)
{
    report_message *message = of->payload;
    if (store_serves(w, of->from)) {
        fx_lease *lease = store_lease(w, &message->view.host);
        if (lease != NULL && (lease->revision.value == message->renewal.lease.revision.value ||
                              w->mistake == MISTAKE_BLIND_RENEWAL)) {
            w->store->revision.value++;
            *lease = message->renewal.lease;
            lease->revision = w->store->revision;
            message->renewal.lease.revision = lease->revision;
            message->granted = true;
        }
    }
    event back = *of;
    back.kind = EVENT_RENEWAL_BACK;
    back.at_ns = w->now_ns + delay_ns(w);
    push(w, back);
    of->payload = NULL;
}

static void
renewal_back(world *w, event *of)
{
    coordinator *c = &w->coordinators[of->from];
    report_message *message = of->payload;
    c->renewing = false;
    if (!store_serves(w, of->from)) {
        message->granted = false;
    }
    if (message->granted) {
        c->granted_at[of->to] = coordinator_now(w, of->from);
        for (size_t i = 0; i < c->ledger->lease_count; i++) {
            fx_lease *lease = &c->ledger->leases[i];
            if (fx_same(&lease->host, &message->view.host) &&
                lease->revision.value < message->renewal.lease.revision.value) {
                *lease = message->renewal.lease;
                lease->seen_since = coordinator_now(w, of->from);
            }
        }
    }
    answer(w, of->from, of->to, of->life, message);
    of->payload = NULL;
}

static void
send_digest(world *w, size_t c)
{
    coordinator *of = &w->coordinators[c];
    fx_mono now = coordinator_now(w, c);
    for (size_t p = 0; p < REGIONS; p++) {
        if (p == c) {
            continue;
        }
        digest_message *message = calloc(1, sizeof *message);
        assert_non_null(message);
        const fx_coordinator_view *own = &of->view->coordinators[c];
        message->own.listening_since.ns = now.ns - of->view->began_at.ns;
        message->own.host_count = own->host_count;
        for (size_t i = 0; i < own->host_count; i++) {
            message->own.hosts[i].host = own->hosts[i].host;
            message->own.hosts[i].reported_at.ns = now.ns - own->hosts[i].reported_at.ns;
            const fx_host_view *heard = fx_view_host(of->view, &own->hosts[i].host);
            if (heard != NULL && heard->reported_at.ns == own->hosts[i].reported_at.ns) {
                message->ages_ns[message->host_count] = now.ns - heard->reported_at.ns;
                message->hosts[message->host_count++] = *heard;
            }
        }
        for (size_t h = 0; h < REGIONS; h++) {
            message->own.sights[h] = (fx_sight){
                .service = w->wanted.name,
                .host = fx_name_of(host_names[h]),
                .reachable = of->bad_since_ns[h] == 0,
                .bad_for = {of->bad_since_ns[h] == 0 ? 0 : now.ns - of->bad_since_ns[h]},
            };
        }
        message->own.sight_count = REGIONS;
        push(
            w,
            (event){
                .at_ns = w->now_ns + delay_ns(w),
                .kind = EVENT_DIGEST,
                .from = c,
                .to = p,
                .life = of->life,
                .payload = message,
            });
    }
    after(w, SECOND, EVENT_COORDINATOR_DIGEST, c, of->life);
}

static void
hear_digest(world *w, size_t from, size_t to, const digest_message *message)
{
    fx_view *view = w->coordinators[to].view;
    fx_coordinator_view *slot = &view->coordinators[from];
    fx_mono now = coordinator_now(w, to);
    slot->heard = true;
    slot->heard_at = now;
    slot->listening_since.ns = now.ns - message->own.listening_since.ns;
    for (size_t i = 0; i < message->own.host_count; i++) {
        fx_mono at = {now.ns - message->own.hosts[i].reported_at.ns};
        note_heard(slot, &message->own.hosts[i].host, at);
    }
    memcpy(slot->sights, message->own.sights, sizeof slot->sights[0] * message->own.sight_count);
    slot->sight_count = message->own.sight_count;
    for (size_t i = 0; i < message->host_count; i++) {
        fold_report(view, &message->hosts[i], (fx_mono){now.ns - message->ages_ns[i]});
    }
}

static void
look_at_hosts(world *w, size_t c)
{
    coordinator *of = &w->coordinators[c];
    for (size_t h = 0; h < REGIONS; h++) {
        const host *seen = &w->hosts[h];
        bool reachable = seen->up && connected(w, c, h) && !seen->broken &&
                         (seen->accepts || seen->role == FX_ROLE_STANDBY);
        if (reachable) {
            of->bad_since_ns[h] = 0;
        } else if (of->bad_since_ns[h] == 0) {
            of->bad_since_ns[h] = coordinator_now(w, c).ns;
        }
    }
}

static void
end_attempt(world *w, size_t c, const fx_command *command, fx_attempt outcome)
{
    coordinator *of = &w->coordinators[c];
    outcome.finished_at = coordinator_now(w, c);
    w->unknowns += outcome.state == FX_ATTEMPT_UNKNOWN;
    fx_attempt_end(of->attempts, &of->attempt_count, command, &outcome);
}

/* ---- the name server
 * --------------------------------------------------------------------------------- */

static bool
leads_in_store(const world *w, size_t c)
{
    return fx_leads(w->store, &w->coordinators[c].self);
}

/* A change whose end this leader does not know, and at which it has not looked since. */
static void
check_looked(world *w, size_t c, uint64_t epoch)
{
    unsigned life = w->coordinators[c].life;
    bool own = w->sent_by == c && w->sent_life == life;
    bool looked = w->looked_by == c && w->looked_life == life && w->looked_at_ns > w->sent_at_ns;
    if (w->sent_epoch == epoch && !(own && w->sender_knows) && !looked) {
        violate(w, "DNS is changed again, and nobody looked whether it was");
    }
}

static void
send_to_name_server(world *w, size_t c, const fx_command *command)
{
    unsigned life = w->coordinators[c].life;
    if (command->kind == FX_COMMAND_DNS && leads_in_store(w, c)) {
        check_looked(w, c, command->service.epoch.value);
        w->sent_epoch = command->service.epoch.value;
        w->sent_by = c;
        w->sent_life = life;
        w->sent_at_ns = w->now_ns;
        w->sender_knows = false;
    }
    name_message *message = calloc(1, sizeof *message);
    assert_non_null(message);
    message->command = *command;
    event of = {
        .at_ns = w->now_ns + delay_ns(w),
        .kind = EVENT_NAME_AT_SERVER,
        .from = c,
        .to = c,
        .life = life,
        .payload = message,
    };
    if (!chance(w, 20)) {
        push(w, of);
        return;
    }
    /* No answer comes; the request may still arrive, at once or long after it was given up. */
    name_message *told = memcpy(calloc(1, sizeof *told), message, sizeof *told);
    told->state = command->kind == FX_COMMAND_DNS ? FX_ATTEMPT_UNKNOWN : FX_ATTEMPT_FAILED;
    event back = of;
    back.kind = EVENT_NAME_BACK;
    back.at_ns = w->now_ns + MS(1500);
    back.payload = told;
    push(w, back);
    message->given_up = true;
    of.at_ns += chance(w, 30) ? MS(1500) + (int64_t)below(w, (uint64_t)MS(4000)) : 0;
    if (chance(w, 70)) {
        push(w, of);
    } else {
        free(message);
    }
}

static size_t
host_index(const fx_name *name)
{
    size_t h = 0;
    while (h < REGIONS && strcmp(host_names[h], name->text) != 0) {
        h++;
    }
    return h;
}

/* As the driver does it: one step that compares the epoch there, and never goes back. */
static void
name_at_server(world *w, event *of)
{
    name_message *message = of->payload;
    const fx_service *service = &message->command.service;
    uint64_t epoch = service->epoch.value;
    if (message->command.kind == FX_COMMAND_OBSERVE_DNS) {
        message->state = chance(w, 90) ? FX_ATTEMPT_DONE : FX_ATTEMPT_FAILED;
        message->is_so = w->name_epoch == epoch && w->name_host == host_index(&service->primary);
    } else if (epoch < w->name_epoch || chance(w, 10)) {
        message->state = FX_ATTEMPT_FAILED;
    } else {
        trace(w, "the name is changed", of->from, epoch);
        w->name_epoch = epoch;
        w->name_host = host_index(&service->primary);
        message->state = FX_ATTEMPT_DONE;
    }
    if (!message->given_up) {
        event back = *of;
        back.kind = EVENT_NAME_BACK;
        back.at_ns = w->now_ns + delay_ns(w);
        push(w, back);
        of->payload = NULL;
    }
}

static void
name_back(world *w, const event *of)
{
    const name_message *message = of->payload;
    fx_attempt outcome = {.state = message->state, .is_so = message->is_so};
    if (message->command.kind == FX_COMMAND_OBSERVE_DNS && message->state == FX_ATTEMPT_DONE) {
        w->looked_by = of->from;
        w->looked_life = of->life;
        w->looked_at_ns = w->now_ns;
    }
    bool own = w->sent_by == of->from && w->sent_life == of->life &&
               w->sent_epoch == message->command.service.epoch.value;
    if (message->command.kind == FX_COMMAND_DNS && own && message->state != FX_ATTEMPT_UNKNOWN) {
        w->sender_knows = true;
    }
    if (w->mistake == MISTAKE_BLIND_REPEAT && outcome.state == FX_ATTEMPT_UNKNOWN) {
        outcome.state = FX_ATTEMPT_FAILED;
    }
    end_attempt(w, of->from, &message->command, outcome);
}

static void
send_commit(world *w, size_t c, const fx_command *command)
{
    commit_message *message = calloc(1, sizeof *message);
    assert_non_null(message);
    message->command = *command;
    event of = {
        .at_ns = w->now_ns + delay_ns(w),
        .kind = EVENT_COMMIT_AT_STORE,
        .from = c,
        .to = c,
        .life = w->coordinators[c].life,
        .payload = message,
    };
    if (chance(w, 3)) { /* given up, and arrives all the same, perhaps after the next read */
        commit_message *told = memcpy(calloc(1, sizeof *told), message, sizeof *told);
        told->unknown = true;
        message->given_up = true;
        event back = of;
        back.kind = EVENT_COMMIT_BACK;
        back.at_ns = w->now_ns + 2 * SECOND;
        back.payload = told;
        push(w, back);
        of.at_ns += (int64_t)below(w, (uint64_t)(4 * SECOND));
    }
    push(w, of);
}

static void
start_command(world *w, size_t c, const fx_command *command)
{
    coordinator *of = &w->coordinators[c];
    trace(w, command->reason, c, (uint64_t)command->kind);
    fx_attempt_begin(of->attempts, &of->attempt_count, command);
    if (command->kind == FX_COMMAND_DNS || command->kind == FX_COMMAND_OBSERVE_DNS) {
        send_to_name_server(w, c, command);
        return;
    }
    if (command->kind == FX_COMMAND_VALIDATE) {
        bool up = false;
        for (size_t h = 0; h < REGIONS; h++) {
            up = up || (w->hosts[h].accepts && connected(w, c, h) && w->name_host == h);
        }
        bool ok = up && chance(w, 80);
        end_attempt(w, c, command, (fx_attempt){.state = ok ? FX_ATTEMPT_DONE : FX_ATTEMPT_FAILED});
        return;
    }
    send_commit(w, c, command);
}

static void
coordinator_tick(world *w, size_t c)
{
    coordinator *of = &w->coordinators[c];
    after(w, MS(200), EVENT_COORDINATOR_TICK, c, of->life);
    look_at_hosts(w, c);
    if (!of->has_read) {
        return;
    }
    fx_mono now = coordinator_now(w, c);
    of->view->coordinators[c].heard_at = now;
    fx_leadership leadership =
        fx_leadership_decide(of->ledger, &of->self, &w->policy, of->beat_at, now);
    if (leadership.act != FX_LEADERSHIP_FOLLOW && !of->leading_in_flight) {
        leadership_message *message = calloc(1, sizeof *message);
        assert_non_null(message);
        message->decision = leadership;
        of->leading_in_flight = true;
        push(
            w,
            (event){
                .at_ns = w->now_ns + delay_ns(w),
                .kind = EVENT_LEADERSHIP_AT_STORE,
                .from = c,
                .to = c,
                .life = of->life,
                .payload = message,
            });
    }
    fx_situation situation = {
        .ledger = of->ledger,
        .view = of->view,
        .policy = &w->leader_policy,
        .self = &of->self,
        .wanted = &w->wanted,
        .wanted_count = 1,
        .attempts = of->attempts,
        .attempt_count = of->attempt_count,
        .now = now,
        .wall = {w->now_ns},
    };
    fx_decide(&situation, w->commands);
    for (size_t i = 0; i < w->commands->count; i++) {
        start_command(w, c, &w->commands->items[i]);
    }
}

static void
leadership_at_store(world *w, event *of)
{
    leadership_message *message = of->payload;
    const fx_leadership *decision = &message->decision;
    fx_ledger *store = w->store;
    bool take = decision->act == FX_LEADERSHIP_TAKE;
    bool same = decision->leader.revision.value == store->leader.revision.value &&
                (!take || decision->beat.revision.value == store->beat.revision.value);
    if (store_serves(w, of->from) && same) {
        store->revision.value++;
        if (take) {
            store->leader = decision->leader;
            store->leader.revision = store->revision;
            trace(w, "leads", of->from, store->leader.term);
        }
        store->beat = decision->beat;
        store->beat.revision = store->revision;
        message->ok = true;
    }
    event back = *of;
    back.kind = EVENT_LEADERSHIP_BACK;
    back.at_ns = w->now_ns + delay_ns(w);
    push(w, back);
    of->payload = NULL;
}

/* Another coordinator reads the store afresh and signs, or does not. */
static bool
is_endorsed(world *w, size_t c, const fx_order_spec *order)
{
    for (size_t p = 0; p < REGIONS; p++) {
        if (p != c && w->coordinators[p].up && connected(w, c, p) && store_serves(w, p) &&
            fx_endorse_refused(w->store, order) == NULL) {
            return true;
        }
    }
    return false;
}

static void
commit_at_store(world *w, event *of)
{
    commit_message *message = of->payload;
    fx_command *command = &message->command;
    bool is_signing = command->kind != FX_COMMAND_COMMIT;
    event next = *of;
    next.at_ns = w->now_ns + delay_ns(w);
    next.kind = EVENT_COMMIT_BACK;
    if (is_signing && !message->signed_already) {
        if (is_endorsed(w, of->from, &command->order)) {
            fx_signed_order *order = command->kind == FX_COMMAND_SIGN_FENCE
                                         ? &command->plan.steps[0].order
                                         : &command->service.promotion;
            *order =
                (fx_signed_order){.size_bytes = sizeof command->order, .id = command->order.id};
            memcpy(order->bytes, &command->order, sizeof command->order);
            message->signed_already = true;
            next.kind = EVENT_COMMIT_AT_STORE;
        }
    } else if (store_serves(w, of->from) && command_matches(w, command)) {
        store_apply(w, command);
        message->ok = true;
        message->revision = w->store->revision.value;
    }
    if (message->given_up && next.kind == EVENT_COMMIT_BACK) {
        return;
    }
    push(w, next);
    of->payload = NULL;
}

static void
read_back(world *w, size_t c)
{
    coordinator *of = &w->coordinators[c];
    fx_ledger *fresh = of->in_flight;
    fresh->asked_at.ns = local_ns(&of->clock, of->read_sent_ns);
    fresh->read_at = coordinator_now(w, c);
    fx_ledger_observe(fresh, of->has_read ? of->ledger : NULL, &w->leader_policy);
    /* A renewal of our own may have been answered before this read was made. */
    for (size_t i = 0; of->has_read && i < fresh->lease_count; i++) {
        const fx_lease *known = fx_ledger_lease(of->ledger, &fresh->leases[i].host);
        if (known != NULL && known->revision.value > fresh->leases[i].revision.value) {
            fresh->leases[i] = *known;
        }
    }
    of->in_flight = of->ledger;
    of->ledger = fresh;
    of->has_read = true;
    of->reading = false;
}

static void
poll(world *w, size_t c)
{
    coordinator *of = &w->coordinators[c];
    after(w, MS(300), EVENT_COORDINATOR_POLL, c, of->life);
    if (of->reading && w->now_ns - of->read_sent_ns < SECOND) {
        return;
    }
    of->reading = true;
    of->read_sent_ns = w->now_ns;
    push(
        w,
        (event){
            .at_ns = w->now_ns + delay_ns(w),
            .kind = EVENT_READ_AT_STORE,
            .from = c,
            .to = c,
            .life = of->life,
            .payload = memcpy(calloc(1, sizeof w->now_ns), &w->now_ns, sizeof w->now_ns),
        });
}

/* ---- lives and faults
 * ---------------------------------------------------------------------------------- */

static void
start_coordinator(world *w, size_t c)
{
    coordinator *of = &w->coordinators[c];
    of->up = true;
    of->life++;
    of->has_read = false;
    of->reading = false;
    of->renewing = false;
    of->leading_in_flight = false;
    of->attempt_count = 0;
    of->beat_at = (fx_mono){0};
    memset(of->granted_at, 0, sizeof of->granted_at);
    memset(of->bad_since_ns, 0, sizeof of->bad_since_ns);
    of->self = (fx_candidate){
        .name = fx_name_of(coordinator_names[c]), .region = fx_name_of(region_names[c]), .rank = c};
    of->self.incarnation[0] = (unsigned char)of->life;
    of->view->host_count = 0;
    of->view->began_at = coordinator_now(w, c);
    of->view->self = of->self.name;
    of->view->self_region = of->self.region;
    of->view->coordinator_count = REGIONS;
    for (size_t p = 0; p < REGIONS; p++) {
        fx_coordinator_view *view = &of->view->coordinators[p];
        view->coordinator = fx_name_of(coordinator_names[p]);
        view->region = fx_name_of(region_names[p]);
        view->host_count = 0;
        view->sight_count = 0;
        view->heard = p == c;
        view->heard_at = of->view->began_at;
        view->listening_since = of->view->began_at;
    }
    after(w, (int64_t)below(w, (uint64_t)MS(200)), EVENT_COORDINATOR_TICK, c, of->life);
    after(w, (int64_t)below(w, (uint64_t)MS(200)), EVENT_COORDINATOR_POLL, c, of->life);
    after(w, (int64_t)below(w, (uint64_t)SECOND), EVENT_COORDINATOR_DIGEST, c, of->life);
}

static void
stop_coordinator(world *w, size_t c)
{
    w->coordinators[c].up = false;
    w->coordinators[c].life++;
}

static void
start_agent(world *w, size_t h)
{
    host *of = &w->hosts[h];
    of->up = true;
    of->agent_up = true;
    of->waits_for_reply = false;
    of->asks = h;
    of->next_report_ns = w->now_ns;
    of->has_goal = false;
    after(w, (int64_t)below(w, (uint64_t)MS(500)), EVENT_AGENT_TICK, h, of->life);
}

static void
crash_host(world *w, size_t h)
{
    host *of = &w->hosts[h];
    of->up = false;
    of->agent_up = false;
    of->life++;
    of->broken = false;
    of->lease_end_ns = 0; /* of another boot: the clock that it was told by is gone */
    stop_database(w, h, FX_ROLE_NONE);
}

static void
set_links(world *w, size_t region, bool up)
{
    for (size_t o = 0; o < REGIONS; o++) {
        w->link_up[region][o] = up;
        w->link_up[o][region] = up;
    }
}

static void
heal(world *w)
{
    for (size_t r = 0; r < REGIONS; r++) {
        set_links(w, r, true);
        w->member_up[r] = true;
        w->hosts[r].broken = false;
        if (!w->coordinators[r].up) {
            start_coordinator(w, r);
        }
        if (!w->hosts[r].agent_up) {
            start_agent(w, r);
        }
    }
    w->slow_until_ns = 0;
}

static void
fault(world *w)
{
    size_t region = below(w, REGIONS);
    uint64_t kind = below(w, 10);
    trace(w, "fault", region, kind);
    switch (kind) {
    case 0:
    case 1: /* the whole region dies */
        crash_host(w, region);
        stop_coordinator(w, region);
        w->member_up[region] = false;
        break;
    case 2: /* is cut off, alive */
        set_links(w, region, false);
        break;
    case 3: /* one link */
        w->link_up[region][(region + 1) % REGIONS] = false;
        w->link_up[(region + 1) % REGIONS][region] = false;
        break;
    case 4: /* the agent dies or hangs, its guard and database go on */
        w->hosts[region].agent_up = false;
        break;
    case 5:
        stop_coordinator(w, region);
        break;
    case 6:
        w->member_up[region] = false;
        break;
    case 7:
        w->slow_until_ns = w->now_ns + 10 * SECOND;
        break;
    case 8:
        crash_host(w, region);
        break;
    default:
        w->hosts[region].broken = true;
        set_accepting(w, region, false);
        w->hosts[region].role = FX_ROLE_NONE;
        break;
    }
    if (chance(w, 25)) {
        heal(w);
    }
}

/* ---- running a schedule
 * ---------------------------------------------------------------------------------- */

static bool
is_alive(const world *w, const event *of)
{
    switch (of->kind) {
    case EVENT_DATABASE:
    case EVENT_FAULT:
        return true;
    case EVENT_REPORT:
    case EVENT_DIGEST:
        return w->coordinators[of->to].up && connected(w, of->from, of->to);
    case EVENT_AGENT_TICK:
        return w->hosts[of->from].agent_up && w->hosts[of->from].life == of->life;
    case EVENT_REPLY:
        return w->hosts[of->to].agent_up && connected(w, of->from, of->to);
    case EVENT_GUARD:
    case EVENT_FENCED:
    case EVENT_STARTED:
        return w->hosts[of->from].up && w->hosts[of->from].life == of->life;
    case EVENT_RENEWAL_AT_STORE:
    case EVENT_COMMIT_AT_STORE:
    case EVENT_NAME_AT_SERVER:
    case EVENT_LEADERSHIP_AT_STORE:
        return true; /* sent: a crash of the sender does not call it back */
    case EVENT_RENEWAL_BACK:
        return w->coordinators[of->from].up;
    case EVENT_COORDINATOR_TICK:
    case EVENT_COORDINATOR_POLL:
    case EVENT_COORDINATOR_DIGEST:
    case EVENT_READ_AT_STORE:
    case EVENT_READ_BACK:
    case EVENT_COMMIT_BACK:
    case EVENT_NAME_BACK:
    case EVENT_LEADERSHIP_BACK:
        return w->coordinators[of->from].life == of->life && w->coordinators[of->from].up;
    }
    return false;
}

static void
read_at_store(world *w, event *of)
{
    coordinator *c = &w->coordinators[of->from];
    int64_t sent_ns = 0;
    memcpy(&sent_ns, of->payload, sizeof sent_ns);
    if (!store_serves(w, of->from) || is_lost(w) || sent_ns != c->read_sent_ns) {
        return; /* the next poll gives it up */
    }
    copy_ledger(c->in_flight, w->store);
    event back = *of;
    back.kind = EVENT_READ_BACK;
    back.at_ns = w->now_ns + delay_ns(w);
    push(w, back);
    of->payload = NULL;
}

static void
commit_back(world *w, const event *of)
{
    const commit_message *message = of->payload;
    bool told = !message->unknown && store_serves(w, of->from) && !is_lost(w);
    fx_attempt_state answer = message->ok ? FX_ATTEMPT_DONE : FX_ATTEMPT_FAILED;
    fx_attempt outcome = {.state = told ? answer : FX_ATTEMPT_UNKNOWN};
    outcome.committed.value = told && message->ok ? message->revision : 0;
    end_attempt(w, of->from, &message->command, outcome);
}

static void
run_coordinator_event(world *w, event *of)
{
    coordinator *c = &w->coordinators[of->from];
    switch (of->kind) {
    case EVENT_COORDINATOR_TICK:
        coordinator_tick(w, of->from);
        break;
    case EVENT_COORDINATOR_POLL:
        poll(w, of->from);
        break;
    case EVENT_COORDINATOR_DIGEST:
        send_digest(w, of->from);
        break;
    case EVENT_READ_AT_STORE:
        read_at_store(w, of);
        break;
    case EVENT_READ_BACK: {
        int64_t sent_ns = 0;
        memcpy(&sent_ns, of->payload, sizeof sent_ns);
        if (sent_ns == c->read_sent_ns) {
            read_back(w, of->from);
        }
        break;
    }
    case EVENT_COMMIT_AT_STORE:
        commit_at_store(w, of);
        break;
    case EVENT_COMMIT_BACK:
        commit_back(w, of);
        break;
    case EVENT_NAME_AT_SERVER:
        name_at_server(w, of);
        break;
    case EVENT_NAME_BACK:
        name_back(w, of);
        break;
    case EVENT_LEADERSHIP_AT_STORE:
        leadership_at_store(w, of);
        break;
    case EVENT_LEADERSHIP_BACK:
        c->leading_in_flight = false;
        if (((const leadership_message *)of->payload)->ok) {
            c->beat_at = coordinator_now(w, of->from);
        }
        break;
    default:
        break;
    }
}

static void
run_event(world *w, event *of)
{
    switch (of->kind) {
    case EVENT_RENEWAL_AT_STORE:
        renew_at_store(w, of);
        break;
    case EVENT_RENEWAL_BACK:
        renewal_back(w, of);
        break;
    case EVENT_DIGEST:
        if (!is_lost(w)) {
            hear_digest(w, of->from, of->to, of->payload);
        }
        break;
    case EVENT_AGENT_TICK:
        agent_tick(w, of->from);
        break;
    case EVENT_REPORT:
        if (!is_lost(w) && hear_report(w, of->to, of->from, of->life, of->payload)) {
            of->payload = NULL;
        }
        break;
    case EVENT_REPLY:
        if (!is_lost(w) && w->hosts[of->to].life == of->life) {
            take_reply(w, of->to, of->payload);
        }
        break;
    case EVENT_GUARD:
        guard(w, of->from);
        break;
    case EVENT_FENCED:
        fenced(w, of->from, of->to == 1, of->payload);
        break;
    case EVENT_STARTED:
        started(w, of->from);
        break;
    case EVENT_DATABASE:
        replicate(w);
        break;
    case EVENT_FAULT:
        if (of->from == 1) {
            heal(w);
            /* Less than report and digest intervals together gives false alarms for ever. */
            w->policy.silence_max = FX_DUR_MS(5000);
            w->leader_policy.silence_max = FX_DUR_MS(5000);
        } else {
            fault(w);
        }
        break;
    default:
        run_coordinator_event(w, of);
        break;
    }
}

static clock_model
draw_clock(world *w)
{
    /* up to 4 % off either way: within what lease and margin bear */
    return (clock_model){
        .rate = 0.96 + (double)below(w, 8001) / 100000.0,
        .offset_ns = SECOND + (int64_t)below(w, (uint64_t)(1000 * SECOND)),
    };
}

static void
begin(world *w)
{
    w->policy = fx_policy_default();
    /* Impatient clusters must be as safe: only the lease keeps them so. */
    w->policy.silence_max = FX_DUR_MS(1500 + (int64_t)below(w, 3500));
    w->policy.leader_silence = FX_DUR_MS(2000 + (int64_t)below(w, 2000));
    w->policy.unhealthy_max = FX_DUR_MS(3000 + (int64_t)below(w, 7000));
    w->leader_policy = w->policy;
    if (w->mistake == MISTAKE_NO_LEASE_WAIT) {
        w->leader_policy.lease = FX_DUR_MS(0);
        w->leader_policy.margin = FX_DUR_MS(0);
    }
    w->wanted = (fx_service){.name = fx_name_of("orders-db"), .member_count = REGIONS};
    for (size_t r = 0; r < REGIONS; r++) {
        w->wanted.members[r] = (fx_member){
            .host = fx_name_of(host_names[r]), .region = fx_name_of(region_names[r]), .port = 5432};
        coordinator *c = &w->coordinators[r];
        c->clock = draw_clock(w);
        w->hosts[r].clock = draw_clock(w);
        w->hosts[r].timeline = 1;
        w->hosts[r].role = FX_ROLE_STANDBY;
        c->ledger = calloc(1, sizeof *c->ledger);
        c->in_flight = calloc(1, sizeof *c->in_flight);
        c->view = calloc(1, sizeof *c->view);
        assert_non_null(c->ledger);
        assert_non_null(c->in_flight);
        assert_non_null(c->view);
    }
    heal(w);
    after(w, MS(200), EVENT_DATABASE, 0, 0);
    size_t faults = 1 + below(w, FAULTS_MAX);
    for (size_t i = 0; i < faults; i++) {
        after(
            w,
            10 * SECOND + (int64_t)below(w, (uint64_t)(FAULTS_UNTIL - 10 * SECOND)),
            EVENT_FAULT,
            0,
            0);
    }
    after(w, FAULTS_UNTIL, EVENT_FAULT, 1, 0);
}

static void
check_end(world *w)
{
    size_t accepting = 0;
    for (size_t h = 0; h < REGIONS; h++) {
        accepting += w->hosts[h].accepts;
    }
    if (accepting != 1) {
        violate(w, "everything works again, but nobody takes writes");
    }
    if (w->store->plan_count != 0) {
        violate(w, "everything works again, but a plan is still in flight");
    }
    if (w->store->service_count != 1 ||
        w->store->services[0].dns_epoch.value != w->store->services[0].epoch.value) {
        violate(w, "everything works again, but DNS does not say so");
    }
    if (w->name_epoch != w->store->services[0].epoch.value || w->name_host >= REGIONS ||
        !w->hosts[w->name_host].accepts) {
        violate(w, "everything works again, but the name leads elsewhere");
    }
}

/* Gives the world's end; the caller frees with end(). */
static void
run(world *w, uint64_t seed, mistake made, fx_ledger *store, fx_commands *commands)
{
    *w = (world){.seed = seed, .mistake = made, .store = store, .commands = commands};
    w->trace = getenv("FORTRESS_SIM_TRACE") != NULL; // NOLINT(concurrency-mt-unsafe): one thread
    fx_rng_init(&w->rng, seed);
    memset(store, 0, offsetof(fx_ledger, services));
    store->service_count = 0;
    store->lease_count = 0;
    store->plan_count = 0;
    store->request_count = 0;
    begin(w);
    while (w->heap_count > 0 && !w->violated) {
        event of = pop(w);
        if (of.at_ns > END_AT) {
            /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): an event leaves the heap once */
            free(of.payload);
            break;
        }
        w->now_ns = of.at_ns;
        if (is_alive(w, &of)) {
            run_event(w, &of);
        } else if (of.kind == EVENT_RENEWAL_BACK) {
            w->coordinators[of.from].renewing = false;
        }
        free(of.payload);
    }
    if (!w->violated) {
        check_end(w);
    }
}

static void
end(world *w)
{
    for (size_t i = 0; i < w->heap_count; i++) {
        free(w->heap[i].payload);
    }
    free(w->heap);
    for (size_t c = 0; c < REGIONS; c++) {
        free(w->coordinators[c].ledger);
        free(w->coordinators[c].in_flight);
        free(w->coordinators[c].view);
    }
}

static uint64_t
number_from(const char *variable, uint64_t fallback)
{
    const char *text = getenv(variable); // NOLINT(concurrency-mt-unsafe): one thread
    return text == NULL ? fallback : strtoull(text, NULL, 10);
}

typedef struct total {
    size_t take_overs;
    size_t plans_done;
    size_t plans_ended;
    size_t finished_by_another;
    size_t unknowns;
    size_t violations;
} total;

static total
run_many(uint64_t first_seed, uint64_t count, mistake made, bool stop_at_violation)
{
    total sum = {0};
    world *w = calloc(1, sizeof *w);
    fx_ledger *store = calloc(1, sizeof *store);
    fx_commands *commands = calloc(1, sizeof *commands);
    assert_non_null(w);
    assert_non_null(store);
    assert_non_null(commands);
    for (uint64_t i = 0; i < count; i++) {
        run(w, first_seed + i, made, store, commands);
        sum.take_overs += w->take_overs;
        sum.plans_done += w->plans_done;
        sum.plans_ended += w->plans_ended;
        sum.finished_by_another += w->finished_by_another;
        sum.unknowns += w->unknowns;
        sum.violations += w->violated;
        if (w->violated && made == MISTAKE_NONE) {
            print_error("%s\n", w->violation);
        }
        const char *sought = made == MISTAKE_BLIND_REPEAT ? "nobody looked" : "two hosts";
        bool found = w->violated && strstr(w->violation, sought) != NULL;
        end(w);
        if (found && stop_at_violation) {
            break;
        }
    }
    free(commands);
    free(store);
    free(w);
    return sum;
}

static void
no_schedule_has_two_primaries_and_every_one_recovers(void **state)
{
    (void)state;
    uint64_t runs = number_from("FORTRESS_SIM_RUNS", RUNS_DEFAULT);
    uint64_t seed = number_from("FORTRESS_SIM_SEED", 1);
    total sum = run_many(seed, runs, MISTAKE_NONE, false);
    print_message(
        "%llu schedules from seed %llu: %zu take-overs, %zu of %zu plans done, %zu by another "
        "leader, %zu actions of unknown outcome\n",
        (unsigned long long)runs,
        (unsigned long long)seed,
        sum.take_overs,
        sum.plans_done,
        sum.plans_ended,
        sum.finished_by_another,
        sum.unknowns);
    assert_int_equal(sum.violations, 0);
    if (runs >= RUNS_DEFAULT) {
        assert_true(sum.take_overs > runs / 4);
        assert_true(sum.finished_by_another > 0);
    }
}

static void
a_leader_that_does_not_wait_for_the_lease_is_found(void **state)
{
    (void)state;
    assert_true(run_many(1, RUNS_DEFAULT, MISTAKE_NO_LEASE_WAIT, true).violations > 0);
}

static void
a_guard_that_fences_late_is_found(void **state)
{
    (void)state;
    assert_true(run_many(1, RUNS_DEFAULT, MISTAKE_LATE_GUARD, true).violations > 0);
}

static void
renewals_that_compare_nothing_are_found(void **state)
{
    (void)state;
    assert_true(run_many(1, RUNS_DEFAULT, MISTAKE_BLIND_RENEWAL, true).violations > 0);
}

static void
a_leader_that_repeats_without_looking_is_found(void **state)
{
    (void)state;
    assert_true(run_many(1, RUNS_DEFAULT, MISTAKE_BLIND_REPEAT, true).violations > 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_schedule_has_two_primaries_and_every_one_recovers),
        cmocka_unit_test(a_leader_that_does_not_wait_for_the_lease_is_found),
        cmocka_unit_test(a_guard_that_fences_late_is_found),
        cmocka_unit_test(renewals_that_compare_nothing_are_found),
        cmocka_unit_test(a_leader_that_repeats_without_looking_is_found),
    };
    return cmocka_run_group_tests_name("failover_sim", tests, NULL, NULL);
}
