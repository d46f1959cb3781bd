#include "common/repository/packer.h"

#include <pthread.h>

#include "common/base/pool.h"
#include "common/repository/internal.h"

enum {
    STORING_MAX = 2, /* packs that are stored at once, beside the open ones */
    PACK_MAX = FX_PACKER_OPEN_MAX + 1 + STORING_MAX,
    /* The record of a pack must fit an index blob. */
    BLOBS_IN_PACK_MAX = FX_OBJECT_BLOB_MAX_BYTES / FX_ID_BYTES / 4,
};

typedef struct pack {
    fx_packer *packer;
    fx_object_writer object;
    unsigned filling; /* threads that encrypt into it */
    bool is_closed;   /* takes no more blobs */
    struct pack *next_free;
} pack;

struct fx_packer {
    fx_store *store;
    const fx_session *session;
    fx_packer_stored stored;
    void *ctx;
    fx_pool *pool;
    pthread_mutex_t lock; /* guards all below, but for the bytes of a pack's places */
    pthread_cond_t freed;
    pthread_mutex_t stored_lock;
    pack packs[PACK_MAX];
    pack *free;
    pack *open[FX_PACKER_OPEN_MAX + 1]; /* the last is for trees: whoever reads one wants more */
    fx_err failure;                     /* the first */
    bool has_filled_one;
    bool is_ending;
};

fx_packer *
fx_packer_new(fx_store *store, const fx_session *session, fx_packer_stored stored, void *ctx)
{
    fx_packer *packer = calloc(1, sizeof *packer);
    FX_ASSERT(packer != NULL);
    packer->store = store;
    packer->session = session;
    packer->stored = stored;
    packer->ctx = ctx;
    int result = pthread_mutex_init(&packer->lock, NULL);
    FX_ASSERT(result == 0);
    result = pthread_mutex_init(&packer->stored_lock, NULL);
    FX_ASSERT(result == 0);
    result = pthread_cond_init(&packer->freed, NULL);
    FX_ASSERT(result == 0);
    for (size_t i = 0; i < PACK_MAX; i++) {
        pack *one = &packer->packs[i];
        fx_object_writer_init(&one->object);
        one->packer = packer;
        one->next_free = packer->free;
        packer->free = one;
    }
    packer->pool = fx_pool_new(STORING_MAX, PACK_MAX);
    return packer;
}

void
fx_packer_free(fx_packer *packer)
{
    if (packer == NULL) {
        return;
    }
    (void)pthread_mutex_lock(&packer->lock);
    packer->is_ending = true;
    (void)pthread_mutex_unlock(&packer->lock);
    fx_pool_free(packer->pool);
    for (size_t i = 0; i < PACK_MAX; i++) {
        fx_object_writer_free(&packer->packs[i].object);
    }
    (void)pthread_cond_destroy(&packer->freed);
    (void)pthread_mutex_destroy(&packer->stored_lock);
    (void)pthread_mutex_destroy(&packer->lock);
    free(packer);
}

/* ---- storing, in the background
 * ------------------------------------------------------------------- */

static fx_code
put_pack(pack *full, fx_err *err)
{
    fx_packer *packer = full->packer;
    fx_index_pack stored = {.blob_count = full->object.count};
    char store_key[FX_KEY_TEXT_BYTES];
    if (fx_object_finish(&full->object, stored.name, err) != FX_OK) {
        return err->code;
    }
    stored.size_bytes = (uint32_t)full->object.bytes.size_bytes; /* at most 128 MiB */
    fx_pack_key(stored.name, store_key);
    fx_bytes bytes = fx_buf_bytes(&full->object.bytes);
    fx_err failure = {0};
    fx_mono deadline = fx_repository_deadline();
    fx_code code = fx_store_put(packer->store, store_key, bytes, deadline, &failure);
    if (code != FX_OK && code != FX_ERR_EXISTS) { /* it is named by its bytes */
        *err = failure;
        return fx_err_wrap(err, "storing \"%s\"", store_key);
    }
    (void)pthread_mutex_lock(&packer->stored_lock);
    code = packer->stored(packer->ctx, &stored, &full->object, err);
    (void)pthread_mutex_unlock(&packer->stored_lock);
    return code;
}

static void
store_pack(void *ctx)
{
    pack *full = ctx;
    fx_packer *packer = full->packer;
    fx_err err = {0};
    (void)pthread_mutex_lock(&packer->lock);
    bool is_wanted = !packer->is_ending && packer->failure.code == FX_OK;
    (void)pthread_mutex_unlock(&packer->lock);
    fx_code code = is_wanted ? put_pack(full, &err) : FX_OK;
    (void)pthread_mutex_lock(&packer->lock);
    if (code != FX_OK && packer->failure.code == FX_OK) {
        packer->failure = err;
    }
    full->next_free = packer->free;
    packer->free = full;
    (void)pthread_cond_broadcast(&packer->freed);
    (void)pthread_mutex_unlock(&packer->lock);
}

/* ---- adding
 * ---------------------------------------------------------------------------------------- */

/* With the lock. A small run makes one pack: all goes together until the first one is full. */
static size_t
choose_place(const fx_packer *packer, const fx_blob_draft *draft)
{
    if (!packer->has_filled_one) {
        return 0;
    }
    if (draft->flags >> 8 != FX_CHUNK_DATA + 1) {
        return FX_PACKER_OPEN_MAX;
    }
    unsigned char drawn = 0;
    fx_crypto_random(&drawn, sizeof drawn);
    return drawn % FX_PACKER_OPEN_MAX;
}

static fx_code
begin_pack(fx_packer *packer, pack *fresh, fx_err *err)
{
    fx_bytes plain = {NULL, 0};
    fx_buf_reserve(
        &fresh->object.bytes,
        FX_PACK_TARGET_BYTES + FX_OBJECT_STORED_MAX_BYTES + FX_OBJECT_HEAD_BYTES);
    fresh->filling = 0;
    fresh->is_closed = false;
    return fx_object_begin(&fresh->object, packer->session, FX_OBJECT_PACK, plain, err);
}

/* The open pack at a place, begun if need be; waits for one to begin. With the lock. */
static fx_code
open_at(fx_packer *packer, size_t place, pack **out_pack, fx_err *err)
{
    while (packer->failure.code == FX_OK && packer->open[place] == NULL) {
        pack *fresh = packer->free;
        if (fresh == NULL) {
            (void)pthread_cond_wait(&packer->freed, &packer->lock);
            continue;
        }
        packer->free = fresh->next_free;
        packer->open[place] = fresh;
        if (begin_pack(packer, fresh, &packer->failure) != FX_OK) {
            break;
        }
    }
    if (packer->failure.code != FX_OK) {
        *err = packer->failure;
        return err->code;
    }
    *out_pack = packer->open[place];
    return FX_OK;
}

fx_code
fx_packer_add(fx_packer *packer, fx_aead *aead, const fx_blob_draft *draft, fx_err *err)
{
    pack *into = NULL;
    fx_object_slot slot;
    (void)pthread_mutex_lock(&packer->lock);
    size_t place = choose_place(packer, draft);
    fx_code code = open_at(packer, place, &into, err);
    if (code == FX_OK) {
        FX_ASSERT(into != NULL);
        code = fx_object_reserve(&into->object, draft, &slot, err);
    }
    if (code != FX_OK) {
        (void)pthread_mutex_unlock(&packer->lock);
        return code;
    }
    into->filling++;
    if (into->object.bytes.size_bytes >= FX_PACK_TARGET_BYTES ||
        into->object.count >= BLOBS_IN_PACK_MAX) {
        into->is_closed = true;
        packer->has_filled_one = true;
        packer->open[place] = NULL;
    }
    (void)pthread_mutex_unlock(&packer->lock);

    fx_object_fill(&into->object, aead, &slot, draft);

    (void)pthread_mutex_lock(&packer->lock);
    bool is_full = --into->filling == 0 && into->is_closed;
    (void)pthread_mutex_unlock(&packer->lock);
    if (is_full) {
        fx_pool_submit(packer->pool, store_pack, into);
    }
    return FX_OK;
}

fx_code
fx_packer_flush(fx_packer *packer, fx_err *err)
{
    for (size_t place = 0; place <= FX_PACKER_OPEN_MAX; place++) {
        pack *rest = packer->open[place];
        packer->open[place] = NULL;
        if (rest != NULL) {
            FX_ASSERT(rest->filling == 0);
            fx_pool_submit(packer->pool, store_pack, rest);
        }
    }
    fx_pool_drain(packer->pool);
    if (packer->failure.code != FX_OK) {
        *err = packer->failure;
        return err->code;
    }
    return FX_OK;
}
