/* Where a depot is and which of its repositories is meant: read from a store's URL. Pure. */
#pragma once

#include "common/base/name.h"

enum { FX_DEPOT_HOST_MAX_BYTES = 255 };

typedef struct fx_depot_address {
    char url[FX_DEPOT_HOST_MAX_BYTES + 32]; /* "tls+tcp://HOST:PORT" */
    char peer[FX_DEPOT_HOST_MAX_BYTES + 1]; /* the depot's name in its certificate */
    fx_name repository;
} fx_depot_address;

/* Reads what follows "depot:": "HOST:PORT/NAME[?host=CN]". errors: INVALID */
FX_MUST_USE fx_code
fx_depot_address_parse(const char *rest, fx_depot_address *out_address, fx_err *err);
