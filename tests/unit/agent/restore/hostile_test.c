/* Trees that no source of ours would save, and a folder in which names change hands. */
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

#include "agent/restore/apply.h"
#include "agent/restore/staging.h"
#include "common/repository/tree.h"
#include "proto/tree.pb-c.h"
#include "tests/support/folder.h"

enum { PATH_BYTES = 128, TREE_BYTES = 4096, NODES_MAX = 3 };

static char folder[] = "/tmp/fx_hostile_test_XXXXXX";
static char url[PATH_BYTES];
static char victim[PATH_BYTES];
static fx_repository_key *key;
static int serial;

static int
make_folder(void **state)
{
    (void)state;
    fx_err err = {0};
    char key_path[PATH_BYTES];
    if (mkdtemp(folder) == NULL) {
        return -1;
    }
    (void)snprintf(url, sizeof url, "posix:%s/repo", folder);
    (void)snprintf(victim, sizeof victim, "%s/victim", folder);
    (void)snprintf(key_path, sizeof key_path, "%s/key", folder);
    return mkdir(victim, 0751) == 0 && fx_repository_key_create(key_path, &err) == FX_OK &&
                   fx_repository_key_load(key_path, &key, &err) == FX_OK &&
                   fx_repository_create(url, key, &err) == FX_OK
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

/* ---- trees
 * ----------------------------------------------------------------------------------------- */

typedef struct hostile_node {
    const char *name;
    size_t name_bytes; /* 0: all of it */
    Fortress__Tree__Kind kind;
} hostile_node;

static ProtobufCBinaryData
bytes_of(const char *text, size_t size_bytes)
{
    uint8_t *data = NULL;
    memcpy(&data, &text, sizeof data); /* protobuf-c does not say const; packing writes nothing */
    return (ProtobufCBinaryData){.len = size_bytes, .data = data};
}

static void
store_tree(fx_writer *writer, const Fortress__Tree__Tree *tree, fx_chunk_id *out_id)
{
    fx_err err = {0};
    uint8_t packed[TREE_BYTES];
    assert_true(fortress__tree__tree__get_packed_size(tree) <= sizeof packed);
    size_t size_bytes = fortress__tree__tree__pack(tree, packed);
    fx_bytes bytes = {packed, size_bytes};
    assert_int_equal(fx_writer_add_chunk(writer, FX_CHUNK_TREE, bytes, out_id, &err), FX_OK);
}

/* Links lead to the victim; files are empty; folders hold what `subtree` has. */
static void
store_nodes(
    fx_writer *writer,
    const hostile_node *nodes,
    size_t count,
    const fx_chunk_id *subtree,
    fx_chunk_id *out_id)
{
    Fortress__Tree__Node packed[NODES_MAX];
    Fortress__Tree__Node *list[NODES_MAX];
    Fortress__Tree__Tree tree;
    fortress__tree__tree__init(&tree);
    tree.version = 1;
    tree.n_nodes = count;
    tree.nodes = list;
    for (size_t i = 0; i < count; i++) {
        const hostile_node *node = &nodes[i];
        size_t name_bytes = node->name_bytes > 0 ? node->name_bytes : strlen(node->name);
        list[i] = &packed[i];
        fortress__tree__node__init(list[i]);
        list[i]->kind = node->kind;
        list[i]->name = bytes_of(node->name, name_bytes);
        list[i]->mode = 0777;
        list[i]->uid = getuid();
        list[i]->gid = getgid();
        if (node->kind == FORTRESS__TREE__KIND__KIND_SYMLINK) {
            list[i]->link_target = bytes_of(victim, strlen(victim));
        } else if (node->kind == FORTRESS__TREE__KIND__KIND_FOLDER) {
            list[i]->subtree = bytes_of((const char *)subtree->bytes, sizeof subtree->bytes);
        }
    }
    store_tree(writer, &tree, out_id);
}

/* A list in parts, each with one of the nodes. */
static void
store_parts(
    fx_writer *writer,
    const hostile_node *nodes,
    size_t count,
    const fx_chunk_id *subtree,
    fx_chunk_id *out_id)
{
    fx_chunk_id ids[NODES_MAX];
    ProtobufCBinaryData parts[NODES_MAX];
    Fortress__Tree__Tree tree;
    fortress__tree__tree__init(&tree);
    tree.version = 1;
    tree.n_parts = count;
    tree.parts = parts;
    for (size_t i = 0; i < count; i++) {
        store_nodes(writer, &nodes[i], 1, subtree, &ids[i]);
        parts[i] = bytes_of((const char *)ids[i].bytes, sizeof ids[i].bytes);
    }
    store_tree(writer, &tree, out_id);
}

typedef void (*store_function)(
    fx_writer *writer,
    const hostile_node *nodes,
    size_t count,
    const fx_chunk_id *subtree,
    fx_chunk_id *out_id);

/* Commits a snapshot with the nodes in its root, or in a folder in it. */
static void
commit(
    store_function store,
    const hostile_node *nodes,
    size_t count,
    bool is_below,
    fx_snapshot *out_snapshot)
{
    fx_err err = {0};
    const hostile_node planted = {"planted", 0, FORTRESS__TREE__KIND__KIND_FILE};
    const hostile_node around = {"around", 0, FORTRESS__TREE__KIND__KIND_FOLDER};
    fx_chunk_id below;
    fx_chunk_id root;
    FX_AUTO(fx_repository) repository = NULL;
    FX_AUTO(fx_writer) writer = NULL;
    assert_int_equal(fx_repository_open(url, key, &repository, &err), FX_OK);
    assert_int_equal(fx_writer_open(repository, &writer, &err), FX_OK);
    store_nodes(writer, &planted, 1, NULL, &below);
    store(writer, nodes, count, &below, &root);
    if (is_below) {
        below = root;
        store_nodes(writer, &around, 1, &below, &root);
    }
    *out_snapshot = (fx_snapshot){
        .host = fx_name_of("db1"), .source = "files:test", .kind = "files", .note = "{}"};
    assert_int_equal(fx_writer_commit(writer, &root, out_snapshot, &err), FX_OK);
}

static fx_code
restore_to(const fx_snapshot *snapshot, const char *target, bool in_place, fx_err *err)
{
    fx_restore_result result;
    const fx_restore_options options = {.target = target, .in_place = in_place};
    FX_AUTO(fx_repository) repository = NULL;
    assert_int_equal(fx_repository_open(url, key, &repository, err), FX_OK);
    return fx_restore(repository, snapshot, &options, NULL, &result, err);
}

static void
expect_victim_untouched(void)
{
    struct stat info;
    assert_int_equal(stat(victim, &info), 0);
    assert_int_equal(info.st_mode & 07777, 0751);
    assert_int_equal(rmdir(victim), 0); /* it is empty */
    assert_int_equal(mkdir(victim, 0751), 0);
}

static void
expect_refused(store_function store, const hostile_node *nodes, size_t count)
{
    for (int way = 0; way < 4; way++) {
        bool in_place = way % 2 == 1;
        fx_err err = {0};
        fx_snapshot snapshot;
        char around[PATH_BYTES];
        char target[2 * PATH_BYTES];
        commit(store, nodes, count, way >= 2, &snapshot);
        (void)snprintf(around, sizeof around, "%s/%d", folder, serial++);
        (void)snprintf(target, sizeof target, "%s/target", around);
        assert_int_equal(mkdir(around, 0700), 0);
        assert_true(!in_place || mkdir(target, 0700) == 0);
        assert_int_equal(restore_to(&snapshot, target, in_place, &err), FX_ERR_DAMAGED);
        expect_victim_untouched();
        (void)snprintf(target, sizeof target, "%s/target/around", around);
        (void)rmdir(target);
        (void)snprintf(target, sizeof target, "%s/target", around);
        assert_true(!in_place || rmdir(target) == 0); /* nothing was made in it */
        assert_int_equal(rmdir(around), 0);           /* nor beside it */
    }
}

static void
names_that_are_no_names_are_refused(void **state)
{
    (void)state;
    const hostile_node names[] = {
        {"..", 0, FORTRESS__TREE__KIND__KIND_FOLDER},
        {".", 0, FORTRESS__TREE__KIND__KIND_FOLDER},
        {"../planted", 0, FORTRESS__TREE__KIND__KIND_FILE},
        {"a/b", 0, FORTRESS__TREE__KIND__KIND_FILE},
        {"/", 0, FORTRESS__TREE__KIND__KIND_FOLDER},
        {"/tmp/fx_hostile_test_planted", 0, FORTRESS__TREE__KIND__KIND_FILE},
        {"", 0, FORTRESS__TREE__KIND__KIND_FILE},
        {"a\0b", 3, FORTRESS__TREE__KIND__KIND_FILE},
        {"a\0", 2, FORTRESS__TREE__KIND__KIND_FILE},
    };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        expect_refused(store_nodes, &names[i], 1);
    }
    assert_int_not_equal(access("/tmp/fx_hostile_test_planted", F_OK), 0);
}

/* A link, and then a folder of its name, would have what is in the folder made behind the link. */
static void
a_name_that_is_there_twice_is_refused(void **state)
{
    (void)state;
    const hostile_node twice[] = {
        {"sub", 0, FORTRESS__TREE__KIND__KIND_SYMLINK},
        {"sub", 0, FORTRESS__TREE__KIND__KIND_FOLDER},
    };
    const hostile_node not_beside[] = {
        {"sub", 0, FORTRESS__TREE__KIND__KIND_SYMLINK},
        {"other", 0, FORTRESS__TREE__KIND__KIND_FILE},
        {"sub", 0, FORTRESS__TREE__KIND__KIND_FOLDER},
    };
    expect_refused(store_nodes, twice, 2);
    expect_refused(store_nodes, not_beside, 3);
    expect_refused(store_parts, twice, 2);
    expect_refused(store_parts, not_beside, 3);
}

/* What is harmless comes back: the same way of making it is no refusal in itself. */
static void
a_tree_that_is_well_made_comes_back(void **state)
{
    (void)state;
    fx_err err = {0};
    fx_snapshot snapshot;
    char target[PATH_BYTES];
    char path[2 * PATH_BYTES];
    struct stat info;
    const hostile_node nodes[] = {
        {"link", 0, FORTRESS__TREE__KIND__KIND_SYMLINK},
        {"sub", 0, FORTRESS__TREE__KIND__KIND_FOLDER},
    };
    commit(store_parts, nodes, 2, false, &snapshot);
    (void)snprintf(target, sizeof target, "%s/good", folder);
    assert_int_equal(restore_to(&snapshot, target, false, &err), FX_OK);
    assert_int_equal(restore_to(&snapshot, target, true, &err), FX_OK);
    (void)snprintf(path, sizeof path, "%s/sub/planted", target);
    assert_int_equal(lstat(path, &info), 0);
    expect_victim_untouched();
}

/* ---- names that change hands
 * ----------------------------------------------------------------------- */

static void
what_took_the_place_of_a_made_entry_is_left_alone(void **state)
{
    (void)state;
    uint32_t warning_count = 0;
    struct stat info;
    FX_AUTO(fx_apply) apply = fx_apply_new(true, NULL, &warning_count);
    const fx_node pipe_node = {
        .kind = FX_NODE_FIFO,
        .name = (char[]){"pipe"},
        .mode = 0777,
        .uid = getuid(),
        .gid = getgid(),
        .mtime_ns = 1000000000};
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(mkfifoat(fd, "pipe", 0600), 0);
    fx_apply_named(apply, fd, &pipe_node, "pipe");
    assert_int_equal(fstatat(fd, "pipe", &info, AT_SYMLINK_NOFOLLOW), 0);
    assert_int_equal(info.st_mode & 07777, 0777);
    assert_int_equal(info.st_mtim.tv_sec, 1);
    assert_int_equal(warning_count, 0);

    assert_int_equal(unlinkat(fd, "pipe", 0), 0);
    assert_int_equal(symlinkat(victim, fd, "pipe"), 0);
    fx_apply_named(apply, fd, &pipe_node, "pipe");
    assert_int_equal(warning_count, 1);
    fx_staging_unlock(fd, "pipe", 0700);
    expect_victim_untouched();

    int file = openat(fd, "file", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(file >= 0);
    assert_int_equal(unlinkat(fd, "pipe", 0), 0);
    assert_int_equal(linkat(fd, "file", fd, "pipe", 0), 0);
    fx_apply_named(apply, fd, &pipe_node, "pipe");
    assert_int_equal(warning_count, 2);
    assert_int_equal(fstat(file, &info), 0);
    assert_int_equal(info.st_mode & 07777, 0600);
    (void)close(file);
    (void)close(fd);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_that_are_no_names_are_refused),
        cmocka_unit_test(a_name_that_is_there_twice_is_refused),
        cmocka_unit_test(a_tree_that_is_well_made_comes_back),
        cmocka_unit_test(what_took_the_place_of_a_made_entry_is_left_alone),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
