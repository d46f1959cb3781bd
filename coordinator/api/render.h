/* The agreed and the observed state as JSON values of the API. Pure: it reads no clock. */
#pragma once

#include "common/json/json.h"
#include "coordinator/api/api.h"

/* What one answer speaks of; everything is borrowed. */
typedef struct fx_api_state {
    const char *cluster;
    const fx_ledger *ledger;
    const fx_view *view;
    const fx_store_health *store; /* NULL: not known */
    const fx_policy *policy;
    fx_mono now;
    fx_wall wall;
} fx_api_state;

typedef enum fx_health { FX_HEALTH_OK, FX_HEALTH_DEGRADED, FX_HEALTH_DOWN } fx_health;

/* A read of the ledger that is older than this: no quorum answers. */
enum { FX_QUORUM_AGE_MAX_MS = 5000 };

bool fx_api_has_quorum(const fx_api_state *state);

/* What is left of the host's lease as it was seen here; negative when it is over, 0 without a
 * record. */
fx_dur fx_api_lease_left(const fx_api_state *state, const fx_name *host);

/* NULL where none is known. */
const fx_lease *fx_api_find_lease(const fx_ledger *ledger, const fx_name *host);
const fx_host_view *fx_api_find_host(const fx_view *view, const fx_name *host);
const fx_service_state *
fx_api_find_replica(const fx_view *view, const fx_name *host, const fx_name *service);
const fx_service *fx_api_find_service(const fx_ledger *ledger, const char *name);
const fx_plan *fx_api_find_running(const fx_ledger *ledger, const fx_name *service);

/* Not reported for longer than the policy's silence_max. */
bool fx_api_is_silent(const fx_api_state *state, const fx_name *host);

/* By which a standby's position is behind the primary's; 0 where either is unknown. */
uint64_t
fx_api_lag_bytes(const fx_api_state *state, const fx_service *service, const fx_name *host);

/* DOWN: the primary does not serve; DEGRADED: it does, but no standby could replace it now. */
fx_health fx_api_health(const fx_api_state *state, const fx_service *service);
const char *fx_api_health_name(fx_health health);

const char *fx_api_plan_kind_name(fx_plan_kind kind);
const char *fx_api_plan_state_name(fx_plan_state state);
const char *fx_api_step_kind_name(fx_step_kind kind);
const char *fx_api_step_state_name(fx_step_state state);
const char *fx_api_role_name(fx_role role);
const char *fx_api_order_state_name(fx_order_state state);

/* Was the ledger's store ever looked at? */
bool fx_api_knows_store(const fx_api_state *state);

fx_json *fx_render_service(const fx_api_state *state, const fx_service *service);
fx_json *fx_render_services(const fx_api_state *state);
fx_json *fx_render_hosts(const fx_api_state *state);
fx_json *fx_render_plan(const fx_plan *plan);
fx_json *fx_render_decision(const fx_decision_record *decision);
fx_json *fx_render_order_result(const fx_order_result *result);
fx_json *fx_render_snapshot(const fx_catalog_snapshot *entry, fx_wall now);
fx_json *fx_render_source(const fx_catalog_source *source);

/* Worst first: {severity, subject, text}. */
fx_json *fx_render_problems(
    const fx_api_state *state, const fx_catalog_source *sources, size_t source_count);

/* What `fortress status` shows, without `backups`. */
fx_json *
fx_render_status(const fx_api_state *state, const fx_catalog_source *sources, size_t source_count);

/* Sets a time as RFC 3339, or null when it is 0. */
void fx_render_time(fx_json *object, const char *key, fx_wall when);
