/* One DNS message to a server and its answer, over TCP. Inside of the door only. */
#pragma once

#include "common/base/buf.h"
#include "common/dns/ldns.h"

enum { FX_LDNS_MESSAGE_MAX_BYTES = 65535 };

/*
 * TCP because a repeated datagram would repeat the update, and because it tells whether anything
 * was sent. errors: UNREACHABLE, TIMEOUT: outcome UNKNOWN once sending began; INVALID (address)
 */
FX_MUST_USE fx_code fx_ldns_exchange(
    const fx_ldns_server *server, fx_bytes message, fx_mono deadline, fx_buf *out, fx_err *err);
