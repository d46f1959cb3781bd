/* What operators ask for: paths and bodies of the API as ledger requests. Reads bytes from outside.
 */
#pragma once

#include "common/base/buf.h"
#include "coordinator/core/model.h"

typedef enum fx_route {
    FX_ROUTE_NONE,
    FX_ROUTE_STATUS,
    FX_ROUTE_SERVICES,
    FX_ROUTE_HOSTS,
    FX_ROUTE_SNAPSHOTS,
    FX_ROUTE_PLANS,
    FX_ROUTE_DECISIONS,
    FX_ROUTE_METRICS,
    FX_ROUTE_REQUEST,  /* /v1/requests/ID */
    FX_ROUTE_FAILOVER, /* /v1/services/NAME/failover */
    FX_ROUTE_ORDERS,   /* /v1/hosts/HOST/orders */
} fx_route;

typedef struct fx_routed {
    fx_route route;
    fx_id argument; /* ID, NAME or HOST; letters, digits, '.', '_' and '-' only */
    bool is_post;   /* the only method of the route; else GET */
} fx_routed;

/* `path` is decoded; anything unknown or malformed is FX_ROUTE_NONE. */
fx_routed fx_route_find(const char *path);

/* A count in a query: 1 to `max`; NULL gives `fallback`. errors: INVALID */
FX_MUST_USE fx_code
fx_parse_limit(const char *text, size_t fallback, size_t max, size_t *out_limit, fx_err *err);

/* Who asks, and under which id it is filed. */
typedef struct fx_asker {
    fx_name name;
    fx_id id;
    fx_wall now;
    const char *cluster;
} fx_asker;

/* {"to": HOST?, "reason": TEXT?}; an empty body asks for the best host. errors: INVALID */
FX_MUST_USE fx_code fx_parse_failover(
    fx_bytes body,
    const fx_name *service,
    const fx_asker *asker,
    fx_request *out_request,
    fx_err *err);

/*
 * {"kind": "backup", "job": NAME} or {"kind": "restore", "snapshot": ID|"latest", "target": FOLDER,
 * "path": PATH?}, both with "reason": TEXT?. errors: INVALID, LIMIT
 */
FX_MUST_USE fx_code fx_parse_order(
    fx_bytes body,
    const fx_name *host,
    const fx_asker *asker,
    fx_request *out_request,
    fx_err *err);

/* "backup", "restore" or "switchover"; "order" for bytes that are none of ours. */
const char *fx_request_kind(const fx_request *request);
