/* Files that are not, when they are read, what they were when they were looked at. */
#include "agent/source/files/walk.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent/source/files/read.h"
#include "common/repository/internal.h"
#include "tests/support/folder.h"

enum {
    PATH_BYTES = 128,
    FILE_BYTES = 3 * 1024 * 1024,
    HANG_S = 20, /* the alarm ends a test that waits for a writer of a FIFO */
};

static char folder[] = "/tmp/fx_read_test_XXXXXX";
static int folder_fd = -1;
static char url[PATH_BYTES];
static fx_repository_key *key;

static int
make_folder(void **state)
{
    (void)state;
    fx_err err = {0};
    char key_path[PATH_BYTES];
    if (mkdtemp(folder) == NULL) {
        return -1;
    }
    (void)alarm(HANG_S);
    folder_fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    (void)snprintf(url, sizeof url, "posix:%s/repo", folder);
    (void)snprintf(key_path, sizeof key_path, "%s/key", folder);
    return folder_fd >= 0 && fx_repository_key_create(key_path, &err) == FX_OK &&
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
    (void)close(folder_fd);
    return test_folder_remove(folder);
}

/* `fill` bytes that do not compress into nothing. */
static void
write_file(int at_fd, const char *name, size_t size_bytes)
{
    int fd = openat(at_fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    assert_true(fd >= 0);
    for (size_t done = 0; done < size_bytes;) {
        char step[65536];
        size_t step_bytes = size_bytes - done < sizeof step ? size_bytes - done : sizeof step;
        memset(step, 'a' + (int)(done / sizeof step % 26), sizeof step);
        assert_int_equal(write(fd, step, step_bytes), (ssize_t)step_bytes);
        done += step_bytes;
    }
    assert_int_equal(close(fd), 0);
}

static void
look_at(const char *name, struct stat *out_seen)
{
    assert_int_equal(fstatat(folder_fd, name, out_seen, AT_SYMLINK_NOFOLLOW), 0);
}

/* ---- replaced between the look and the opening
 * ----------------------------------------------------- */

static void
expect_refused(const char *name, const struct stat *seen, fx_read_outcome outcome)
{
    fx_reading reading;
    fx_read_result result = fx_read_open(folder_fd, name, seen, &reading);
    assert_int_equal(result.outcome, outcome);
    if (outcome == FX_READ_UNREADABLE) {
        assert_string_equal(result.reason.message, "could not read: it was replaced meanwhile");
    }
    assert_true(
        unlinkat(folder_fd, name, 0) == 0 || unlinkat(folder_fd, name, AT_REMOVEDIR) == 0 ||
        outcome == FX_READ_GONE);
}

/* A file is looked at, and is gone. */
static void
see(const char *name, struct stat *out_seen)
{
    write_file(folder_fd, name, 1000);
    look_at(name, out_seen);
    assert_int_equal(unlinkat(folder_fd, name, 0), 0);
}

static void
a_pipe_in_a_files_place_is_not_waited_for(void **state)
{
    (void)state;
    struct stat seen;
    see("file", &seen);
    assert_int_equal(mkfifoat(folder_fd, "file", 0600), 0);
    expect_refused("file", &seen, FX_READ_UNREADABLE);
}

static void
a_link_in_a_files_place_is_not_followed(void **state)
{
    (void)state;
    struct stat seen;
    write_file(folder_fd, "secret", 1000);
    see("file", &seen);
    assert_int_equal(symlinkat("secret", folder_fd, "file"), 0);
    expect_refused("file", &seen, FX_READ_UNREADABLE);
    /* Not even to the very file that was looked at. */
    write_file(folder_fd, "file", 1000);
    look_at("file", &seen);
    assert_int_equal(renameat(folder_fd, "file", folder_fd, "aside"), 0);
    assert_int_equal(symlinkat("aside", folder_fd, "file"), 0);
    expect_refused("file", &seen, FX_READ_UNREADABLE);
}

static void
a_folder_a_socket_a_device_or_another_file_is_refused(void **state)
{
    (void)state;
    struct stat seen;
    see("file", &seen);
    assert_int_equal(mkdirat(folder_fd, "file", 0700), 0);
    expect_refused("file", &seen, FX_READ_UNREADABLE);

    struct sockaddr_un address = {.sun_family = AF_UNIX};
    (void)snprintf(address.sun_path, sizeof address.sun_path, "%s/file", folder);
    int end = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    see("file", &seen);
    assert_true(end >= 0);
    assert_int_equal(bind(end, (const struct sockaddr *)&address, sizeof address), 0);
    expect_refused("file", &seen, FX_READ_UNREADABLE);
    assert_int_equal(close(end), 0);

    write_file(folder_fd, "file", 1000);
    write_file(folder_fd, "other", 1000);
    look_at("file", &seen);
    assert_int_equal(renameat(folder_fd, "other", folder_fd, "file"), 0);
    expect_refused("file", &seen, FX_READ_UNREADABLE);

    see("file", &seen);
    if (mknodat(folder_fd, "file", S_IFCHR | 0600, makedev(1, 5)) == 0) { /* only root may */
        expect_refused("file", &seen, FX_READ_UNREADABLE);
    }
}

static void
a_file_that_is_gone_is_told_from_one_that_cannot_be_read(void **state)
{
    (void)state;
    struct stat seen;
    see("file", &seen);
    expect_refused("file", &seen, FX_READ_GONE);
}

/* ---- changed while it is read
 * ---------------------------------------------------------------------- */

static off_t becomes_bytes; /* after the first step; -1: it stays */

static void
change_it(void *ctx, uint64_t read_bytes)
{
    (void)ctx;
    (void)read_bytes;
    if (becomes_bytes >= 0) {
        int fd = openat(folder_fd, "changing", O_WRONLY | O_CLOEXEC);
        assert_true(fd >= 0);
        assert_int_equal(ftruncate(fd, becomes_bytes), 0);
        assert_int_equal(close(fd), 0);
        becomes_bytes = -1;
    }
}

/* Reads a file of FILE_BYTES that gets `to_bytes` after its first MiB; gives the size saved. */
static uint64_t
read_while_it_becomes(off_t to_bytes, fx_read_outcome outcome)
{
    fx_err err = {0};
    struct stat seen;
    fx_node node = {0};
    fx_reading reading;
    fx_read_result result;
    FX_AUTO(fx_repository) repository = NULL;
    FX_AUTO(fx_writer) writer = NULL;
    write_file(folder_fd, "changing", FILE_BYTES);
    look_at("changing", &seen);
    assert_int_equal(fx_repository_open(url, key, &repository, &err), FX_OK);
    assert_int_equal(fx_writer_open(repository, &writer, &err), FX_OK);
    fx_reader reader = {
        .content = fx_content_new(writer), .room = malloc(FX_READER_ROOM_BYTES), .next = NULL};
    assert_int_equal(fx_read_open(folder_fd, "changing", &seen, &reading).outcome, FX_READ_DONE);
    const fx_read_request request = {
        .reading = &reading,
        .to = reading.before.st_size,
        .reader = &reader,
        .progress = change_it,
    };
    becomes_bytes = to_bytes;
    assert_int_equal(fx_read_part(&request, &node, &result, &err), FX_OK);
    fx_read_outcome closed = fx_read_close(&reading);
    assert_int_equal(closed > result.outcome ? closed : result.outcome, outcome);
    uint64_t sum_bytes = 0;
    for (size_t i = 0; i < node.extent_count; i++) {
        sum_bytes += node.extents[i].size_bytes;
    }
    assert_int_equal(sum_bytes, node.size_bytes);
    uint64_t size_bytes = node.size_bytes;
    fx_node_deinit(&node);
    fx_content_free(reader.content);
    free(reader.room);
    return size_bytes;
}

static void
a_file_that_grows_or_shrinks_is_saved_as_it_was_read(void **state)
{
    (void)state;
    assert_int_equal(read_while_it_becomes(-1, FX_READ_DONE), FILE_BYTES);
    assert_int_equal(read_while_it_becomes(2L * FILE_BYTES, FX_READ_CHANGED), FILE_BYTES);
    assert_int_equal(read_while_it_becomes(1536L * 1024, FX_READ_CHANGED), 1536 * 1024);
    assert_int_equal(read_while_it_becomes(0, FX_READ_CHANGED), 1024 * 1024);
}

/* ---- changed between the list and the look
 * --------------------------------------------------------- */

typedef struct seen_warnings {
    int data_fd;
    bool is_changed;
    char paths[16][PATH_BYTES];
    size_t count;
} seen_warnings;

static void
note_warning(void *ctx, const char *path, const char *reason)
{
    seen_warnings *seen = ctx;
    (void)reason;
    assert_true(seen->count < 16);
    (void)snprintf(seen->paths[seen->count++], PATH_BYTES, "%s", path);
}

static bool
was_warned(const seen_warnings *seen, const char *name)
{
    char path[PATH_BYTES];
    (void)snprintf(path, sizeof path, "%s/data/%s", folder, name);
    for (size_t i = 0; i < seen->count; i++) {
        if (strcmp(seen->paths[i], path) == 0) {
            return true;
        }
    }
    return false;
}

/*
 * The first file is a link's second name, which is read on the walking thread: what comes behind it
 * was listed and is not looked at yet.
 */
static void
change_the_rest(void *ctx, const fx_progress *progress)
{
    seen_warnings *seen = ctx;
    int fd = seen->data_fd;
    if (seen->is_changed || progress->done_bytes == 0) {
        return;
    }
    seen->is_changed = true;
    assert_int_equal(unlinkat(fd, "b-file-goes", 0), 0);
    assert_int_equal(unlinkat(fd, "c-folder-goes", AT_REMOVEDIR), 0);
    assert_int_equal(unlinkat(fd, "d-becomes-pipe", 0), 0);
    assert_int_equal(mkfifoat(fd, "d-becomes-pipe", 0600), 0);
    assert_int_equal(unlinkat(fd, "e-becomes-link", 0), 0);
    assert_int_equal(symlinkat("/etc/passwd", fd, "e-becomes-link"), 0);
    assert_int_equal(unlinkat(fd, "f-becomes-folder", 0), 0);
    assert_int_equal(mkdirat(fd, "f-becomes-folder", 0700), 0);
    assert_int_equal(renameat(fd, "g-renamed", fd, "a-new-name"), 0);
}

static void
make_data(int fd)
{
    write_file(fd, "a-first", 1000);
    assert_int_equal(linkat(fd, "a-first", fd, "a-second", 0), 0);
    write_file(fd, "b-file-goes", 1000);
    assert_int_equal(mkdirat(fd, "c-folder-goes", 0700), 0);
    write_file(fd, "d-becomes-pipe", 1000);
    write_file(fd, "e-becomes-link", 1000);
    write_file(fd, "f-becomes-folder", 1000);
    write_file(fd, "g-renamed", 1000);
    write_file(fd, "h-stays", 1000);
}

static const fx_node *
find(const fx_tree *tree, const char *name)
{
    for (size_t i = 0; i < tree->node_count; i++) {
        if (strcmp(tree->nodes[i].name, name) == 0) {
            return &tree->nodes[i];
        }
    }
    return NULL;
}

/* Goes down to the folder data. */
static void
read_data_tree(const fx_chunks *chunks, const fx_chunk_id *root, fx_tree **out_tree)
{
    fx_err err = {0};
    char path[PATH_BYTES];
    fx_tree *tree = NULL;
    char *rest = NULL;
    (void)snprintf(path, sizeof path, "%s/data", folder);
    assert_int_equal(fx_tree_read(chunks, root, &tree, &err), FX_OK);
    for (const char *name = strtok_r(path, "/", &rest); name != NULL;
         name = strtok_r(NULL, "/", &rest)) {
        const fx_node *node = find(tree, name);
        assert_non_null(node);
        fx_tree *below = NULL;
        assert_int_equal(fx_tree_read(chunks, &node->subtree, &below, &err), FX_OK);
        fx_tree_free(tree);
        tree = below;
    }
    *out_tree = tree;
}

static fx_node_kind
kind_of(const fx_tree *tree, const char *name)
{
    const fx_node *node = find(tree, name);
    return node == NULL ? (fx_node_kind)0 : node->kind;
}

static void
what_changed_since_it_was_listed_is_saved_as_it_is_or_told(void **state)
{
    (void)state;
    fx_err err = {0};
    char path[PATH_BYTES];
    char *paths[] = {path};
    seen_warnings seen = {0};
    fx_walk_result result = {0};
    FX_AUTO(fx_tree) tree = NULL;
    FX_AUTO(fx_repository) repository = NULL;
    FX_AUTO(fx_writer) writer = NULL;
    (void)snprintf(path, sizeof path, "%s/data", folder);
    assert_int_equal(mkdir(path, 0700), 0);
    seen.data_fd = openat(folder_fd, "data", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    make_data(seen.data_fd);
    const fx_events events = {.ctx = &seen, .progress = change_the_rest, .warning = note_warning};
    assert_int_equal(fx_repository_open(url, key, &repository, &err), FX_OK);
    assert_int_equal(fx_writer_open(repository, &writer, &err), FX_OK);
    const fx_walk_request request = {
        .writer = writer,
        .events = &events,
        .paths = paths,
        .path_count = 1,
        .repository = repository,
    };
    assert_int_equal(fx_walk(&request, &result, &err), FX_OK);
    fx_snapshot snapshot = {
        .host = fx_name_of("db1"), .source = "files:test", .kind = "files", .note = "{}"};
    assert_int_equal(fx_writer_commit(writer, &result.root, &snapshot, &err), FX_OK);

    assert_true(was_warned(&seen, "b-file-goes"));
    assert_true(was_warned(&seen, "c-folder-goes"));
    assert_true(was_warned(&seen, "g-renamed"));
    assert_int_equal(seen.count, 3);
    assert_int_equal(result.warning_count, 3);
    FX_AUTO(fx_repository) again = NULL;
    assert_int_equal(fx_repository_open(url, key, &again, &err), FX_OK);
    const fx_chunks chunks = fx_repository_own_chunks(again);
    read_data_tree(&chunks, &result.root, &tree);
    assert_int_equal(tree->node_count, 6);
    assert_int_equal(kind_of(tree, "a-first"), FX_NODE_FILE);
    assert_int_equal(kind_of(tree, "a-second"), FX_NODE_FILE);
    assert_int_equal(kind_of(tree, "d-becomes-pipe"), FX_NODE_FIFO);
    assert_int_equal(kind_of(tree, "e-becomes-link"), FX_NODE_SYMLINK);
    assert_int_equal(kind_of(tree, "f-becomes-folder"), FX_NODE_FOLDER);
    assert_int_equal(kind_of(tree, "h-stays"), FX_NODE_FILE);
    (void)close(seen.data_fd);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_pipe_in_a_files_place_is_not_waited_for),
        cmocka_unit_test(a_link_in_a_files_place_is_not_followed),
        cmocka_unit_test(a_folder_a_socket_a_device_or_another_file_is_refused),
        cmocka_unit_test(a_file_that_is_gone_is_told_from_one_that_cannot_be_read),
        cmocka_unit_test(a_file_that_grows_or_shrinks_is_saved_as_it_was_read),
        cmocka_unit_test(what_changed_since_it_was_listed_is_saved_as_it_is_or_told),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
