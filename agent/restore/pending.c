#include "agent/restore/pending.h"

#include "agent/restore/sparse.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* From this size on writing to the disk begins at once, and not with the sync at the end. */
enum { WRITE_BACK_BYTES = 512 * 1024 };

/* Files from this size on are written past the page cache, where the file system can. */
enum { DIRECT_FILE_BYTES = 32 * 1024 * 1024 };

typedef struct fx_pending_room {
    unsigned char *bytes;
    struct fx_pending_room *next;
} fx_pending_room;

void
fx_pending_init(fx_pending *pending, const fx_unpack_request *request)
{
    *pending = (fx_pending){.request = request};
    int result = pthread_mutex_init(&pending->lock, NULL);
    FX_ASSERT(result == 0);
}

void
fx_pending_deinit(fx_pending *pending)
{
    while (pending->rooms != NULL) {
        fx_pending_room *room = pending->rooms;
        pending->rooms = room->next;
        free(room->bytes);
        free(room);
    }
    (void)pthread_mutex_destroy(&pending->lock);
}

/* As many are made as threads write at once. */
static fx_pending_room *
take_room(fx_pending *pending)
{
    (void)pthread_mutex_lock(&pending->lock);
    fx_pending_room *room = pending->rooms;
    if (room != NULL) {
        pending->rooms = room->next;
    }
    (void)pthread_mutex_unlock(&pending->lock);
    if (room == NULL) {
        room = calloc(1, sizeof *room);
        FX_ASSERT(room != NULL);
        room->bytes = fx_direct_room_new();
    }
    return room;
}

static void
give_room(fx_pending *pending, fx_pending_room *room)
{
    (void)pthread_mutex_lock(&pending->lock);
    room->next = pending->rooms;
    pending->rooms = room;
    (void)pthread_mutex_unlock(&pending->lock);
}

void
fx_pending_count(fx_pending *pending, uint64_t file_count, uint64_t done_bytes)
{
    fx_restore_result *result = pending->request->result;
    (void)pthread_mutex_lock(&pending->lock);
    result->file_count += file_count;
    result->done_bytes += done_bytes;
    fx_progress progress = {
        .step = "restoring",
        .what = "files",
        .count = result->file_count,
        .total_count = pending->request->total_count,
        .done_bytes = result->done_bytes,
        .total_bytes = pending->request->total_bytes,
    };
    fx_events_progress(pending->request->events, &progress);
    (void)pthread_mutex_unlock(&pending->lock);
}

/* ---- folders
 * --------------------------------------------------------------------------------------- */

char *
fx_pending_folder_path(const fx_pending_folder *folder, const char *name)
{
    char *path = NULL;
    const char *slash = folder->path[0] == '\0' ? "" : "/";
    int length = asprintf(&path, "%s%s%s", folder->path, slash, name);
    FX_ASSERT(length >= 0 && path != NULL);
    return path;
}

fx_pending_folder *
fx_pending_folder_new(
    fx_pending *pending, fx_pending_folder *parent, int fd, const fx_node *node, fx_tree *tree)
{
    fx_pending_folder *folder = calloc(1, sizeof *folder);
    FX_ASSERT(folder != NULL);
    *folder = (fx_pending_folder){
        .pending = pending,
        .parent = parent,
        .fd = fd,
        .node = node,
        .tree = tree,
        .path = parent == NULL ? strdup("") : fx_pending_folder_path(parent, node->name),
    };
    FX_ASSERT(folder->path != NULL);
    atomic_init(&folder->holds, 1);
    if (parent != NULL) {
        (void)atomic_fetch_add(&parent->holds, 1);
    }
    return folder;
}

void
fx_pending_folder_release(fx_pending_folder *folder)
{
    while (folder != NULL && atomic_fetch_sub(&folder->holds, 1) == 1) {
        fx_pending_folder *parent = folder->parent;
        fx_pending *pending = folder->pending;
        if (folder->node != NULL) {
            if (!atomic_load(&pending->has_failed)) {
                fx_apply_opened(pending->request->apply, folder->fd, folder->node, folder->path);
            }
            (void)close(folder->fd);
        }
        fx_tree_free(folder->tree);
        free(folder->path);
        free(folder);
        folder = parent;
    }
}

/* ---- files
 * ----------------------------------------------------------------------------------------- */

static fx_code
fail_file(const fx_pending_file *file, int sys_errno, const char *what, fx_err *err)
{
    char *path = fx_pending_folder_path(file->folder, file->node->name);
    fx_code code = fx_fail_errno(err, sys_errno, "could not %s \"%.150s\"", what, path);
    free(path);
    return code;
}

fx_pending_file *
fx_pending_file_new(fx_pending_folder *folder, const fx_node *node)
{
    fx_pending_file *file = calloc(1, sizeof *file);
    FX_ASSERT(file != NULL);
    *file = (fx_pending_file){.folder = folder, .node = node, .fd = -1, .direct_fd = -1};
    int result = pthread_mutex_init(&file->lock, NULL);
    FX_ASSERT(result == 0);
    atomic_init(&file->holds, 1);
    (void)atomic_fetch_add(&folder->holds, 1);
    return file;
}

/* With its lock held. What is around it is private: it may have its mode from the beginning. */
static fx_code
create(fx_pending_file *file, fx_err *err)
{
    const fx_node *node = file->node;
    mode_t mode = file->folder->pending->request->is_private ? node->mode & 0777 : 0600;
    if (file->fd >= 0) {
        return FX_OK;
    }
    file->fd = openat(
        file->folder->fd, node->name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
    if (file->fd < 0) {
        return fail_file(file, errno, "create", err);
    }
    /* Within the file's size several can write at once. */
    if (node->size_bytes >= DIRECT_FILE_BYTES &&
        ftruncate(file->fd, (off_t)node->size_bytes) == 0) {
        file->direct_fd = fx_direct_open(file->fd);
    }
    return FX_OK;
}

fx_code
fx_pending_file_create(fx_pending_file *file, fx_err *err)
{
    (void)pthread_mutex_lock(&file->lock);
    fx_code code = create(file, err);
    file->has_failed = file->has_failed || code != FX_OK;
    (void)pthread_mutex_unlock(&file->lock);
    return code;
}

/* The file has all its content. Nobody else has it any more. */
static fx_code
finish(fx_pending_file *file, fx_err *err)
{
    fx_pending *pending = file->folder->pending;
    if (create(file, err) != FX_OK) {
        return err->code;
    }
    if ((file->is_kept || file->end_bytes < file->node->size_bytes) &&
        ftruncate(file->fd, (off_t)file->node->size_bytes) != 0) {
        return fail_file(file, errno, "set the size of", err);
    }
    char *path = fx_pending_folder_path(file->folder, file->node->name);
    fx_apply_opened(pending->request->apply, file->fd, file->node, path);
    free(path);
    int fd = file->fd;
    file->fd = -1;
    return close(fd) == 0 ? FX_OK : fail_file(file, errno, "write", err);
}

fx_code
fx_pending_file_release(fx_pending_file *file, fx_err *err)
{
    if (atomic_fetch_sub(&file->holds, 1) != 1) {
        return FX_OK;
    }
    fx_pending *pending = file->folder->pending;
    fx_code code = FX_OK;
    if (!file->has_failed && !atomic_load(&pending->has_failed)) {
        code = finish(file, err);
    }
    if (file->direct_fd >= 0) {
        (void)close(file->direct_fd);
    }
    if (file->fd >= 0) {
        (void)close(file->fd);
    }
    if (code != FX_OK) {
        atomic_store(&pending->has_failed, true);
    }
    fx_pending_folder_release(file->folder);
    (void)pthread_mutex_destroy(&file->lock);
    free(file);
    return code;
}

static int
put_new(const fx_pending_file *file, const fx_want *want, fx_bytes content, uint64_t *out_end)
{
    fx_outlet outlet = {.fd = file->fd, .direct_fd = file->direct_fd};
    if (file->direct_fd < 0) {
        return fx_write_sparse(&outlet, content, want->offset, out_end);
    }
    fx_pending *pending = file->folder->pending;
    fx_pending_room *room = take_room(pending);
    outlet.room = room->bytes;
    int failed = fx_write_sparse(&outlet, content, want->offset, out_end);
    give_room(pending, room);
    return failed;
}

static fx_code
put(fx_pending_file *file, const fx_want *want, fx_bytes content, fx_err *err)
{
    uint64_t end = want->offset + content.size_bytes;
    if (fx_pending_file_create(file, err) != FX_OK) {
        return err->code;
    }
    int failed = file->is_kept ? fx_write_at(file->fd, content, want->offset)
                               : put_new(file, want, content, &end);
    if (failed != 0) {
        return fail_file(file, failed, "write", err);
    }
    if (file->direct_fd < 0 && content.size_bytes >= WRITE_BACK_BYTES) {
        (void)sync_file_range(
            file->fd, (off_t)want->offset, (off_t)content.size_bytes, SYNC_FILE_RANGE_WRITE);
    }
    (void)pthread_mutex_lock(&file->lock);
    file->end_bytes = end > file->end_bytes ? end : file->end_bytes;
    (void)pthread_mutex_unlock(&file->lock);
    return FX_OK;
}

fx_code
fx_pending_file_take(void *ctx, const fx_want *want, fx_bytes content, fx_err *err)
{
    fx_pending *pending = ctx;
    fx_pending_file *file = want->target;
    fx_err later = {0};
    fx_code code = FX_OK;
    if (content.data != NULL) {
        code = put(file, want, content, err);
    }
    if (content.data == NULL || code != FX_OK) {
        (void)pthread_mutex_lock(&file->lock);
        file->has_failed = true;
        (void)pthread_mutex_unlock(&file->lock);
        atomic_store(&pending->has_failed, true);
    } else {
        fx_pending_count(pending, 0, content.size_bytes);
    }
    fx_code released = fx_pending_file_release(file, &later);
    if (code == FX_OK && released != FX_OK) {
        *err = later;
        code = released;
    }
    return code;
}
