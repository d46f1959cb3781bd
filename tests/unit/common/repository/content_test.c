#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/base/rng.h"
#include "common/repository/tree.h"

#include "tests/unit/common/repository/memory.h"

static const size_t kib = 1024;

enum { MIB = 1024 * 1024 };

static int
forget(void **state)
{
    (void)state;
    memory_forget();
    return 0;
}

static void
fill(unsigned char *data, size_t size_bytes, uint64_t seed)
{
    fx_rng rng;
    fx_rng_init(&rng, seed);
    for (size_t index = 0; index < size_bytes; index++) {
        data[index] = (unsigned char)(fx_rng_next(&rng) | 1);
    }
}

/* Checks that the extents give `expected`, holes read as zeros. */
static void
assert_content(const fx_node *node, const unsigned char *expected, size_t size_bytes)
{
    fx_err err = {0};
    size_t at = 0;
    assert_int_equal(node->size_bytes, size_bytes);
    for (size_t index = 0; index < node->extent_count; index++) {
        const fx_extent *extent = &node->extents[index];
        if (extent->is_hole) {
            for (size_t zero = 0; zero < extent->size_bytes; zero++) {
                assert_int_equal(expected[at + zero], 0);
            }
        } else {
            FX_BUF_AUTO chunk;
            fx_buf_init(&chunk, FX_CHUNK_MAX_BYTES);
            assert_int_equal(fx_repository_read_chunk(NULL, &extent->chunk, &chunk, &err), FX_OK);
            assert_int_equal(chunk.size_bytes, extent->size_bytes);
            assert_memory_equal(chunk.data, expected + at, chunk.size_bytes);
        }
        at += extent->size_bytes;
    }
    assert_int_equal(at, size_bytes);
}

static fx_pool *pool; /* NULL: chunks are stored at once */

static fx_node
save(const unsigned char *data, size_t size_bytes, size_t step_bytes, fx_cut cut)
{
    fx_err err = {0};
    fx_node node = {.kind = FX_NODE_FILE};
    FX_AUTO(fx_content) content = fx_content_new(NULL);
    if (pool != NULL) {
        fx_content_use_pool(content, pool);
    }
    fx_content_begin(content, cut);
    for (size_t at = 0; at < size_bytes; at += step_bytes) {
        size_t left_bytes = size_bytes - at;
        fx_bytes step = {data + at, left_bytes < step_bytes ? left_bytes : step_bytes};
        assert_int_equal(fx_content_add(content, step, &err), FX_OK);
    }
    assert_int_equal(fx_content_end(content, &node, &err), FX_OK);
    return node;
}

static void
content_comes_back_whatever_its_size(void **state)
{
    (void)state;
    static unsigned char data[9 * MIB];
    fill(data, sizeof data, 1);
    const size_t sizes[] = {
        0, 1, 4095, 65535, 65536, 65537, 128 * kib, 5 * kib * 1024 + 3, sizeof data};
    for (size_t index = 0; index < sizeof sizes / sizeof *sizes; index++) {
        fx_node node = save(data, sizes[index], 100000, FX_CUT_CONTENT);
        assert_content(&node, data, sizes[index]);
        fx_node_deinit(&node);
        node = save(data, sizes[index], 70001, FX_CUT_PAGES);
        assert_content(&node, data, sizes[index]);
        fx_node_deinit(&node);
    }
}

static void
several_threads_store_the_same(void **state)
{
    pool = fx_pool_new(3, 2);
    content_comes_back_whatever_its_size(state);
    fx_pool_free(pool);
    pool = NULL;
}

static void
long_runs_of_zeros_are_holes(void **state)
{
    (void)state;
    static unsigned char data[4 * MIB];
    fill(data, sizeof data, 2);
    memset(data + MIB, 0, MIB);
    fx_node node = save(data, sizeof data, 12345, FX_CUT_CONTENT);
    assert_content(&node, data, sizeof data);
    size_t hole_bytes = 0;
    for (size_t index = 0; index < node.extent_count; index++) {
        hole_bytes += node.extents[index].is_hole ? node.extents[index].size_bytes : 0;
    }
    assert_int_equal(hole_bytes, MIB);
    fx_node_deinit(&node);
}

static void
given_holes_count_as_zeros(void **state)
{
    (void)state;
    static unsigned char data[2 * MIB];
    fx_err err = {0};
    const size_t starts[] = {0, 4096, 65536, 100000};
    const size_t lengths[] = {1, 4096, 64 * kib, 64 * kib + 1, 300000};
    for (size_t test = 0; test < 20; test++) {
        size_t start = starts[test % 4];
        size_t length = lengths[test % 5];
        fill(data, sizeof data, test);
        memset(data + start, 0, length);
        fx_node node = {.kind = FX_NODE_FILE};
        FX_AUTO(fx_content) content = fx_content_new(NULL);
        fx_content_begin(content, FX_CUT_CONTENT);
        assert_int_equal(fx_content_add(content, (fx_bytes){data, start}, &err), FX_OK);
        assert_int_equal(fx_content_add_hole(content, length, &err), FX_OK);
        fx_bytes rest = {data + start + length, sizeof data - start - length};
        assert_int_equal(fx_content_add(content, rest, &err), FX_OK);
        assert_int_equal(fx_content_end(content, &node, &err), FX_OK);
        assert_content(&node, data, sizeof data);
        fx_node_deinit(&node);
    }
}

static void
pages_keep_their_place(void **state)
{
    (void)state;
    static unsigned char data[MIB];
    fill(data, sizeof data, 3);
    fx_node node = save(data, sizeof data, 8192, FX_CUT_PAGES);
    assert_int_equal(node.extent_count, 8);
    size_t known = memory_chunk_count;
    data[300 * kib] ^= 2;
    fx_node changed = save(data, sizeof data, 8192, FX_CUT_PAGES);
    assert_int_equal(memory_chunk_count, known + 1);
    fx_node_deinit(&node);
    fx_node_deinit(&changed);
}

static void
a_hole_of_a_tebibyte_costs_one_extent(void **state)
{
    (void)state;
    fx_err err = {0};
    fx_node node = {.kind = FX_NODE_FILE};
    FX_AUTO(fx_content) content = fx_content_new(NULL);
    fx_content_begin(content, FX_CUT_CONTENT);
    assert_int_equal(fx_content_add_hole(content, UINT64_C(1) << 40, &err), FX_OK);
    assert_int_equal(fx_content_add_hole(content, 5, &err), FX_OK);
    assert_int_equal(fx_content_end(content, &node, &err), FX_OK);
    assert_int_equal(node.extent_count, 1);
    assert_int_equal(node.size_bytes, (UINT64_C(1) << 40) + 5);
    fx_node_deinit(&node);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(content_comes_back_whatever_its_size, forget),
        cmocka_unit_test_teardown(several_threads_store_the_same, forget),
        cmocka_unit_test_teardown(long_runs_of_zeros_are_holes, forget),
        cmocka_unit_test_teardown(given_holes_count_as_zeros, forget),
        cmocka_unit_test_teardown(pages_keep_their_place, forget),
        cmocka_unit_test_teardown(a_hole_of_a_tebibyte_costs_one_extent, forget),
    };
    return cmocka_run_group_tests_name("content", tests, NULL, NULL);
}
