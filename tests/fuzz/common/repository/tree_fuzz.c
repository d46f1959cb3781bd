/*
 * Folders of a snapshot: pieces of the input are chunks, by their numbers, the first is the root.
 * What is read is written the same again.
 */
#include "common/repository/tree.h"
#include "tests/fuzz/support/recipe.h"
#include "tests/unit/common/repository/memory.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes);

enum { CHUNKS_MAX = 16 };

static void
count_chunk(void *ctx, const fx_chunk_id *id)
{
    (void)id;
    ++*(size_t *)ctx;
}

static void
check_node(const fx_node *node)
{
    FX_ASSERT(node->name[0] != '\0' && strchr(node->name, '/') == NULL);
    FX_ASSERT(strcmp(node->name, ".") != 0 && strcmp(node->name, "..") != 0);
    FX_ASSERT((node->mode & ~07777U) == 0);
    FX_ASSERT((node->kind == FX_NODE_SYMLINK) == (node->link_target != NULL));
    uint64_t sum_bytes = 0;
    for (size_t i = 0; i < node->extent_count; i++) {
        sum_bytes += node->extents[i].size_bytes;
    }
    FX_ASSERT(node->kind == FX_NODE_FILE ? sum_bytes == node->size_bytes : sum_bytes == 0);
}

static void
write_again(fx_tree *tree)
{
    fx_err err = {0};
    fx_chunk_id id;
    FX_AUTO(fx_tree) again = NULL;
    size_t count = tree->node_count;
    fx_code code = fx_tree_write(NULL, tree, &id, &err);
    FX_ASSERT(code == FX_OK);
    code = fx_tree_read(NULL, &id, &again, &err);
    FX_ASSERT(code == FX_OK);
    FX_ASSERT(again->node_count == count);
    for (size_t i = 0; i < count; i++) {
        FX_ASSERT(strcmp(again->nodes[i].name, tree->nodes[i].name) == 0);
        FX_ASSERT(again->nodes[i].extent_count == tree->nodes[i].extent_count);
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size_bytes)
{
    recipe from = {data, size_bytes};
    fx_err err = {0};
    fx_chunk_id id = {{0}};
    size_t seen_count = 0;
    FX_AUTO(fx_tree) tree = NULL;
    for (size_t i = 0; i < CHUNKS_MAX && from.left_bytes > 0; i++) {
        fx_chunk_id ignored;
        fx_bytes chunk = recipe_piece(&from);
        fx_code code = fx_writer_add_chunk(NULL, FX_CHUNK_TREE, chunk, &ignored, &err);
        FX_ASSERT(code == FX_OK);
    }
    fx_code code = fx_tree_read_seen(NULL, &id, count_chunk, &seen_count, &tree, &err);
    FX_ASSERT(
        code == FX_OK || code == FX_ERR_DAMAGED || code == FX_ERR_UNSUPPORTED ||
        code == FX_ERR_NOT_FOUND);
    FX_ASSERT((code == FX_OK) == (tree != NULL));
    for (size_t i = 0; tree != NULL && i < tree->node_count; i++) {
        check_node(&tree->nodes[i]);
        FX_ASSERT(i == 0 || strcmp(tree->nodes[i - 1].name, tree->nodes[i].name) < 0);
    }
    if (tree != NULL) {
        FX_ASSERT(seen_count > 0);
        write_again(tree);
    }
    fx_tree_free(FX_TAKE(tree));
    memory_forget();
    return 0;
}
