#include "common/repository/promise.h"

#include <string.h>

#include "common/repository/key.h"
#include "common/repository/lease.h"
#include "common/repository/voucher.h"

/* Adds the packs of records, each of which begins with the pack's name. */
static fx_code
add_names(fx_bytes records, fx_id_set *names, fx_err *err)
{
    fx_bytes record;
    fx_chunk_id name;
    while (records.size_bytes > 0) {
        if (fx_index_take_record(&records, &record, err) != FX_OK) {
            return err->code;
        }
        FX_ASSERT(record.size_bytes >= sizeof name);
        memcpy(name.bytes, record.data, sizeof name);
        (void)fx_id_set_add(names, &name);
    }
    return FX_OK;
}

/* Who could not read a voucher knows nothing of what it says. */
static fx_code
add_vouched_of(
    fx_repository *repository,
    const fx_scope_keys *scope,
    fx_id_set *names,
    bool *is_unsure,
    fx_err *err)
{
    char prefix[FX_VOUCHER_PREFIX_BYTES];
    fx_key_list list = {0};
    fx_voucher_prefix(&scope->id, prefix);
    fx_code code = fx_repository_list_keys(repository, prefix, &list, err);
    for (size_t i = 0; code == FX_OK && i < list.count; i++) {
        fx_err failure = {0};
        FX_AUTO(fx_voucher) voucher = NULL;
        fx_code got = fx_voucher_get(repository->store, list.items[i], scope, &voucher, &failure);
        if (got == FX_OK) {
            *is_unsure = add_names(voucher->records, names, &failure) != FX_OK ||
                         add_names(voucher->kept, names, &failure) != FX_OK || *is_unsure;
        } else if (
            got == FX_ERR_DAMAGED || got == FX_ERR_UNSUPPORTED || got == FX_ERR_WRONG_KEY ||
            got == FX_ERR_LIMIT) {
            *is_unsure = true;
        } else if (got != FX_ERR_NOT_FOUND) { /* a collector put another in its place before */
            *err = failure;
            code = got;
        }
    }
    fx_key_list_free(&list);
    return code;
}

/* Those of `missing` that index objects name now, and that are not there now. */
static fx_code
find_named(fx_repository *repository, const fx_id_set *missing, fx_id_set *named, fx_err *err)
{
    (void)pthread_mutex_lock(&repository->lock);
    fx_code code = fx_repository_refresh_indexes(repository, err);
    (void)pthread_mutex_unlock(&repository->lock);
    for (size_t i = 0; code == FX_OK && i < fx_index_pack_count(repository->index); i++) {
        fx_chunk_id name;
        fx_index_pack pack = fx_index_pack_at(repository->index, (uint32_t)i);
        memcpy(name.bytes, pack.name, FX_ID_BYTES);
        if (pack.is_rescued == 0 && fx_id_set_has(missing, &name)) {
            (void)fx_id_set_add(named, &name);
        }
    }
    return code;
}

static fx_code
is_there(fx_repository *repository, const fx_chunk_id *name, bool *out_there, fx_err *err)
{
    char store_key[FX_KEY_TEXT_BYTES];
    fx_err failure = {0};
    uint64_t size_bytes = 0;
    fx_pack_key(name->bytes, store_key);
    fx_mono deadline = fx_repository_deadline();
    fx_code code = fx_store_stat(repository->store, store_key, deadline, &size_bytes, &failure);
    if (code != FX_OK && code != FX_ERR_NOT_FOUND) {
        *err = failure;
        return code;
    }
    *out_there = code == FX_OK;
    return FX_OK;
}

/*
 * In this order: what a revoked writer put late comes after its revocation, and a collector removes
 * vouchers before the index objects and those before the packs.
 */
fx_code
fx_promise_sort(
    fx_repository *repository,
    const fx_id_set *missing,
    fx_id_set *broken,
    fx_id_set *remnants,
    fx_err *err)
{
    fx_id_set vouched = {0};
    fx_id_set named = {0};
    bool is_any_revoked = false;
    bool is_unsure = false;
    fx_code code = FX_OK;
    for (size_t i = 0; code == FX_OK && i < repository->key->scope_count; i++) {
        code = add_vouched_of(repository, &repository->key->scopes[i], &vouched, &is_unsure, err);
    }
    code = code == FX_OK ? find_named(repository, missing, &named, err) : code;
    code = code == FX_OK ? fx_lease_is_revoked(repository->store, "", &is_any_revoked, err) : code;
    for (size_t i = 0; code == FX_OK && i < named.capacity; i++) {
        bool is_back = false;
        if (!named.used[i]) {
            continue;
        }
        code = is_there(repository, &named.slots[i], &is_back, err);
        if (code == FX_OK && !is_back) {
            bool is_promised =
                !is_any_revoked || is_unsure || fx_id_set_has(&vouched, &named.slots[i]);
            (void)fx_id_set_add(is_promised ? broken : remnants, &named.slots[i]);
        }
    }
    fx_id_set_free(&vouched);
    fx_id_set_free(&named);
    return code == FX_OK ? FX_OK : fx_err_wrap(err, "judging packs that are not there");
}
