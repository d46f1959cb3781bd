/* Snapshots: each tree and chunk that they need is in a pack that is whole. */
#include <string.h>

#include "common/repository/tree.h"
#include "common/repository/verification.h"

enum { TREE_DEPTH_MAX = 2048 };

/* Packs that are not there and hold the chunk. With the lock held. */
static void
note_wanted(fx_verification *v, const fx_chunk_id *id)
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
has_good_copy(fx_verification *v, const fx_chunks *chunks, const fx_chunk_id *id)
{
    const fx_index *index = v->repository->index;
    bool good = false;
    bool recorded = false;
    (void)pthread_mutex_lock(&v->repository->lock);
    fx_err err = {0};
    if (!fx_index_has(index, id) && fx_repository_rescue_packs(v->repository, &err) != FX_OK) {
        fx_verification_found(v, "%.200s", err.message);
    }
    fx_verification_packs(v);
    fx_index_cursor cursor = {0};
    fx_index_entry entry;
    while (fx_index_next(index, id, &cursor, &entry)) {
        const fx_pack_state *pack = &v->packs[entry.pack];
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
verify_tree(fx_verification *v, const fx_root *root, size_t depth)
{
    fx_err err = {0};
    FX_AUTO(fx_tree) tree = NULL;
    fx_id_set *seen = &v->seen_trees[root->chunks.scope - v->repository->key->scopes];
    if (fx_verification_is_cancelled(v) || fx_id_set_has(seen, &root->id)) {
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
is_passed_over(fx_verification *v, const char *id)
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

void
fx_verification_snapshot(void *ctx, const char *key, uint64_t size_bytes)
{
    fx_verification *v = ctx;
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
        fx_verification_found(v, "snapshot %s: %.150s", id, err.message);
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
        fx_id_set_add_all(&v->needed, &v->wanted);
        fx_verification_found(
            v,
            "snapshot %s: cannot be restored whole, %" PRIu64
            " of its chunks are damaged or missing",
            id,
            v->missing_count);
    } else if (v->has_unindexed && v->repository->bad_count == 0) {
        fx_verification_found(v, "snapshot %s: can be restored, but an index of it is missing", id);
    }
}
