/* The state as Prometheus text, version 0.0.4. Pure: it reads no clock. */
#pragma once

#include "coordinator/api/render.h"

typedef struct fx_metrics_input {
    const fx_api_state *state;
    const fx_plan *plans; /* the newest finished ones, newest first */
    size_t plan_count;
    const fx_catalog_list *newest; /* the newest snapshot of each (host, source) */
    const fx_catalog_source *sources;
    size_t source_count;
    const uint64_t *answers; /* how many answers the API gave, by class: answers[2] are 2xx */
} fx_metrics_input;

/*
 * errors: LIMIT
 * source: prometheus.io/docs/instrumenting/exposition_formats
 */
FX_MUST_USE fx_code fx_metrics_print(const fx_metrics_input *input, fx_buf *out, fx_err *err);
