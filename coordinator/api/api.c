#include "coordinator/api/api.h"

#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "common/base/clock.h"
#include "common/base/hex.h"
#include "common/httpd/httpd.h"
#include "coordinator/api/authorize.h"
#include "coordinator/api/metrics.h"
#include "coordinator/api/render.h"
#include "coordinator/api/request.h"

enum {
    BODY_MAX_BYTES = 16 * 1024,
    RESPONSE_MAX_BYTES = 8 * 1024 * 1024,
    CONNECTION_MAX = 256,
    CONNECTION_ADDRESS_MAX = 64,
    IDLE_MAX_MS = 15000,
    PLAN_LIMIT = 20, /* when a query says nothing */
    SNAPSHOT_LIMIT = 200,
    SNAPSHOT_LIMIT_MAX = 2000,
    ANSWER_CLASSES = 6,
    REQUEST_RANDOM_BYTES = 6,
};

struct fx_api {
    fx_api_options options;
    fx_tokens tokens;
    fx_httpd *httpd;
    /* Of the server's thread only: one request at a time uses them. */
    fx_ledger *ledger;
    fx_view *view;
    fx_store_health store;
    fx_plan *plans;
    fx_decision_record *decisions;
    uint64_t answers[ANSWER_CLASSES];
};

/* One request being answered. */
typedef struct call {
    fx_api *api;
    const fx_httpd_request *request;
    fx_httpd_response *response;
    const fx_token *token; /* NULL: nobody we know */
    fx_routed routed;
    fx_api_state state;
    fx_id filed; /* the id of what was asked for, "" if nothing was filed */
    fx_err err;
} call;

/* ---- answers
 * ------------------------------------------------------------------------------------- */

static void
answer_error(call *c, unsigned status, const char *code, const char *message)
{
    FX_AUTO(fx_json) json = fx_json_object();
    fx_json *error = fx_json_object();
    fx_json_set_text(error, "code", code);
    fx_json_set_text(error, "message", message);
    fx_json_set(json, "error", error);
    fx_buf_clear(&c->response->body);
    fx_err err;
    FX_ASSERT(fx_json_print(json, 0, &c->response->body, &err) == FX_OK); /* bounded texts */
    c->response->content_type = NULL;
    c->response->status = status;
}

static unsigned
status_of(const fx_err *err)
{
    switch (err->code) {
    case FX_ERR_INVALID:
    case FX_ERR_LIMIT:
        return 400;
    case FX_ERR_DENIED:
        return 403;
    case FX_ERR_NOT_FOUND:
        return 404;
    case FX_ERR_EXISTS:
    case FX_ERR_CONFLICT:
    case FX_ERR_BUSY:
    case FX_ERR_STALE:
    case FX_ERR_HELD:
        return 409;
    case FX_ERR_UNREACHABLE:
        return 503;
    case FX_ERR_TIMEOUT:
    case FX_ERR_CANCELLED:
        return 504;
    case FX_OK:
    case FX_ERR_DAMAGED:
    case FX_ERR_WRONG_KEY:
    case FX_ERR_NO_SPACE:
    case FX_ERR_IO:
    case FX_ERR_UNSUPPORTED:
    case FX_ERR_FAILED:
        break;
    }
    return 500;
}

/* What a person cannot mend by asking differently is also logged. */
static void
answer_failure(call *c)
{
    char text[FX_ERR_MESSAGE_MAX_BYTES + FX_ERR_CONTEXT_MAX_BYTES + 8];
    unsigned status = status_of(&c->err);
    if (status >= 500) {
        FX_LOG(
            c->api->options.log,
            WARN,
            "api.failed",
            FX_STR("path", fx_httpd_path(c->request)),
            FX_ERR_FIELD(&c->err));
    }
    (void)snprintf(
        text,
        sizeof text,
        "%s%s%s%s",
        c->err.message,
        c->err.context[0] == '\0' ? "" : " (",
        c->err.context,
        c->err.context[0] == '\0' ? "" : ")");
    answer_error(c, status, fx_code_name(c->err.code), text);
}

static void
answer_json(call *c, const fx_json *json)
{
    if (fx_json_print(json, 0, &c->response->body, &c->err) != FX_OK) {
        fx_ignore(fx_err_wrap(&c->err, "printing the answer"), "answered as the failure it is");
        c->err.code = FX_ERR_FAILED;
        answer_failure(c);
    }
}

/* {"key": list} */
static void
answer_list(call *c, const char *key, fx_json *list)
{
    FX_AUTO(fx_json) json = fx_json_object();
    fx_json_set(json, key, list);
    answer_json(c, json);
}

/* ---- reading
 * ------------------------------------------------------------------------------------- */

static size_t
read_sources(const fx_api *api, fx_catalog_source sources[FX_CATALOG_REPOSITORY_MAX])
{
    size_t count = 0;
    if (api->options.catalog != NULL) {
        fx_catalog_sources(api->options.catalog, sources, &count);
    }
    return count;
}

static fx_json *
render_snapshots(const fx_catalog_list *list, fx_wall now)
{
    fx_json *json = fx_json_array();
    for (size_t i = 0; i < list->count; i++) {
        fx_json_append(json, fx_render_snapshot(&list->items[i], now));
    }
    return json;
}

static fx_code
read_newest(call *c, fx_catalog_list *out_list)
{
    if (c->api->options.catalog == NULL) {
        return FX_OK;
    }
    return fx_catalog_list_newest(c->api->options.catalog, out_list, &c->err);
}

/* A catalog that fails must not hide the rest at the worst hour. */
static void
get_status(call *c)
{
    fx_catalog_source sources[FX_CATALOG_REPOSITORY_MAX];
    size_t count = read_sources(c->api, sources);
    FX_AUTO(fx_json) json = fx_render_status(&c->state, sources, count);
    fx_catalog_list newest = {.items = NULL};
    if (read_newest(c, &newest) == FX_OK) {
        fx_json_set(json, "backups", render_snapshots(&newest, c->state.wall));
    } else {
        FX_LOG(c->api->options.log, WARN, "catalog.failed", FX_ERR_FIELD(&c->err));
        fx_json_set(json, "backups", fx_json_null_new());
    }
    fx_catalog_list_free(&newest);
    answer_json(c, json);
}

static void
get_snapshots(call *c)
{
    size_t limit = 0;
    const char *text = fx_httpd_query(c->request, "limit");
    if (fx_parse_limit(text, SNAPSHOT_LIMIT, SNAPSHOT_LIMIT_MAX, &limit, &c->err) != FX_OK) {
        answer_failure(c);
        return;
    }
    fx_catalog_list list = {.items = NULL};
    if (c->api->options.catalog != NULL && fx_catalog_list_snapshots(
                                               c->api->options.catalog,
                                               fx_httpd_query(c->request, "host"),
                                               fx_httpd_query(c->request, "source"),
                                               limit,
                                               &list,
                                               &c->err) != FX_OK) {
        answer_failure(c);
        return;
    }
    fx_catalog_source sources[FX_CATALOG_REPOSITORY_MAX];
    size_t count = read_sources(c->api, sources);
    FX_AUTO(fx_json) json = fx_json_object();
    fx_json_set(json, "snapshots", render_snapshots(&list, c->state.wall));
    fx_json *repositories = fx_json_array();
    for (size_t i = 0; i < count; i++) {
        fx_json_append(repositories, fx_render_source(&sources[i]));
    }
    fx_json_set(json, "repositories", repositories);
    fx_catalog_list_free(&list);
    answer_json(c, json);
}

static bool
is_live(const fx_ledger *ledger, const fx_id *id)
{
    for (size_t i = 0; i < ledger->plan_count; i++) {
        if (strcmp(ledger->plans[i].id.text, id->text) == 0) {
            return true;
        }
    }
    return false;
}

/* What is in flight first; then history, which lacks only when the ledger does not answer. */
static void
get_plans(call *c)
{
    const fx_api_source *source = &c->api->options.source;
    const fx_ledger *ledger = c->state.ledger;
    size_t limit = 0;
    const char *text = fx_httpd_query(c->request, "limit");
    if (fx_parse_limit(text, PLAN_LIMIT, FX_API_HISTORY_MAX, &limit, &c->err) != FX_OK) {
        answer_failure(c);
        return;
    }
    FX_AUTO(fx_json) json = fx_json_object();
    fx_json *list = fx_json_array();
    for (size_t i = 0; i < ledger->plan_count; i++) {
        fx_json_append(list, fx_render_plan(&ledger->plans[i]));
    }
    size_t count = 0;
    bool complete = source->read_plans(source->ctx, c->api->plans, limit, &count, &c->err) == FX_OK;
    if (!complete) {
        FX_LOG(c->api->options.log, WARN, "history.failed", FX_ERR_FIELD(&c->err));
    }
    for (size_t i = 0; complete && i < count && fx_json_count(list) < limit; i++) {
        if (!is_live(ledger, &c->api->plans[i].id)) {
            fx_json_append(list, fx_render_plan(&c->api->plans[i]));
        }
    }
    fx_json_set(json, "plans", list);
    fx_json_set_bool(json, "complete", complete);
    answer_json(c, json);
}

static void
get_decisions(call *c)
{
    const fx_api_source *source = &c->api->options.source;
    size_t limit = 0;
    size_t count = 0;
    const char *text = fx_httpd_query(c->request, "limit");
    if (fx_parse_limit(text, PLAN_LIMIT, FX_API_HISTORY_MAX, &limit, &c->err) != FX_OK ||
        source->read_decisions(source->ctx, c->api->decisions, limit, &count, &c->err) != FX_OK) {
        answer_failure(c);
        return;
    }
    fx_json *list = fx_json_array();
    for (size_t i = 0; i < count; i++) {
        fx_json_append(list, fx_render_decision(&c->api->decisions[i]));
    }
    answer_list(c, "decisions", list);
}

/* History and catalog that do not answer leave their families empty: alerts see them absent. */
static void
get_metrics(call *c)
{
    const fx_api_source *source = &c->api->options.source;
    size_t plan_count = 0;
    if (source->read_plans(source->ctx, c->api->plans, FX_API_HISTORY_MAX, &plan_count, &c->err) !=
        FX_OK) {
        FX_LOG(c->api->options.log, WARN, "history.failed", FX_ERR_FIELD(&c->err));
        plan_count = 0;
    }
    fx_catalog_list newest = {.items = NULL};
    if (read_newest(c, &newest) != FX_OK) {
        FX_LOG(c->api->options.log, WARN, "catalog.failed", FX_ERR_FIELD(&c->err));
    }
    fx_catalog_source sources[FX_CATALOG_REPOSITORY_MAX];
    fx_metrics_input input = {
        .state = &c->state,
        .plans = c->api->plans,
        .plan_count = plan_count,
        .newest = &newest,
        .sources = sources,
        .source_count = read_sources(c->api, sources),
        .answers = c->api->answers,
    };
    c->response->content_type = "text/plain; version=0.0.4; charset=utf-8";
    if (fx_metrics_print(&input, &c->response->body, &c->err) != FX_OK) {
        c->err.code = FX_ERR_FAILED;
        answer_failure(c);
    }
    fx_catalog_list_free(&newest);
}

/* ---- requests
 * ------------------------------------------------------------------------------------ */

static const fx_request *
find_request(const fx_ledger *ledger, const fx_id *id)
{
    for (size_t i = 0; i < ledger->request_count; i++) {
        if (strcmp(ledger->requests[i].id.text, id->text) == 0) {
            return &ledger->requests[i];
        }
    }
    return NULL;
}

static const fx_order_result *
find_result(const fx_view *view, const fx_id *id)
{
    for (size_t i = 0; i < view->host_count; i++) {
        const fx_host_view *host = &view->hosts[i];
        for (size_t j = 0; j < host->result_count; j++) {
            if (strcmp(host->results[j].order.text, id->text) == 0) {
                return &host->results[j];
            }
        }
    }
    return NULL;
}

/* The plan of a switchover bears its request's id. */
static const fx_plan *
find_plan(call *c, const fx_id *id)
{
    const fx_api_source *source = &c->api->options.source;
    const fx_ledger *ledger = c->state.ledger;
    for (size_t i = 0; i < ledger->plan_count; i++) {
        if (strcmp(ledger->plans[i].id.text, id->text) == 0) {
            return &ledger->plans[i];
        }
    }
    size_t count = 0;
    if (source->read_plans(source->ctx, c->api->plans, FX_API_HISTORY_MAX, &count, &c->err) !=
        FX_OK) {
        FX_LOG(c->api->options.log, WARN, "history.failed", FX_ERR_FIELD(&c->err));
        return NULL;
    }
    for (size_t i = 0; i < count; i++) {
        if (strcmp(c->api->plans[i].id.text, id->text) == 0) {
            return &c->api->plans[i];
        }
    }
    return NULL;
}

static void
set_asked(fx_json *json, const fx_request *request)
{
    fx_json_set_text(json, "kind", fx_request_kind(request));
    fx_json_set_text(json, "service", request->service.text);
    fx_json_set_text(json, "to", request->to_host.text);
    fx_json_set_text(json, "host", request->host.text);
    fx_json_set_text(json, "requested_by", request->requested_by.text);
    fx_render_time(json, "asked_at", request->asked);
    fx_json_set_text(json, "reason", request->reason);
}

/* The newest word on it: its plan, its host's report, what the ledger noted, or nothing yet. */
static void
set_progress(
    fx_json *json, const fx_request *request, const fx_plan *plan, const fx_order_result *result)
{
    const char *state = "waiting";
    const char *detail = "";
    if (request != NULL && request->result_state[0] != '\0') {
        state = request->result_state;
        detail = request->result_detail;
    }
    if (result != NULL) {
        state = fx_api_order_state_name(result->state);
        detail = result->detail;
        fx_json_set(json, "order", fx_render_order_result(result));
    }
    if (plan != NULL) {
        state = fx_api_plan_state_name(plan->state);
        detail = plan->outcome;
        fx_json_set(json, "plan", fx_render_plan(plan));
    }
    fx_json_set_text(json, "state", state);
    fx_json_set_text(json, "detail", detail);
}

static void
get_request(call *c)
{
    const fx_id *id = &c->routed.argument;
    const fx_request *request = find_request(c->state.ledger, id);
    const fx_order_result *result = find_result(c->state.view, id);
    bool is_order = result != NULL || (request != NULL && request->order.size_bytes > 0);
    const fx_plan *plan = is_order ? NULL : find_plan(c, id);
    if (request == NULL && result == NULL && plan == NULL) {
        answer_error(c, 404, "NOT_FOUND", "could not find the request: none with this id is known");
        return;
    }
    FX_AUTO(fx_json) json = fx_json_object();
    fx_json_set_text(json, "id", id->text);
    if (request != NULL) {
        set_asked(json, request);
    }
    set_progress(json, request, plan, result);
    answer_json(c, json);
}

static fx_asker
asker_of(const call *c)
{
    unsigned char random[REQUEST_RANDOM_BYTES];
    FX_ASSERT(getrandom(random, sizeof random, 0) == (ssize_t)sizeof random);
    char digits[REQUEST_RANDOM_BYTES * 2 + 1];
    fx_hex_encode((fx_bytes){random, sizeof random}, digits);
    char when[FX_WALL_TEXT_BYTES];
    fx_wall_format(c->state.wall, when);
    fx_asker asker = {
        .name = c->token->name, .now = c->state.wall, .cluster = c->api->options.cluster};
    /* 2026-11-23T01:02:03.456Z → r-20261123T010203-…: sorts by time */
    (void)snprintf(
        asker.id.text,
        sizeof asker.id.text,
        "r-%.4s%.2s%.3s%.2s%.2s%.2s-%s",
        when,
        when + 5,
        when + 8,
        when + 11,
        when + 14,
        when + 17,
        digits);
    return asker;
}

static void
file_request(call *c, const fx_request *request)
{
    const fx_api_source *source = &c->api->options.source;
    c->filed = request->id;
    if (source->submit_request(source->ctx, request, &c->err) != FX_OK) {
        answer_failure(c);
        return;
    }
    FX_AUTO(fx_json) json = fx_json_object();
    fx_json_set_text(json, "id", request->id.text);
    set_asked(json, request);
    fx_json_set_text(json, "state", "waiting");
    c->response->status = 202;
    answer_json(c, json);
}

static bool
is_member(const fx_service *service, const fx_name *host)
{
    for (size_t i = 0; i < service->member_count; i++) {
        if (fx_name_is(&service->members[i].host, host)) {
            return true;
        }
    }
    return false;
}

static bool
is_asked_already(const fx_ledger *ledger, const fx_name *service)
{
    for (size_t i = 0; i < ledger->request_count; i++) {
        const fx_request *request = &ledger->requests[i];
        if (request->result_state[0] == '\0' && fx_name_is(&request->service, service)) {
            return true;
        }
    }
    return false;
}

/* Checks early what a leader will check again inside its transaction. */
static fx_code
check_failover(call *c, const fx_service *service, const fx_request *request)
{
    const fx_plan *running = fx_api_find_running(c->state.ledger, &service->name);
    if (running != NULL) {
        return fx_fail(
            &c->err,
            FX_ERR_CONFLICT,
            "could not ask for a switchover: plan %s is in flight",
            running->id.text);
    }
    if (is_asked_already(c->state.ledger, &service->name)) {
        return fx_fail(
            &c->err,
            FX_ERR_CONFLICT,
            "could not ask for a switchover: another request for the service waits");
    }
    if (fx_name_is_none(&request->to_host)) {
        return FX_OK;
    }
    if (!is_member(service, &request->to_host)) {
        return fx_fail(
            &c->err,
            FX_ERR_INVALID,
            "could not use \"to\": %s is no member of the service",
            request->to_host.text);
    }
    if (fx_name_is(&request->to_host, &service->primary)) {
        return fx_fail(
            &c->err,
            FX_ERR_CONFLICT,
            "could not ask for a switchover: %s is the primary already",
            request->to_host.text);
    }
    return FX_OK;
}

static void
post_failover(call *c)
{
    const fx_service *service = fx_api_find_service(c->state.ledger, c->routed.argument.text);
    if (service == NULL) {
        answer_error(c, 404, "NOT_FOUND", "could not find the service: none of this name is known");
        return;
    }
    fx_asker asker = asker_of(c);
    fx_request request;
    if (fx_parse_failover(fx_httpd_body(c->request), &service->name, &asker, &request, &c->err) !=
            FX_OK ||
        check_failover(c, service, &request) != FX_OK) {
        answer_failure(c);
        return;
    }
    file_request(c, &request);
}

static bool
is_host(const fx_api_state *state, const fx_name *host)
{
    for (size_t i = 0; i < state->ledger->service_count; i++) {
        if (is_member(&state->ledger->services[i], host)) {
            return true;
        }
    }
    return fx_api_find_host(state->view, host) != NULL ||
           fx_api_find_lease(state->ledger, host) != NULL;
}

static void
post_order(call *c)
{
    fx_name host;
    if (fx_name_parse(c->routed.argument.text, "a host's name", &host, &c->err) != FX_OK ||
        !is_host(&c->state, &host)) {
        answer_error(c, 404, "NOT_FOUND", "could not find the host: none of this name is known");
        return;
    }
    fx_asker asker = asker_of(c);
    fx_request request;
    if (fx_parse_order(fx_httpd_body(c->request), &host, &asker, &request, &c->err) != FX_OK) {
        answer_failure(c);
        return;
    }
    file_request(c, &request);
}

/* ---- every request
 * ------------------------------------------------------------------------------- */

static void
dispatch(call *c)
{
    switch (c->routed.route) {
    case FX_ROUTE_STATUS:
        get_status(c);
        break;
    case FX_ROUTE_SERVICES:
        answer_list(c, "services", fx_render_services(&c->state));
        break;
    case FX_ROUTE_HOSTS:
        answer_list(c, "hosts", fx_render_hosts(&c->state));
        break;
    case FX_ROUTE_SNAPSHOTS:
        get_snapshots(c);
        break;
    case FX_ROUTE_PLANS:
        get_plans(c);
        break;
    case FX_ROUTE_DECISIONS:
        get_decisions(c);
        break;
    case FX_ROUTE_METRICS:
        get_metrics(c);
        break;
    case FX_ROUTE_REQUEST:
        get_request(c);
        break;
    case FX_ROUTE_FAILOVER:
        post_failover(c);
        break;
    case FX_ROUTE_ORDERS:
        post_order(c);
        break;
    case FX_ROUTE_NONE:
        answer_error(c, 404, "NOT_FOUND", "could not find this address; /v1/status is one");
        break;
    }
}

static void
read_state(call *c)
{
    fx_api *api = c->api;
    api->options.source.read_state(api->options.source.ctx, api->ledger, api->view, &api->store);
    c->state = (fx_api_state){
        .cluster = api->options.cluster,
        .ledger = api->ledger,
        .view = api->view,
        .store = &api->store,
        .policy = &api->options.policy,
        .now = fx_clock_mono(),
        .wall = fx_clock_wall(),
    };
}

/* Who asks is settled before anything is said about what exists. */
static void
answer(call *c)
{
    const char *method = fx_httpd_method(c->request);
    bool reads = strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0;
    if (c->token == NULL) {
        c->response->authenticate = true;
        answer_error(
            c,
            401,
            "DENIED",
            "could not tell who asks: send Authorization: Bearer with a known token");
    } else if (c->routed.route == FX_ROUTE_NONE) {
        dispatch(c);
    } else if (c->routed.is_post ? strcmp(method, "POST") != 0 : !reads) {
        c->response->allow = c->routed.is_post ? "POST" : "GET, HEAD";
        answer_error(c, 405, "UNSUPPORTED", "could not do that here: see the Allow header");
    } else if (c->routed.is_post && c->token->role != FX_TOKEN_OPERATOR) {
        answer_error(c, 403, "DENIED", "could not do that: it takes the role operator");
    } else {
        read_state(c);
        dispatch(c);
    }
}

/* Whatever would change something leaves a line, refused or not. */
static void
audit(const call *c)
{
    FX_LOG(
        c->api->options.log,
        INFO,
        "api.request",
        FX_STR("who", c->token == NULL ? "" : c->token->name.text),
        FX_STR("client", fx_httpd_client(c->request)),
        FX_STR("method", fx_httpd_method(c->request)),
        FX_STR("path", fx_httpd_path(c->request)),
        FX_INT("status", c->response->status),
        FX_STR("request", c->filed.text));
}

static void
on_request(void *ctx, const fx_httpd_request *request, fx_httpd_response *response)
{
    fx_api *api = ctx;
    call c = {
        .api = api,
        .request = request,
        .response = response,
        .token = fx_authorize(&api->tokens, fx_httpd_header(request, "Authorization")),
        .routed = fx_route_find(fx_httpd_path(request)),
    };
    response->status = 200;
    answer(&c);
    size_t class = response->status / 100;
    FX_ASSERT(class < ANSWER_CLASSES);
    api->answers[class]++;
    if (strcmp(fx_httpd_method(request), "GET") != 0 &&
        strcmp(fx_httpd_method(request), "HEAD") != 0) {
        audit(&c);
    }
}

/* ---- opening and closing
 * ------------------------------------------------------------------------- */

static void
allocate(fx_api *api)
{
    api->ledger = calloc(1, sizeof *api->ledger);
    api->view = calloc(1, sizeof *api->view);
    api->plans = calloc(FX_API_HISTORY_MAX, sizeof *api->plans);
    api->decisions = calloc(FX_API_HISTORY_MAX, sizeof *api->decisions);
    FX_ASSERT(api->ledger != NULL);
    FX_ASSERT(api->view != NULL);
    FX_ASSERT(api->plans != NULL);
    FX_ASSERT(api->decisions != NULL);
}

fx_code
fx_api_open(const fx_api_options *options, fx_api **out_api, fx_err *err)
{
    FX_ASSERT(options->source.read_state != NULL);
    FX_ASSERT(options->source.read_plans != NULL);
    FX_ASSERT(options->source.read_decisions != NULL);
    FX_ASSERT(options->source.submit_request != NULL);
    FX_AUTO(fx_api) api = calloc(1, sizeof *api);
    FX_ASSERT(api != NULL);
    api->options = *options;
    fx_code code = fx_tokens_load(options->tokens_file, &api->tokens, err);
    if (code != FX_OK) {
        return code;
    }
    if (api->tokens.count == 0) {
        FX_LOG(options->log, WARN, "api.tokens_empty", FX_STR("path", options->tokens_file));
    }
    allocate(api);
    const fx_httpd_options server = {
        .listen = options->listen,
        .certificate_file = options->certificate_file,
        .key_file = options->key_file,
        .body_max_bytes = BODY_MAX_BYTES,
        .response_max_bytes = RESPONSE_MAX_BYTES,
        .connection_max = CONNECTION_MAX,
        .connection_address_max = CONNECTION_ADDRESS_MAX,
        .idle_max = FX_DUR_MS(IDLE_MAX_MS),
        .handler = on_request,
        .ctx = api,
        .log = options->log,
    };
    code = fx_httpd_open(&server, &api->httpd, err);
    if (code != FX_OK) {
        return fx_err_wrap(err, "opening the API");
    }
    FX_LOG(options->log, INFO, "api.listening", FX_STR("address", options->listen));
    *out_api = FX_TAKE(api);
    return FX_OK;
}

void
fx_api_free(fx_api *api)
{
    if (api == NULL) {
        return;
    }
    fx_httpd_free(api->httpd);
    fx_tokens_free(&api->tokens);
    free(api->ledger);
    free(api->view);
    free(api->plans);
    free(api->decisions);
    free(api);
}

uint16_t
fx_api_port(const fx_api *api)
{
    return fx_httpd_port(api->httpd);
}
