/* What fx_store_examine tries on any store, through the family's own calls. */
#pragma once

#include "common/store/store.h"

/* errors: those of the first call, if nothing at all could be learned */
FX_MUST_USE fx_code
fx_store_try(fx_store *store, fx_mono deadline, fx_store_examination *to, fx_err *err);
