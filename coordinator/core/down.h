/* Is a host silent, is a service down: only with agreeing views of two regions. */
#pragma once

#include "coordinator/core/model.h"

typedef struct fx_silence {
    bool silent;
    fx_mono last_heard; /* by anybody; or when this coordinator began to listen */
    fx_name agreed_by;  /* coordinator of another region */
} fx_silence;

fx_silence
fx_host_silence(const fx_view *view, const fx_policy *policy, const fx_name *host, fx_mono now);

typedef enum fx_down_cause { FX_NOT_DOWN, FX_DOWN_SILENT, FX_DOWN_UNHEALTHY } fx_down_cause;

typedef struct fx_down {
    fx_down_cause cause;
    fx_mono since; /* last heard, or last in health */
    char reason[FX_REASON_BYTES];
} fx_down;

fx_down fx_service_down(
    const fx_ledger *ledger,
    const fx_view *view,
    const fx_policy *policy,
    const fx_service *service,
    fx_mono now);

/* What every coordinator heard of `host`, and sees of `service` on it, for the record. */
void fx_down_evidence(
    const fx_view *view,
    const fx_policy *policy,
    const fx_service *service,
    const fx_name *host,
    fx_mono now,
    fx_decision *decision);

/* Adds a line of evidence; beyond FX_EVIDENCE_MAX it is left out. `observer` NULL: the ledger. */
void fx_evidence_add(
    fx_decision *decision,
    const fx_coordinator_view *observer,
    const fx_name *subject,
    const char *fact);
