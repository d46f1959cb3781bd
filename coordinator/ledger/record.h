/* The records of the ledger as bytes: structs of model.h to and from the messages of ledger.proto.
 */
#pragma once

#include "common/base/buf.h"
#include "coordinator/core/model.h"

/* Append to `out`. errors: LIMIT */
FX_MUST_USE fx_code fx_record_encode_leader(const fx_leader *leader, fx_buf *out, fx_err *err);
FX_MUST_USE fx_code fx_record_encode_beat(const fx_beat *beat, fx_buf *out, fx_err *err);
FX_MUST_USE fx_code fx_record_encode_service(const fx_service *service, fx_buf *out, fx_err *err);
FX_MUST_USE fx_code fx_record_encode_lease(const fx_lease *lease, fx_buf *out, fx_err *err);
FX_MUST_USE fx_code fx_record_encode_plan(const fx_plan *plan, fx_buf *out, fx_err *err);
FX_MUST_USE fx_code fx_record_encode_request(const fx_request *request, fx_buf *out, fx_err *err);
FX_MUST_USE fx_code
fx_record_encode_decision(const fx_decision *decision, fx_buf *out, fx_err *err);

/* Revisions and what is observed stay 0. errors: DAMAGED, LIMIT (more than the struct holds) */
FX_MUST_USE fx_code fx_record_decode_leader(fx_bytes bytes, fx_leader *out_leader, fx_err *err);
FX_MUST_USE fx_code fx_record_decode_beat(fx_bytes bytes, fx_beat *out_beat, fx_err *err);
FX_MUST_USE fx_code fx_record_decode_service(fx_bytes bytes, fx_service *out_service, fx_err *err);
FX_MUST_USE fx_code fx_record_decode_lease(fx_bytes bytes, fx_lease *out_lease, fx_err *err);
FX_MUST_USE fx_code fx_record_decode_plan(fx_bytes bytes, fx_plan *out_plan, fx_err *err);
FX_MUST_USE fx_code fx_record_decode_request(fx_bytes bytes, fx_request *out_request, fx_err *err);
FX_MUST_USE fx_code
fx_record_decode_decision(fx_bytes bytes, fx_decision *out_decision, fx_err *err);

/* link.Order: what decisions look at, with and without the rest. */
FX_MUST_USE fx_code fx_record_encode_order(
    const fx_order_spec *order, const char *cluster, fx_wall issued, fx_buf *out, fx_err *err);
/* `out_cluster` gets a name. errors: DAMAGED */
FX_MUST_USE fx_code
fx_record_decode_order(fx_bytes bytes, fx_order_spec *out_order, fx_name *out_cluster, fx_err *err);
