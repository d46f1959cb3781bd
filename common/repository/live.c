#include "common/repository/live.h"

#include <string.h>

#include "common/repository/tree.h"

enum { TREE_DEPTH_MAX = 2048 };

static uint8_t *
grow_bits(uint8_t *bits, size_t had_bytes, size_t need_bytes)
{
    bits = realloc(bits, need_bytes);
    FX_ASSERT(bits != NULL);
    memset(bits + had_bytes, 0, need_bytes - had_bytes);
    return bits;
}

static bool
get_bit(const uint8_t *bits, uint64_t place)
{
    return ((unsigned)bits[place / 8] >> (place % 8) & 1U) != 0;
}

static void
set_bit(uint8_t *bits, uint64_t place)
{
    bits[place / 8] = (uint8_t)(bits[place / 8] | 1U << (place % 8));
}

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
    live->bits = grow_bits(live->bits, had_bytes, need_bytes);
    live->walked = grow_bits(live->walked, had_bytes, need_bytes);
    live->pack_count = count;
}

void
fx_live_free(fx_live *live)
{
    free(live->first);
    free(live->bits);
    free(live->walked);
    free(live->counts);
    *live = (fx_live){0};
}

bool
fx_live_has(const fx_live *live, uint32_t pack, uint32_t blob)
{
    FX_ASSERT(pack < live->pack_count);
    return get_bit(live->bits, live->first[pack] + blob);
}

/* The next place of a chunk that was measured. */
static bool
next_place(
    const fx_live *live,
    const fx_chunk_id *id,
    fx_index_cursor *cursor,
    fx_index_entry *out_entry,
    uint64_t *out_place)
{
    while (fx_index_next(live->repository->index, id, cursor, out_entry)) {
        if (out_entry->pack < live->pack_count &&
            out_entry->blob < live->first[out_entry->pack + 1] - live->first[out_entry->pack]) {
            *out_place = live->first[out_entry->pack] + out_entry->blob;
            return true;
        }
    }
    return false;
}

/* Every place of the chunk. */
static void
add_chunk(fx_live *live, const fx_chunk_id *id)
{
    fx_index_cursor cursor = {0};
    fx_index_entry entry;
    uint64_t place = 0;
    bool is_known = false;
    while (next_place(live, id, &cursor, &entry, &place)) {
        is_known = true;
        if (!get_bit(live->bits, place)) {
            set_bit(live->bits, place);
            live->counts[entry.pack]++;
        }
    }
    live->unknown_count += is_known ? 0 : 1;
}

/* Is all below the tree live? That its own chunk is says nothing: who can only write may name it
 * as a file's content. */
static bool
is_walked(const fx_live *live, const fx_chunk_id *id)
{
    fx_index_cursor cursor = {0};
    fx_index_entry entry;
    uint64_t place = 0;
    while (next_place(live, id, &cursor, &entry, &place)) {
        if (get_bit(live->walked, place)) {
            return true;
        }
    }
    return false;
}

static void
note_walked(fx_live *live, const fx_chunk_id *id)
{
    fx_index_cursor cursor = {0};
    fx_index_entry entry;
    uint64_t place = 0;
    while (next_place(live, id, &cursor, &entry, &place)) {
        set_bit(live->walked, place);
    }
}

static void
add_list_chunk(void *ctx, const fx_chunk_id *id)
{
    add_chunk(ctx, id);
}

/* NOLINTBEGIN(misc-no-recursion): bounded by TREE_DEPTH_MAX */
static fx_code
add_tree(fx_live *live, const fx_root *root, size_t depth, fx_err *err)
{
    FX_AUTO(fx_tree) tree = NULL;
    if (depth > TREE_DEPTH_MAX) {
        return fx_fail(err, FX_ERR_LIMIT, "could not read a tree: it is too deep");
    }
    uint64_t unknown_before = live->unknown_count;
    add_chunk(live, &root->id);
    if (is_walked(live, &root->id)) {
        return FX_OK;
    }
    if (fx_tree_read_seen(&root->chunks, &root->id, add_list_chunk, live, &tree, err) != FX_OK) {
        return err->code;
    }
    FX_ASSERT(tree != NULL);
    for (size_t i = 0; i < tree->node_count; i++) {
        const fx_node *node = &tree->nodes[i];
        for (size_t j = 0; j < node->extent_count; j++) {
            if (!node->extents[j].is_hole) {
                add_chunk(live, &node->extents[j].chunk);
            }
        }
        const fx_root below = {root->chunks, node->subtree};
        if (node->kind == FX_NODE_FOLDER && add_tree(live, &below, depth + 1, err) != FX_OK) {
            return err->code;
        }
    }
    if (live->unknown_count == unknown_before) { /* else an index may yet tell of the rest */
        note_walked(live, &root->id);
    }
    return FX_OK;
}
/* NOLINTEND(misc-no-recursion) */

fx_code
fx_live_add_root(fx_live *live, const fx_root *root, fx_err *err)
{
    return add_tree(live, root, 0, err);
}

fx_code
fx_live_add_snapshot(fx_live *live, const char *snapshot_id, fx_err *err)
{
    fx_root root;
    if (fx_repository_snapshot_root(live->repository, snapshot_id, &root, err) != FX_OK ||
        add_tree(live, &root, 0, err) != FX_OK) {
        return fx_err_wrap(err, "reading all of snapshot %.16s", snapshot_id);
    }
    return FX_OK;
}
