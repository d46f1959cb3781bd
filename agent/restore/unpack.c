#include "agent/restore/unpack.h"

#include "agent/restore/joints.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { DEPTH_MAX = 600, PATH_MAX_BYTES = 65536, BLOCK_BYTES = 4096, NAME_ROOM_BYTES = 4097 };

/* A folder that is being written. Its node belongs to the tree of the frame around it. */
typedef struct frame {
    int fd;
    const fx_node *node; /* NULL for the root */
    fx_tree *tree;
    size_t next;
    size_t path_bytes;
} frame;

typedef struct unpacking {
    const fx_unpack_request *request;
    fx_joints *joints;
    fx_buf chunk;
    char path[PATH_MAX_BYTES]; /* of the entry at hand, relative to the root */
    frame frames[DEPTH_MAX];
    size_t depth;
} unpacking;

static fx_code
fail_errno(const unpacking *work, int sys_errno, const char *what, fx_err *err)
{
    return fx_fail_errno(err, sys_errno, "could not %s \"%.150s\"", what, work->path);
}

/* ---- content
 * --------------------------------------------------------------------------------------- */

static fx_code
write_at(const unpacking *work, int fd, fx_bytes bytes, uint64_t at, fx_err *err)
{
    const unsigned char *data = bytes.data;
    size_t done_bytes = 0;
    while (done_bytes < bytes.size_bytes) {
        ssize_t put_bytes =
            pwrite(fd, data + done_bytes, bytes.size_bytes - done_bytes, (off_t)(at + done_bytes));
        if (put_bytes < 0 && errno != EINTR) {
            return fail_errno(work, errno, "write", err);
        }
        done_bytes += put_bytes < 0 ? 0 : (size_t)put_bytes;
    }
    return FX_OK;
}

static size_t
block_at(uint64_t at, size_t left_bytes)
{
    size_t room_bytes = (size_t)(BLOCK_BYTES - at % BLOCK_BYTES);
    return left_bytes < room_bytes ? left_bytes : room_bytes;
}

static bool
is_zero_block(const unsigned char *data, size_t size_bytes)
{
    static const unsigned char zeros[BLOCK_BYTES];
    return size_bytes == BLOCK_BYTES && memcmp(data, zeros, size_bytes) == 0;
}

/* Blocks of zeros stay holes, so that a sparse file never takes more room than it did. */
static fx_code
write_sparse(const unpacking *work, int fd, fx_bytes bytes, uint64_t at, fx_err *err)
{
    const unsigned char *data = bytes.data;
    size_t done_bytes = 0;
    while (done_bytes < bytes.size_bytes) {
        size_t run_bytes = 0;
        size_t left_bytes = bytes.size_bytes - done_bytes;
        size_t step_bytes = block_at(at + done_bytes, left_bytes);
        while (step_bytes > 0 && !is_zero_block(data + done_bytes + run_bytes, step_bytes)) {
            run_bytes += step_bytes;
            step_bytes = block_at(at + done_bytes + run_bytes, left_bytes - run_bytes);
        }
        fx_bytes run = {data + done_bytes, run_bytes};
        if (write_at(work, fd, run, at + done_bytes, err) != FX_OK) {
            return err->code;
        }
        done_bytes += run_bytes + step_bytes;
    }
    return FX_OK;
}

static fx_code
write_extent(unpacking *work, int fd, const fx_extent *extent, uint64_t at, fx_err *err)
{
    if (extent->is_hole) {
        return FX_OK;
    }
    fx_buf_clear(&work->chunk);
    if (fx_repository_read_chunk(work->request->repository, &extent->chunk, &work->chunk, err) !=
        FX_OK) {
        return fx_err_wrap(err, "restoring \"%.200s\"", work->path);
    }
    if (work->chunk.size_bytes != extent->size_bytes) {
        return fx_fail(
            err,
            FX_ERR_DAMAGED,
            "could not restore \"%.150s\": a chunk has another size",
            work->path);
    }
    return write_sparse(work, fd, fx_buf_bytes(&work->chunk), at, err);
}

static fx_code
write_content(unpacking *work, int fd, const fx_node *node, fx_err *err)
{
    fx_restore_result *result = work->request->result;
    uint64_t at = 0;
    if (ftruncate(fd, (off_t)node->size_bytes) != 0) {
        return fail_errno(work, errno, "set the size of", err);
    }
    for (size_t index = 0; index < node->extent_count; index++) {
        if (fx_events_cancelled(work->request->events)) {
            return fx_fail(err, FX_ERR_CANCELLED, "could not finish the restore: it was cancelled");
        }
        const fx_extent *extent = &node->extents[index];
        if (write_extent(work, fd, extent, at, err) != FX_OK) {
            return err->code;
        }
        at += extent->size_bytes;
        result->done_bytes += extent->size_bytes;
        fx_progress progress = {
            .file_count = result->file_count,
            .done_bytes = result->done_bytes,
            .total_bytes = work->request->total_bytes,
        };
        fx_events_progress(work->request->events, &progress);
    }
    FX_ASSERT(at == node->size_bytes); /* fx_tree_read checked it */
    return FX_OK;
}

/* ---- one entry
 * ------------------------------------------------------------------------------------- */

static fx_code
make_file(unpacking *work, int folder_fd, const fx_node *node, fx_err *err)
{
    int fd =
        openat(folder_fd, node->name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0) {
        return fail_errno(work, errno, "create", err);
    }
    fx_code code = write_content(work, fd, node, err);
    if (code == FX_OK) {
        fx_apply_opened(work->request->apply, fd, node, work->path);
    }
    if (close(fd) != 0 && code == FX_OK) {
        code = fail_errno(work, errno, "write", err);
    }
    return code;
}

/* Opens the folder of a path that we restored, a name at a time and no link followed. */
static int
open_folder_of(int root_fd, const char *path)
{
    int fd = openat(root_fd, ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
    for (const char *slash = strchr(path, '/'); fd >= 0 && slash != NULL;
         slash = strchr(path, '/')) {
        char name[NAME_ROOM_BYTES];
        (void)snprintf(name, sizeof name, "%.*s", (int)(slash - path), path);
        int next = openat(fd, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        (void)close(fd);
        fd = next;
        path = slash + 1;
    }
    return fd;
}

/* false: a copy has to do; a warning says so. */
static bool
link_file(unpacking *work, int folder_fd, const fx_node *node, const char *first)
{
    const char *slash = strrchr(first, '/');
    int first_fd = open_folder_of(work->request->folder_fd, first);
    bool is_linked =
        first_fd >= 0 &&
        linkat(first_fd, slash == NULL ? first : slash + 1, folder_fd, node->name, 0) == 0;
    if (!is_linked) {
        fx_err reason = {0};
        fx_ignore(
            fx_fail_errno(&reason, errno, "could not link it to \"%.100s\", it is a copy", first),
            "it is a warning");
        fx_apply_warn(work->request->apply, work->path, reason.message);
    }
    if (first_fd >= 0) {
        (void)close(first_fd);
    }
    return is_linked;
}

static fx_code
make_file_or_link(unpacking *work, int folder_fd, const fx_node *node, fx_err *err)
{
    if (node->link_group == 0) {
        return make_file(work, folder_fd, node, err);
    }
    const char *first = fx_joints_find(work->joints, node);
    if (first != NULL && link_file(work, folder_fd, node, first)) {
        return FX_OK;
    }
    if (make_file(work, folder_fd, node, err) != FX_OK) {
        return err->code;
    }
    if (first == NULL) {
        fx_joints_add(work->joints, node, work->path);
    }
    return FX_OK;
}

static mode_t
type_of(fx_node_kind kind)
{
    switch (kind) {
    case FX_NODE_FIFO:
        return S_IFIFO;
    case FX_NODE_SOCKET:
        return S_IFSOCK;
    case FX_NODE_CHARACTER_DEVICE:
        return S_IFCHR;
    case FX_NODE_BLOCK_DEVICE:
        return S_IFBLK;
    case FX_NODE_FILE:
    case FX_NODE_FOLDER:
    case FX_NODE_SYMLINK:
        break;
    }
    fx_assert_fail("a kind made by mknod", __FILE__, __LINE__);
}

static fx_code
make_special(unpacking *work, int folder_fd, const fx_node *node, fx_err *err)
{
    if (mknodat(folder_fd, node->name, type_of(node->kind) | 0600, (dev_t)node->device) != 0) {
        fx_code code = fail_errno(work, errno, "create", err);
        if (code != FX_ERR_DENIED) {
            return code;
        }
        fx_apply_warn(work->request->apply, work->path, err->message);
        *err = (fx_err){0};
        return FX_OK;
    }
    fx_apply_named(work->request->apply, folder_fd, node, work->path);
    return FX_OK;
}

static fx_code
make_entry(unpacking *work, int folder_fd, const fx_node *node, fx_err *err)
{
    work->request->result->file_count++;
    switch (node->kind) {
    case FX_NODE_FILE:
        return make_file_or_link(work, folder_fd, node, err);
    case FX_NODE_SYMLINK:
        if (symlinkat(node->link_target, folder_fd, node->name) != 0) {
            return fail_errno(work, errno, "create", err);
        }
        fx_apply_named(work->request->apply, folder_fd, node, work->path);
        return FX_OK;
    case FX_NODE_FIFO:
    case FX_NODE_SOCKET:
    case FX_NODE_CHARACTER_DEVICE:
    case FX_NODE_BLOCK_DEVICE:
        return make_special(work, folder_fd, node, err);
    case FX_NODE_FOLDER:
        break;
    }
    fx_assert_fail("an entry that is no folder", __FILE__, __LINE__);
}

/* ---- folders
 * --------------------------------------------------------------------------------------- */

static fx_code
push_folder(unpacking *work, int fd, const fx_node *node, const fx_chunk_id *id, fx_err *err)
{
    frame folder = {.fd = fd, .node = node, .path_bytes = strlen(work->path)};
    if (fx_tree_read(work->request->repository, id, &folder.tree, err) != FX_OK) {
        return fx_err_wrap(err, "restoring \"%.200s\"", work->path[0] == '\0' ? "/" : work->path);
    }
    work->frames[work->depth++] = folder;
    return FX_OK;
}

static fx_code
enter_folder(unpacking *work, int around_fd, const fx_node *node, fx_err *err)
{
    if (work->depth == DEPTH_MAX) {
        return fx_fail(err, FX_ERR_LIMIT, "could not restore \"%.150s\": too deep", work->path);
    }
    if (mkdirat(around_fd, node->name, 0700) != 0) {
        return fail_errno(work, errno, "create", err);
    }
    int fd = openat(around_fd, node->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) {
        return fail_errno(work, errno, "open", err);
    }
    work->request->result->folder_count++;
    if (push_folder(work, fd, node, &node->subtree, err) != FX_OK) {
        (void)close(fd);
        return err->code;
    }
    return FX_OK;
}

static void
leave_folder(unpacking *work)
{
    frame *folder = &work->frames[--work->depth];
    if (folder->node != NULL) {
        work->path[folder->path_bytes] = '\0';
        fx_apply_opened(work->request->apply, folder->fd, folder->node, work->path);
        (void)close(folder->fd);
    }
    fx_tree_free(folder->tree);
}

static fx_code
set_path(unpacking *work, size_t around_bytes, const char *name, fx_err *err)
{
    size_t room_bytes = sizeof work->path - around_bytes;
    int length =
        snprintf(work->path + around_bytes, room_bytes, "%s%s", around_bytes == 0 ? "" : "/", name);
    if (length < 0 || (size_t)length >= room_bytes) {
        return fx_fail(
            err, FX_ERR_LIMIT, "could not restore \"%.100s…\": path too long", work->path);
    }
    return FX_OK;
}

static fx_code
unpack_all(unpacking *work, fx_err *err)
{
    while (work->depth > 0) {
        frame *folder = &work->frames[work->depth - 1];
        if (fx_events_cancelled(work->request->events)) {
            return fx_fail(err, FX_ERR_CANCELLED, "could not finish the restore: it was cancelled");
        }
        if (folder->next == folder->tree->node_count) {
            leave_folder(work);
            continue;
        }
        const fx_node *node = &folder->tree->nodes[folder->next++];
        if (set_path(work, folder->path_bytes, node->name, err) != FX_OK) {
            return err->code;
        }
        fx_code code = node->kind == FX_NODE_FOLDER ? enter_folder(work, folder->fd, node, err)
                                                    : make_entry(work, folder->fd, node, err);
        if (code != FX_OK) {
            return code;
        }
    }
    return FX_OK;
}

static unpacking *
unpacking_new(const fx_unpack_request *request)
{
    unpacking *work = calloc(1, sizeof *work);
    FX_ASSERT(work != NULL);
    work->request = request;
    work->joints = fx_joints_new();
    fx_buf_init(&work->chunk, FX_CHUNK_MAX_BYTES);
    return work;
}

static void
unpacking_free(unpacking *work)
{
    while (work->depth > 0) { /* only after a failure */
        frame *folder = &work->frames[--work->depth];
        if (folder->node != NULL) {
            (void)close(folder->fd);
        }
        fx_tree_free(folder->tree);
    }
    fx_joints_free(work->joints);
    fx_buf_free(&work->chunk);
    free(work);
}

fx_code
fx_unpack_tree(const fx_unpack_request *request, const fx_chunk_id *root, fx_err *err)
{
    unpacking *work = unpacking_new(request);
    fx_code code = push_folder(work, request->folder_fd, NULL, root, err);
    if (code == FX_OK) {
        code = unpack_all(work, err);
    }
    unpacking_free(work);
    return code;
}

fx_code
fx_unpack_node(const fx_unpack_request *request, const fx_node *node, fx_err *err)
{
    unpacking *work = unpacking_new(request);
    fx_code code = set_path(work, 0, node->name, err);
    if (code == FX_OK) {
        code = make_entry(work, request->folder_fd, node, err);
    }
    unpacking_free(work);
    return code;
}
