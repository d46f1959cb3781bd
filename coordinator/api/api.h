/*
 * The HTTP API (docs/reference/openapi.yaml): HTTPS only, bearer tokens, JSON, Prometheus metrics.
 * It shows a state that its owner copies out by callbacks and hands on what operators ask for.
 */
#pragma once

#include "common/base/log.h"
#include "coordinator/catalog/catalog.h"
#include "coordinator/core/model.h"
#include "coordinator/core/upkeep.h"

enum { FX_API_HISTORY_MAX = 100, FX_VERDICT_BYTES = 32 };

/* Why: what a decision was taken on, as the ledger keeps it (ledger.Decision). */
typedef fx_decision fx_decision_record;

/*
 * All callbacks run on the API's one thread, which every client waits for: read_state must not do
 * I/O, the others may, but no longer than about two seconds. Arrays are the API's; `max` their
 * length.
 */
typedef struct fx_api_source {
    void *ctx;

    /*
     * Copies the newest ledger and view, under a lock, and what was last seen of the ledger's store
     * (`looked_at` 0: nothing). Large: both are on the heap.
     */
    void (*read_state)(
        void *ctx, fx_ledger *out_ledger, fx_view *out_view, fx_store_health *out_store);

    /* Finished plans (history/plan/), newest first. errors: UNREACHABLE, TIMEOUT */
    fx_code (*read_plans)(
        void *ctx, fx_plan *out_plans, size_t max, size_t *out_count, fx_err *err);

    /* Decisions (history/decision/), newest first. errors: UNREACHABLE, TIMEOUT */
    fx_code (*read_decisions)(
        void *ctx, fx_decision_record *out_decisions, size_t max, size_t *out_count, fx_err *err);

    /*
     * Puts request/ID into the ledger. The request is complete: id, who, when, reason, and either
     * `service` (a planned switchover, `to_host` none for the best) or `host` with `order` (a
     * serialised link.Order without endorsements whose id is the request's). The plan that a leader
     * makes of a switchover bears the request's id, so that its asker finds it.
     * errors: CONFLICT, UNREACHABLE, TIMEOUT (outcome UNKNOWN: it may be there)
     */
    fx_code (*submit_request)(void *ctx, const fx_request *request, fx_err *err);
} fx_api_source;

typedef struct fx_api_options {
    const char *cluster;
    const char *listen;           /* "127.0.1.1:7443", "[::1]:7443"; port 0: any free one */
    const char *certificate_file; /* PEM */
    const char *key_file;         /* PEM */
    const char *tokens_file;      /* YAML list of {name, role, sha256} */
    fx_policy policy;             /* for what is left of leases */
    fx_api_source source;
    fx_catalog *catalog; /* borrowed, may be NULL: no snapshots are shown */
    const fx_log *log;   /* borrowed; also gets the audit lines: event=api.request */
} fx_api_options;

typedef struct fx_api fx_api;

/* Serves from then on, on a thread of its own. errors: INVALID (address, tokens, certificate),
 * DENIED, NOT_FOUND, BUSY (port in use) */
FX_MUST_USE fx_code fx_api_open(const fx_api_options *options, fx_api **out_api, fx_err *err);

/* Waits for the request being answered; no callback runs afterwards. */
void fx_api_free(fx_api *api);
FX_DEFINE_AUTO(fx_api);

/* The port that it listens on. */
uint16_t fx_api_port(const fx_api *api);
