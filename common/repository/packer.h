/*
 * Gathers blobs of many threads in a few open packs and stores the full ones in the background.
 * The packs in memory are bounded: who adds waits while the store is slower.
 */
#pragma once

#include "common/repository/index.h"
#include "common/repository/object.h"
#include "common/store/store.h"

enum {
    FX_PACK_TARGET_BYTES = 8 * 1024 * 1024,
    /* Chunks are shuffled among this many: the order of sizes alone can identify known files. */
    FX_PACKER_OPEN_MAX = 2,
};

typedef struct fx_packer fx_packer;

/* What to do with each pack that is stored, durably. thread: one call at a time */
typedef fx_code (*fx_packer_stored)(
    void *ctx, const fx_index_pack *pack, const fx_object_writer *object, fx_err *err);

/* Borrows `store` and `session`. */
fx_packer *
fx_packer_new(fx_store *store, const fx_session *session, fx_packer_stored stored, void *ctx);
/* Ends at once what is not stored yet. */
void fx_packer_free(fx_packer *packer);
FX_DEFINE_AUTO(fx_packer);

/*
 * Encrypts the blob into an open pack. errors: those of an earlier pack's storing too, after which
 * nothing follows. thread: any, several at once, each with an `aead` of its own
 */
FX_MUST_USE fx_code
fx_packer_add(fx_packer *packer, fx_aead *aead, const fx_blob_draft *draft, fx_err *err);

/* Stores what is open and waits until all is durable. thread: one, when nobody adds */
FX_MUST_USE fx_code fx_packer_flush(fx_packer *packer, fx_err *err);
