/* Whether credentials let their holder hide snapshots: docs/threat-model.md, "What unsigned objects
 * do". */
#pragma once

#include "common/store/store.h"

/*
 * Tries to put an object of each kind that hides snapshots, `forgotten/` and `settled/`, of a
 * snapshot and a lease that nobody can have (docs/format.md, "Readable objects"), and removes them
 * where it may. YES: at least one was taken; NO: both were refused. errors: UNREACHABLE, TIMEOUT
 * and what else is no answer to the question
 */
FX_MUST_USE fx_code fx_hiding_try(fx_store *store, fx_store_finding *out_can_hide, fx_err *err);
