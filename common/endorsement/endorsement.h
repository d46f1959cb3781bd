/*
 * Endorsements of orders and of a depot's tickets: signatures of coordinators, made with the own
 * key and checked against the keys that the configuration pins.
 */
#pragma once

#include "common/base/name.h"
#include "common/crypto/sign.h"
#include "proto/depot_check.h"
#include "proto/link_check.h"

/* Above a ticket's bytes in every endorsement of one; the NUL at its end belongs to it. */
#define FX_ENDORSEMENT_TICKET_PREFIX "fortress depot ticket 1"

enum { FX_ENDORSER_MAX = 9 };

/* A coordinator whose key is pinned. */
typedef struct fx_endorser {
    fx_name name;
    fx_name region;
    fx_verify_key *key; /* owned by fx_endorsers */
} fx_endorser;

/* Zero it to begin with. */
typedef struct fx_endorsers {
    fx_endorser all[FX_ENDORSER_MAX];
    size_t count;
} fx_endorsers;

/* Adds one with the key in the PEM file `path`. errors: LIMIT, EXISTS, as fx_verify_key_load() */
FX_MUST_USE fx_code fx_endorsers_add(
    fx_endorsers *endorsers,
    const fx_name *name,
    const fx_name *region,
    const char *path,
    fx_err *err);
void fx_endorsers_deinit(fx_endorsers *endorsers);

/*
 * True if a pinned coordinator, of the region it is pinned with, made this signature over
 * "fortress order 1\0" and the order's bytes.
 */
bool fx_endorsers_verify(
    const fx_endorsers *endorsers,
    fx_bytes order,
    const Fortress__Link__Endorsement *endorsement,
    fx_name *out_region);

/*
 * How many distinct regions endorse the order validly.
 */
size_t
fx_endorsers_count_regions(const fx_endorsers *endorsers, const Fortress__Link__SignedOrder *order);

/* A coordinator's own signature of an order's bytes. */
void fx_endorsement_sign(
    const fx_sign_key *key, fx_bytes order, unsigned char out_signature[FX_SIGN_BYTES]);

/* The same for a ticket of proto/depot.proto: an endorsement of the one is none of the other. */
size_t fx_endorsers_count_ticket_regions(
    const fx_endorsers *endorsers,
    fx_bytes ticket,
    Fortress__Link__Endorsement *const *endorsements,
    size_t endorsement_count);
void fx_endorsement_sign_ticket(
    const fx_sign_key *key, fx_bytes ticket, unsigned char out_signature[FX_SIGN_BYTES]);
