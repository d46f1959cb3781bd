/*
 * A store that wraps another and fails: "fault:KIND:NUMBER:URL", for tests.
 *
 *   lose:N    power fails at the N-th put or remove: it and all calls after it fail, and nothing of
 * them happens doubt:N   the N-th put or remove happens, but its answer is lost (TIMEOUT, UNKNOWN);
 * all later calls fail rate:N    of calls of every kind about N in 1,000 fail (UNREACHABLE, nothing
 * happened); seeded by N
 */
#pragma once

#include "common/store/store.h"

/* Calls that change something since the store was opened with this URL's KIND; to place the next
 * fault. */
uint64_t fx_store_fault_changes(void);

/* What was read through it, in bytes. */
uint64_t fx_store_fault_got_bytes(void);
