#include "agent/restore/restore.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/file.h"
#include "common/base/rng.h"
#include "common/repository/tree.h"
#include "common/store/fault/fault.h"
#include "tests/support/folder.h"

enum {
    URL_BYTES = 128,
    LARGE_BYTES = 24 * 1024 * 1024,
    OTHERS = 24,
    OTHER_BYTES = 2 * 1024 * 1024,
    SHARED = 40,
};

static char folder[] = "/tmp/fx_restore_test_XXXXXX";
static fx_repository_key *key;
static int serial;

static int
make_folder(void **state)
{
    (void)state;
    fx_err err = {0};
    char key_path[64];
    fx_store_allow_test_drivers();
    if (mkdtemp(folder) == NULL) {
        return -1;
    }
    (void)snprintf(key_path, sizeof key_path, "%s/key", folder);
    return fx_repository_key_create(key_path, &err) == FX_OK &&
                   fx_repository_key_load(key_path, &key, &err) == FX_OK
               ? 0
               : -1;
}

static int
remove_folder(void **state)
{
    (void)state;
    fx_repository_key_free(key);
    return test_folder_remove(folder);
}

static void
new_url(char url[URL_BYTES])
{
    (void)snprintf(url, URL_BYTES, "posix:%s/%d", folder, serial++);
}

static void
random_bytes(uint64_t seed, size_t size_bytes, fx_buf *out)
{
    fx_err err = {0};
    fx_rng rng;
    unsigned char *room = NULL;
    fx_rng_init(&rng, seed);
    fx_buf_init(out, size_bytes);
    assert_int_equal(fx_buf_extend(out, size_bytes, &room, &err), FX_OK);
    for (size_t i = 0; i + 8 <= size_bytes; i += 8) {
        uint64_t word = fx_rng_next(&rng);
        memcpy(room + i, &word, sizeof word);
    }
}

static void
add_file(fx_writer *writer, fx_tree_builder *builder, const char *path, fx_bytes bytes)
{
    fx_err err = {0};
    FX_AUTO(fx_content) content = fx_content_new(writer);
    fx_node node = {.kind = FX_NODE_FILE, .mode = 0640, .uid = getuid(), .gid = getgid()};
    fx_content_begin(content, FX_CUT_CONTENT);
    assert_int_equal(fx_content_add(content, bytes, &err), FX_OK);
    assert_int_equal(fx_content_end(content, &node, &err), FX_OK);
    assert_int_equal(fx_tree_builder_add(builder, path, &node, &err), FX_OK);
    fx_node_deinit(&node);
}

static void
commit(fx_writer *writer, fx_tree_builder *builder, fx_snapshot *out_snapshot)
{
    fx_err err = {0};
    fx_chunk_id root;
    *out_snapshot = (fx_snapshot){
        .host = fx_name_of("db1"),
        .source = "files:test",
        .kind = "files",
        .note = "{}",
        .began = {.ns = 1000},
        .ended = {.ns = 2000}};
    assert_int_equal(fx_tree_builder_finish(builder, writer, &root, &err), FX_OK);
    assert_int_equal(fx_writer_commit(writer, &root, out_snapshot, &err), FX_OK);
}

static fx_code
restore_to(
    const char *url,
    const fx_snapshot *snapshot,
    const fx_restore_options *options,
    fx_restore_result *out_result,
    fx_err *err)
{
    FX_AUTO(fx_repository) repository = NULL;
    assert_int_equal(fx_repository_open(url, key, &repository, err), FX_OK);
    return fx_restore(repository, snapshot, options, NULL, out_result, err);
}

static void
check_file(const char *path, fx_bytes expected)
{
    fx_err err = {0};
    FX_BUF_AUTO got;
    fx_buf_init(&got, expected.size_bytes + 1);
    assert_int_equal(fx_file_read(path, &got, &err), FX_OK);
    assert_int_equal(got.size_bytes, expected.size_bytes);
    assert_memory_equal(got.data, expected.data, expected.size_bytes);
}

/* One file of many: little more than its own bytes is read. */
static void
one_file_reads_little_else(void **state)
{
    (void)state;
    fx_err err = {0};
    char url[URL_BYTES];
    char fault_url[2 * URL_BYTES];
    char target[URL_BYTES];
    fx_snapshot snapshot;
    fx_restore_result result;
    new_url(url);
    (void)snprintf(fault_url, sizeof fault_url, "fault:lose:1000000:%s", url);
    (void)snprintf(target, sizeof target, "%s/one", folder);
    assert_int_equal(fx_repository_create(url, key, &err), FX_OK);
    FX_AUTO(fx_repository) repository = NULL;
    FX_AUTO(fx_writer) writer = NULL;
    FX_AUTO(fx_tree_builder) builder = fx_tree_builder_new();
    FX_BUF_AUTO large;
    random_bytes(1, LARGE_BYTES, &large);
    assert_int_equal(fx_repository_open(url, key, &repository, &err), FX_OK);
    assert_int_equal(fx_writer_open(repository, &writer, &err), FX_OK);
    for (int i = 0; i < OTHERS; i++) {
        char path[32];
        FX_BUF_AUTO other;
        random_bytes(100 + (uint64_t)i, OTHER_BYTES, &other);
        (void)snprintf(path, sizeof path, "folder%d/file", i);
        add_file(writer, builder, path, fx_buf_bytes(&other));
        if (i == OTHERS / 2) {
            add_file(writer, builder, "large", fx_buf_bytes(&large));
        }
    }
    commit(writer, builder, &snapshot);

    const fx_restore_options options = {.target = target, .path = "large"};
    assert_int_equal(restore_to(fault_url, &snapshot, &options, &result, &err), FX_OK);
    assert_int_equal(result.done_bytes, LARGE_BYTES);
    assert_true(fx_store_fault_got_bytes() >= LARGE_BYTES);
    assert_true(fx_store_fault_got_bytes() < (uint64_t)LARGE_BYTES * 13 / 10);
    (void)snprintf(target, sizeof target, "%s/one/large", folder);
    check_file(target, fx_buf_bytes(&large));
}

/* A chunk of many files is read once for all of them. */
static void
shared_content_is_read_once(void **state)
{
    (void)state;
    fx_err err = {0};
    char url[URL_BYTES];
    char fault_url[2 * URL_BYTES];
    char target[URL_BYTES];
    fx_snapshot snapshot;
    fx_restore_result result;
    new_url(url);
    (void)snprintf(fault_url, sizeof fault_url, "fault:lose:1000000:%s", url);
    (void)snprintf(target, sizeof target, "%s/shared", folder);
    assert_int_equal(fx_repository_create(url, key, &err), FX_OK);
    FX_AUTO(fx_repository) repository = NULL;
    FX_AUTO(fx_writer) writer = NULL;
    FX_AUTO(fx_tree_builder) builder = fx_tree_builder_new();
    FX_BUF_AUTO shared;
    random_bytes(7, OTHER_BYTES, &shared);
    assert_int_equal(fx_repository_open(url, key, &repository, &err), FX_OK);
    assert_int_equal(fx_writer_open(repository, &writer, &err), FX_OK);
    for (int i = 0; i < SHARED; i++) {
        char path[32];
        (void)snprintf(path, sizeof path, "folder%d/file%d", i % 3, i);
        add_file(writer, builder, path, fx_buf_bytes(&shared));
    }
    commit(writer, builder, &snapshot);

    const fx_restore_options options = {.target = target};
    assert_int_equal(restore_to(fault_url, &snapshot, &options, &result, &err), FX_OK);
    assert_int_equal(result.file_count, SHARED);
    assert_true(fx_store_fault_got_bytes() < (uint64_t)OTHER_BYTES * 13 / 10);
    for (int i = 0; i < SHARED; i++) {
        (void)snprintf(target, sizeof target, "%s/shared/folder%d/file%d", folder, i % 3, i);
        check_file(target, fx_buf_bytes(&shared));
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_file_reads_little_else),
        cmocka_unit_test(shared_content_is_read_once),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
