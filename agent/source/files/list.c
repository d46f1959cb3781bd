/* Which entries of a folder are saved. */
#include "agent/source/files/state.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

enum { ENTRIES_MAX = 1 << 24 };

static void
add_name(fx_folder *folder, const char *name, size_t size_bytes)
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
warn_errno(const fx_folder *folder, const char *what)
{
    fx_err reason = {0};
    fx_ignore(fx_fail_errno(&reason, errno, "%s", what), "it is a warning");
    fx_walk_warn_err(folder->work, folder, NULL, &reason);
}

static void
list_all(fx_folder *folder)
{
    int fd = openat(folder->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *stream = fd < 0 ? NULL : fdopendir(fd);
    if (stream == NULL) {
        warn_errno(folder, "could not list the folder");
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
            fx_walk_warn(
                folder->work,
                folder,
                NULL,
                "could not save all of the folder: it has too many entries");
            errno = 0;
            break;
        }
        add_name(folder, entry->d_name, strlen(entry->d_name));
    }
    if (errno != 0) {
        warn_errno(folder, "could not list all of it");
    }
    (void)closedir(stream);
    if (folder->name_count > 1) {
        qsort(folder->names, folder->name_count, sizeof *folder->names, compare_names);
    }
}

/* Whether the folder is chosen or lies in one that is. */
static bool
is_chosen(const fx_folder *folder)
{
    const fx_walk_request *request = folder->work->request;
    for (size_t index = 0; index < request->path_count; index++) {
        const char *chosen = request->paths[index];
        size_t length = strlen(chosen);
        if (strcmp(chosen, "/") == 0 ||
            (strncmp(chosen, folder->path, length) == 0 &&
             (folder->path[length] == '\0' || folder->path[length] == '/'))) {
            return true;
        }
    }
    return false;
}

/* Of a folder above the chosen ones only what leads to them. */
static void
list_chosen(fx_folder *folder)
{
    const fx_walk_request *request = folder->work->request;
    size_t length = strlen(folder->path);
    for (size_t index = 0; index < request->path_count; index++) {
        const char *chosen = request->paths[index];
        if (strncmp(chosen, folder->path, length) != 0 || chosen[length] != '/') {
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

void
fx_folder_list(fx_folder *folder)
{
    const fx_folder *around = folder->around;
    if (!is_chosen(folder)) {
        list_chosen(folder);
    } else if (around == NULL || folder->device == around->device || !is_pseudo(folder->fd)) {
        list_all(folder);
    }
    folder->nodes = calloc(folder->name_count + 1, sizeof *folder->nodes);
    FX_ASSERT(folder->nodes != NULL);
}
