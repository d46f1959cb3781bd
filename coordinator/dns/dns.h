/*
 * The name that clients follow to a service's primary: its address records, and beside them the
 * service's epoch as "epoch=N" in the TXT record `_fortress.NAME`. Drivers live in
 * coordinator/dns/NAME/; the conformance suite says what all of them keep.
 */
#pragma once

#include "common/base/time.h"
#include "common/config/coordinator_config.h"

enum {
    FX_DNS_ADDRESS_MAX = 8,
    FX_DNS_ADDRESS_MAX_BYTES = 46, /* INET6_ADDRSTRLEN */
    FX_DNS_NAME_MAX_BYTES = 256,
    FX_DNS_TTL_MAX_S = 86400,
};

/* What the name says. No TXT record: epoch 0. No addresses: a name that was never set. */
typedef struct fx_dns_records {
    char addresses[FX_DNS_ADDRESS_MAX][FX_DNS_ADDRESS_MAX_BYTES]; /* as inet_ntop writes, sorted */
    unsigned addresses_count;
    uint32_t ttl_s; /* of the addresses; 0 if they differ */
    uint64_t epoch;
} fx_dns_records;

typedef struct fx_dns fx_dns;

/* What the name should say. */
typedef struct fx_dns_target {
    const char *const *addresses;
    unsigned addresses_count;
    uint64_t epoch;
} fx_dns_target;

/*
 * Reads the key and checks the options; asks no server yet.
 *
 * owns:   `config` may go afterwards
 * errors: INVALID (options), UNSUPPORTED (provider, algorithm), and of the key file NOT_FOUND,
 *         DENIED (others may read it), IO
 */
FX_MUST_USE fx_code fx_dns_open(const fx_coordinator_dns *config, fx_dns **out_dns, fx_err *err);
void fx_dns_free(fx_dns *dns);
FX_DEFINE_AUTO(fx_dns);

/*
 * Makes the name's addresses exactly these, with the configured TTL, for the epoch. The last answer
 * is replaced in one step, never missing. Success without a change if all is so already; safe to
 * repeat after an UNKNOWN outcome.
 *
 * units:  1 to FX_DNS_ADDRESS_MAX addresses, IPv4 and IPv6 mixed; epoch from 1
 * errors: STALE (a higher epoch is recorded), DENIED (key refused), INVALID, CONFLICT (others kept
 *         changing it), DAMAGED (the TXT record is not ours), UNREACHABLE, TIMEOUT, FAILED; the
 *         outcome is UNKNOWN wherever a change may have been made
 * thread: any; several at once
 */
FX_MUST_USE fx_code fx_dns_set(
    fx_dns *dns,
    const char *const *addresses,
    unsigned addresses_count,
    uint64_t epoch,
    fx_mono deadline,
    fx_err *err);

/*
 * Asks the provider itself, past all caches.
 * errors: DENIED, DAMAGED, UNREACHABLE, TIMEOUT, FAILED
 */
FX_MUST_USE fx_code
fx_dns_get(fx_dns *dns, fx_mono deadline, fx_dns_records *out_records, fx_err *err);

/*
 * Does the provider say just what fx_dns_set would make it say? Changes nothing. A yes is proven
 * where the provider can prove it (under the key's signature), so that a forged answer is none.
 *
 * errors: as fx_dns_get, and INVALID; the outcome does not matter, nothing was to be changed
 */
FX_MUST_USE fx_code fx_dns_observe(
    fx_dns *dns,
    const fx_dns_target *target,
    fx_mono deadline,
    bool *out_is_so,
    fx_dns_records *out_records,
    fx_err *err);

typedef enum fx_dns_ability {
    FX_DNS_ANSWERS_AT_ONCE =
        1,                /* what set() made is answered when it returns, not some time later */
    FX_DNS_FOR_TESTS = 2, /* redirects nobody: the daemon refuses it */
} fx_dns_ability;

bool fx_dns_can(const fx_dns *dns, fx_dns_ability ability);

/* ---- for drivers ----------------------------------------------------------------------------- */

/* What a driver provides: every member. Epochs, addresses and their count have been checked. */
typedef struct fx_dns_driver {
    const char *name;
    unsigned abilities; /* of fx_dns_ability */
    size_t state_bytes;
    fx_code (*open)(void *state, const fx_coordinator_dns *config, fx_err *err);
    void (*close)(void *state); /* never fails; also called after a failed open */
    fx_code (*get)(void *state, fx_mono deadline, fx_dns_records *out_records, fx_err *err);

    /*
     * Replaces addresses and epoch in one step if the recorded epoch is still `seen`'s; where
     * `wanted` says what `seen` does, only makes sure, by a proven answer, that it is still so.
     * errors: CONFLICT (no longer as seen; nothing was changed) and those of fx_dns_set
     */
    fx_code (*replace)(
        void *state,
        const fx_dns_records *seen,
        const fx_dns_records *wanted,
        fx_mono deadline,
        fx_err *err);
} fx_dns_driver;

bool fx_dns_records_equal(const fx_dns_records *left, const fx_dns_records *right);

/* Brings the addresses into the order in which they are compared. */
void fx_dns_records_sort(fx_dns_records *records);

#define FX_DNS_DRIVER(name) extern const fx_dns_driver fx_dns_driver_##name;
#include "coordinator/dns/drivers.def"
#undef FX_DNS_DRIVER
