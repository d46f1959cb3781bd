#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/base/hex.h"
#include "common/base/pool.h"
#include "common/repository/erasure.h"
#include "common/repository/hold.h"
#include "common/repository/id_set.h"
#include "common/repository/internal.h"
#include "common/repository/pack_check.h"
#include "common/repository/promise.h"
#include "common/repository/stored.h"
#include "common/repository/tree.h"
#include "common/repository/verified.h"
#include "common/repository/voucher.h"

enum { TREE_DEPTH_MAX = 2048, QUEUE_MAX = 64, PREFIX_BYTES = 32 };

typedef struct pack_state {
    bool is_bad;
    const fx_scope_keys *scope; /* NULL: not read, or of no scope of the key */
} pack_state;

typedef struct verification {
    fx_repository *repository;
    const fx_verify_options *options;
    char *state_path; /* of `verified`; NULL: not kept */
    fx_verified *verified;
    uint64_t total_bytes; /* of data to read */
    uint64_t done_bytes;  /* of them */
    fx_verify_report report;
    fx_err first;              /* finding */
    pack_state *packs;         /* by number in the index */
    size_t pack_count;         /* of them: the index may grow meanwhile */
    fx_id_set opened;          /* records of packs that were opened whole */
    fx_id_set missing;         /* packs that an index object names and that are not there */
    fx_id_set needed;          /* of them, those that a snapshot needs that counts */
    fx_id_set wanted;          /* of them, those that the snapshot needs that is being walked */
    fx_id_set *seen_trees;     /* a scope of the key: shared folders are walked once */
    bool has_unindexed;        /* of the snapshot that is being walked */
    uint64_t missing_count;    /* of the snapshot that is being walked */
    pthread_mutex_t lock;      /* while packs are verified: guards what is above and the next */
    fx_pack_checker *checkers; /* free ones */
} verification;

FX_PRINTF(2, 3)
static void
found(verification *v, const char *fmt, ...)
{
    char text[FX_ERR_MESSAGE_MAX_BYTES];
    va_list args;
    va_start(args, fmt);
    /* NOLINTNEXTLINE(clang-analyzer-valist.Uninitialized): va_start is above */
    (void)vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    v->report.damage_count++;
    if (v->first.code == FX_OK) {
        fx_ignore(fx_fail(&v->first, FX_ERR_DAMAGED, "%s", text), "kept for the end");
    }
    if (v->options->finding != NULL) {
        v->options->finding(v->options->ctx, text);
    }
}

static bool
is_cancelled(const verification *v)
{
    return v->options->cancel != NULL && atomic_load(v->options->cancel);
}

/* ---- what is read
 * --------------------------------------------------------------------------------------- */

/* A pack or a named object whose data may be read. */
typedef struct candidate {
    fx_chunk_id name; /* of the latter the digest of its key */
    uint64_t size_bytes;
    fx_wall read_at; /* 0: never */
    size_t number;
    bool is_chosen;
} candidate;

static int
by_age(const void *left, const void *right)
{
    const candidate *one = left;
    const candidate *two = right;
    if (one->read_at.ns != two->read_at.ns) {
        return one->read_at.ns < two->read_at.ns ? -1 : 1;
    }
    return memcmp(one->name.bytes, two->name.bytes, FX_ID_BYTES);
}

static int
by_number(const void *left, const void *right)
{
    const candidate *one = left;
    const candidate *two = right;
    return one->number < two->number ? -1 : one->number > two->number;
}

static bool
is_of_part(const candidate *item, const fx_verify_options *options)
{
    uint64_t value = 0;
    for (size_t i = 0; i < 8; i++) {
        value = value << 8 | item->name.bytes[i];
    }
    return value % options->part_count == options->part - 1;
}

/* At least the share of all bytes. */
static void
choose_share(candidate *items, size_t count, uint32_t share_ppm)
{
    uint64_t total_bytes = 0;
    uint64_t chosen_bytes = 0;
    qsort(items, count, sizeof *items, by_age);
    for (size_t i = 0; i < count; i++) {
        total_bytes += items[i].size_bytes;
    }
    uint64_t wanted_bytes =
        total_bytes / 1000000 * share_ppm + (total_bytes % 1000000 * share_ppm + 999999) / 1000000;
    for (size_t i = 0; i < count && chosen_bytes < wanted_bytes; i++) {
        items[i].is_chosen = true;
        chosen_bytes += items[i].size_bytes;
    }
    qsort(items, count, sizeof *items, by_number);
}

static void
choose(verification *v, candidate *items, size_t count)
{
    const fx_verify_options *options = v->options;
    for (size_t i = 0; i < count; i++) {
        items[i].number = i;
        items[i].read_at = fx_verified_at(v->verified, &items[i].name);
        items[i].is_chosen = options->read_data && options->share_ppm == 0 &&
                             (options->part == 0 || is_of_part(&items[i], options));
        fx_verified_see(v->verified, &items[i].name);
    }
    if (options->read_data && options->share_ppm > 0 && count > 0) {
        choose_share(items, count, options->share_ppm);
    }
    for (size_t i = 0; i < count; i++) {
        v->total_bytes += items[i].is_chosen ? items[i].size_bytes : 0;
    }
}

/* With v->lock held. What is damaged is read again the next time. */
static void
note_read(verification *v, const fx_chunk_id *name, bool is_good)
{
    fx_verified_note(v->verified, name, is_good ? fx_clock_wall() : (fx_wall){0});
}

/* ---- packs
 * ---------------------------------------------------------------------------------------------- */

static fx_pack_checker *
take_checker(verification *v)
{
    (void)pthread_mutex_lock(&v->lock);
    fx_pack_checker *checker = v->checkers;
    if (checker != NULL) {
        v->checkers = checker->next;
    }
    (void)pthread_mutex_unlock(&v->lock);
    return checker == NULL ? fx_pack_checker_new() : checker;
}

static void
verify_pack(verification *v, uint32_t number, const candidate *item)
{
    fx_index_pack pack = fx_index_pack_at(v->repository->index, number);
    fx_pack_checker *checker = take_checker(v);
    uint64_t read_bytes = 0;
    fx_err err = {0};
    fx_code code = fx_pack_check(v->repository, checker, &pack, item->is_chosen, &read_bytes, &err);
    (void)pthread_mutex_lock(&v->lock);
    checker->next = v->checkers;
    v->checkers = checker;
    v->report.pack_count++;
    v->report.chunk_count += pack.blob_count;
    v->report.read_bytes += read_bytes;
    v->report.read_pack_count += item->is_chosen;
    v->packs[number].is_bad = code != FX_OK;
    if (code == FX_ERR_NOT_FOUND) {
        (void)fx_id_set_add(&v->missing, &item->name); /* judged at the end */
    } else if (code != FX_OK) {
        char store_key[FX_KEY_TEXT_BYTES];
        fx_pack_key(pack.name, store_key);
        found(v, "pack \"%s\": %.150s", store_key, err.message);
    }
    v->packs[number].scope = checker->scope;
    if (code == FX_OK && checker->is_opened) {
        (void)fx_id_set_add(&v->opened, &checker->record);
    }
    if (item->is_chosen) {
        v->done_bytes += item->size_bytes;
        note_read(v, &item->name, code == FX_OK);
    }
    const fx_progress progress = {
        .step = v->options->read_data ? "reading" : "checking",
        .what = "packs",
        .count = v->report.pack_count,
        .total_count = v->pack_count,
        .done_bytes = v->done_bytes,
        .total_bytes = v->total_bytes,
    };
    fx_repository_tell(v->repository, &progress);
    (void)pthread_mutex_unlock(&v->lock);
}

typedef struct pack_job {
    verification *v;
    uint32_t number;
    const candidate *item;
} pack_job;

static void
run_job(void *ctx)
{
    const pack_job *job = ctx;
    if (!is_cancelled(job->v)) {
        verify_pack(job->v, job->number, job->item);
    }
}

/* ---- trees
 * ---------------------------------------------------------------------------------------------- */

/* Verifies packs that the index learned of since, several at once. With the lock held. */
static void
verify_new_packs(verification *v)
{
    size_t count = fx_index_pack_count(v->repository->index);
    if (count <= v->pack_count) {
        return;
    }
    size_t first = v->pack_count;
    pack_job *jobs = calloc(count - first, sizeof *jobs);
    candidate *items = calloc(count - first, sizeof *items);
    v->packs = realloc(v->packs, count * sizeof *v->packs);
    FX_ASSERT(jobs != NULL && items != NULL && v->packs != NULL);
    memset(v->packs + first, 0, (count - first) * sizeof *v->packs);
    v->pack_count = count;
    for (size_t i = first; i < count; i++) {
        fx_index_pack pack = fx_index_pack_at(v->repository->index, (uint32_t)i);
        items[i - first].size_bytes = pack.size_bytes;
        memcpy(items[i - first].name.bytes, pack.name, FX_ID_BYTES);
    }
    choose(v, items, count - first);
    fx_pool *pool = fx_pool_new(fx_pool_cores(), QUEUE_MAX);
    for (size_t i = first; i < count; i++) {
        jobs[i - first] = (pack_job){v, (uint32_t)i, &items[i - first]};
        fx_pool_submit(pool, run_job, &jobs[i - first]);
    }
    fx_pool_free(pool);
    free(items);
    free(jobs);
}

/* Packs that are not there and hold the chunk. With the lock held. */
static void
note_wanted(verification *v, const fx_chunk_id *id)
{
    fx_index_cursor cursor = {0};
    fx_index_entry entry;
    while (fx_index_next(v->repository->index, id, &cursor, &entry)) {
        fx_index_pack pack = fx_index_pack_at(v->repository->index, entry.pack);
        fx_chunk_id name;
        memcpy(name.bytes, pack.name, FX_ID_BYTES);
        if (fx_id_set_has(&v->missing, &name)) {
            (void)fx_id_set_add(&v->wanted, &name);
        }
    }
}

/* Is there a copy of the chunk in a pack that is whole, and, as far as it was read, of the scope?
 */
static bool
has_good_copy(verification *v, const fx_chunks *chunks, const fx_chunk_id *id)
{
    const fx_index *index = v->repository->index;
    bool good = false;
    bool recorded = false;
    (void)pthread_mutex_lock(&v->repository->lock);
    fx_err err = {0};
    if (!fx_index_has(index, id) && fx_repository_rescue_packs(v->repository, &err) != FX_OK) {
        found(v, "%.200s", err.message);
    }
    verify_new_packs(v);
    fx_index_cursor cursor = {0};
    fx_index_entry entry;
    while (fx_index_next(index, id, &cursor, &entry)) {
        const pack_state *pack = &v->packs[entry.pack];
        good = good || (!pack->is_bad && (pack->scope == NULL || pack->scope == chunks->scope));
        recorded = recorded || fx_index_pack_at(index, entry.pack).is_rescued == 0;
    }
    if (!good) {
        note_wanted(v, id);
    }
    (void)pthread_mutex_unlock(&v->repository->lock);
    v->has_unindexed = v->has_unindexed || (good && !recorded);
    return good;
}

/* NOLINTBEGIN(misc-no-recursion): bounded by TREE_DEPTH_MAX */
static void
verify_tree(verification *v, const fx_root *root, size_t depth)
{
    fx_err err = {0};
    FX_AUTO(fx_tree) tree = NULL;
    fx_id_set *seen = &v->seen_trees[root->chunks.scope - v->repository->key->scopes];
    if (is_cancelled(v) || fx_id_set_has(seen, &root->id)) {
        return;
    }
    if (depth > TREE_DEPTH_MAX || fx_tree_read(&root->chunks, &root->id, &tree, &err) != FX_OK) {
        v->missing_count++;
        (void)has_good_copy(v, &root->chunks, &root->id); /* which packs is it wanted of? */
        return;
    }
    (void)has_good_copy(v, &root->chunks, &root->id); /* read just now; is it in an index? */
    uint64_t missing_before = v->missing_count;
    for (size_t i = 0; i < tree->node_count; i++) {
        const fx_node *node = &tree->nodes[i];
        for (size_t j = 0; j < node->extent_count; j++) {
            const fx_extent *extent = &node->extents[j];
            v->missing_count +=
                !extent->is_hole && !has_good_copy(v, &root->chunks, &extent->chunk);
        }
        if (node->kind == FX_NODE_FOLDER) {
            const fx_root below = {root->chunks, node->subtree};
            verify_tree(v, &below, depth + 1);
        }
    }
    if (v->missing_count == missing_before) {
        (void)fx_id_set_add(seen, &root->id);
    }
}
/* NOLINTEND(misc-no-recursion) */

/* Was it forgotten, here or meanwhile, or is it void? Then what it needed may be gone. */
static bool
is_passed_over(verification *v, const char *id)
{
    fx_err ignored = {0};
    fx_snapshot_list list = {0};
    size_t unreadable_count = 0;
    if (fx_repository_list_all(v->repository, &list, &unreadable_count, &ignored) != FX_OK) {
        return false;
    }
    bool counts = false;
    for (size_t i = 0; i < list.count; i++) {
        counts = counts || (!list.items[i].is_void && strcmp(list.items[i].id, id) == 0);
    }
    fx_snapshot_list_free(&list);
    return !counts;
}

static void
add_all(fx_id_set *to, const fx_id_set *from)
{
    for (size_t i = 0; i < from->capacity; i++) {
        if (from->used[i]) {
            (void)fx_id_set_add(to, &from->slots[i]);
        }
    }
}

static void
verify_snapshot(void *ctx, const char *key, uint64_t size_bytes)
{
    verification *v = ctx;
    fx_err err = {0};
    fx_root root;
    const char *id = strrchr(key, '/') + 1;
    v->report.snapshot_count++;
    v->report.read_bytes += size_bytes;
    fx_code code = fx_repository_snapshot_root(v->repository, id, &root, &err);
    if (code == FX_ERR_WRONG_KEY) {
        v->report.locked_count++; /* whole, as far as can be told without its key */
        return;
    }
    if (code == FX_ERR_NOT_FOUND) { /* forgotten since it was listed */
        v->report.snapshot_count--;
        return;
    }
    if (code != FX_OK) {
        found(v, "snapshot %s: %.150s", id, err.message);
        return;
    }
    v->missing_count = 0;
    v->has_unindexed = false;
    fx_id_set_free(&v->wanted);
    verify_tree(v, &root, 0);
    bool is_to_be_told =
        v->missing_count > 0 || (v->has_unindexed && v->repository->bad_count == 0);
    if (is_to_be_told && is_passed_over(v, id)) {
        v->report.snapshot_count--;
        return;
    }
    if (v->missing_count > 0) {
        add_all(&v->needed, &v->wanted);
        found(
            v,
            "snapshot %s: cannot be restored whole, %" PRIu64
            " of its chunks are damaged or missing",
            id,
            v->missing_count);
    } else if (v->has_unindexed && v->repository->bad_count == 0) {
        found(v, "snapshot %s: can be restored, but an index of it is missing", id);
    }
}

/* ---- the rest
 * ------------------------------------------------------------------------------------------- */

static void
verify_index(void *ctx, const char *key, uint64_t size_bytes)
{
    verification *v = ctx;
    fx_err err = {0};
    FX_BUF_AUTO bytes;
    fx_buf_init(&bytes, FX_STORE_OBJECT_MAX_BYTES);
    v->report.read_bytes += size_bytes;
    if (fx_store_get(
            v->repository->store, key, 0, size_bytes, fx_repository_deadline(), &bytes, &err) !=
        FX_OK) {
        found(v, "index \"%s\": %.150s", key, err.message);
        return;
    }
    if (!fx_is_named_by_digest(key, fx_buf_bytes(&bytes))) {
        found(v, "index \"%s\": its bytes are not what was written", key);
        return;
    }
    for (size_t i = 0; i < v->repository->bad_count; i++) {
        if (strcmp(v->repository->bad[i].store_key, key) == 0) {
            found(v, "index \"%s\": %.150s", key, v->repository->bad[i].err.message);
        }
    }
}

static void
verify_key_object(void *ctx, const char *key, uint64_t size_bytes)
{
    verification *v = ctx;
    fx_err err = {0};
    v->report.read_bytes += size_bytes;
    if (fx_key_object_verify(v->repository->store, key, v->repository->key, &err) != FX_OK) {
        found(v, "key object \"%s\": %.150s", key, err.message);
    }
}

static void
verify_erasure(void *ctx, const char *key, uint64_t size_bytes)
{
    verification *v = ctx;
    fx_err err = {0};
    v->report.read_bytes += size_bytes;
    if (fx_erasure_verify(v->repository->store, key, v->repository->key, &err) != FX_OK) {
        found(v, "erasure \"%s\": %.150s", key, err.message);
    }
}

static void
verify_voucher(void *ctx, const char *key, uint64_t size_bytes)
{
    verification *v = ctx;
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
            found(v, "voucher \"%s\": %.150s", key, err.message);
        }
    }
}

static void
verify_hold(void *ctx, const char *key, uint64_t size_bytes)
{
    verification *v = ctx;
    fx_err err = {0};
    v->report.read_bytes += size_bytes;
    fx_code code = fx_hold_verify(v->repository, key, &err);
    if (code != FX_OK && code != FX_ERR_NOT_FOUND) { /* a forget that ended takes back its word */
        found(v, "hold \"%s\": %.150s", key, err.message);
    }
}

/* What writers, collectors, replicators and repairs tell each other: no data, but who cannot read
 * it may rightly refuse to go on. It comes and goes meanwhile. */
static void
verify_note(void *ctx, const char *key, uint64_t size_bytes)
{
    verification *v = ctx;
    fx_err err = {0};
    FX_BUF_AUTO bytes;
    fx_buf_init(&bytes, FX_STORE_OBJECT_MAX_BYTES);
    v->report.read_bytes += size_bytes;
    fx_code code = fx_stored_get(v->repository->store, key, NULL, &bytes, &err);
    if (code != FX_OK && code != FX_ERR_NOT_FOUND) {
        found(v, "\"%s\": %.150s", key, err.message);
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
for_each(verification *v, const char *what, fx_store_visit visit, fx_err *err)
{
    char prefix[PREFIX_BYTES];
    (void)snprintf(prefix, sizeof prefix, "%s/", what);
    keys list = {0};
    fx_mono deadline = fx_repository_deadline();
    fx_code code = fx_store_list(v->repository->store, prefix, deadline, collect, &list, err);
    for (size_t i = 0; i < list.count; i++) {
        if (code == FX_OK) {
            const fx_progress progress = {
                .step = visit == verify_snapshot ? "following" : "checking",
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
verify_stream(verification *v, const char *key, const candidate *item)
{
    fx_err err = {0};
    FX_BUF_AUTO content;
    fx_buf_init(&content, FX_NAMED_MAX_BYTES);
    v->report.named_count++;
    if (!item->is_chosen || is_cancelled(v)) {
        return;
    }
    v->report.read_bytes += item->size_bytes;
    v->done_bytes += item->size_bytes;
    fx_code code = fx_repository_get_named(v->repository, key + strlen("streams/"), &content, &err);
    if (code == FX_ERR_WRONG_KEY) {
        v->report.locked_count++;
    } else if (code != FX_OK) {
        found(v, "stream \"%s\": %.150s", key, err.message);
    }
    note_read(v, &item->name, code == FX_OK);
}

static fx_code
verify_streams(verification *v, fx_err *err)
{
    keys list = {0};
    fx_mono deadline = fx_repository_deadline();
    fx_code code = fx_store_list(v->repository->store, "streams/", deadline, collect, &list, err);
    candidate *items = calloc(list.count + 1, sizeof *items);
    FX_ASSERT(items != NULL);
    for (size_t i = 0; i < list.count; i++) {
        const char *key = list.items[i];
        fx_sha256((fx_bytes){key, strlen(key)}, items[i].name.bytes);
        items[i].size_bytes = list.sizes[i];
    }
    choose(v, items, list.count);
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

static fx_code
verify_notes(verification *v, fx_err *err)
{
    static const char *const folders[] = {
        "leases",
        "leases-over",
        "marks",
        "revocations",
        "settled",
        "forgotten",
        "arriving",
        "repairs",
        "gaps",
    };
    fx_code code = FX_OK;
    for (size_t i = 0; code == FX_OK && i < sizeof folders / sizeof *folders; i++) {
        code = for_each(v, folders[i], verify_note, err);
    }
    return code;
}

/* Packs that are not there: lost, or named late by a writer that was revoked. */
static fx_code
judge_missing(verification *v, fx_err *err)
{
    fx_id_set broken = {0};
    fx_id_set remnants = {0};
    fx_code code = FX_OK;
    if (v->missing.count > 0) {
        code = fx_promise_sort(v->repository, &v->missing, &broken, &remnants, err);
    }
    for (size_t i = 0; code == FX_OK && i < remnants.capacity; i++) {
        if (remnants.used[i] && fx_id_set_has(&v->needed, &remnants.slots[i])) {
            (void)fx_id_set_add(&broken, &remnants.slots[i]);
        } else {
            v->report.remnant_count += remnants.used[i];
        }
    }
    for (size_t i = 0; code == FX_OK && i < broken.capacity; i++) {
        char store_key[FX_KEY_TEXT_BYTES];
        if (broken.used[i]) {
            fx_pack_key(broken.slots[i].bytes, store_key);
            found(v, "pack \"%s\": could not find it, and an index object names it", store_key);
        }
    }
    fx_id_set_free(&broken);
    fx_id_set_free(&remnants);
    return code;
}

static fx_code
check_cancelled(const verification *v, fx_err *err)
{
    return is_cancelled(v) ? fx_fail(
                                 err,
                                 FX_ERR_CANCELLED,
                                 "could not finish: it was cancelled; what was read is remembered")
                           : FX_OK;
}

static fx_code
verify_all(verification *v, fx_err *err)
{
    (void)pthread_mutex_lock(&v->repository->lock);
    fx_code code = fx_repository_load_indexes(v->repository, err);
    if (code == FX_OK && v->repository->bad_count > 0) {
        code = fx_repository_rescue_packs(v->repository, err);
    }
    if (code == FX_OK) {
        verify_new_packs(v);
    }
    (void)pthread_mutex_unlock(&v->repository->lock);
    if (code != FX_OK || check_cancelled(v, err) != FX_OK ||
        for_each(v, "indexes", verify_index, err) != FX_OK) {
        return err->code;
    }
    if (for_each(v, "keys", verify_key_object, err) != FX_OK ||
        for_each(v, "erasures", verify_erasure, err) != FX_OK ||
        for_each(v, "verified", verify_voucher, err) != FX_OK ||
        for_each(v, "holds", verify_hold, err) != FX_OK || verify_notes(v, err) != FX_OK ||
        for_each(v, "snapshots", verify_snapshot, err) != FX_OK ||
        check_cancelled(v, err) != FX_OK || verify_streams(v, err) != FX_OK ||
        check_cancelled(v, err) != FX_OK) {
        return err->code;
    }
    return judge_missing(v, err);
}

/* ---- what is said to writers
 * -------------------------------------------------------------------------------- */

static bool
has_news(const verification *v)
{
    const fx_index *index = v->repository->index;
    for (size_t i = 0; v->opened.count > 0 && i < fx_index_pack_count(index); i++) {
        fx_index_pack pack = fx_index_pack_at(index, (uint32_t)i);
        fx_chunk_id record;
        memcpy(record.bytes, pack.record, FX_ID_BYTES);
        if (pack.is_trusted == 0 && pack.is_rescued == 0 && fx_id_set_has(&v->opened, &record)) {
            return true;
        }
    }
    return false;
}

/* Packs of hosts that only write: from now on others may count on them. It is not what was asked
 * for: a store that cannot be written to is verified all the same. */
static void
vouch(verification *v)
{
    fx_repository *repository = v->repository;
    FX_AUTO(fx_writer) writer = NULL;
    fx_err *err = &v->report.vouch_failure;
    if (repository->has_write_scope && fx_repository_key_can_read(repository->key) && has_news(v) &&
        (fx_writer_open(repository, &writer, err) != FX_OK ||
         fx_writer_vouch(writer, &v->opened, &v->report.vouched_pack_count, err) != FX_OK)) {
        fx_ignore(fx_err_wrap(err, "vouching for what was read"), "it is in the report");
    }
}

/* ---- what is remembered
 * --------------------------------------------------------------------------------- */

static fx_code
load_state(verification *v, fx_err *err)
{
    const fx_verify_options *options = v->options;
    if (options->state_folder == NULL && options->share_ppm > 0) {
        return fx_fail(
            err,
            FX_ERR_INVALID,
            "could not choose what to read: no folder remembers what was read");
    }
    if (options->part_count > 0 && (options->part == 0 || options->part > options->part_count)) {
        return fx_fail(err, FX_ERR_INVALID, "could not choose what to read: there is no such part");
    }
    if (options->state_folder != NULL) {
        char hex[2 * FX_REPOSITORY_ID_BYTES + 1];
        char *folder = NULL;
        fx_hex_encode((fx_bytes){v->repository->id, sizeof v->repository->id}, hex);
        int length = asprintf(&folder, "%s/%s", options->state_folder, hex);
        FX_ASSERT(length >= 0 && folder != NULL);
        fx_code code = fx_file_make_folder(folder, 0700, err);
        length = asprintf(&v->state_path, "%s/verified", folder);
        FX_ASSERT(length >= 0 && v->state_path != NULL);
        free(folder);
        if (code != FX_OK) {
            return code;
        }
    }
    v->verified = fx_verified_load(v->state_path == NULL ? "" : v->state_path);
    return FX_OK;
}

static fx_code
save_state(const verification *v, fx_err *err)
{
    if (v->state_path == NULL || !v->options->read_data) {
        return FX_OK;
    }
    return fx_verified_save(v->verified, v->state_path, err);
}

/* What is found counts more than a failure to remember it. */
static fx_code
verify_and_remember(verification *v, fx_err *err)
{
    fx_err later = {0};
    if (load_state(v, err) != FX_OK) {
        return err->code;
    }
    v->repository->is_writing = true; /* what writers count on is asked for at the end */
    fx_code code = verify_all(v, err);
    vouch(v);
    if (save_state(v, &later) != FX_OK && code == FX_OK) {
        *err = later;
        code = later.code;
    }
    return code;
}

fx_code
fx_repository_verify_with(
    fx_repository *repository,
    const fx_verify_options *options,
    fx_verify_report *out_report,
    fx_err *err)
{
    if (fx_repository_need_read(repository, err) != FX_OK) {
        return err->code;
    }
    verification v = {.repository = repository, .options = options};
    v.seen_trees = calloc(repository->key->scope_count + 1, sizeof *v.seen_trees);
    FX_ASSERT(v.seen_trees != NULL);
    int result = pthread_mutex_init(&v.lock, NULL);
    FX_ASSERT(result == 0);
    repository->progress = options->progress;
    repository->progress_ctx = options->ctx;
    fx_code code = verify_and_remember(&v, err);
    repository->progress = NULL;
    (void)pthread_mutex_destroy(&v.lock);
    while (v.checkers != NULL) {
        fx_pack_checker *checker = v.checkers;
        v.checkers = checker->next;
        fx_pack_checker_free(checker);
    }
    fx_verified_free(v.verified);
    free(v.state_path);
    free(v.packs);
    for (size_t i = 0; i < repository->key->scope_count; i++) {
        fx_id_set_free(&v.seen_trees[i]);
    }
    free(v.seen_trees);
    fx_id_set_free(&v.opened);
    fx_id_set_free(&v.missing);
    fx_id_set_free(&v.needed);
    fx_id_set_free(&v.wanted);
    *out_report = v.report;
    if (v.first.code != FX_OK) {
        *err = v.first;
        return v.first.code;
    }
    if (code != FX_OK) {
        return fx_err_wrap(err, "verifying the repository");
    }
    return FX_OK;
}

fx_code
fx_repository_verify(
    fx_repository *repository,
    bool read_data,
    fx_verify_finding finding,
    void *ctx,
    fx_verify_report *out_report,
    fx_err *err)
{
    const fx_verify_options options = {.read_data = read_data, .finding = finding, .ctx = ctx};
    return fx_repository_verify_with(repository, &options, out_report, err);
}
