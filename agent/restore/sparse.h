/* Writes content into files, and leaves what is zero as holes. */
#pragma once

#include "common/base/outlet.h"

/*
 * Blocks of zeros stay holes, so that a sparse file never takes more room than it did; where they
 * go there must be a hole already. 0 or an errno. Gives the end of the last byte written, `at` if
 * none was.
 */
FX_MUST_USE int
fx_write_sparse(const fx_outlet *outlet, fx_bytes bytes, uint64_t at, uint64_t *out_end);
