#include "agent/restore/unpack.h"

#include "agent/restore/joints.h"
#include "agent/restore/pending.h"
#include "agent/restore/sparse.h"
#include "agent/restore/staging.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    DEPTH_MAX = 600,
    PATH_MAX_BYTES = 65536,
    NAME_ROOM_BYTES = 4097,
    /* So many files and folders that wait for content are open at a time at most, twice: with those
     * on the way down to a folder they stay below the usual limit of 1,024. */
    OPEN_FILES_MAX = 64,
    OPEN_FOLDERS_MAX = 120,
};

/* A folder that is being walked. */
typedef struct frame {
    fx_pending_folder *folder;
    size_t next;
} frame;

typedef struct unpacking {
    const fx_unpack_request *request;
    fx_pending pending;
    fx_fetcher *fetcher;
    fx_joints *joints;
    fx_buf kept;         /* a chunk of a file that was there */
    size_t file_count;   /* since content was last asked for: of several chunks */
    size_t folder_count; /* likewise */
    frame frames[DEPTH_MAX];
    size_t depth;
} unpacking;

static fx_code
fail_entry(
    const fx_pending_folder *folder, const char *name, int sys_errno, const char *what, fx_err *err)
{
    char *path = fx_pending_folder_path(folder, name);
    fx_code code = fx_fail_errno(err, sys_errno, "could not %s \"%.150s\"", what, path);
    free(path);
    return code;
}

static void
apply_named(const unpacking *work, const fx_pending_folder *folder, const fx_node *node)
{
    char *path = fx_pending_folder_path(folder, node->name);
    fx_apply_named(work->request->apply, folder->fd, node, path);
    free(path);
}

static void
warn_entry(
    const unpacking *work, const fx_pending_folder *folder, const char *name, const char *reason)
{
    char *path = fx_pending_folder_path(folder, name);
    fx_apply_warn(work->request->apply, path, reason);
    free(path);
}

/* ---- what is there already
 * ------------------------------------------------------------------------- */

/* Removes what is no folder, so that something else can have the name. */
static fx_code
clear_name(const fx_pending_folder *folder, const char *name, fx_err *err)
{
    return unlinkat(folder->fd, name, 0) == 0 || errno == ENOENT
               ? FX_OK
               : fail_entry(folder, name, errno, "replace", err);
}

/* A file that is kept may be written to: it has no other name, which might lie elsewhere. */
static fx_code
open_kept(const unpacking *work, fx_pending_file *file, fx_err *err)
{
    const fx_pending_folder *folder = file->folder;
    const char *name = file->node->name;
    const int flags = O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
    struct stat info;
    int fd = openat(folder->fd, name, flags);
    if (fd < 0 && errno == EACCES && work->request->is_private) {
        fx_staging_unlock(folder->fd, name, 0600);
        fd = openat(folder->fd, name, flags);
    }
    if (fd < 0 && errno == ENOENT) {
        return FX_OK;
    }
    if (fd >= 0 && fstat(fd, &info) == 0 && S_ISREG(info.st_mode) && info.st_nlink == 1 &&
        file->node->link_group == 0) {
        file->fd = fd;
        file->is_kept = info.st_size > 0;
        return FX_OK;
    }
    if (fd >= 0) {
        (void)close(fd);
    }
    return clear_name(folder, name, err);
}

/* Whether the file has the chunk at that place already. */
static bool
has_chunk(unpacking *work, const fx_pending_file *file, const fx_extent *extent, uint64_t at)
{
    fx_err ignored = {0};
    unsigned char *room = NULL;
    fx_buf_clear(&work->kept);
    if (extent->size_bytes > FX_CHUNK_MAX_BYTES ||
        fx_buf_extend(&work->kept, (size_t)extent->size_bytes, &room, &ignored) != FX_OK) {
        return false;
    }
    size_t got_bytes = 0;
    while (got_bytes < extent->size_bytes) {
        size_t left_bytes = (size_t)extent->size_bytes - got_bytes;
        ssize_t got = pread(file->fd, room + got_bytes, left_bytes, (off_t)(at + got_bytes));
        if (got <= 0) {
            return false;
        }
        got_bytes += (size_t)got;
    }
    return fx_repository_is_chunk(
        &work->request->chunks, &extent->chunk, fx_buf_bytes(&work->kept));
}

/* Zeros where a file that was there may have something else. */
static fx_code
clear_range(const fx_pending_file *file, uint64_t at, uint64_t size_bytes, fx_err *err)
{
    static const unsigned char zeros[65536];
    if (fallocate(
            file->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)at, (off_t)size_bytes) ==
        0) {
        return FX_OK;
    }
    for (uint64_t done = 0; done < size_bytes;) {
        uint64_t left = size_bytes - done;
        size_t step = left < sizeof zeros ? (size_t)left : sizeof zeros;
        int failed = fx_write_at(file->fd, (fx_bytes){zeros, step}, at + done);
        if (failed != 0) {
            return fail_entry(file->folder, file->node->name, failed, "write", err);
        }
        done += step;
    }
    return FX_OK;
}

/* ---- files
 * ----------------------------------------------------------------------------------------- */

static fx_code
begin_fetching(unpacking *work, fx_err *err)
{
    work->file_count = 0;
    work->folder_count = 0;
    return fx_fetcher_begin(work->fetcher, err);
}

static fx_code
want_extent(
    unpacking *work, fx_pending_file *file, const fx_extent *extent, uint64_t at, fx_err *err)
{
    if (extent->is_hole) {
        if (file->is_kept && clear_range(file, at, extent->size_bytes, err) != FX_OK) {
            return err->code;
        }
        fx_pending_count(&work->pending, 0, extent->size_bytes);
        return FX_OK;
    }
    if (file->is_kept && has_chunk(work, file, extent, at)) {
        work->request->result->kept_bytes += extent->size_bytes;
        fx_pending_count(&work->pending, 0, extent->size_bytes);
        return FX_OK;
    }
    if (extent->size_bytes > FX_CHUNK_MAX_BYTES) {
        return fx_fail(err, FX_ERR_DAMAGED, "could not use a tree: it has too large a chunk");
    }
    const fx_want want = {
        .chunk = extent->chunk,
        .offset = at,
        .target = file,
        .size_bytes = (uint32_t)extent->size_bytes,
    };
    (void)atomic_fetch_add(&file->holds, 1);
    return fx_fetcher_add(work->fetcher, &want, err);
}

static fx_code
want_content(unpacking *work, fx_pending_file *file, fx_err *err)
{
    const fx_node *node = file->node;
    bool stays_open = file->fd >= 0 || node->extent_count > 1;
    uint64_t at = 0;
    for (size_t i = 0; i < node->extent_count; i++) {
        if (fx_events_cancelled(work->request->events)) {
            return fx_fail(err, FX_ERR_CANCELLED, "could not finish the restore: it was cancelled");
        }
        if (want_extent(work, file, &node->extents[i], at, err) != FX_OK) {
            return err->code;
        }
        at += node->extents[i].size_bytes;
    }
    FX_ASSERT(at == node->size_bytes); /* fx_tree_read checked it */
    work->file_count += stays_open && atomic_load(&file->holds) > 1;
    return work->file_count < OPEN_FILES_MAX ? FX_OK : begin_fetching(work, err);
}

/* `is_now`: others refer to it before its content is there. */
static fx_code
make_file(unpacking *work, fx_pending_folder *folder, const fx_node *node, bool is_now, fx_err *err)
{
    fx_pending_file *file = fx_pending_file_new(folder, node);
    fx_code code = FX_OK;
    if (work->request->keeps) {
        code = open_kept(work, file, err);
    }
    if (code == FX_OK && is_now) {
        code = fx_pending_file_create(file, err);
    }
    if (code == FX_OK) {
        code = want_content(work, file, err);
    }
    if (code != FX_OK) {
        atomic_store(&work->pending.has_failed, true);
    }
    fx_err later = {0};
    if (fx_pending_file_release(file, &later) != FX_OK && code == FX_OK) {
        *err = later;
        code = later.code;
    }
    return code;
}

/* ---- hard links
 * ------------------------------------------------------------------------------------ */

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
link_file(
    const unpacking *work, const fx_pending_folder *folder, const fx_node *node, const char *first)
{
    const char *slash = strrchr(first, '/');
    int first_fd = open_folder_of(work->request->folder_fd, first);
    bool is_linked =
        first_fd >= 0 &&
        linkat(first_fd, slash == NULL ? first : slash + 1, folder->fd, node->name, 0) == 0;
    if (!is_linked) {
        fx_err reason = {0};
        fx_ignore(
            fx_fail_errno(&reason, errno, "could not link it to \"%.100s\", it is a copy", first),
            "it is a warning");
        warn_entry(work, folder, node->name, reason.message);
    }
    if (first_fd >= 0) {
        (void)close(first_fd);
    }
    return is_linked;
}

static fx_code
make_file_or_link(unpacking *work, fx_pending_folder *folder, const fx_node *node, fx_err *err)
{
    if (node->link_group == 0) {
        return make_file(work, folder, node, false, err);
    }
    const char *first = fx_joints_find(work->joints, node);
    if (first != NULL) {
        if (work->request->keeps && clear_name(folder, node->name, err) != FX_OK) {
            return err->code;
        }
        if (link_file(work, folder, node, first)) {
            return FX_OK;
        }
    }
    if (make_file(work, folder, node, true, err) != FX_OK) {
        return err->code;
    }
    if (first == NULL) {
        char *path = fx_pending_folder_path(folder, node->name);
        fx_joints_add(work->joints, node, path);
        free(path);
    }
    return FX_OK;
}

/* ---- other entries
 * --------------------------------------------------------------------------------- */

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
make_special(
    const unpacking *work, const fx_pending_folder *folder, const fx_node *node, fx_err *err)
{
    if (mknodat(folder->fd, node->name, type_of(node->kind) | 0600, (dev_t)node->device) != 0) {
        fx_code code = fail_entry(folder, node->name, errno, "create", err);
        if (code != FX_ERR_DENIED) {
            return code;
        }
        warn_entry(work, folder, node->name, err->message);
        *err = (fx_err){0};
        return FX_OK;
    }
    apply_named(work, folder, node);
    return FX_OK;
}

static fx_code
make_symlink(
    const unpacking *work, const fx_pending_folder *folder, const fx_node *node, fx_err *err)
{
    if (symlinkat(node->link_target, folder->fd, node->name) != 0) {
        return fail_entry(folder, node->name, errno, "create", err);
    }
    apply_named(work, folder, node);
    return FX_OK;
}

static fx_code
make_entry(unpacking *work, fx_pending_folder *folder, const fx_node *node, fx_err *err)
{
    fx_pending_count(&work->pending, 1, 0);
    if (node->kind != FX_NODE_FILE && work->request->keeps &&
        clear_name(folder, node->name, err) != FX_OK) {
        return err->code;
    }
    switch (node->kind) {
    case FX_NODE_FILE:
        return make_file_or_link(work, folder, node, err);
    case FX_NODE_SYMLINK:
        return make_symlink(work, folder, node, err);
    case FX_NODE_FIFO:
    case FX_NODE_SOCKET:
    case FX_NODE_CHARACTER_DEVICE:
    case FX_NODE_BLOCK_DEVICE:
        return make_special(work, folder, node, err);
    case FX_NODE_FOLDER:
        break;
    }
    fx_assert_fail("an entry that is no folder", __FILE__, __LINE__);
}

/* ---- folders
 * --------------------------------------------------------------------------------------- */

/* Takes `fd`, but for the root's. */
static fx_code
push_folder(unpacking *work, int fd, const fx_node *node, const fx_chunk_id *id, fx_err *err)
{
    fx_pending_folder *parent = node == NULL ? NULL : work->frames[work->depth - 1].folder;
    fx_pending_folder *folder = fx_pending_folder_new(&work->pending, parent, fd, node, NULL);
    work->frames[work->depth++] = (frame){.folder = folder};
    if (strlen(folder->path) >= PATH_MAX_BYTES) {
        return fx_fail(
            err, FX_ERR_LIMIT, "could not restore \"%.100s…\": path too long", folder->path);
    }
    if (fx_tree_read(&work->request->chunks, id, &folder->tree, err) != FX_OK) {
        return fx_err_wrap(
            err, "restoring \"%.200s\"", folder->path[0] == '\0' ? "/" : folder->path);
    }
    return FX_OK;
}

static int
open_folder(const unpacking *work, const fx_pending_folder *around, const char *name)
{
    const int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
    if (work->request->keeps && work->request->is_private) {
        fx_staging_unlock(around->fd, name, 0700);
    }
    return openat(around->fd, name, flags);
}

static fx_code
enter_folder(unpacking *work, fx_pending_folder *around, const fx_node *node, fx_err *err)
{
    if (work->depth == DEPTH_MAX) {
        return fx_fail(err, FX_ERR_LIMIT, "could not restore \"%.150s\": too deep", around->path);
    }
    bool was_there = false;
    if (mkdirat(around->fd, node->name, 0700) != 0) {
        was_there = errno == EEXIST && work->request->keeps;
        if (!was_there) {
            return fail_entry(around, node->name, errno, "create", err);
        }
    }
    int fd = open_folder(work, around, node->name);
    if (fd < 0 && was_there && (errno == ENOTDIR || errno == ELOOP)) {
        if (clear_name(around, node->name, err) != FX_OK) {
            return err->code;
        }
        fd =
            mkdirat(around->fd, node->name, 0700) == 0 ? open_folder(work, around, node->name) : -1;
    }
    if (fd < 0) {
        return fail_entry(around, node->name, errno, "open", err);
    }
    work->request->result->folder_count++;
    return push_folder(work, fd, node, &node->subtree, err);
}

static fx_code
leave_folder(unpacking *work, fx_err *err)
{
    fx_pending_folder_release(work->frames[--work->depth].folder);
    work->folder_count++;
    return work->folder_count < OPEN_FOLDERS_MAX ? FX_OK : begin_fetching(work, err);
}

static fx_code
step(unpacking *work, fx_err *err)
{
    frame *top = &work->frames[work->depth - 1];
    fx_pending_folder *folder = top->folder;
    if (fx_events_cancelled(work->request->events)) {
        return fx_fail(err, FX_ERR_CANCELLED, "could not finish the restore: it was cancelled");
    }
    if (top->next == folder->tree->node_count) {
        return leave_folder(work, err);
    }
    const fx_node *node = &folder->tree->nodes[top->next++];
    return node->kind == FX_NODE_FOLDER ? enter_folder(work, folder, node, err)
                                        : make_entry(work, folder, node, err);
}

static unpacking *
unpacking_new(const fx_unpack_request *request)
{
    unpacking *work = calloc(1, sizeof *work);
    FX_ASSERT(work != NULL);
    work->request = request;
    work->joints = fx_joints_new();
    fx_buf_init(&work->kept, FX_CHUNK_MAX_BYTES);
    fx_pending_init(&work->pending, request);
    work->fetcher = fx_fetcher_new(
        &request->chunks,
        fx_pending_file_take,
        &work->pending,
        request->events == NULL ? NULL : request->events->cancel);
    return work;
}

/* Waits for what is under way. */
static fx_code
unpacking_end(unpacking *work, fx_code code, fx_err *err)
{
    fx_err later = {0};
    if (code != FX_OK) {
        atomic_store(&work->pending.has_failed, true);
    }
    while (work->depth > 0) { /* only after a failure */
        fx_pending_folder_release(work->frames[--work->depth].folder);
    }
    if (fx_fetcher_finish(work->fetcher, &later) != FX_OK && code == FX_OK) {
        *err = later;
        code = later.code;
    }
    fx_fetcher_free(work->fetcher);
    fx_joints_free(work->joints);
    fx_pending_deinit(&work->pending);
    fx_buf_free(&work->kept);
    free(work);
    return code;
}

fx_code
fx_unpack_tree(const fx_unpack_request *request, const fx_chunk_id *root, fx_err *err)
{
    unpacking *work = unpacking_new(request);
    fx_code code = push_folder(work, request->folder_fd, NULL, root, err);
    while (code == FX_OK && work->depth > 0) {
        code = step(work, err);
    }
    return unpacking_end(work, code, err);
}

fx_code
fx_unpack_node(const fx_unpack_request *request, const fx_node *node, fx_err *err)
{
    unpacking *work = unpacking_new(request);
    fx_pending_folder *folder =
        fx_pending_folder_new(&work->pending, NULL, request->folder_fd, NULL, NULL);
    fx_code code = make_entry(work, folder, node, err);
    fx_pending_folder_release(folder);
    return unpacking_end(work, code, err);
}
