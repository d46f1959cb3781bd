#include "common/repository/live.h"

#include <string.h>

#include "common/repository/tree.h"

enum { TREE_DEPTH_MAX = 2048 };

void
fx_live_measure(fx_live *live, fx_repository *repository)
{
    size_t count = fx_index_pack_count(repository->index);
    FX_ASSERT(live->pack_count <= count);
    uint64_t before = live->first == NULL ? 0 : live->first[live->pack_count];
    live->repository = repository;
    live->first = realloc(live->first, (count + 1) * sizeof *live->first);
    live->counts = realloc(live->counts, (count + 1) * sizeof *live->counts);
    FX_ASSERT(live->first != NULL && live->counts != NULL);
    live->first[live->pack_count] = before;
    for (size_t i = live->pack_count; i < count; i++) {
        live->first[i + 1] =
            live->first[i] + fx_index_pack_at(repository->index, (uint32_t)i).blob_count;
        live->counts[i] = 0;
    }
    size_t had_bytes = live->bits == NULL ? 0 : (size_t)(before / 8) + 1;
    size_t need_bytes = (size_t)(live->first[count] / 8) + 1;
    live->bits = realloc(live->bits, need_bytes);
    FX_ASSERT(live->bits != NULL);
    memset(live->bits + had_bytes, 0, need_bytes - had_bytes);
    live->pack_count = count;
}

void
fx_live_free(fx_live *live)
{
    free(live->first);
    free(live->bits);
    free(live->counts);
    *live = (fx_live){0};
}

bool
fx_live_has(const fx_live *live, uint32_t pack, uint32_t blob)
{
    FX_ASSERT(pack < live->pack_count);
    uint64_t place = live->first[pack] + blob;
    return ((unsigned)live->bits[place / 8] >> (place % 8) & 1U) != 0;
}

/* Every place of the chunk. Whether it was live before. */
static bool
add_chunk(fx_live *live, const fx_chunk_id *id)
{
    fx_index_cursor cursor = {0};
    fx_index_entry entry;
    bool was_live = false;
    bool is_known = false;
    while (fx_index_next(live->repository->index, id, &cursor, &entry)) {
        if (entry.pack >= live->pack_count ||
            entry.blob >= live->first[entry.pack + 1] - live->first[entry.pack]) {
            continue;
        }
        is_known = true;
        if (fx_live_has(live, entry.pack, entry.blob)) {
            was_live = true;
            continue;
        }
        uint64_t place = live->first[entry.pack] + entry.blob;
        live->bits[place / 8] = (uint8_t)(live->bits[place / 8] | 1U << (place % 8));
        live->counts[entry.pack]++;
        live->live_count++;
    }
    live->unknown_count += is_known ? 0 : 1;
    return was_live;
}

static void
add_list_chunk(void *ctx, const fx_chunk_id *id)
{
    (void)add_chunk(ctx, id);
}

/* NOLINTBEGIN(misc-no-recursion): bounded by TREE_DEPTH_MAX */
static fx_code
add_tree(fx_live *live, const fx_chunk_id *id, size_t depth, fx_err *err)
{
    FX_AUTO(fx_tree) tree = NULL;
    if (depth > TREE_DEPTH_MAX) {
        return fx_fail(err, FX_ERR_LIMIT, "could not read a tree: it is too deep");
    }
    if (add_chunk(live, id)) {
        return FX_OK; /* and so is all below it */
    }
    if (fx_tree_read_seen(live->repository, id, add_list_chunk, live, &tree, err) != FX_OK) {
        return err->code;
    }
    FX_ASSERT(tree != NULL);
    for (size_t i = 0; i < tree->node_count; i++) {
        const fx_node *node = &tree->nodes[i];
        for (size_t j = 0; j < node->extent_count; j++) {
            if (!node->extents[j].is_hole) {
                (void)add_chunk(live, &node->extents[j].chunk);
            }
        }
        if (node->kind == FX_NODE_FOLDER &&
            add_tree(live, &node->subtree, depth + 1, err) != FX_OK) {
            return err->code;
        }
    }
    return FX_OK;
}
/* NOLINTEND(misc-no-recursion) */

fx_code
fx_live_add_root(fx_live *live, const fx_chunk_id *root, fx_err *err)
{
    return add_tree(live, root, 0, err);
}

fx_code
fx_live_add_snapshot(fx_live *live, const char *snapshot_id, fx_err *err)
{
    fx_chunk_id root;
    if (fx_repository_snapshot_root(live->repository, snapshot_id, &root, err) != FX_OK ||
        add_tree(live, &root, 0, err) != FX_OK) {
        return fx_err_wrap(err, "reading all of snapshot %.16s", snapshot_id);
    }
    return FX_OK;
}
