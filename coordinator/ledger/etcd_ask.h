/* What the files over etcd's gateway share; no others include it. */
#pragma once

#include "common/json/json.h"
#include "coordinator/ledger/etcd.h"

typedef struct fx_etcd_question {
    size_t endpoint;  /* by number: some questions concern one member alone */
    const char *path; /* "/v3/maintenance/status" */
    const fx_json *body;
} fx_etcd_question;

/* Asks once. The outcome is UNKNOWN where it may have been done. */
FX_MUST_USE fx_code fx_etcd_ask(
    fx_etcd *etcd, const fx_etcd_question *what, fx_mono deadline, fx_json **out_json, fx_err *err);

size_t fx_etcd_endpoint_count(const fx_etcd *etcd);
/* Borrowed. */
const char *fx_etcd_endpoint(const fx_etcd *etcd, size_t index);
