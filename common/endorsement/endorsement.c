#include "common/endorsement/endorsement.h"

#include <string.h>

/* A prefix, its NUL and the message: the prefix keeps the signature from meaning anything else. */
typedef struct use {
    const char *prefix;
    size_t max_bytes;
} use;

static const use order_use = {FX_LINK_ORDER_PREFIX, FX_LINK_ORDER_MAX_BYTES};
static const use ticket_use = {FX_ENDORSEMENT_TICKET_PREFIX, FX_DEPOT_TICKET_MAX_BYTES};

static void
signed_bytes(const use *of, fx_bytes message, fx_buf *out)
{
    fx_err err;
    size_t prefix_bytes = strlen(of->prefix) + 1;
    fx_buf_init(out, prefix_bytes + of->max_bytes);
    fx_code code = fx_buf_append(out, of->prefix, prefix_bytes, &err);
    FX_ASSERT(code == FX_OK);
    code = fx_buf_append(out, message.data, message.size_bytes, &err);
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

static bool
verify(
    const fx_endorsers *endorsers,
    const use *of,
    fx_bytes message,
    const Fortress__Link__Endorsement *endorsement,
    fx_name *out_region)
{
    if (message.size_bytes > of->max_bytes || endorsement->signature.len != FX_SIGN_BYTES) {
        return false;
    }
    for (size_t i = 0; i < endorsers->count; i++) {
        const fx_endorser *endorser = &endorsers->all[i];
        if (strcmp(endorser->name.text, endorsement->coordinator) != 0 ||
            strcmp(endorser->region.text, endorsement->region) != 0) {
            continue;
        }
        FX_BUF_AUTO bytes;
        signed_bytes(of, message, &bytes);
        *out_region = endorser->region;
        return fx_verify(endorser->key, fx_buf_bytes(&bytes), endorsement->signature.data);
    }
    return false;
}

bool
fx_endorsers_verify(
    const fx_endorsers *endorsers,
    fx_bytes order,
    const Fortress__Link__Endorsement *endorsement,
    fx_name *out_region)
{
    return verify(endorsers, &order_use, order, endorsement, out_region);
}

static size_t
count_regions(
    const fx_endorsers *endorsers,
    const use *of,
    fx_bytes message,
    Fortress__Link__Endorsement *const *endorsements,
    size_t endorsement_count)
{
    fx_name regions[FX_ENDORSER_MAX];
    size_t count = 0;
    for (size_t i = 0; i < endorsement_count && count < FX_ENDORSER_MAX; i++) {
        fx_name region;
        bool fresh = verify(endorsers, of, message, endorsements[i], &region);
        for (size_t j = 0; fresh && j < count; j++) {
            fresh = !fx_name_is(&regions[j], &region);
        }
        if (fresh) {
            regions[count++] = region;
        }
    }
    return count;
}

size_t
fx_endorsers_count_regions(const fx_endorsers *endorsers, const Fortress__Link__SignedOrder *order)
{
    fx_bytes bytes = {.data = order->order.data, .size_bytes = order->order.len};
    return count_regions(endorsers, &order_use, bytes, order->endorsements, order->n_endorsements);
}

size_t
fx_endorsers_count_ticket_regions(
    const fx_endorsers *endorsers,
    fx_bytes ticket,
    Fortress__Link__Endorsement *const *endorsements,
    size_t endorsement_count)
{
    return count_regions(endorsers, &ticket_use, ticket, endorsements, endorsement_count);
}

static void
sign(
    const fx_sign_key *key,
    const use *of,
    fx_bytes message,
    unsigned char out_signature[FX_SIGN_BYTES])
{
    FX_ASSERT(message.size_bytes > 0 && message.size_bytes <= of->max_bytes);
    FX_BUF_AUTO bytes;
    signed_bytes(of, message, &bytes);
    fx_sign(key, fx_buf_bytes(&bytes), out_signature);
}

void
fx_endorsement_sign(
    const fx_sign_key *key, fx_bytes order, unsigned char out_signature[FX_SIGN_BYTES])
{
    sign(key, &order_use, order, out_signature);
}

void
fx_endorsement_sign_ticket(
    const fx_sign_key *key, fx_bytes ticket, unsigned char out_signature[FX_SIGN_BYTES])
{
    sign(key, &ticket_use, ticket, out_signature);
}
