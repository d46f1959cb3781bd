#include "common/endorsement/endorsement.h"

#include <string.h>

/* "fortress order 1\0" and the order: the prefix keeps the signature from meaning anything else. */
static void
signed_bytes(fx_bytes order, fx_buf *out)
{
    fx_err err;
    fx_buf_init(out, sizeof(FX_LINK_ORDER_PREFIX) + FX_LINK_ORDER_MAX_BYTES);
    fx_code code = fx_buf_append(out, FX_LINK_ORDER_PREFIX, sizeof(FX_LINK_ORDER_PREFIX), &err);
    FX_ASSERT(code == FX_OK);
    code = fx_buf_append(out, order.data, order.size_bytes, &err);
    FX_ASSERT(code == FX_OK); /* callers have checked the length */
}

fx_code
fx_endorsers_add(
    fx_endorsers *endorsers,
    const fx_name *name,
    const fx_name *region,
    const char *path,
    fx_err *err)
{
    if (endorsers->count >= FX_ENDORSER_MAX) {
        return fx_fail(
            err,
            FX_ERR_LIMIT,
            "could not pin the key of %s: at most %d coordinators are possible",
            name->text,
            FX_ENDORSER_MAX);
    }
    for (size_t i = 0; i < endorsers->count; i++) {
        if (fx_name_is(&endorsers->all[i].name, name)) {
            return fx_fail(
                err, FX_ERR_EXISTS, "could not pin the key of %s: it has one", name->text);
        }
    }
    fx_endorser *next = &endorsers->all[endorsers->count];
    if (fx_verify_key_load(path, &next->key, err) != FX_OK) {
        return fx_err_wrap(err, "pinning the endorsement key of %s", name->text);
    }
    next->name = *name;
    next->region = *region;
    endorsers->count++;
    return FX_OK;
}

void
fx_endorsers_deinit(fx_endorsers *endorsers)
{
    for (size_t i = 0; i < endorsers->count; i++) {
        fx_verify_key_free(endorsers->all[i].key);
    }
    *endorsers = (fx_endorsers){0};
}

bool
fx_endorsers_verify(
    const fx_endorsers *endorsers,
    fx_bytes order,
    const Fortress__Link__Endorsement *endorsement,
    fx_name *out_region)
{
    if (order.size_bytes > FX_LINK_ORDER_MAX_BYTES || endorsement->signature.len != FX_SIGN_BYTES) {
        return false;
    }
    for (size_t i = 0; i < endorsers->count; i++) {
        const fx_endorser *endorser = &endorsers->all[i];
        if (strcmp(endorser->name.text, endorsement->coordinator) != 0 ||
            strcmp(endorser->region.text, endorsement->region) != 0) {
            continue;
        }
        FX_BUF_AUTO bytes;
        signed_bytes(order, &bytes);
        *out_region = endorser->region;
        return fx_verify(endorser->key, fx_buf_bytes(&bytes), endorsement->signature.data);
    }
    return false;
}

size_t
fx_endorsers_count_regions(const fx_endorsers *endorsers, const Fortress__Link__SignedOrder *order)
{
    fx_name regions[FX_ENDORSER_MAX];
    size_t count = 0;
    fx_bytes bytes = {.data = order->order.data, .size_bytes = order->order.len};
    for (size_t i = 0; i < order->n_endorsements && count < FX_ENDORSER_MAX; i++) {
        fx_name region;
        bool fresh = fx_endorsers_verify(endorsers, bytes, order->endorsements[i], &region);
        for (size_t j = 0; fresh && j < count; j++) {
            fresh = !fx_name_is(&regions[j], &region);
        }
        if (fresh) {
            regions[count++] = region;
        }
    }
    return count;
}

void
fx_endorsement_sign(
    const fx_sign_key *key, fx_bytes order, unsigned char out_signature[FX_SIGN_BYTES])
{
    FX_ASSERT(order.size_bytes > 0 && order.size_bytes <= FX_LINK_ORDER_MAX_BYTES);
    FX_BUF_AUTO bytes;
    signed_bytes(order, &bytes);
    fx_sign(key, fx_buf_bytes(&bytes), out_signature);
}
