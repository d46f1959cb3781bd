/*
 * api_fixture FOLDER: serves the API over a made-up state until standard input ends. In FOLDER:
 * server.pem, server.key, tokens.yaml; it makes catalog.sqlite there. Prints "port=N". A switchover
 * that is asked for becomes a plan whose steps end one at each reading; an order ends at its third
 * reading.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "coordinator/api/api.h"
#include "tests/support/example_state.h"
#include "tests/support/shelf.h"

typedef struct fixture {
    fx_request request; /* the last one asked for */
    bool asked;
    size_t readings; /* since then */
    fx_ledger ledger;
    fx_view view;
} fixture;

static void
add_plan(fixture *made, fx_wall now)
{
    static const fx_step_kind kinds[] = {FX_STEP_FENCE, FX_STEP_PROMOTE, FX_STEP_DNS};
    fx_plan *plan = &made->ledger.plans[made->ledger.plan_count++];
    *plan = (fx_plan){
        .id = made->request.id,
        .kind = FX_PLAN_SWITCHOVER,
        .state = made->readings > 4 ? FX_PLAN_STATE_DONE : FX_PLAN_STATE_RUNNING,
        .service = made->request.service,
        .from_host = fx_name_of("use1-db1"),
        .to_host = fx_name_of("euw1-db1"),
        .requested_by = made->request.requested_by,
        .started = made->request.asked,
        .step_count = sizeof kinds / sizeof kinds[0],
    };
    for (size_t i = 0; i < plan->step_count; i++) {
        bool begun = made->readings > i + 1;
        bool ended = made->readings > i + 2;
        plan->steps[i] = (fx_step){.kind = kinds[i], .state = FX_STEP_WAITING};
        if (begun) {
            plan->steps[i].state = ended ? FX_STEP_DONE : FX_STEP_RUNNING;
            plan->steps[i].started = now;
            plan->steps[i].finished = ended ? now : (fx_wall){0};
        }
    }
    if (plan->state == FX_PLAN_STATE_DONE) {
        plan->finished = now;
        (void)snprintf(plan->outcome, sizeof plan->outcome, "moved");
    }
}

static void
add_result(fixture *made, fx_wall now)
{
    fx_host_view *host = &made->view.hosts[0];
    fx_order_result *result = &host->results[host->result_count++];
    *result = (fx_order_result){
        .order = made->request.id,
        .state = made->readings > 2 ? FX_ORDER_DONE : FX_ORDER_RUNNING,
        .detail = "as asked",
        .started = made->request.asked,
        .finished = made->readings > 2 ? now : (fx_wall){0},
    };
}

static void
read_state(void *ctx, fx_ledger *out_ledger, fx_view *out_view, fx_store_health *out_store)
{
    fixture *made = ctx;
    fx_mono now = fx_clock_mono();
    fx_wall wall = fx_clock_wall();
    fx_example_ledger(&made->ledger, now, wall);
    fx_example_view(&made->view, now);
    if (made->asked) {
        made->readings++;
        if (fx_name_is_none(&made->request.host)) {
            add_plan(made, wall);
        } else {
            add_result(made, wall);
        }
    }
    *out_ledger = made->ledger;
    *out_view = made->view;
    fx_example_store(out_store, now);
}

static fx_code
read_plans(void *ctx, fx_plan *out_plans, size_t max, size_t *out_count, fx_err *err)
{
    (void)ctx;
    (void)err;
    FX_ASSERT(max > 0);
    fx_example_finished_plan(&out_plans[0], fx_clock_wall());
    *out_count = 1;
    return FX_OK;
}

static fx_code
read_decisions(
    void *ctx, fx_decision_record *out_decisions, size_t max, size_t *out_count, fx_err *err)
{
    (void)ctx;
    (void)err;
    FX_ASSERT(max > 0);
    fx_example_decision(&out_decisions[0], fx_clock_wall());
    *out_count = 1;
    return FX_OK;
}

static fx_code
submit_request(void *ctx, const fx_request *request, fx_err *err)
{
    fixture *made = ctx;
    if (strcmp(request->reason, "fail") == 0) {
        return fx_fail(err, FX_ERR_UNREACHABLE, "could not reach the ledger");
    }
    made->request = *request;
    made->asked = true;
    made->readings = 0;
    return FX_OK;
}

static fx_catalog *
open_catalog(const char *folder, const fx_log *log)
{
    char path[512];
    fx_err err;
    fx_wall now = fx_clock_wall();
    const fx_snapshot snapshot = {
        .id = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
        .host = fx_name_of("usw2-db1"),
        .source = "files:app-data",
        .kind = "files",
        .began = {.ns = now.ns - 600 * INT64_C(1000000000)},
        .ended = {.ns = now.ns - 598 * INT64_C(1000000000)},
        .file_count = 42,
        .size_bytes = UINT64_C(1536) * 1024,
        .added_bytes = UINT64_C(512) * 1024,
        .warning_count = 1,
    };
    fx_shelf_put("posix:/shelf", &snapshot, 1, 0);
    const fx_catalog_repository repository = {.name = "east", .url = "posix:/shelf"};
    (void)snprintf(path, sizeof path, "%s/catalog.sqlite", folder);
    const fx_catalog_options options = {
        .path = path, .repositories = &repository, .repository_count = 1, .log = log};
    fx_catalog *catalog = NULL;
    if (fx_catalog_open(&options, &catalog, &err) != FX_OK ||
        fx_catalog_refresh(catalog, &err) != FX_OK) {
        (void)fprintf(stderr, "api_fixture: %s\n", err.message);
        exit(1); // NOLINT(concurrency-mt-unsafe): one thread so far
    }
    return catalog;
}

int
main(int argc, char **argv)
{
    char certificate[512];
    char key[512];
    char tokens[512];
    fx_err err;
    const fx_log log = {.fd = STDERR_FILENO, .min_level = FX_INFO, .program = "fixture"};
    FX_ASSERT(argc == 2);
    (void)snprintf(certificate, sizeof certificate, "%s/server.pem", argv[1]);
    (void)snprintf(key, sizeof key, "%s/server.key", argv[1]);
    (void)snprintf(tokens, sizeof tokens, "%s/tokens.yaml", argv[1]);
    fixture *made = calloc(1, sizeof *made);
    FX_ASSERT(made != NULL);
    FX_AUTO(fx_catalog) catalog = open_catalog(argv[1], &log);
    const fx_api_options options = {
        .cluster = "fixture",
        .listen = "127.0.0.1:0",
        .certificate_file = certificate,
        .key_file = key,
        .tokens_file = tokens,
        .policy = {.lease = FX_DUR_MS(8000), .silence_max = FX_DUR_MS(5000)},
        .source =
            {
                .ctx = made,
                .read_state = read_state,
                .read_plans = read_plans,
                .read_decisions = read_decisions,
                .submit_request = submit_request,
            },
        .catalog = catalog,
        .log = &log,
    };
    fx_api *api = NULL;
    if (fx_api_open(&options, &api, &err) != FX_OK) {
        (void)fprintf(stderr, "api_fixture: %s (%s)\n", err.message, err.context);
        return 1;
    }
    (void)printf("port=%u\n", (unsigned)fx_api_port(api));
    (void)fflush(stdout);
    char byte = 0;
    while (read(STDIN_FILENO, &byte, 1) > 0) {
    }
    fx_api_free(api);
    free(made);
    return 0;
}
