#include "common/repository/hiding.h"

#include <stdio.h>

#include "common/repository/forgotten.h"
#include "common/repository/internal.h"
#include "common/repository/lease.h"

static const char no_snapshot[] =
    "0000000000000000000000000000000000000000000000000000000000000000";
static const char no_lease[] = "0000000000000000-00000000000000000000000000000000";

/* Where it may not remove the object it stays, as of the last time: it says nothing. */
static void
take_back(fx_store *store, const char *kind, const char *id)
{
    char store_key[FX_KEY_TEXT_BYTES];
    fx_err ignored = {0};
    (void)snprintf(store_key, sizeof store_key, "%s/%s", kind, id);
    fx_ignore(
        fx_store_remove(store, store_key, fx_repository_deadline(), &ignored), "it says nothing");
}

/* FX_OK: it was taken, or had been; DENIED: it was refused. */
static fx_code
settle_nothing(fx_store *store, fx_err *err)
{
    const fx_id_set none = {0};
    fx_err failure = {0};
    fx_code code = fx_lease_settle(store, no_lease, &none, &failure);
    if (code != FX_OK && code != FX_ERR_EXISTS) {
        *err = failure;
        return code;
    }
    take_back(store, "settled", no_lease);
    return FX_OK;
}

static fx_code
forget_nothing(fx_store *store, fx_err *err)
{
    if (fx_forgotten_put(store, no_snapshot, err) != FX_OK) {
        return err->code;
    }
    take_back(store, "forgotten", no_snapshot);
    return FX_OK;
}

fx_code
fx_hiding_try(fx_store *store, fx_store_finding *out_can_hide, fx_err *err)
{
    fx_code (*const tries[])(fx_store *, fx_err *) = {forget_nothing, settle_nothing};
    *out_can_hide = FX_STORE_NO;
    for (size_t i = 0; i < sizeof tries / sizeof tries[0]; i++) {
        fx_err failure = {0};
        fx_code code = tries[i](store, &failure);
        if (code == FX_OK) {
            *out_can_hide = FX_STORE_YES;
        } else if (code != FX_ERR_DENIED) {
            *out_can_hide = FX_STORE_NOT_KNOWN;
            *err = failure;
            return fx_err_wrap(err, "finding out whether snapshots can be hidden");
        }
    }
    return FX_OK;
}
