/* Every object but packs. */
#include <stdio.h>
#include <string.h>

#include "common/repository/erasure.h"
#include "common/repository/hold.h"
#include "common/repository/stored.h"
#include "common/repository/verification.h"
#include "common/repository/voucher.h"

enum { PREFIX_BYTES = 32 };

static void
verify_index(void *ctx, const char *key, uint64_t size_bytes)
{
    fx_verification *v = ctx;
    fx_err err = {0};
    FX_BUF_AUTO bytes;
    fx_buf_init(&bytes, FX_STORE_OBJECT_MAX_BYTES);
    v->report.read_bytes += size_bytes;
    if (fx_store_get(
            v->repository->store, key, 0, size_bytes, fx_repository_deadline(), &bytes, &err) !=
        FX_OK) {
        fx_verification_found(v, "index \"%s\": %.150s", key, err.message);
        return;
    }
    if (!fx_is_named_by_digest(key, fx_buf_bytes(&bytes))) {
        fx_verification_found(v, "index \"%s\": its bytes are not what was written", key);
        return;
    }
    for (size_t i = 0; i < v->repository->bad_count; i++) {
        if (strcmp(v->repository->bad[i].store_key, key) == 0) {
            fx_verification_found(
                v, "index \"%s\": %.150s", key, v->repository->bad[i].err.message);
        }
    }
}

static void
verify_key_object(void *ctx, const char *key, uint64_t size_bytes)
{
    fx_verification *v = ctx;
    fx_err err = {0};
    v->report.read_bytes += size_bytes;
    if (fx_key_object_verify(v->repository->store, key, v->repository->key, &err) != FX_OK) {
        fx_verification_found(v, "key object \"%s\": %.150s", key, err.message);
    }
}

static void
verify_erasure(void *ctx, const char *key, uint64_t size_bytes)
{
    fx_verification *v = ctx;
    fx_err err = {0};
    v->report.read_bytes += size_bytes;
    if (fx_erasure_verify(v->repository->store, key, v->repository->key, &err) != FX_OK) {
        fx_verification_found(v, "erasure \"%s\": %.150s", key, err.message);
    }
}

static void
verify_voucher(void *ctx, const char *key, uint64_t size_bytes)
{
    fx_verification *v = ctx;
    fx_err err = {0};
    FX_AUTO(fx_voucher) voucher = NULL;
    const fx_repository_key *keys = v->repository->key;
    v->report.read_bytes += size_bytes;
    for (size_t i = 0; i < keys->scope_count; i++) {
        char prefix[FX_VOUCHER_PREFIX_BYTES];
        fx_voucher_prefix(&keys->scopes[i].id, prefix);
        if (voucher == NULL && strncmp(key, prefix, strlen(prefix)) == 0 &&
            fx_voucher_get(v->repository->store, key, &keys->scopes[i], &voucher, &err) != FX_OK &&
            err.code != FX_ERR_WRONG_KEY) {
            fx_verification_found(v, "voucher \"%s\": %.150s", key, err.message);
        }
    }
}

static void
verify_hold(void *ctx, const char *key, uint64_t size_bytes)
{
    fx_verification *v = ctx;
    fx_err err = {0};
    v->report.read_bytes += size_bytes;
    fx_code code = fx_hold_verify(v->repository, key, &err);
    if (code != FX_OK && code != FX_ERR_NOT_FOUND) { /* a forget that ended takes back its word */
        fx_verification_found(v, "hold \"%s\": %.150s", key, err.message);
    }
}

/* What writers, collectors, replicators and repairs tell each other: no data, but who cannot read
 * it may rightly refuse to go on. It comes and goes meanwhile. */
static void
verify_note(void *ctx, const char *key, uint64_t size_bytes)
{
    fx_verification *v = ctx;
    fx_err err = {0};
    FX_BUF_AUTO bytes;
    fx_buf_init(&bytes, FX_STORE_OBJECT_MAX_BYTES);
    v->report.read_bytes += size_bytes;
    fx_code code = fx_stored_get(v->repository->store, key, NULL, &bytes, &err);
    if (code != FX_OK && code != FX_ERR_NOT_FOUND) {
        fx_verification_found(v, "\"%s\": %.150s", key, err.message);
    }
}

typedef struct keys {
    char **items;
    uint64_t *sizes;
    size_t count;
} keys;

static void
collect(void *ctx, const char *key, uint64_t size_bytes)
{
    keys *list = ctx;
    if ((list->count & (list->count - 1)) == 0) {
        list->items = realloc(list->items, (list->count * 2 + 1) * sizeof *list->items);
        list->sizes = realloc(list->sizes, (list->count * 2 + 1) * sizeof *list->sizes);
        FX_ASSERT(list->items != NULL && list->sizes != NULL);
    }
    list->items[list->count] = strdup(key);
    FX_ASSERT(list->items[list->count] != NULL);
    list->sizes[list->count++] = size_bytes;
}

/* All below a folder, whose name tells what they are. Lists first and visits then: a visit asks the
 * store for more. */
static fx_code
for_each(fx_verification *v, const char *what, fx_store_visit visit, fx_err *err)
{
    char prefix[PREFIX_BYTES];
    (void)snprintf(prefix, sizeof prefix, "%s/", what);
    keys list = {0};
    fx_mono deadline = fx_repository_deadline();
    fx_code code = fx_store_list(v->repository->store, prefix, deadline, collect, &list, err);
    for (size_t i = 0; i < list.count; i++) {
        if (code == FX_OK) {
            const fx_progress progress = {
                .step = visit == fx_verification_snapshot ? "following" : "checking",
                .what = what,
                .count = i,
                .total_count = list.count,
            };
            fx_repository_tell(v->repository, &progress);
            visit(v, list.items[i], list.sizes[i]);
        }
        free(list.items[i]);
    }
    free(list.items);
    free(list.sizes);
    return code;
}

static void
verify_stream(fx_verification *v, const char *key, const fx_candidate *item)
{
    fx_err err = {0};
    FX_BUF_AUTO content;
    fx_buf_init(&content, FX_NAMED_MAX_BYTES);
    v->report.named_count++;
    if (!item->is_chosen || fx_verification_is_cancelled(v)) {
        return;
    }
    v->report.read_bytes += item->size_bytes;
    v->done_bytes += item->size_bytes;
    fx_code code = fx_repository_get_named(v->repository, key + strlen("streams/"), &content, &err);
    if (code == FX_ERR_WRONG_KEY) {
        v->report.locked_count++;
    } else if (code != FX_OK) {
        fx_verification_found(v, "stream \"%s\": %.150s", key, err.message);
    }
    fx_verification_note_read(v, &item->name, code == FX_OK);
}

static fx_code
verify_streams(fx_verification *v, fx_err *err)
{
    keys list = {0};
    fx_mono deadline = fx_repository_deadline();
    fx_code code = fx_store_list(v->repository->store, "streams/", deadline, collect, &list, err);
    fx_candidate *items = calloc(list.count + 1, sizeof *items);
    FX_ASSERT(items != NULL);
    for (size_t i = 0; i < list.count; i++) {
        const char *key = list.items[i];
        fx_sha256((fx_bytes){key, strlen(key)}, items[i].name.bytes);
        items[i].size_bytes = list.sizes[i];
    }
    fx_verification_choose(v, items, list.count);
    for (size_t i = 0; i < list.count; i++) {
        if (code == FX_OK) {
            const fx_progress progress = {
                .step = v->options->read_data ? "reading" : "checking",
                .what = "streams",
                .count = i,
                .total_count = list.count,
                .done_bytes = v->done_bytes,
                .total_bytes = v->total_bytes,
            };
            fx_repository_tell(v->repository, &progress);
            verify_stream(v, list.items[i], &items[i]);
        }
        free(list.items[i]);
    }
    free(items);
    free(list.items);
    free(list.sizes);
    return code;
}

/* Snapshots come after what they need, streams after the snapshots. */
fx_code
fx_verification_objects(fx_verification *v, fx_err *err)
{
    static const struct {
        const char *what;
        fx_store_visit visit;
    } folders[] = {
        {"indexes", verify_index},
        {"keys", verify_key_object},
        {"erasures", verify_erasure},
        {"verified", verify_voucher},
        {"holds", verify_hold},
        {"leases", verify_note},
        {"leases-over", verify_note},
        {"marks", verify_note},
        {"revocations", verify_note},
        {"settled", verify_note},
        {"forgotten", verify_note},
        {"arriving", verify_note},
        {"repairs", verify_note},
        {"gaps", verify_note},
        {"snapshots", fx_verification_snapshot},
    };
    fx_code code = fx_verification_check_cancelled(v, err);
    for (size_t i = 0; code == FX_OK && i < sizeof folders / sizeof *folders; i++) {
        code = for_each(v, folders[i].what, folders[i].visit, err);
    }
    if (code != FX_OK || fx_verification_check_cancelled(v, err) != FX_OK ||
        verify_streams(v, err) != FX_OK) {
        return err->code;
    }
    return fx_verification_check_cancelled(v, err);
}
