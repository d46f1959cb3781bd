#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/repository/tree.h"

#include "tests/unit/common/repository/memory.h"

static int
forget(void **state)
{
    (void)state;
    memory_forget();
    return 0;
}

static fx_code
add(fx_tree_builder *builder, const char *path, fx_node_kind kind, uint32_t mode)
{
    fx_err err = {0};
    fx_node node = {.kind = kind, .mode = mode};
    fx_code code = fx_tree_builder_add(builder, path, &node, &err);
    fx_node_deinit(&node);
    return code;
}

static void
// NOLINTNEXTLINE(misc-no-recursion): small trees
list_tree(const fx_chunk_id *id, const char *prefix, char *out_text)
{
    fx_err err = {0};
    FX_AUTO(fx_tree) tree = NULL;
    assert_int_equal(fx_tree_read(NULL, id, &tree, &err), FX_OK);
    for (size_t index = 0; index < tree->node_count; index++) {
        const fx_node *node = &tree->nodes[index];
        char path[256];
        (void)snprintf(path, sizeof path, "%s%s", prefix, node->name);
        size_t used = strlen(out_text);
        (void)snprintf(out_text + used, 512 - used, "%s:%o ", path, node->mode);
        if (node->kind == FX_NODE_FOLDER) {
            (void)strncat(path, "/", sizeof path - strlen(path) - 1);
            list_tree(&node->subtree, path, out_text);
        }
    }
}

static void
entries_in_any_order_become_one_tree(void **state)
{
    (void)state;
    fx_err err = {0};
    FX_AUTO(fx_tree_builder) builder = fx_tree_builder_new();
    assert_int_equal(add(builder, "base/1/b", FX_NODE_FIFO, 1), FX_OK);
    assert_int_equal(add(builder, "z", FX_NODE_FIFO, 2), FX_OK);
    assert_int_equal(add(builder, "base-x/c", FX_NODE_FIFO, 3), FX_OK);
    assert_int_equal(add(builder, "base/1/a", FX_NODE_FIFO, 4), FX_OK);
    assert_int_equal(add(builder, "base", FX_NODE_FOLDER, 0750), FX_OK);
    assert_int_equal(add(builder, "base/empty", FX_NODE_FOLDER, 5), FX_OK);
    fx_chunk_id id;
    assert_int_equal(fx_tree_builder_finish(builder, NULL, &id, &err), FX_OK);
    char text[512] = "";
    list_tree(&id, "", text);
    assert_string_equal(
        text, "base:750 base/1:700 base/1/a:4 base/1/b:1 base/empty:5 base-x:700 base-x/c:3 z:2 ");
}

static void
bad_paths_are_refused(void **state)
{
    (void)state;
    FX_AUTO(fx_tree_builder) builder = fx_tree_builder_new();
    const char *const paths[] = {"", "/a", "a/", "a//b", ".", "a/..", "../a", "a/./b"};
    for (size_t index = 0; index < sizeof paths / sizeof *paths; index++) {
        assert_int_equal(add(builder, paths[index], FX_NODE_FIFO, 0), FX_ERR_INVALID);
    }
}

static void
a_path_given_twice_is_refused(void **state)
{
    (void)state;
    const char *const pairs[][2] = {{"a", "a"}, {"a", "a/b"}};
    for (size_t index = 0; index < 2; index++) {
        fx_err err = {0};
        FX_AUTO(fx_tree_builder) builder = fx_tree_builder_new();
        assert_int_equal(add(builder, pairs[index][0], FX_NODE_FIFO, 0), FX_OK);
        assert_int_equal(add(builder, pairs[index][1], FX_NODE_FIFO, 0), FX_OK);
        fx_chunk_id id;
        assert_int_equal(fx_tree_builder_finish(builder, NULL, &id, &err), FX_ERR_INVALID);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(entries_in_any_order_become_one_tree, forget),
        cmocka_unit_test_teardown(bad_paths_are_refused, forget),
        cmocka_unit_test_teardown(a_path_given_twice_is_refused, forget),
    };
    return cmocka_run_group_tests_name("tree builder", tests, NULL, NULL);
}
