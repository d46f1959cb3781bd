/*
 * Vouchers: what packs hold, signed by who can read the scope, because it wrote or opened them. A
 * writer counts on nothing else but what it stored itself: a host that can only write could name a
 * pack that does not hold what it says. Bytes: docs/format.md, "Vouchers".
 */
#pragma once

#include "common/repository/index.h"
#include "common/store/store.h"

typedef struct fx_voucher {
    fx_bytes records; /* as in an index object's blobs: of packs that the signer wrote or opened */
    fx_bytes kept;    /* of packs that nobody has opened: who wrote them may count on them */
    void *message;    /* that they lie in */
} fx_voucher;
void fx_voucher_free(fx_voucher *voucher);
FX_DEFINE_AUTO(fx_voucher);

/* errors: DAMAGED (also what no key of the scope has signed), UNSUPPORTED, WRONG_KEY (signed with a
 * key version that is not known here) */
FX_MUST_USE fx_code fx_voucher_decode(
    fx_bytes bytes, const fx_scope_keys *scope, fx_voucher **out_voucher, fx_err *err);

/* Is it one by its structure? Needs no key. errors: DAMAGED, UNSUPPORTED */
FX_MUST_USE fx_code fx_voucher_check(fx_bytes bytes, fx_err *err);

/* Adds the digests (fx_index_record_of()) of records. errors: DAMAGED */
FX_MUST_USE fx_code
fx_voucher_digests(fx_bytes records, const fx_scope_id *scope, fx_id_set *digests, fx_err *err);

/* "verified/SCOPE/" */
enum { FX_VOUCHER_PREFIX_BYTES = 32 };
void fx_voucher_prefix(const fx_scope_id *scope, char out_prefix[FX_VOUCHER_PREFIX_BYTES]);

/* Reads one. errors: as fx_voucher_decode(), and the store's */
FX_MUST_USE fx_code fx_voucher_get(
    fx_store *store,
    const char *store_key,
    const fx_scope_keys *scope,
    fx_voucher **out_voucher,
    fx_err *err);

/* Gathers records into vouchers of bounded size. */
typedef struct fx_voucher_writer {
    fx_store *store;
    const fx_scope_keys *scope;
    fx_buf records;
    fx_buf kept;
    uint64_t added_bytes; /* stored so far */
    fx_id_set *names;     /* takes the names of what is put; may be NULL */
    const char *lease;    /* nothing is put once it was revoked; borrowed, NULL or "": none */
} fx_voucher_writer;

/* Borrows both. */
void fx_voucher_writer_init(fx_voucher_writer *writer, fx_store *store, const fx_scope_keys *scope);
void fx_voucher_writer_free(fx_voucher_writer *writer);

/* A pack and the ids of its chunks, `stride_bytes` apart; to `records`, or else to `kept`. After
 * the index object that names it. errors: WRONG_KEY (no private key here), STALE, and the store's
 */
FX_MUST_USE fx_code fx_voucher_writer_add(
    fx_voucher_writer *writer,
    const fx_index_pack *pack,
    const unsigned char *ids,
    size_t stride_bytes,
    bool is_vouched,
    fx_err *err);

/* Puts what is left. */
FX_MUST_USE fx_code fx_voucher_writer_finish(fx_voucher_writer *writer, fx_err *err);
