#include "common/repository/fetch.h"

#include <string.h>

#include "common/base/pool.h"
#include "common/repository/internal.h"

enum {
    THREADS_MAX = 8, /* each takes up to 3 * FX_CHUNK_MAX_BYTES */
    BATCH_FIRST = 512,
    BATCH_MAX = 32768,
    /* Ranges of a pack that are no farther apart are read as one: cheaper than another request. */
    GAP_MAX_BYTES = 128 * 1024,
    RANGE_MAX_BYTES = 4 * 1024 * 1024,
    RANGE_ROOM_BYTES = RANGE_MAX_BYTES + FX_OBJECT_STORED_MAX_BYTES,
};
#define UNKNOWN_PACK UINT32_MAX /* no index has the chunk */

/* A want and the place of its chunk. */
typedef struct placed {
    fx_want want;
    uint32_t pack;
    uint32_t blob;
} placed;

typedef struct batch {
    placed *items;
    size_t count;
    size_t room;
    size_t next; /* the first that no worker has taken; guarded by the fetcher's lock */
} batch;

/* What one worker at a time needs. */
typedef struct lane {
    fx_zip *zip;
    fx_hmac *hmac;
    fx_buf range;
    fx_buf content;
    struct lane *next;
} lane;

struct fx_fetcher {
    fx_chunks chunks;
    fx_fetch_take take;
    void *ctx;
    const atomic_bool *cancel;
    fx_pool *pool;
    unsigned thread_count;
    size_t batch_max;
    batch filling;
    batch running;
    pthread_mutex_t lock; /* guards the next three and running.next */
    lane *lanes;
    fx_err failure; /* the first */
    atomic_bool has_failed;
};

fx_fetcher *
fx_fetcher_new(const fx_chunks *chunks, fx_fetch_take take, void *ctx, const atomic_bool *cancel)
{
    fx_fetcher *fetcher = calloc(1, sizeof *fetcher);
    FX_ASSERT(fetcher != NULL);
    fetcher->chunks = *chunks;
    fetcher->take = take;
    fetcher->ctx = ctx;
    fetcher->cancel = cancel;
    fetcher->batch_max = BATCH_FIRST;
    int result = pthread_mutex_init(&fetcher->lock, NULL);
    FX_ASSERT(result == 0);
    unsigned cores = fx_pool_cores();
    fetcher->thread_count = cores < THREADS_MAX ? cores : THREADS_MAX;
    fetcher->pool = fx_pool_new(fetcher->thread_count, fetcher->thread_count);
    return fetcher;
}

static void
free_lane(lane *one)
{
    fx_hmac_free(one->hmac);
    fx_zip_free(one->zip);
    fx_buf_free(&one->range);
    fx_buf_free(&one->content);
    free(one);
}

void
fx_fetcher_free(fx_fetcher *fetcher)
{
    if (fetcher == NULL) {
        return;
    }
    fx_pool_free(fetcher->pool);
    fx_err ignored = {0};
    for (size_t i = 0; i < fetcher->filling.count; i++) {
        fx_ignore(
            fetcher->take(fetcher->ctx, &fetcher->filling.items[i].want, (fx_bytes){0}, &ignored),
            "it only tidies up");
    }
    while (fetcher->lanes != NULL) {
        lane *one = fetcher->lanes;
        fetcher->lanes = one->next;
        free_lane(one);
    }
    free(fetcher->filling.items);
    free(fetcher->running.items);
    (void)pthread_mutex_destroy(&fetcher->lock);
    free(fetcher);
}

/* ---- failures
 * -------------------------------------------------------------------------------------- */

static void
keep_failure(fx_fetcher *fetcher, const fx_err *err)
{
    (void)pthread_mutex_lock(&fetcher->lock);
    if (!atomic_load(&fetcher->has_failed)) {
        fetcher->failure = *err;
        atomic_store(&fetcher->has_failed, true);
    }
    (void)pthread_mutex_unlock(&fetcher->lock);
}

static fx_code
first_failure(fx_fetcher *fetcher, fx_err *err)
{
    if (!atomic_load(&fetcher->has_failed)) {
        return FX_OK;
    }
    (void)pthread_mutex_lock(&fetcher->lock);
    *err = fetcher->failure;
    (void)pthread_mutex_unlock(&fetcher->lock);
    return err->code;
}

/* Whether to go on. */
static bool
goes_on(fx_fetcher *fetcher)
{
    if (fetcher->cancel != NULL && atomic_load(fetcher->cancel)) {
        fx_err err = {0};
        fx_ignore(
            fx_fail(&err, FX_ERR_CANCELLED, "could not finish: it was cancelled"),
            "kept for the caller");
        keep_failure(fetcher, &err);
    }
    return !atomic_load(&fetcher->has_failed);
}

/* Content for some wants of one chunk, or without data: nothing for any wants. */
static void
give(fx_fetcher *fetcher, const placed *items, size_t count, fx_bytes content)
{
    for (size_t i = 0; i < count; i++) {
        fx_err err = {0};
        const fx_want *want = &items[i].want;
        fx_bytes given = content;
        if (content.data != NULL && content.size_bytes != want->size_bytes) {
            given = (fx_bytes){0};
            fx_ignore(
                fx_fail(
                    &err,
                    FX_ERR_DAMAGED,
                    "could not use a chunk: it has %zu bytes instead of %u",
                    content.size_bytes,
                    want->size_bytes),
                "kept next");
            keep_failure(fetcher, &err);
        }
        if (fetcher->take(fetcher->ctx, want, given, &err) != FX_OK) {
            keep_failure(fetcher, &err);
        }
    }
}

/* ---- lanes
 * ----------------------------------------------------------------------------------------- */

static lane *
take_lane(fx_fetcher *fetcher)
{
    (void)pthread_mutex_lock(&fetcher->lock);
    lane *mine = fetcher->lanes;
    if (mine != NULL) {
        fetcher->lanes = mine->next;
    }
    (void)pthread_mutex_unlock(&fetcher->lock);
    if (mine != NULL) {
        return mine;
    }
    mine = calloc(1, sizeof *mine);
    FX_ASSERT(mine != NULL);
    mine->zip = fx_zip_new();
    mine->hmac = fx_hmac_new(fetcher->chunks.scope->id_key);
    fx_buf_init(&mine->range, RANGE_ROOM_BYTES);
    fx_buf_init(&mine->content, FX_CHUNK_MAX_BYTES);
    fx_buf_reserve(&mine->content, 1); /* so that it is somewhere */
    return mine;
}

static void
give_lane(fx_fetcher *fetcher, lane *mine)
{
    (void)pthread_mutex_lock(&fetcher->lock);
    mine->next = fetcher->lanes;
    fetcher->lanes = mine;
    (void)pthread_mutex_unlock(&fetcher->lock);
}

static bool
is_chunk(lane *mine, const fx_chunk_id *id)
{
    fx_chunk_id computed;
    fx_hmac_sha256(mine->hmac, fx_buf_bytes(&mine->content), computed.bytes);
    return memcmp(computed.bytes, id->bytes, FX_ID_BYTES) == 0;
}

/* ---- one pack
 * --------------------------------------------------------------------------------------- */

/* How many from the first on want the same chunk. */
static size_t
same_chunk(const placed *items, size_t count)
{
    size_t same = 1;
    while (same < count &&
           memcmp(items[same].want.chunk.bytes, items[0].want.chunk.bytes, FX_ID_BYTES) == 0) {
        same++;
    }
    return same;
}

/* One chunk after the other, from whatever copy is whole: where the pack is not what it should be.
 */
static void
give_any_copy(fx_fetcher *fetcher, lane *mine, const placed *items, size_t count)
{
    for (size_t at = 0; at < count;) {
        size_t same = same_chunk(items + at, count - at);
        fx_bytes content = {0};
        fx_err err = {0};
        fx_buf_clear(&mine->content);
        if (goes_on(fetcher)) {
            if (fx_repository_read_chunk(
                    &fetcher->chunks, &items[at].want.chunk, &mine->content, &err) == FX_OK) {
                content = fx_buf_bytes(&mine->content);
                FX_ASSERT(content.data != NULL);
            } else {
                keep_failure(fetcher, &err);
            }
        }
        give(fetcher, items + at, same, content);
        at += same;
    }
}

/* Does the pack have the wanted chunk where the index says? */
static bool
is_placed(const fx_object *pack, const placed *item)
{
    return item->blob < pack->blob_count &&
           memcmp(pack->blobs[item->blob].id.bytes, item->want.chunk.bytes, FX_ID_BYTES) == 0;
}

/* How many of the wants, in order of blobs, lie in one range that is worth reading at once. */
static size_t
range_of(const fx_object *pack, const placed *items, size_t count, uint64_t *out_bytes)
{
    const fx_blob *first = &pack->blobs[items[0].blob];
    uint64_t end = first->offset + first->stored_bytes;
    size_t taken = 1;
    for (; taken < count; taken++) {
        const fx_blob *blob = &pack->blobs[items[taken].blob];
        if (blob->offset > end + GAP_MAX_BYTES ||
            blob->offset + blob->stored_bytes > first->offset + RANGE_MAX_BYTES) {
            break;
        }
        end = blob->offset + blob->stored_bytes > end ? blob->offset + blob->stored_bytes : end;
    }
    *out_bytes = end - first->offset;
    return taken;
}

/* Opens what one range holds. */
static void
give_range(fx_fetcher *fetcher, lane *mine, fx_object *pack, const placed *items, size_t count)
{
    uint64_t from = pack->blobs[items[0].blob].offset;
    for (size_t at = 0; at < count;) {
        const fx_blob *blob = &pack->blobs[items[at].blob];
        size_t same = same_chunk(items + at, count - at);
        fx_err err = {0};
        fx_buf_clear(&mine->content);
        if (!goes_on(fetcher)) {
            give(fetcher, items + at, same, (fx_bytes){0});
        } else if (
            blob->offset - from + blob->stored_bytes <= mine->range.size_bytes &&
            fx_object_open_blob(
                pack,
                mine->zip,
                items[at].blob,
                (fx_bytes){mine->range.data + (blob->offset - from), blob->stored_bytes},
                &mine->content,
                &err) == FX_OK &&
            is_chunk(mine, &items[at].want.chunk)) {
            give(fetcher, items + at, same, fx_buf_bytes(&mine->content));
        } else {
            give_any_copy(fetcher, mine, items + at, same);
        }
        at += same;
    }
}

static void
give_pack(fx_fetcher *fetcher, lane *mine, const placed *items, size_t count)
{
    fx_repository *repository = fetcher->chunks.repository;
    fx_err err = {0};
    FX_AUTO(fx_object) pack = NULL;
    if (!goes_on(fetcher)) {
        give(fetcher, items, count, (fx_bytes){0});
        return;
    }
    bool is_open = items[0].pack != UNKNOWN_PACK &&
                   fx_repository_load_pack(repository, items[0].pack, &pack, &err) == FX_OK &&
                   pack->aead != NULL && pack->scope_keys == fetcher->chunks.scope;
    for (size_t i = 0; is_open && i < count; i++) {
        is_open = is_placed(pack, &items[i]);
    }
    if (!is_open) {
        give_any_copy(fetcher, mine, items, count);
        return;
    }
    char store_key[FX_KEY_TEXT_BYTES];
    fx_pack_key(fx_index_pack_at(repository->index, items[0].pack).name, store_key);
    for (size_t at = 0; at < count;) {
        uint64_t size_bytes = 0;
        size_t taken = range_of(pack, items + at, count - at, &size_bytes);
        fx_buf_clear(&mine->range);
        fx_buf_reserve(&mine->range, size_bytes);
        if (goes_on(fetcher) && fx_store_get(
                                    repository->store,
                                    store_key,
                                    pack->blobs[items[at].blob].offset,
                                    size_bytes,
                                    fx_repository_deadline(),
                                    &mine->range,
                                    &err) != FX_OK) {
            fx_buf_clear(&mine->range); /* then no blob lies in it: other copies are tried */
        }
        give_range(fetcher, mine, pack, items + at, taken);
        at += taken;
    }
}

/* ---- batches
 * --------------------------------------------------------------------------------------- */

/* The next pack's wants of the running batch. */
static size_t
take_pack(fx_fetcher *fetcher, const placed **out_items)
{
    batch *running = &fetcher->running;
    (void)pthread_mutex_lock(&fetcher->lock);
    const placed *items = running->items + running->next;
    size_t left = running->count - running->next;
    size_t count = 0;
    while (count < left && items[count].pack == items[0].pack) {
        count++;
    }
    running->next += count;
    (void)pthread_mutex_unlock(&fetcher->lock);
    *out_items = items;
    return count;
}

static void
work(void *ctx)
{
    fx_fetcher *fetcher = ctx;
    lane *mine = take_lane(fetcher);
    const placed *items = NULL;
    for (size_t count = take_pack(fetcher, &items); count > 0; count = take_pack(fetcher, &items)) {
        give_pack(fetcher, mine, items, count);
    }
    give_lane(fetcher, mine);
}

static int
by_place(const void *left, const void *right)
{
    const placed *one = left;
    const placed *two = right;
    if (one->pack != two->pack) {
        return one->pack < two->pack ? -1 : 1;
    }
    if (one->blob != two->blob) {
        return one->blob < two->blob ? -1 : 1;
    }
    int order = memcmp(one->want.chunk.bytes, two->want.chunk.bytes, FX_ID_BYTES);
    return order != 0
               ? order
               : (one->want.offset > two->want.offset) - (one->want.offset < two->want.offset);
}

fx_code
fx_fetcher_begin(fx_fetcher *fetcher, fx_err *err)
{
    fx_pool_drain(fetcher->pool);
    batch done = fetcher->running;
    FX_ASSERT(done.next == done.count);
    if (fetcher->filling.count > 1) { /* there may be no list at all */
        qsort(fetcher->filling.items, fetcher->filling.count, sizeof(placed), by_place);
    }
    fetcher->running = fetcher->filling;
    fetcher->running.next = 0;
    fetcher->filling = (batch){.items = done.items, .room = done.room};
    for (unsigned i = 0; fetcher->running.count > 0 && i < fetcher->thread_count; i++) {
        fx_pool_submit(fetcher->pool, work, fetcher);
    }
    fetcher->batch_max = fetcher->batch_max * 4 < BATCH_MAX ? fetcher->batch_max * 4 : BATCH_MAX;
    return first_failure(fetcher, err);
}

fx_code
fx_fetcher_finish(fx_fetcher *fetcher, fx_err *err)
{
    fx_ignore(fx_fetcher_begin(fetcher, err), "asked for again below");
    fx_pool_drain(fetcher->pool);
    return first_failure(fetcher, err);
}

fx_code
fx_fetcher_add(fx_fetcher *fetcher, const fx_want *want, fx_err *err)
{
    batch *filling = &fetcher->filling;
    if (filling->count == filling->room) {
        filling->room = filling->room == 0 ? BATCH_FIRST : filling->room * 2;
        filling->items = realloc(filling->items, filling->room * sizeof *filling->items);
        FX_ASSERT(filling->items != NULL);
    }
    fx_index_cursor cursor = {0};
    fx_index_entry entry = {.pack = UNKNOWN_PACK};
    (void)fx_index_next(fetcher->chunks.repository->index, &want->chunk, &cursor, &entry);
    filling->items[filling->count++] =
        (placed){.want = *want, .pack = entry.pack, .blob = entry.blob};
    if (filling->count >= fetcher->batch_max) {
        return fx_fetcher_begin(fetcher, err);
    }
    return first_failure(fetcher, err);
}
