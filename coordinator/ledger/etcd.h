/*
 * etcd as the ledger's store, through the v3 JSON gateway. Reads are linearizable, always.
 * source: etcd 3.4, "gRPC gateway" and "KV API guarantees"
 */
#pragma once

#include "common/http/http.h"
#include "coordinator/ledger/ledger.h"

enum {
    FX_ETCD_ENDPOINT_MAX = 9,
    FX_ETCD_CALL_MAX = 16,
    FX_ETCD_ANSWER_MAX_BYTES = 32 * 1024 * 1024
};

/* Where the configuration says nothing; etcd's own default. */
#define FX_ETCD_QUOTA_BYTES (INT64_C(2) << 30)

typedef struct fx_etcd fx_etcd;

/*
 * `endpoints`: "https://127.0.1.1:2379", the own region's first; copied. One that does not answer
 * is put last for a while. errors: INVALID (none, or too many)
 */
FX_MUST_USE fx_code fx_etcd_open(
    const char *const *endpoints,
    size_t endpoint_count,
    const fx_http_tls *tls,
    fx_etcd **out_etcd,
    fx_err *err);
void fx_etcd_free(fx_etcd *etcd);
FX_DEFINE_AUTO(fx_etcd);

/*
 * The ledger's view of it; borrows `etcd`. A read that fails at one endpoint is tried at the next
 * while there is time. A commit is tried again only when it was certainly not sent; else its
 * outcome is UNKNOWN.
 *
 * thread: any; at most FX_ETCD_CALL_MAX calls at once, more wait
 */
fx_ledger_store fx_etcd_store(fx_etcd *etcd);
