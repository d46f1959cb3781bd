/* Packs, several at once. */
#include <string.h>

#include "common/base/pool.h"
#include "common/repository/promise.h"
#include "common/repository/verification.h"

static fx_pack_checker *
take_checker(fx_verification *v)
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
verify_pack(fx_verification *v, uint32_t number, const fx_candidate *item)
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
        fx_verification_found(v, "pack \"%s\": %.150s", store_key, err.message);
    }
    v->packs[number].scope = checker->scope;
    if (code == FX_OK && checker->is_opened) {
        (void)fx_id_set_add(&v->opened, &checker->record);
    }
    if (item->is_chosen) {
        v->done_bytes += item->size_bytes;
        fx_verification_note_read(v, &item->name, code == FX_OK);
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

/* Packs from number `first` on. */
typedef struct fresh_packs {
    fx_verification *v;
    size_t first;
    const fx_candidate *items;
} fresh_packs;

/* What is wrong with a pack is a finding, not a failure. */
static fx_code
visit(void *ctx, size_t item, fx_err *err)
{
    (void)err;
    const fresh_packs *fresh = ctx;
    if (!fx_verification_is_cancelled(fresh->v)) {
        verify_pack(fresh->v, (uint32_t)(fresh->first + item), &fresh->items[item]);
    }
    return FX_OK;
}

void
fx_verification_packs(fx_verification *v)
{
    size_t count = fx_index_pack_count(v->repository->index);
    if (count <= v->pack_count) {
        return;
    }
    size_t first = v->pack_count;
    fx_candidate *items = calloc(count - first, sizeof *items);
    v->packs = realloc(v->packs, count * sizeof *v->packs);
    FX_ASSERT(items != NULL && v->packs != NULL);
    memset(v->packs + first, 0, (count - first) * sizeof *v->packs);
    v->pack_count = count;
    for (size_t i = first; i < count; i++) {
        fx_index_pack pack = fx_index_pack_at(v->repository->index, (uint32_t)i);
        items[i - first].size_bytes = pack.size_bytes;
        memcpy(items[i - first].name.bytes, pack.name, FX_ID_BYTES);
    }
    fx_verification_choose(v, items, count - first);
    fresh_packs fresh = {v, first, items};
    fx_err ignored = {0};
    fx_ignore(
        fx_pool_each(fx_pool_cores(), count - first, visit, &fresh, &ignored), "no visit fails");
    free(items);
}

fx_code
fx_verification_judge_missing(fx_verification *v, fx_err *err)
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
            fx_verification_found(
                v, "pack \"%s\": could not find it, and an index object names it", store_key);
        }
    }
    fx_id_set_free(&broken);
    fx_id_set_free(&remnants);
    return code;
}
