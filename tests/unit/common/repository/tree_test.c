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

static fx_tree *
tree_of(size_t count)
{
    fx_tree *tree = calloc(1, sizeof *tree);
    assert_non_null(tree);
    tree->nodes = calloc(count + 1, sizeof *tree->nodes);
    assert_non_null(tree->nodes);
    tree->node_count = count;
    return tree;
}

static char *
copy(const char *text)
{
    char *made = strdup(text);
    assert_non_null(made);
    return made;
}

static void
a_node_comes_back_as_it_was(void **state)
{
    (void)state;
    fx_err err = {0};
    FX_AUTO(fx_tree) tree = tree_of(2);
    tree->nodes[0] = (fx_node){
        .kind = FX_NODE_SYMLINK,
        .name = copy("z\n\xff"),
        .link_target = copy("../etc"),
        .mode = 0777,
        .mtime_ns = -5};
    fx_node *file = &tree->nodes[1];
    *file = (fx_node){
        .kind = FX_NODE_FILE,
        .name = copy("a"),
        .mode = 04755,
        .uid = UINT32_MAX,
        .user = copy("root"),
        .mtime_ns = 1234567890123456789,
        .ctime_ns = 7,
        .inode = 8,
        .size_bytes = 30,
        .link_group = 9};
    file->extents = calloc(2, sizeof *file->extents);
    file->xattrs = calloc(1, sizeof *file->xattrs);
    assert_non_null(file->extents);
    assert_non_null(file->xattrs);
    file->extent_count = 2;
    file->extents[0] = (fx_extent){.size_bytes = 10, .chunk = {{1, 2, 3}}};
    file->extents[1] = (fx_extent){.size_bytes = 20, .is_hole = true};
    file->xattr_count = 1;
    file->xattrs[0] =
        (fx_xattr){.name = copy("user.x"), .value = {.data = copy("123"), .size_bytes = 3}};
    fx_chunk_id id;
    assert_int_equal(fx_tree_write(NULL, tree, &id, &err), FX_OK);
    FX_AUTO(fx_tree) back = NULL;
    assert_int_equal(fx_tree_read(NULL, &id, &back, &err), FX_OK);
    assert_int_equal(back->node_count, 2);
    assert_string_equal(back->nodes[0].name, "a");
    assert_int_equal(back->nodes[0].mode, 04755);
    assert_int_equal(back->nodes[0].uid, UINT32_MAX);
    assert_string_equal(back->nodes[0].user, "root");
    assert_null(back->nodes[0].group);
    assert_true(back->nodes[0].mtime_ns == 1234567890123456789);
    assert_int_equal(back->nodes[0].link_group, 9);
    assert_int_equal(back->nodes[0].extent_count, 2);
    assert_int_equal(back->nodes[0].extents[0].chunk.bytes[2], 3);
    assert_true(back->nodes[0].extents[1].is_hole);
    assert_string_equal(back->nodes[0].xattrs[0].name, "user.x");
    assert_int_equal(back->nodes[0].xattrs[0].value.size_bytes, 3);
    assert_string_equal(back->nodes[1].name, "z\n\xff");
    assert_string_equal(back->nodes[1].link_target, "../etc");
    assert_int_equal(back->nodes[1].mtime_ns, -5);
}

static void
a_large_folder_continues_in_parts_and_a_change_touches_few(void **state)
{
    (void)state;
    enum { COUNT = 30000 };
    fx_err err = {0};
    FX_AUTO(fx_tree) tree = tree_of(COUNT);
    for (size_t index = 0; index < COUNT; index++) {
        char name[80];
        (void)snprintf(name, sizeof name, "file-%zu-%060d", index, 0);
        tree->nodes[index] =
            (fx_node){.kind = FX_NODE_FIFO, .name = copy(name), .mtime_ns = 1, .mode = 0644};
    }
    fx_chunk_id id;
    assert_int_equal(fx_tree_write(NULL, tree, &id, &err), FX_OK);
    size_t chunks = memory_chunk_count;
    assert_in_range(chunks, 4, 14);
    FX_AUTO(fx_tree) back = NULL;
    assert_int_equal(fx_tree_read(NULL, &id, &back, &err), FX_OK);
    assert_int_equal(back->node_count, COUNT);
    back->nodes[100].mtime_ns = 2;
    assert_int_equal(fx_tree_write(NULL, back, &id, &err), FX_OK);
    assert_int_equal(memory_chunk_count, chunks + 2);
}

static void
a_long_file_continues_in_parts(void **state)
{
    (void)state;
    enum { COUNT = 20000 };
    fx_err err = {0};
    FX_AUTO(fx_tree) tree = tree_of(1);
    fx_node *file = &tree->nodes[0];
    *file =
        (fx_node){.kind = FX_NODE_FILE, .name = copy("big"), .size_bytes = UINT64_C(4096) * COUNT};
    file->extents = calloc(COUNT, sizeof *file->extents);
    assert_non_null(file->extents);
    file->extent_count = COUNT;
    for (size_t index = 0; index < COUNT; index++) {
        file->extents[index].size_bytes = 4096;
        memcpy(file->extents[index].chunk.bytes, &index, sizeof index);
    }
    fx_chunk_id id;
    assert_int_equal(fx_tree_write(NULL, tree, &id, &err), FX_OK);
    assert_int_equal(memory_chunk_count, 4);
    FX_AUTO(fx_tree) back = NULL;
    assert_int_equal(fx_tree_read(NULL, &id, &back, &err), FX_OK);
    assert_int_equal(back->nodes[0].extent_count, COUNT);
    assert_memory_equal(back->nodes[0].extents[COUNT - 1].chunk.bytes, "\x1f\x4e\0\0", 4);
}

static void
an_empty_folder_is_stored(void **state)
{
    (void)state;
    fx_err err = {0};
    FX_AUTO(fx_tree) tree = tree_of(0);
    fx_chunk_id id;
    assert_int_equal(fx_tree_write(NULL, tree, &id, &err), FX_OK);
    FX_AUTO(fx_tree) back = NULL;
    assert_int_equal(fx_tree_read(NULL, &id, &back, &err), FX_OK);
    assert_int_equal(back->node_count, 0);
}

static void
names_that_would_leave_the_folder_are_refused(void **state)
{
    (void)state;
    const char *const names[] = {"", ".", "..", "a/b", "/"};
    for (size_t index = 0; index < sizeof names / sizeof *names; index++) {
        fx_err err = {0};
        FX_AUTO(fx_tree) tree = tree_of(1);
        tree->nodes[0] = (fx_node){.kind = FX_NODE_FIFO, .name = copy(names[index])};
        fx_chunk_id id;
        assert_int_equal(fx_tree_write(NULL, tree, &id, &err), FX_ERR_INVALID);
    }
}

static void
stored_lists_that_are_wrong_are_damage(void **state)
{
    (void)state;
    /* version 1 (field 3), then a node (field 1) of kind 4 with the name given */
    const struct {
        const char *bytes;
        size_t size_bytes;
        fx_code code;
    } lists[] = {
        {"\xff\xff", 2, FX_ERR_DAMAGED},
        {"\x18\x02", 2, FX_ERR_UNSUPPORTED},
        {"\x18\x01\x0a\x06\x08\x04\x12\x02..", 10, FX_ERR_DAMAGED},
        {"\x18\x01\x0a\x07\x08\x04\x12\x03"
         "a/b",
         11,
         FX_ERR_DAMAGED},
        {"\x18\x01\x0a\x07\x08\x04\x12\x03"
         "a\0b",
         11,
         FX_ERR_DAMAGED},
        {"\x18\x01\x0a\x05\x08\x09\x12\x01"
         "a",
         9,
         FX_ERR_DAMAGED},
        {"\x18\x01\x0a\x05\x08\x04\x12\x01"
         "b\x0a\x05\x08\x04\x12\x01"
         "a",
         16,
         FX_ERR_DAMAGED},
        {"\x18\x01\x0a\x05\x08\x04\x12\x01"
         "a\x0a\x05\x08\x04\x12\x01"
         "a",
         16,
         FX_ERR_DAMAGED},
        {"\x18\x01\x0a\x05\x08\x04\x12\x01"
         "a",
         9,
         FX_OK},
    };
    for (size_t index = 0; index < sizeof lists / sizeof *lists; index++) {
        fx_err err = {0};
        fx_chunk_id id;
        fx_bytes bytes = {lists[index].bytes, lists[index].size_bytes};
        assert_int_equal(fx_writer_add_chunk(NULL, FX_CHUNK_TREE, bytes, &id, &err), FX_OK);
        FX_AUTO(fx_tree) tree = NULL;
        assert_int_equal(fx_tree_read(NULL, &id, &tree, &err), lists[index].code);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(a_node_comes_back_as_it_was, forget),
        cmocka_unit_test_teardown(
            a_large_folder_continues_in_parts_and_a_change_touches_few, forget),
        cmocka_unit_test_teardown(a_long_file_continues_in_parts, forget),
        cmocka_unit_test_teardown(an_empty_folder_is_stored, forget),
        cmocka_unit_test_teardown(names_that_would_leave_the_folder_are_refused, forget),
        cmocka_unit_test_teardown(stored_lists_that_are_wrong_are_damage, forget),
    };
    return cmocka_run_group_tests_name("tree", tests, NULL, NULL);
}
