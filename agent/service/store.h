/* What a service must remember: small files below its folder, each durable before it is used. */
#pragma once

#include "common/base/buf.h"

enum { FX_SERVICE_ORDER_MAX_BYTES = 8192 };

typedef enum fx_service_number {
    FX_SERVICE_EPOCH,         /* highest seen */
    FX_SERVICE_PRIMARY_EPOCH, /* in which this host was primary last */
} fx_service_number;

/* 0 when nothing was stored yet. errors: DAMAGED, IO */
FX_MUST_USE fx_code fx_service_store_read(
    const char *folder, fx_service_number which, uint64_t *out_value, fx_err *err);
FX_MUST_USE fx_code
fx_service_store_write(const char *folder, fx_service_number which, uint64_t value, fx_err *err);

/* errors: NOT_FOUND */
FX_MUST_USE fx_code
fx_service_store_read_promotion(const char *folder, fx_buf *out_order, fx_err *err);
FX_MUST_USE fx_code
fx_service_store_write_promotion(const char *folder, fx_bytes order, fx_err *err);
