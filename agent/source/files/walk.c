#include "agent/source/files/state.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum {
    DEPTH_MAX = 512, /* a descriptor each */
    PATH_MAX_BYTES = 65536,
    SKIP_MAX = 64,
    FRESH_NS = 2000000000, /* clocks of files are coarse: what changed that lately is read again */
    QUEUE_MAX = 64,        /* files that wait to be read, a descriptor of their folder each */
};

/* What only the walking thread knows. */
typedef struct walk {
    fx_walk_state *state;
    struct stat skip[SKIP_MAX];
    size_t skip_count;
    fx_folder *stack[DEPTH_MAX];
    size_t depth;
} walk;

/* ---- what all threads tell
 * ------------------------------------------------------------------------- */

void
fx_walk_warn(fx_walk_state *work, const fx_folder *folder, const char *name, const char *why)
{
    char *path = malloc(strlen(folder->path) + (name == NULL ? 0 : strlen(name)) + 2);
    FX_ASSERT(path != NULL);
    (void)stpcpy(stpcpy(path, folder->path), name == NULL && folder->path[0] != '\0' ? "" : "/");
    if (name != NULL) {
        (void)stpcpy(path + strlen(path), name);
    }
    (void)pthread_mutex_lock(&work->lock);
    work->result.warning_count++;
    fx_events_warn(work->request->events, path, why);
    (void)pthread_mutex_unlock(&work->lock);
    free(path);
}

void
fx_walk_warn_err(fx_walk_state *work, const fx_folder *folder, const char *name, const fx_err *why)
{
    fx_walk_warn(work, folder, name, why->message);
}

void
fx_walk_warn_gone(fx_walk_state *work, const fx_folder *folder, const char *name)
{
    fx_walk_warn(
        work, folder, name, "could not save it: it was deleted or renamed while it was looked at");
}

void
fx_walk_fail(fx_walk_state *work, const fx_err *err)
{
    (void)pthread_mutex_lock(&work->lock);
    if (work->failure.code == FX_OK) {
        work->failure = *err;
    }
    atomic_store(&work->is_failing, true);
    (void)pthread_mutex_unlock(&work->lock);
}

void
fx_walk_count(fx_walk_state *work, uint64_t size_bytes, bool is_reused)
{
    (void)pthread_mutex_lock(&work->lock);
    work->progress.done_bytes += size_bytes;
    work->progress.reused_bytes += is_reused ? size_bytes : 0;
    fx_events_progress(work->request->events, &work->progress);
    (void)pthread_mutex_unlock(&work->lock);
}

void
fx_walk_count_file(fx_walk_state *work, uint64_t size_bytes)
{
    (void)pthread_mutex_lock(&work->lock);
    work->result.size_bytes += size_bytes;
    work->result.file_count++;
    work->progress.count++;
    fx_events_progress(work->request->events, &work->progress);
    (void)pthread_mutex_unlock(&work->lock);
}

static void
warn_errno(const fx_folder *folder, const char *name, const char *what)
{
    fx_err reason = {0};
    fx_ignore(fx_fail_errno(&reason, errno, "%s", what), "it is a warning");
    fx_walk_warn_err(folder->work, folder, name, &reason);
}

/* ---- the parent snapshot
 * --------------------------------------------------------------------------- */

static fx_node *
find_old(const fx_folder *folder, const char *name)
{
    size_t low = 0;
    size_t high = folder->old == NULL ? 0 : folder->old->node_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(folder->old->nodes[middle].name, name);
        if (order == 0) {
            return &folder->old->nodes[middle];
        }
        if (order < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return NULL;
}

/* An old snapshot may be void, or its packs about to go: then the file is read again. */
static bool
is_stored(const fx_walk_state *work, const fx_node *old)
{
    for (size_t index = 0; index < old->extent_count; index++) {
        const fx_extent *extent = &old->extents[index];
        if (!extent->is_hole && !fx_writer_has(work->request->writer, &extent->chunk)) {
            return false;
        }
    }
    return true;
}

/*
 * The old node of an unchanged file, moved. The change time speaks of all but the owner's name:
 * content, mode, owner, attributes.
 */
static bool
reuse(fx_folder *folder, size_t place, const struct stat *info)
{
    const fx_walk_state *work = folder->work;
    fx_node *old = find_old(folder, folder->names[place]);
    int64_t ctime_ns = fx_meta_ctime_ns(info);
    if (old == NULL || old->kind != fx_meta_kind(info->st_mode) || old->kind == FX_NODE_FOLDER ||
        old->inode != info->st_ino || old->mtime_ns != fx_meta_mtime_ns(info) ||
        old->ctime_ns != ctime_ns || ctime_ns > work->request->parent_began.ns - FRESH_NS ||
        (old->kind == FX_NODE_FILE && old->size_bytes != (uint64_t)info->st_size) ||
        !is_stored(work, old)) {
        return false;
    }
    fx_node *node = &folder->nodes[place];
    *node = *old;
    *old = (fx_node){.kind = old->kind, .name = node->name}; /* it is found by its name */
    node->name = strdup(node->name);
    FX_ASSERT(node->name != NULL);
    fx_meta_read_owner(info, work->owners, node);
    return true;
}

/* A parent that cannot be read costs time, not the backup. */
static void
read_old(fx_folder *folder, const fx_chunk_id *id)
{
    fx_walk_state *work = folder->work;
    fx_err reason = {0};
    if (fx_tree_read(&work->request->parent_root->chunks, id, &folder->old, &reason) != FX_OK) {
        char text[FX_ERR_MESSAGE_MAX_BYTES + 64];
        (void)snprintf(
            text, sizeof text, "the last snapshot's list cannot be read: %s", reason.message);
        fx_walk_warn(work, folder, NULL, text);
    }
}

/* ---- saving
 * ------------------------------------------------------------------------------------------ */

/* A file of several names is read at once, so that the next name finds its content. */
static void
save_linked(fx_folder *folder, size_t place, const struct stat *info, bool is_reused)
{
    fx_walk_state *work = folder->work;
    fx_node *node = &folder->nodes[place];
    fx_extent *reused = node->extents;
    if (fx_links_find(work->links, info, node)) {
        free(reused);
        fx_walk_count_file(work, 0);
        return;
    }
    if (is_reused) {
        fx_walk_count_file(work, node->size_bytes);
    } else {
        fx_file_save_now(folder, place, info);
    }
    if (node->name != NULL) {
        fx_links_add(work->links, info, node);
    }
}

static void
save_file(fx_folder *folder, size_t place, const struct stat *info, bool is_reused)
{
    fx_walk_state *work = folder->work;
    if (is_reused) {
        fx_walk_count(work, (uint64_t)info->st_size, true);
    }
    if (info->st_nlink > 1) {
        save_linked(folder, place, info, is_reused);
    } else if (is_reused) {
        fx_walk_count_file(work, (uint64_t)info->st_size);
    } else {
        fx_file_save(folder, place, info);
    }
}

/* The folder that was looked at, or -1 after a warning: what has its name now may be another one.
 */
static int
open_seen(fx_folder *around, const char *name, const struct stat *info)
{
    struct stat opened;
    int fd = openat(around->fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 && errno == ENOENT) {
        fx_walk_warn_gone(around->work, around, name);
    } else if (fd < 0 && errno != ENOTDIR && errno != ELOOP) {
        warn_errno(around, name, "could not open the folder");
    } else if (
        fd < 0 || fstat(fd, &opened) != 0 || opened.st_ino != info->st_ino ||
        opened.st_dev != info->st_dev) {
        fx_walk_warn(
            around->work, around, name, "could not save the folder: it was replaced meanwhile");
        if (fd >= 0) {
            (void)close(fd);
        }
        return -1;
    }
    return fd;
}

static void
enter_folder(walk *work, size_t place, const struct stat *info)
{
    fx_folder *around = work->stack[work->depth - 1];
    const char *name = around->names[place];
    fx_node *node = &around->nodes[place];
    fx_node self = *node;
    *node = (fx_node){0};
    size_t path_bytes = strlen(around->path) + strlen(name) + 1;
    int fd = -1;
    if (work->depth == DEPTH_MAX || path_bytes >= PATH_MAX_BYTES) {
        fx_walk_warn(work->state, around, name, "could not save the folder: it lies too deep");
    } else {
        fd = open_seen(around, name, info);
    }
    if (fd < 0) {
        fx_node_deinit(&self);
        return;
    }
    fx_folder *folder = fx_folder_new(work->state, around, place, fd);
    folder->device = info->st_dev;
    folder->node = self;
    folder->path = malloc(path_bytes + 1);
    FX_ASSERT(folder->path != NULL);
    (void)stpcpy(stpcpy(stpcpy(folder->path, around->path), "/"), name);
    const fx_node *old = find_old(around, name);
    if (old != NULL && old->kind == FX_NODE_FOLDER) {
        read_old(folder, &old->subtree);
    }
    fx_folder_list(folder);
    work->stack[work->depth++] = folder;
}

static bool
is_skipped(const walk *work, const struct stat *info)
{
    for (size_t index = 0; index < work->skip_count; index++) {
        if (work->skip[index].st_dev == info->st_dev && work->skip[index].st_ino == info->st_ino) {
            return true;
        }
    }
    return false;
}

/* Anything but a folder and a file's content. false: it is gone or cannot be described. */
static bool
describe(fx_folder *folder, size_t place, const struct stat *info)
{
    fx_err reason = {0};
    const char *name = folder->names[place];
    fx_node *node = &folder->nodes[place];
    if (fx_meta_read(folder->fd, name, info, folder->work->owners, node, &reason) != FX_OK &&
        reason.sys_errno != ENOENT) {
        fx_walk_warn_err(folder->work, folder, name, &reason);
    }
    if (node->kind == FX_NODE_SYMLINK && node->link_target == NULL) {
        if (reason.sys_errno == ENOENT) {
            fx_walk_warn_gone(folder->work, folder, name);
        }
        fx_node_deinit(node);
        *node = (fx_node){0};
        return false;
    }
    return true;
}

static void
save_entry(walk *work, fx_folder *folder, size_t place)
{
    struct stat info;
    const char *name = folder->names[place];
    if (fstatat(folder->fd, name, &info, AT_SYMLINK_NOFOLLOW) != 0) {
        if (errno != ENOENT) {
            warn_errno(folder, name, "could not look at it");
        } else {
            fx_walk_warn_gone(work->state, folder, name);
        }
        return;
    }
    if (is_skipped(work, &info)) {
        return;
    }
    bool is_reused = reuse(folder, place, &info);
    if (!is_reused && !describe(folder, place, &info)) {
        return;
    }
    if (S_ISDIR(info.st_mode)) {
        enter_folder(work, place, &info);
    } else if (S_ISREG(info.st_mode)) {
        save_file(folder, place, &info, is_reused);
    } else {
        fx_walk_count_file(work->state, 0);
    }
}

static fx_code
open_root(walk *work, fx_err *err)
{
    const fx_walk_request *request = work->state->request;
    struct stat info;
    int fd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &info) != 0) {
        fx_code code = fx_fail_errno(err, errno, "could not open \"/\"");
        if (fd >= 0) {
            (void)close(fd);
        }
        return code;
    }
    work->state->progress = (fx_progress){
        .step = "saving",
        .what = "files",
        .total_count = request->expected_count,
        .total_bytes = request->expected_bytes,
        .total_is_estimate = true,
    };
    fx_events_progress(request->events, &work->state->progress);
    fx_folder *root = fx_folder_new(work->state, NULL, 0, fd);
    root->device = info.st_dev;
    root->path = strdup("");
    FX_ASSERT(root->path != NULL);
    if (request->parent_root != NULL) {
        read_old(root, &request->parent_root->id);
    }
    fx_folder_list(root);
    work->stack[work->depth++] = root;
    return FX_OK;
}

static void
walk_all(walk *work)
{
    fx_walk_state *state = work->state;
    fx_err err = {0};
    if (open_root(work, &err) != FX_OK) {
        fx_walk_fail(state, &err);
    }
    while (work->depth > 0) {
        fx_folder *folder = work->stack[work->depth - 1];
        if (fx_events_cancelled(state->request->events)) {
            fx_ignore(
                fx_fail(&err, FX_ERR_CANCELLED, "could not finish the backup: it was cancelled"),
                "the walk fails with it");
            fx_walk_fail(state, &err);
        }
        if (!atomic_load(&state->is_failing) && folder->next < folder->name_count) {
            save_entry(work, folder, folder->next++);
        } else {
            work->depth--;
            fx_folder_leave(folder, true);
        }
    }
}

fx_code
fx_walk(const fx_walk_request *request, fx_walk_result *out_result, fx_err *err)
{
    fx_walk_state state = {
        .request = request,
        .owners = fx_owner_names_new(),
        .links = fx_links_new(),
    };
    walk *work = calloc(1, sizeof *work);
    FX_ASSERT(work != NULL);
    work->state = &state;
    int result = pthread_mutex_init(&state.lock, NULL);
    FX_ASSERT(result == 0);
    for (size_t index = 0; index < request->skip_count && work->skip_count < SKIP_MAX; index++) {
        if (stat(request->skip[index], &work->skip[work->skip_count]) == 0) {
            work->skip_count++;
        }
    }
    state.pool = fx_pool_new(fx_pool_cores(), QUEUE_MAX);
    walk_all(work);
    fx_pool_drain(state.pool);
    fx_pool_free(state.pool);
    fx_readers_free(state.readers);
    fx_links_free(state.links);
    fx_owner_names_free(state.owners);
    (void)pthread_mutex_destroy(&state.lock);
    free(work);
    if (atomic_load(&state.is_failing)) {
        *err = state.failure;
        return err->code;
    }
    *out_result = state.result;
    return FX_OK;
}
