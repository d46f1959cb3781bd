/* Repositories in a scratch folder: small backups, restored and compared. Include once a program.
 */
#pragma once

#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/base/rng.h"
#include "common/repository/tree.h"
#include "common/store/fault/fault.h"
#include "tests/support/folder.h"

enum { URL_BYTES = 128, FILES = 3 };

static char folder[] = "/tmp/fx_engine_test_XXXXXX";
static char key_path[64];
static fx_repository_key *key;
static int serial;

static int
make_folder(void **state)
{
    (void)state;
    fx_store_allow_test_drivers();
    fx_err err = {0};
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

/* What file `index` of version `version` holds: the same in all versions but for the last file. */
static void
content_of(int index, int version, fx_buf *out)
{
    fx_err err = {0};
    fx_rng rng;
    fx_rng_init(&rng, (uint64_t)index * 100 + (uint64_t)(index == FILES - 1 ? version : 0) + 1);
    fx_buf_init(out, 1 << 20);
    for (size_t i = 0; i < 3000; i++) {
        uint64_t word = index == 0 ? 42 : fx_rng_next(&rng); /* the first one compresses well */
        assert_int_equal(fx_buf_append(out, &word, sizeof word, &err), FX_OK);
    }
}

/* A folder for copies of the index, or NULL. */
static const char *cache;

static fx_code
open_repository(const char *url, fx_repository **out_repository, fx_err *err)
{
    if (fx_repository_open(url, key, out_repository, err) != FX_OK) {
        return err->code;
    }
    return cache == NULL ? FX_OK : fx_repository_use_cache(*out_repository, cache, err);
}

/* Writes a tree of FILES files; gives the code of what failed first, after which nothing is
 * acknowledged. */
static fx_code
backup(const char *url, int version, fx_snapshot *out_snapshot, fx_err *err)
{
    FX_AUTO(fx_repository) repository = NULL;
    FX_AUTO(fx_writer) writer = NULL;
    fx_chunk_id root;
    fx_node nodes[FILES] = {0};
    fx_extent extents[FILES] = {0};
    char names[FILES][16];
    if (open_repository(url, &repository, err) != FX_OK ||
        fx_writer_open(repository, &writer, err) != FX_OK) {
        return err->code;
    }
    for (int i = 0; i < FILES; i++) {
        FX_BUF_AUTO content;
        content_of(i, version, &content);
        (void)snprintf(names[i], sizeof names[i], "file%d", i);
        extents[i].size_bytes = content.size_bytes;
        nodes[i] = (fx_node){
            .kind = FX_NODE_FILE,
            .name = names[i],
            .mode = 0644,
            .size_bytes = content.size_bytes,
            .extents = &extents[i],
            .extent_count = 1};
        if (fx_writer_add_chunk(
                writer, FX_CHUNK_DATA, fx_buf_bytes(&content), &extents[i].chunk, err) != FX_OK) {
            return err->code;
        }
    }
    fx_tree tree = {nodes, FILES};
    fx_snapshot snapshot = {
        .host = fx_name_of("db1"),
        .source = "files:test",
        .kind = "files",
        .note = "{}",
        .began = {.ns = 1000 + version},
        .ended = {.ns = 2000 + version},
        .file_count = FILES};
    if (fx_tree_write(writer, &tree, &root, err) != FX_OK ||
        fx_writer_commit(writer, &root, &snapshot, err) != FX_OK) {
        return err->code;
    }
    *out_snapshot = snapshot;
    return FX_OK;
}

/* Reads a snapshot whole. Never content that was not written: that fails the test. */
static fx_code
restore(const char *url, const char *id, int version, fx_err *err)
{
    FX_AUTO(fx_repository) repository = NULL;
    FX_AUTO(fx_tree) tree = NULL;
    fx_root root;
    if (fx_repository_open(url, key, &repository, err) != FX_OK ||
        fx_repository_snapshot_root(repository, id, &root, err) != FX_OK ||
        fx_tree_read(&root.chunks, &root.id, &tree, err) != FX_OK) {
        return err->code;
    }
    assert_int_equal(tree->node_count, FILES);
    for (int i = 0; i < FILES; i++) {
        FX_BUF_AUTO expected;
        FX_BUF_AUTO got;
        content_of(i, version, &expected);
        fx_buf_init(&got, FX_CHUNK_MAX_BYTES);
        if (fx_repository_read_chunk(&root.chunks, &tree->nodes[i].extents[0].chunk, &got, err) !=
            FX_OK) {
            return err->code;
        }
        assert_int_equal(got.size_bytes, expected.size_bytes);
        assert_memory_equal(got.data, expected.data, expected.size_bytes);
    }
    return FX_OK;
}

static fx_code
verify(const char *url, bool read_data, fx_verify_report *out_report, fx_err *err)
{
    FX_AUTO(fx_repository) repository = NULL;
    if (fx_repository_open(url, key, &repository, err) != FX_OK) {
        return err->code;
    }
    return fx_repository_verify(repository, read_data, NULL, NULL, out_report, err);
}

static char objects[256][256];
static size_t object_count;

static int
note_object(const char *path, const struct stat *info, int kind, struct FTW *place)
{
    (void)info;
    (void)place;
    if (kind == FTW_F && object_count < 256) {
        (void)snprintf(objects[object_count++], sizeof objects[0], "%s", path);
    }
    return 0;
}

static const char *
object_at(const char *url, const char *part)
{
    object_count = 0;
    /* NOLINTNEXTLINE(concurrency-mt-unsafe): one thread */
    assert_int_equal(nftw(url + strlen("posix:"), note_object, 16, FTW_PHYS), 0);
    for (size_t i = 0; i < object_count; i++) {
        if (strstr(objects[i], part) != NULL) {
            return objects[i];
        }
    }
    fail();
    return NULL;
}
