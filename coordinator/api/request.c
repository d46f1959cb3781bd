#include "coordinator/api/request.h"

#include <stdio.h>
#include <string.h>

#include "common/json/json.h"
#include "proto/link.pb-c.h"

/* ---- paths
 * --------------------------------------------------------------------------------------- */

typedef struct pattern {
    const char *before; /* the argument stands between the two; no `after`: no argument */
    const char *after;
    fx_route route;
    bool is_post;
} pattern;

static const pattern patterns[] = {
    {"/v1/status", NULL, FX_ROUTE_STATUS, false},
    {"/v1/services", NULL, FX_ROUTE_SERVICES, false},
    {"/v1/hosts", NULL, FX_ROUTE_HOSTS, false},
    {"/v1/snapshots", NULL, FX_ROUTE_SNAPSHOTS, false},
    {"/v1/plans", NULL, FX_ROUTE_PLANS, false},
    {"/v1/decisions", NULL, FX_ROUTE_DECISIONS, false},
    {"/metrics", NULL, FX_ROUTE_METRICS, false},
    {"/v1/requests/", "", FX_ROUTE_REQUEST, false},
    {"/v1/services/", "/failover", FX_ROUTE_FAILOVER, true},
    {"/v1/hosts/", "/orders", FX_ROUTE_ORDERS, true},
};

/* The argument of `path`, if it has the pattern's shape. */
static bool
take_argument(const pattern *from, const char *path, fx_id *out_argument)
{
    size_t path_bytes = strlen(path);
    size_t before_bytes = strlen(from->before);
    size_t after_bytes = strlen(from->after);
    if (path_bytes <= before_bytes + after_bytes ||
        strncmp(path, from->before, before_bytes) != 0 ||
        strcmp(path + path_bytes - after_bytes, from->after) != 0) {
        return false;
    }
    size_t argument_bytes = path_bytes - before_bytes - after_bytes;
    fx_id argument;
    if (argument_bytes >= sizeof argument.text) {
        return false;
    }
    memcpy(argument.text, path + before_bytes, argument_bytes);
    argument.text[argument_bytes] = '\0';
    fx_name checked;
    fx_err err;
    if (fx_name_parse(argument.text, "the address", &checked, &err) != FX_OK) {
        return false;
    }
    *out_argument = argument;
    return true;
}

fx_routed
fx_route_find(const char *path)
{
    for (size_t i = 0; i < sizeof patterns / sizeof patterns[0]; i++) {
        const pattern *from = &patterns[i];
        fx_routed found = {.route = from->route, .is_post = from->is_post};
        if (from->after == NULL ? strcmp(path, from->before) == 0
                                : take_argument(from, path, &found.argument)) {
            return found;
        }
    }
    return (fx_routed){.route = FX_ROUTE_NONE};
}

fx_code
fx_parse_limit(const char *text, size_t fallback, size_t max, size_t *out_limit, fx_err *err)
{
    if (text == NULL) {
        *out_limit = fallback;
        return FX_OK;
    }
    size_t limit = 0;
    bool valid = text[0] != '\0';
    for (const char *at = text; valid && *at != '\0'; at++) {
        valid = *at >= '0' && *at <= '9' && limit <= max;
        limit = valid ? limit * 10 + (size_t)(*at - '0') : limit;
    }
    if (!valid || limit == 0 || limit > max) {
        return fx_fail(
            err,
            FX_ERR_INVALID,
            "could not use limit \"%.20s\": a number from 1 to %zu",
            text,
            max);
    }
    *out_limit = limit;
    return FX_OK;
}

/* ---- bodies
 * -------------------------------------------------------------------------------------- */

typedef struct member {
    const char *name;
    char *room; /* left as it is where the body has none */
    size_t room_bytes;
} member;

static const member *
find_member(const member *members, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(members[i].name, name) == 0) {
            return &members[i];
        }
    }
    return NULL;
}

static fx_code
take_member(const member *to, const fx_json *value, fx_err *err)
{
    const char *text = fx_json_as_text(value, NULL);
    if (text == NULL) {
        return fx_fail(err, FX_ERR_INVALID, "could not use \"%s\": it is no text", to->name);
    }
    size_t size_bytes = strlen(text);
    if (size_bytes >= to->room_bytes) {
        return fx_fail(
            err,
            FX_ERR_INVALID,
            "could not use \"%s\": longer than %zu bytes",
            to->name,
            to->room_bytes - 1);
    }
    for (const char *at = text; *at != '\0'; at++) {
        if ((unsigned char)*at < 0x20 || *at == 0x7f) {
            return fx_fail(
                err, FX_ERR_INVALID, "could not use \"%s\": it has control characters", to->name);
        }
    }
    memcpy(to->room, text, size_bytes + 1);
    return FX_OK;
}

/* A mistyped key must not turn an order for one host into an order for the best one. */
static fx_code
read_body(fx_bytes body, const member *members, size_t count, fx_err *err)
{
    if (body.size_bytes == 0) {
        return FX_OK;
    }
    FX_AUTO(fx_json) json = NULL;
    if (fx_json_parse(body, &json, err) != FX_OK) {
        return fx_err_wrap(err, "reading the body");
    }
    if (!fx_json_is_object(json)) {
        return fx_fail(err, FX_ERR_INVALID, "could not read the body: it is no JSON object");
    }
    fx_code code = FX_OK;
    for (size_t i = 0; code == FX_OK && fx_json_key_at(json, i) != NULL; i++) {
        const char *key = fx_json_key_at(json, i);
        const member *to = find_member(members, count, key);
        if (to == NULL) {
            return fx_fail(err, FX_ERR_INVALID, "could not use \"%.60s\": an unknown key", key);
        }
        code = take_member(to, fx_json_get(json, key), err);
    }
    return code;
}

static void
set_reason(fx_request *request, const char *reason)
{
    (void)snprintf(
        request->reason,
        sizeof request->reason,
        "%s",
        reason[0] == '\0' ? "asked for by an operator" : reason);
}

fx_code
fx_parse_failover(
    fx_bytes body,
    const fx_name *service,
    const fx_asker *asker,
    fx_request *out_request,
    fx_err *err)
{
    char to_host[FX_NAME_MAX_BYTES + 1] = "";
    char reason[FX_REASON_BYTES] = "";
    const member members[] = {
        {"to", to_host, sizeof to_host},
        {"reason", reason, sizeof reason},
    };
    fx_request request = {
        .id = asker->id, .service = *service, .requested_by = asker->name, .asked = asker->now};
    fx_code code = read_body(body, members, sizeof members / sizeof members[0], err);
    if (code == FX_OK && to_host[0] != '\0') {
        code = fx_name_parse(to_host, "\"to\"", &request.to_host, err);
    }
    if (code != FX_OK) {
        return code;
    }
    set_reason(&request, reason);
    *out_request = request;
    return FX_OK;
}

typedef struct order_body {
    char kind[16];
    char job[FX_NAME_MAX_BYTES + 1];
    char snapshot[72];
    char target[512];
    char path[512];
    char reason[FX_REASON_BYTES];
} order_body;

static bool
is_snapshot(const char *text)
{
    if (strcmp(text, "latest") == 0) {
        return true;
    }
    size_t size_bytes = strlen(text);
    return size_bytes >= 8 && size_bytes <= 64 && strspn(text, "0123456789abcdef") == size_bytes;
}

static fx_code
check_restore(const order_body *body, fx_err *err)
{
    if (body->job[0] != '\0') {
        return fx_fail(err, FX_ERR_INVALID, "could not use \"job\": a restore has none");
    }
    if (!is_snapshot(body->snapshot)) {
        return fx_fail(
            err,
            FX_ERR_INVALID,
            "could not use \"snapshot\": \"latest\" or at least 8 digits of an id");
    }
    if (body->target[0] != '/') {
        return fx_fail(
            err, FX_ERR_INVALID, "could not use \"target\": an absolute path of a new folder");
    }
    return FX_OK;
}

static fx_code
check_backup(const order_body *body, fx_err *err)
{
    fx_name job;
    if (body->snapshot[0] != '\0' || body->target[0] != '\0' || body->path[0] != '\0') {
        return fx_fail(
            err,
            FX_ERR_INVALID,
            "could not use the body: \"snapshot\", \"target\" and \"path\" are a restore's");
    }
    return fx_name_parse(body->job, "\"job\"", &job, err);
}

static fx_code
check_order(const order_body *body, Fortress__Link__OrderKind *out_kind, fx_err *err)
{
    if (strcmp(body->kind, "backup") == 0) {
        *out_kind = FORTRESS__LINK__ORDER_KIND__ORDER_BACKUP;
        return check_backup(body, err);
    }
    if (strcmp(body->kind, "restore") == 0) {
        *out_kind = FORTRESS__LINK__ORDER_KIND__ORDER_RESTORE;
        return check_restore(body, err);
    }
    return fx_fail(
        err, FX_ERR_INVALID, "could not use \"kind\": \"backup\" or \"restore\" is expected");
}

/* The library's message points at text that it will not change. */
static char *
borrow(const char *text)
{
    union {
        const char *from;
        char *to;
    } view = {text};
    return view.to;
}

static fx_code
pack_order(
    const order_body *body,
    Fortress__Link__OrderKind kind,
    const fx_asker *asker,
    fx_request *request,
    fx_err *err)
{
    Fortress__Link__Order order;
    fortress__link__order__init(&order);
    order.id = borrow(asker->id.text);
    order.kind = kind;
    order.cluster = borrow(asker->cluster);
    order.host = request->host.text;
    order.reason = request->reason;
    order.issued_wall_ns = asker->now.ns;
    order.job = borrow(body->job);
    order.snapshot = borrow(body->snapshot);
    order.target_folder = borrow(body->target);
    order.path = borrow(body->path);
    size_t size_bytes = fortress__link__order__get_packed_size(&order);
    if (size_bytes > sizeof request->order.bytes) {
        return fx_fail(
            err,
            FX_ERR_LIMIT,
            "could not make the order: longer than %zu bytes",
            sizeof request->order.bytes);
    }
    request->order.size_bytes = fortress__link__order__pack(&order, request->order.bytes);
    request->order.id = asker->id;
    return FX_OK;
}

fx_code
fx_parse_order(
    fx_bytes bytes,
    const fx_name *host,
    const fx_asker *asker,
    fx_request *out_request,
    fx_err *err)
{
    order_body body = {.kind = ""};
    const member members[] = {
        {"kind", body.kind, sizeof body.kind},
        {"job", body.job, sizeof body.job},
        {"snapshot", body.snapshot, sizeof body.snapshot},
        {"target", body.target, sizeof body.target},
        {"path", body.path, sizeof body.path},
        {"reason", body.reason, sizeof body.reason},
    };
    fx_code code = read_body(bytes, members, sizeof members / sizeof members[0], err);
    Fortress__Link__OrderKind kind = FORTRESS__LINK__ORDER_KIND__ORDER_NONE;
    if (code == FX_OK) {
        code = check_order(&body, &kind, err);
    }
    if (code != FX_OK) {
        return code;
    }
    fx_request request = {
        .id = asker->id, .host = *host, .requested_by = asker->name, .asked = asker->now};
    set_reason(&request, body.reason);
    code = pack_order(&body, kind, asker, &request, err);
    if (code == FX_OK) {
        *out_request = request;
    }
    return code;
}

const char *
fx_request_kind(const fx_request *request)
{
    if (request->order.size_bytes == 0) {
        return "switchover";
    }
    Fortress__Link__Order *order =
        fortress__link__order__unpack(NULL, request->order.size_bytes, request->order.bytes);
    const char *kind = "order";
    if (order != NULL && order->kind == FORTRESS__LINK__ORDER_KIND__ORDER_BACKUP) {
        kind = "backup";
    } else if (order != NULL && order->kind == FORTRESS__LINK__ORDER_KIND__ORDER_RESTORE) {
        kind = "restore";
    }
    fortress__link__order__free_unpacked(order, NULL);
    return kind;
}
