#include "common/repository/forgotten.h"

#include <stdio.h>
#include <string.h>

#include "proto/repository.pb-c.h"

#include "common/base/hex.h"
#include "common/repository/internal.h"
#include "common/repository/plain.h"

enum { OBJECT_MAX_BYTES = 4096 };

fx_code
fx_forgotten_put(fx_store *store, const char *snapshot_id, fx_err *err)
{
    char store_key[FX_KEY_TEXT_BYTES];
    Fortress__Repository__IdList none;
    FX_BUF_AUTO bytes;
    fx_buf_init(&bytes, OBJECT_MAX_BYTES);
    fortress__repository__id_list__init(&none);
    (void)snprintf(store_key, sizeof store_key, "forgotten/%.64s", snapshot_id);
    if (fx_plain_encode("FXFORGOT", &none.base, &bytes, err) != FX_OK) {
        return err->code;
    }
    fx_err failure = {0};
    fx_mono deadline = fx_repository_deadline();
    fx_code code = fx_store_put(store, store_key, fx_buf_bytes(&bytes), deadline, &failure);
    if (code != FX_OK && code != FX_ERR_EXISTS) {
        *err = failure;
        return code;
    }
    return FX_OK;
}

static void
take_id(void *ctx, const char *key, uint64_t size_bytes)
{
    (void)size_bytes;
    fx_chunk_id id;
    fx_err ignored = {0};
    if (fx_hex_decode(strrchr(key, '/') + 1, id.bytes, sizeof id.bytes, &ignored) == FX_OK) {
        (void)fx_id_set_add(ctx, &id);
    }
}

/* A store that is not there yet has none. */
static fx_code
read_ids(fx_store *store, const char *prefix, fx_id_set *ids, fx_err *err)
{
    fx_err failure = {0};
    fx_code code = fx_store_list(store, prefix, fx_repository_deadline(), take_id, ids, &failure);
    if (code != FX_OK && code != FX_ERR_NOT_FOUND) {
        *err = failure;
        return fx_err_wrap(err, "listing %s", prefix);
    }
    return FX_OK;
}

fx_code
fx_forgotten_read(fx_store *store, fx_id_set *ids, fx_err *err)
{
    return read_ids(store, "forgotten/", ids, err);
}

fx_code
fx_arriving_read(fx_store *store, fx_id_set *ids, fx_err *err)
{
    return read_ids(store, "arriving/", ids, err);
}

fx_code
fx_arriving_remove(fx_store *store, const fx_chunk_id *id, fx_err *err)
{
    char hex[2 * FX_ID_BYTES + 1];
    char store_key[FX_KEY_TEXT_BYTES];
    fx_err failure = {0};
    fx_hex_encode((fx_bytes){id->bytes, FX_ID_BYTES}, hex);
    (void)snprintf(store_key, sizeof store_key, "arriving/%s", hex);
    fx_code code = fx_store_remove(store, store_key, fx_repository_deadline(), &failure);
    if (code != FX_OK && code != FX_ERR_NOT_FOUND) {
        *err = failure;
        return code;
    }
    return FX_OK;
}
