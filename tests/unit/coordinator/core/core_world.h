/* A small healthy cluster for the tests of decisions: three regions, usw2-db primary in epoch 3. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "coordinator/core/decide.h"

#define NOW_MS  INT64_C(1000000)
#define NOW     FX_MONO_MS(NOW_MS)
#define AGO(ms) FX_MONO_MS(NOW_MS - (ms))

typedef struct core_world {
    fx_ledger ledger;
    fx_view view;
    fx_policy policy;
    fx_candidate self;
    fx_attempt attempts[FX_ATTEMPT_MAX];
    size_t attempt_count;
    fx_commands commands;
    fx_service wanted;
} core_world;

static const char *const world_hosts[3] = {"usw2-db", "use1-db", "euw1-db"};
static const char *const world_regions[3] = {"us-west-2", "us-east-1", "eu-west-1"};
static const char *const world_coordinators[3] = {"usw2-co", "use1-co", "euw1-co"};

static inline void
world_fill_service(core_world *w)
{
    fx_service *service = &w->ledger.services[0];
    w->ledger.service_count = 1;
    *service = (fx_service){
        .revision = {50},
        .name = fx_name_of("orders-db"),
        .epoch = {3},
        .dns_epoch = {3},
        .primary = fx_name_of("usw2-db"),
        .member_count = 3,
        .promotion = {.size_bytes = 1, .id = {"promote-e3-r40"}},
    };
    for (size_t i = 0; i < 3; i++) {
        service->members[i] = (fx_member){
            .host = fx_name_of(world_hosts[i]),
            .region = fx_name_of(world_regions[i]),
            .port = 5432};
    }
    w->wanted = *service;
    w->ledger.lease_count = 1;
    w->ledger.leases[0] = (fx_lease){
        .revision = {90},
        .host = fx_name_of("usw2-db"),
        .renewal = 7,
        .open = true,
        .held = {{.service = service->name, .epoch = {3}}},
        .held_count = 1,
        .seen_since = AGO(500),
    };
}

static inline void
world_fill_view(core_world *w)
{
    fx_view *view = &w->view;
    view->self = fx_name_of("use1-co");
    view->self_region = fx_name_of("us-east-1");
    view->began_at = AGO(100000);
    view->coordinator_count = 3;
    view->host_count = 3;
    for (size_t i = 0; i < 3; i++) {
        view->coordinators[i] = (fx_coordinator_view){
            .coordinator = fx_name_of(world_coordinators[i]),
            .region = fx_name_of(world_regions[i]),
            .heard_at = AGO(500),
            .heard = true,
            .listening_since = AGO(100000),
            .hosts = {{.host = fx_name_of(world_hosts[i]), .reported_at = AGO(400)}},
            .host_count = 1,
        };
        view->hosts[i] = (fx_host_view){
            .host = fx_name_of(world_hosts[i]),
            .region = fx_name_of(world_regions[i]),
            .reported_at = AGO(400),
            .first_heard_at = AGO(90000),
            .wants_lease = i == 0,
            .service_count = 1,
            .services = {{
                .service = fx_name_of("orders-db"),
                .role = i == 0 ? FX_ROLE_PRIMARY : FX_ROLE_STANDBY,
                .epoch_seen = {3},
                .write_lsn = {1000000},
                .replay_lsn = {1000000},
                .timeline = 3,
                .healthy = true,
                .streaming = i != 0,
            }},
        };
    }
}

/* The caller frees it. use1-co leads. */
static inline core_world *
world_new(void)
{
    core_world *w = calloc(1, sizeof *w);
    assert_non_null(w);
    w->policy = fx_policy_default();
    w->self = (fx_candidate){
        .name = fx_name_of("use1-co"),
        .region = fx_name_of("us-east-1"),
        .incarnation = {1},
        .rank = 1};
    w->ledger.revision.value = 100;
    w->ledger.read_at = AGO(100);
    w->ledger.steady_since = AGO(100000);
    w->ledger.leader = (fx_leader){
        .revision = {10},
        .coordinator = w->self.name,
        .region = w->self.region,
        .term = 4,
        .incarnation = {1},
    };
    w->ledger.beat = (fx_beat){.revision = {99}, .term = 4, .count = 8};
    w->ledger.beat_seen_since = AGO(300);
    world_fill_service(w);
    world_fill_view(w);
    return w;
}

static inline fx_service_state *
world_state(core_world *w, size_t host)
{
    return &w->view.hosts[host].services[0];
}

/* Nobody has heard the host for so long. */
static inline void
world_silence(core_world *w, size_t host, int64_t ms)
{
    w->view.hosts[host].reported_at = AGO(ms);
    w->view.coordinators[host].hosts[0].reported_at = AGO(ms);
}

static inline const fx_command *
world_decide(core_world *w)
{
    fx_situation situation = {
        .ledger = &w->ledger,
        .view = &w->view,
        .policy = &w->policy,
        .self = &w->self,
        .wanted = &w->wanted,
        .wanted_count = 1,
        .attempts = w->attempts,
        .attempt_count = w->attempt_count,
        .now = NOW,
        .wall = {INT64_C(1000000) * 1000000000},
    };
    fx_decide(&situation, &w->commands);
    return w->commands.count == 0 ? NULL : &w->commands.items[0];
}

/* Commits what was decided, as etcd would. */
static inline void
world_apply(core_world *w, const fx_command *command)
{
    w->ledger.revision.value++;
    if (command->service_touch == FX_TOUCH_PUT) {
        w->ledger.services[0] = command->service;
        w->ledger.services[0].revision = w->ledger.revision;
        w->ledger.service_count = 1;
    }
    if (command->plan_touch == FX_TOUCH_PUT) {
        w->ledger.plans[0] = command->plan;
        w->ledger.plans[0].revision = w->ledger.revision;
        w->ledger.plans[0].seen_since = NOW;
        w->ledger.plans[0].step_since = NOW;
        w->ledger.plan_count = 1;
    } else if (command->plan_touch == FX_TOUCH_DELETE) {
        w->ledger.plan_count = 0;
    }
    for (size_t i = 0; i < FX_COMMAND_LEASE_MAX; i++) {
        if (command->lease_touch[i] != FX_TOUCH_PUT) {
            continue;
        }
        size_t at = 0;
        while (at < w->ledger.lease_count &&
               !fx_same(&w->ledger.leases[at].host, &command->leases[i].host)) {
            at++;
        }
        w->ledger.lease_count = at == w->ledger.lease_count ? at + 1 : w->ledger.lease_count;
        w->ledger.leases[at] = command->leases[i];
        w->ledger.leases[at].revision = w->ledger.revision;
        w->ledger.leases[at].seen_since = NOW;
    }
}
