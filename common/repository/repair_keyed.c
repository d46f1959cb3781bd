/* What only a key can tell: which packs are missing, and which snapshots need what cannot be
 * healed. */
#include <stdio.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/repository/lost.h"
#include "common/repository/promise.h"
#include "common/repository/repairing.h"

static void
add_missing(fx_repairing *work, const fx_id_set *names)
{
    for (size_t i = 0; i < names->capacity; i++) {
        char store_key[FX_KEY_TEXT_BYTES];
        char text[FX_REPAIR_TEXT_BYTES];
        if (!names->used[i]) {
            continue;
        }
        fx_pack_key(names->slots[i].bytes, store_key);
        if (fx_repairing_add(work, store_key)) {
            (void)snprintf(text, sizeof text, "%s: missing", store_key);
            fx_repairing_find(work, text);
        }
    }
}

/* Does a snapshot need what only remnants held? `others`: all other packs, as if they were whole.
 */
static fx_code
are_needed(fx_repository *repository, const fx_id_set *others, bool *out_are, fx_err *err)
{
    fx_lost lost = {0};
    fx_snapshot_list list = {0};
    size_t unreadable_count = 0;
    *out_are = false;
    if (fx_lost_measure(repository, others, &lost, err) != FX_OK) {
        return err->code;
    }
    fx_code code = fx_repository_list(repository, &list, &unreadable_count, err);
    for (size_t i = 0; code == FX_OK && i < list.count && !*out_are; i++) {
        fx_err failure = {0};
        code = fx_lost_affects(&lost, list.items[i].id, out_are, &failure);
        if (code == FX_ERR_WRONG_KEY) {
            code = FX_OK;
        } else if (code != FX_OK) {
            *err = failure;
        }
    }
    fx_snapshot_list_free(&list);
    fx_lost_free(&lost);
    return code;
}

/* Adds to `there` what was promised; what a revoked writer named late is lost where it is needed
 * alone. */
static fx_code
judge_missing(
    fx_repairing *work,
    fx_repository *repository,
    const fx_id_set *missing,
    fx_id_set *there,
    fx_err *err)
{
    fx_id_set broken = {0};
    fx_id_set remnants = {0};
    bool is_needed = false;
    fx_code code = fx_promise_sort(repository, missing, &broken, &remnants, err);
    fx_id_set_add_all(there, &broken);
    if (code == FX_OK && remnants.count > 0) {
        code = are_needed(repository, there, &is_needed, err);
    }
    if (code == FX_OK) {
        add_missing(work, &broken);
    }
    if (code == FX_OK && is_needed) {
        add_missing(work, &remnants);
    }
    fx_id_set_free(&broken);
    fx_id_set_free(&remnants);
    return code;
}

/* Packs that an index object names and that are not there. */
static fx_code
find_missing_packs(fx_repairing *work, fx_repository *repository, fx_err *err)
{
    fx_id_set there = {0};
    fx_id_set missing = {0};
    (void)pthread_mutex_lock(&repository->lock);
    fx_code code = fx_repository_load_indexes(repository, err);
    (void)pthread_mutex_unlock(&repository->lock);
    if (code == FX_OK) {
        code = fx_repository_list_packs(repository, &there, err);
    }
    for (size_t i = 0; code == FX_OK && i < fx_index_pack_count(repository->index); i++) {
        fx_chunk_id name;
        fx_index_pack pack = fx_index_pack_at(repository->index, (uint32_t)i);
        memcpy(name.bytes, pack.name, FX_ID_BYTES);
        if (!fx_id_set_has(&there, &name) && !fx_id_set_has(&work->marked, &name)) {
            (void)fx_id_set_add(&missing, &name);
        }
    }
    if (code == FX_OK && missing.count > 0) {
        code = judge_missing(work, repository, &missing, &there, err);
    }
    fx_id_set_free(&there);
    fx_id_set_free(&missing);
    return code;
}

static fx_code
name_one(fx_repairing *work, const fx_lost *lost, const fx_snapshot *snapshot, fx_err *err)
{
    bool is_affected = false;
    fx_err failure = {0};
    fx_code code = fx_lost_affects(lost, snapshot->id, &is_affected, &failure);
    if (code == FX_ERR_WRONG_KEY) { /* of a scope whose key is not here */
        return FX_OK;
    }
    if (code != FX_OK) {
        *err = failure;
        return code;
    }
    if (is_affected) {
        char text[FX_REPAIR_TEXT_BYTES];
        char began[FX_WALL_TEXT_BYTES];
        fx_wall_format(snapshot->began, began);
        (void)snprintf(
            text,
            sizeof text,
            "snapshot %s of %s on %s, %s: cannot be restored whole",
            snapshot->id,
            snapshot->source,
            snapshot->host.text,
            began);
        fx_repairing_find(work, text);
        work->report->affected_snapshot_count++;
    }
    return FX_OK;
}

/* Which snapshots need what could not be healed. */
static fx_code
name_affected(fx_repairing *work, fx_repository *repository, fx_err *err)
{
    fx_lost lost = {0};
    fx_snapshot_list list = {0};
    size_t unreadable_count = 0;
    if (fx_lost_measure(repository, &work->good, &lost, err) != FX_OK) {
        return err->code;
    }
    fx_code code = fx_repository_list(repository, &list, &unreadable_count, err);
    for (size_t i = 0; code == FX_OK && i < list.count; i++) {
        fx_repairing_tell(work, "following", "snapshots", i, list.count);
        code = name_one(work, &lost, &list.items[i], err);
    }
    fx_snapshot_list_free(&list);
    fx_lost_free(&lost);
    return code;
}

fx_code
fx_repairing_with_key(fx_repairing *work, const char *url, fx_err *err)
{
    FX_AUTO(fx_repository) repository = NULL;
    if (fx_repository_open(url, work->options->key, &repository, err) != FX_OK ||
        find_missing_packs(work, repository, err) != FX_OK ||
        fx_repairing_heal(work, err) != FX_OK) {
        return err->code;
    }
    if (fx_repairing_open_count(work) == 0 && !work->options->dry_run) {
        return FX_OK;
    }
    return name_affected(work, repository, err);
}
