#include "agent/source/files/walk.h"

#include "agent/source/files/links.h"
#include "agent/source/files/meta.h"
#include "agent/source/files/read.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

enum {
    DEPTH_MAX = 512, /* a descriptor each */
    PATH_MAX_BYTES = 65536,
    ENTRIES_MAX = 1 << 24,
    SKIP_MAX = 64,
    FRESH_NS = 2000000000, /* clocks of files are coarse: what changed that lately is read again */
};

/* A folder that is being saved. */
typedef struct frame {
    int fd;
    dev_t device;
    fx_node node;    /* the folder itself; none for "/" */
    fx_tree *tree;   /* what is saved of it so far */
    fx_tree *parent; /* the same folder in the parent snapshot, or NULL */
    char **names;
    size_t name_count;
    size_t next;
    size_t path_bytes;
} frame;

typedef struct walk {
    const fx_walk_request *request;
    fx_walk_result *result;
    fx_owner_names *owners;
    fx_links *links;
    fx_content *content;
    fx_progress progress;
    struct stat skip[SKIP_MAX];
    size_t skip_count;
    char path[PATH_MAX_BYTES]; /* of the entry at hand, for warnings and the choice */
    frame frames[DEPTH_MAX];
    size_t depth;
} walk;

static void
warn(walk *work, const char *reason)
{
    work->result->warning_count++;
    fx_events_warn(work->request->events, work->path, reason);
}

static void
warn_err(walk *work, const fx_err *reason)
{
    warn(work, reason->message);
}

static frame *
top_of(walk *work)
{
    FX_ASSERT(work->depth > 0);
    return &work->frames[work->depth - 1];
}

/* ---- what is in a folder
 * ------------------------------------------------------------------------- */

static void
add_name(frame *folder, const char *name, size_t size_bytes)
{
    size_t count = folder->name_count;
    if (count == 0 || (count >= 16 && (count & (count - 1)) == 0)) {
        folder->names =
            realloc(folder->names, (count == 0 ? 16 : count * 2) * sizeof *folder->names);
        FX_ASSERT(folder->names != NULL);
    }
    folder->names[count] = strndup(name, size_bytes);
    FX_ASSERT(folder->names[count] != NULL);
    folder->name_count++;
}

static int
compare_names(const void *left, const void *right)
{
    return strcmp(*(char *const *)left, *(char *const *)right);
}

static void
list_folder(walk *work, frame *folder)
{
    int fd = openat(folder->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *stream = fd < 0 ? NULL : fdopendir(fd);
    if (stream == NULL) {
        fx_err reason = {0};
        fx_ignore(fx_fail_errno(&reason, errno, "could not list the folder"), "it is a warning");
        warn_err(work, &reason);
        if (fd >= 0) {
            (void)close(fd);
        }
        return;
    }
    for (;;) {
        errno = 0;
        const struct dirent *entry = readdir(stream); // NOLINT(concurrency-mt-unsafe): own stream
        if (entry == NULL) {
            break;
        }
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) {
            continue;
        }
        if (folder->name_count == ENTRIES_MAX) {
            warn(work, "could not save all of the folder: it has too many entries");
            errno = 0;
            break;
        }
        add_name(folder, entry->d_name, strlen(entry->d_name));
    }
    if (errno != 0) {
        fx_err reason = {0};
        fx_ignore(fx_fail_errno(&reason, errno, "could not list all of it"), "it is a warning");
        warn_err(work, &reason);
    }
    (void)closedir(stream);
    if (folder->name_count > 1) {
        qsort(folder->names, folder->name_count, sizeof *folder->names, compare_names);
    }
}

/* Whether the folder at work->path is chosen or lies in one that is. */
static bool
is_chosen(const walk *work)
{
    for (size_t index = 0; index < work->request->path_count; index++) {
        const char *chosen = work->request->paths[index];
        size_t length = strlen(chosen);
        if (strcmp(chosen, "/") == 0 ||
            (strncmp(chosen, work->path, length) == 0 &&
             (work->path[length] == '\0' || work->path[length] == '/'))) {
            return true;
        }
    }
    return false;
}

/* Of a folder above the chosen ones only what leads to them. */
static void
list_chosen(walk *work, frame *folder)
{
    size_t length = strcmp(work->path, "/") == 0 ? 0 : strlen(work->path);
    for (size_t index = 0; index < work->request->path_count; index++) {
        const char *chosen = work->request->paths[index];
        if (strncmp(chosen, work->path, length) != 0 || chosen[length] != '/') {
            continue;
        }
        const char *name = chosen + length + 1;
        size_t name_bytes = strcspn(name, "/");
        const char *last = folder->name_count == 0 ? NULL : folder->names[folder->name_count - 1];
        if (last == NULL || strlen(last) != name_bytes || memcmp(last, name, name_bytes) != 0) {
            add_name(folder, name, name_bytes);
        }
    }
}

/* File systems whose files are the kernel's own state. */
static bool
is_pseudo(int fd)
{
    struct statfs info;
    if (fstatfs(fd, &info) != 0) {
        return false;
    }
    const long kinds[] = {
        PROC_SUPER_MAGIC,
        SYSFS_MAGIC,
        CGROUP_SUPER_MAGIC,
        CGROUP2_SUPER_MAGIC,
        DEVPTS_SUPER_MAGIC,
        DEBUGFS_MAGIC,
        TRACEFS_MAGIC,
        SECURITYFS_MAGIC,
        BPF_FS_MAGIC,
    };
    for (size_t index = 0; index < sizeof kinds / sizeof *kinds; index++) {
        if ((long)info.f_type == kinds[index]) {
            return true;
        }
    }
    return false;
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

/* ---- the parent snapshot
 * --------------------------------------------------------------------------- */

static const fx_node *
find_old(const frame *folder, const char *name)
{
    size_t low = 0;
    size_t high = folder->parent == NULL ? 0 : folder->parent->node_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(folder->parent->nodes[middle].name, name);
        if (order == 0) {
            return &folder->parent->nodes[middle];
        }
        if (order < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return NULL;
}

/* The old content of an unchanged file. */
static bool
reuse(walk *work, const fx_node *old, const struct stat *info, fx_node *node)
{
    if (old == NULL || old->kind != FX_NODE_FILE || old->inode != info->st_ino ||
        old->size_bytes != (uint64_t)info->st_size || old->mtime_ns != node->mtime_ns ||
        old->ctime_ns != node->ctime_ns ||
        node->ctime_ns > work->request->parent_began.ns - FRESH_NS) {
        return false;
    }
    node->extents = calloc(old->extent_count + 1, sizeof *node->extents);
    FX_ASSERT(node->extents != NULL);
    if (old->extent_count > 0) {
        memcpy(node->extents, old->extents, old->extent_count * sizeof *node->extents);
    }
    node->extent_count = old->extent_count;
    node->size_bytes = old->size_bytes;
    work->progress.done_bytes += node->size_bytes;
    work->progress.reused_bytes += node->size_bytes;
    return true;
}

/* A parent that cannot be read costs time, not the backup. */
static fx_tree *
read_old_tree(walk *work, const fx_chunk_id *id)
{
    fx_err reason = {0};
    fx_tree *tree = NULL;
    if (fx_tree_read(work->request->repository, id, &tree, &reason) != FX_OK) {
        char text[FX_ERR_MESSAGE_MAX_BYTES + 64];
        (void)snprintf(
            text, sizeof text, "the last snapshot's list cannot be read: %s", reason.message);
        warn(work, text);
        return NULL;
    }
    return tree;
}

/* ---- saving
 * ------------------------------------------------------------------------------------------ */

static void
append_node(frame *folder, fx_node *node)
{
    fx_tree *tree = folder->tree;
    size_t count = tree->node_count;
    if (count == 0 || (count >= 16 && (count & (count - 1)) == 0)) {
        tree->nodes = realloc(tree->nodes, (count == 0 ? 16 : count * 2) * sizeof *tree->nodes);
        FX_ASSERT(tree->nodes != NULL);
    }
    tree->nodes[tree->node_count++] = *node;
    *node = (fx_node){0};
}

/* Fills extents and size. `*out_is_saved` false: it could not be read, and a warning says so. */
static fx_code
save_content(
    walk *work,
    frame *folder,
    const struct stat *info,
    fx_node *node,
    bool *out_is_saved,
    fx_err *err)
{
    *out_is_saved = true;
    if (info->st_nlink > 1 && fx_links_find(work->links, info, node)) {
        return FX_OK;
    }
    if (!reuse(work, find_old(folder, node->name), info, node)) {
        fx_read_request request = {
            .folder_fd = folder->fd,
            .name = node->name,
            .seen = info,
            .content = work->content,
            .events = work->request->events,
            .progress = &work->progress,
        };
        fx_err reason = {0};
        fx_read_outcome outcome = FX_READ_DONE;
        if (fx_read_file(&request, node, &reason, &outcome, err) != FX_OK) {
            return err->code;
        }
        *out_is_saved = outcome == FX_READ_DONE || outcome == FX_READ_CHANGED;
        if (outcome == FX_READ_UNREADABLE) {
            warn_err(work, &reason);
        } else if (outcome == FX_READ_CHANGED) {
            warn(work, "it changed while it was read: what is saved may be a mixture");
        }
    }
    if (*out_is_saved) {
        work->result->size_bytes += node->size_bytes;
        if (info->st_nlink > 1) {
            fx_links_add(work->links, info, node);
        }
    }
    return FX_OK;
}

static fx_code
save_other(walk *work, frame *folder, const struct stat *info, fx_node *node, fx_err *err)
{
    bool is_saved = node->kind != FX_NODE_SYMLINK || node->link_target != NULL;
    if (node->kind == FX_NODE_FILE &&
        save_content(work, folder, info, node, &is_saved, err) != FX_OK) {
        return err->code;
    }
    if (is_saved) {
        append_node(folder, node);
        work->result->file_count++;
        work->progress.file_count++;
        fx_events_progress(work->request->events, &work->progress);
    }
    return FX_OK;
}

static void
enter_folder(walk *work, const struct stat *info, fx_node *node)
{
    frame *around = top_of(work);
    if (work->depth == DEPTH_MAX) {
        warn(work, "could not save the folder: it lies too deep");
        return;
    }
    int fd = openat(
        around->fd, node->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        fx_err reason = {0};
        if (errno != ENOENT) {
            fx_ignore(fx_fail_errno(&reason, errno, "could not open the folder"), "a warning");
            warn_err(work, &reason);
        }
        return;
    }
    const fx_node *old = find_old(around, node->name);
    frame *folder = &work->frames[work->depth++];
    *folder = (frame){
        .fd = fd,
        .device = info->st_dev,
        .node = *node,
        .tree = calloc(1, sizeof(fx_tree)),
        .path_bytes = strlen(work->path),
    };
    FX_ASSERT(folder->tree != NULL);
    *node = (fx_node){0};
    if (old != NULL && old->kind == FX_NODE_FOLDER) {
        folder->parent = read_old_tree(work, &old->subtree);
    }
    if (is_chosen(work)) {
        if (info->st_dev == around->device || !is_pseudo(fd)) {
            list_folder(work, folder);
        }
    } else {
        list_chosen(work, folder);
    }
}

static void
leave_frame(frame *folder)
{
    for (size_t index = 0; index < folder->name_count; index++) {
        free(folder->names[index]);
    }
    free(folder->names);
    fx_tree_free(folder->tree);
    fx_tree_free(folder->parent);
    fx_node_deinit(&folder->node);
    (void)close(folder->fd);
}

static fx_code
finish_folder(walk *work, fx_err *err)
{
    frame *folder = top_of(work);
    fx_chunk_id id;
    if (fx_tree_write(work->request->writer, folder->tree, &id, err) != FX_OK) {
        return err->code;
    }
    if (work->depth == 1) {
        work->result->root = id;
    } else {
        folder->node.subtree = id;
        append_node(folder - 1, &folder->node);
    }
    leave_frame(folder);
    work->depth--;
    return FX_OK;
}

/* Sets work->path to the entry's. false: too long */
static bool
set_path(walk *work, const frame *folder, const char *name)
{
    size_t at = folder->path_bytes;
    int length = snprintf(work->path + at, sizeof work->path - at, "/%s", name);
    if (length < 0 || (size_t)length >= sizeof work->path - at) {
        work->path[at] = '\0';
        warn(work, "could not save something in it: its path is too long");
        return false;
    }
    return true;
}

static fx_code
save_entry(walk *work, const char *name, fx_err *err)
{
    frame *folder = top_of(work);
    fx_err reason = {0};
    struct stat info;
    if (!set_path(work, folder, name)) {
        return FX_OK;
    }
    if (fstatat(folder->fd, name, &info, AT_SYMLINK_NOFOLLOW) != 0) {
        if (errno != ENOENT) {
            fx_ignore(fx_fail_errno(&reason, errno, "could not look at it"), "it is a warning");
            warn_err(work, &reason);
        }
        return FX_OK;
    }
    if (is_skipped(work, &info)) {
        return FX_OK;
    }
    fx_node node = {0};
    if (fx_meta_read(folder->fd, name, &info, work->owners, &node, &reason) != FX_OK &&
        reason.sys_errno != ENOENT) {
        warn_err(work, &reason);
    }
    fx_code code = FX_OK;
    if (node.kind == FX_NODE_FOLDER) {
        enter_folder(work, &info, &node);
    } else {
        code = save_other(work, folder, &info, &node, err);
    }
    fx_node_deinit(&node);
    return code;
}

static fx_code
open_root(walk *work, fx_err *err)
{
    frame *root = &work->frames[0];
    struct stat info;
    *root = (frame){.fd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
    if (root->fd < 0 || fstat(root->fd, &info) != 0) {
        return fx_fail_errno(err, errno, "could not open \"/\"");
    }
    root->device = info.st_dev;
    root->tree = calloc(1, sizeof(fx_tree));
    FX_ASSERT(root->tree != NULL);
    work->depth = 1;
    (void)snprintf(work->path, sizeof work->path, "/");
    if (work->request->parent_root != NULL) {
        root->parent = read_old_tree(work, work->request->parent_root);
    }
    if (is_chosen(work)) {
        list_folder(work, root);
    } else {
        list_chosen(work, root);
    }
    return FX_OK;
}

static fx_code
walk_all(walk *work, fx_err *err)
{
    if (open_root(work, err) != FX_OK) {
        return err->code;
    }
    while (work->depth > 0) {
        if (fx_events_cancelled(work->request->events)) {
            return fx_fail(err, FX_ERR_CANCELLED, "could not finish the backup: it was cancelled");
        }
        frame *folder = top_of(work);
        fx_code code = folder->next < folder->name_count
                           ? save_entry(work, folder->names[folder->next++], err)
                           : finish_folder(work, err);
        if (code != FX_OK) {
            return code;
        }
    }
    return FX_OK;
}

fx_code
fx_walk(const fx_walk_request *request, fx_walk_result *out_result, fx_err *err)
{
    walk *work = calloc(1, sizeof *work);
    FX_ASSERT(work != NULL);
    fx_walk_result result = {0};
    work->request = request;
    work->result = &result;
    work->owners = fx_owner_names_new();
    work->links = fx_links_new();
    work->content = fx_content_new(request->writer);
    for (size_t index = 0; index < request->skip_count && work->skip_count < SKIP_MAX; index++) {
        if (stat(request->skip[index], &work->skip[work->skip_count]) == 0) {
            work->skip_count++;
        }
    }
    fx_code code = walk_all(work, err);
    while (work->depth > 0) {
        leave_frame(&work->frames[--work->depth]);
    }
    fx_content_free(work->content);
    fx_links_free(work->links);
    fx_owner_names_free(work->owners);
    free(work);
    if (code == FX_OK) {
        *out_result = result;
    }
    return code;
}
