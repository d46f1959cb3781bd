/*
 * Carries out the commands of the core: transactions, endorsements of two regions, DNS, validation.
 * Blocks, on worker threads; each command may be carried out again.
 */
#pragma once

#include "common/base/log.h"
#include "common/crypto/sign.h"
#include "coordinator/ledger/ledger.h"

typedef struct fx_observation {
    bool is_so; /* as it should be */
    char fact[FX_REASON_BYTES];
} fx_observation;

/* What the wiring provides; all may be called from several threads at once, and block until
 * `deadline`. */
typedef struct fx_executor_doors {
    void *ctx;
    /* Asks peer number `index` to sign. errors: DENIED (it refuses, with its reason), UNREACHABLE…
     */
    fx_code (*endorse)(
        void *ctx,
        size_t index,
        fx_bytes order,
        fx_mono deadline,
        unsigned char out_signature[FX_SIGN_BYTES],
        fx_err *err);
    /* Makes DNS say the service's primary and epoch; success also where there is nothing to
     * redirect. */
    fx_code (*redirect)(void *ctx, const fx_service *service, fx_mono deadline, fx_err *err);
    /* Asks the authoritative server whether DNS says so; changes nothing. */
    fx_code (*observe)(
        void *ctx,
        const fx_service *service,
        fx_mono deadline,
        fx_observation *out_observation,
        fx_err *err);
    /* Writes as a client would: by name. */
    fx_code (*validate)(void *ctx, const fx_service *service, fx_mono deadline, fx_err *err);
} fx_executor_doors;

typedef struct fx_executor_peer {
    fx_name name;
    fx_name region;
    const fx_verify_key *key; /* borrowed */
} fx_executor_peer;

typedef struct fx_executor {
    const fx_ledger_door *ledger; /* borrowed, as all pointers here */
    fx_name cluster;
    fx_name self;
    fx_name region;
    const fx_sign_key *key;
    fx_executor_peer peers[FX_COORDINATOR_MAX];
    size_t peer_count;
    fx_executor_doors doors;
    const fx_log *log;
} fx_executor;

/*
 * `first`: bit i is set for a peer that was heard lately: it is asked before the others. The order
 * of a signed command is put into the record that it commits. The outcome is UNKNOWN where the
 * command may have changed something though no answer said so: never of an observation, of a
 * validation, of endorsements.
 */
fx_attempt fx_execute(const fx_executor *executor, fx_command *command, uint32_t first);

/* What is signed: "fortress order 1\0" and the order's bytes. errors: LIMIT */
FX_MUST_USE fx_code fx_order_signed_bytes(fx_bytes order, fx_buf *out, fx_err *err);
