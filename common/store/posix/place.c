#include "common/store/posix/place.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/openat2.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { DEPTH_MAX = 8, DURABLE_MAX = 4096 };

typedef struct durable_folder {
    dev_t device;
    ino_t number;
} durable_folder;

/*
 * Folders whose names were synced after they were seen. One that is there need not be: who made it
 * may have been killed before the sync.
 */
struct fx_place_durable {
    pthread_mutex_t lock;
    durable_folder folders[DURABLE_MAX];
    size_t count;
};

void
fx_place_init(fx_place *place)
{
    place->root_fd = -1;
    place->durable = calloc(1, sizeof *place->durable);
    FX_ASSERT(place->durable != NULL);
    int result = pthread_mutex_init(&place->durable->lock, NULL);
    FX_ASSERT(result == 0);
}

void
fx_place_deinit(fx_place *place)
{
    if (place->root_fd >= 0) {
        (void)close(place->root_fd);
    }
    (void)pthread_mutex_destroy(&place->durable->lock);
    free(place->durable);
    *place = (fx_place){.root_fd = -1};
}

int
fx_place_open(const fx_place *place, const char *path, uint64_t flags)
{
    struct open_how how = {
        .flags = flags | O_CLOEXEC, .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS};
    if (place->root_fd < 0) {
        errno = ENOENT;
        return -1;
    }
    return (int)syscall(SYS_openat2, place->root_fd, path, &how, sizeof how);
}

fx_code
fx_place_failed(const fx_place *place, const char *what, const char *key, fx_err *err)
{
    return fx_fail_errno(err, errno, "could not %s \"%.80s/%.90s\"", what, place->root, key);
}

static bool
find_durable(const struct fx_place_durable *durable, const durable_folder *wanted)
{
    for (size_t i = 0; i < durable->count; i++) {
        if (durable->folders[i].number == wanted->number &&
            durable->folders[i].device == wanted->device) {
            return true;
        }
    }
    return false;
}

static bool
is_durable(const fx_place *place, int fd)
{
    struct stat info;
    if (fstat(fd, &info) != 0) {
        return false;
    }
    const durable_folder wanted = {info.st_dev, info.st_ino};
    (void)pthread_mutex_lock(&place->durable->lock);
    bool is_known = find_durable(place->durable, &wanted);
    (void)pthread_mutex_unlock(&place->durable->lock);
    return is_known;
}

/* With too many, all are looked at again: that costs time alone. */
static void
note_durable(const fx_place *place, const durable_folder *folders, size_t count)
{
    struct fx_place_durable *durable = place->durable;
    (void)pthread_mutex_lock(&durable->lock);
    for (size_t i = 0; i < count; i++) {
        if (!find_durable(durable, &folders[i])) {
            durable->count = durable->count == DURABLE_MAX ? 0 : durable->count;
            durable->folders[durable->count++] = folders[i];
        }
    }
    (void)pthread_mutex_unlock(&durable->lock);
}

static int
is_folder(const struct dirent *entry)
{
    return entry->d_name[0] != '.' && (entry->d_type == DT_DIR || entry->d_type == DT_UNKNOWN);
}

/*
 * Makes the names of all folders in `parent` durable that are there now: one sync for the 256 below
 * packs/. `fd` is the one that is asked for.
 */
static bool
sync_names(const fx_place *place, int parent, int fd)
{
    struct stat around;
    struct stat asked;
    struct dirent **entries = NULL;
    if (fstat(parent, &around) != 0 || fstat(fd, &asked) != 0) {
        return false;
    }
    int count = scandirat(parent, ".", &entries, is_folder, NULL);
    if (count < 0) {
        return false;
    }
    durable_folder *folders = calloc((size_t)count + 1, sizeof *folders);
    FX_ASSERT(folders != NULL);
    folders[count] = (durable_folder){asked.st_dev, asked.st_ino};
    for (int i = 0; i < count; i++) {
        folders[i] = (durable_folder){around.st_dev, entries[i]->d_ino};
        free(entries[i]);
    }
    free(entries);
    bool is_synced = fsync(parent) == 0;
    if (is_synced) {
        note_durable(place, folders, (size_t)count + 1);
    }
    int saved_errno = errno;
    free(folders);
    errno = saved_errno;
    return is_synced;
}

/* NOLINTBEGIN(misc-no-recursion): a level for each slash of a key, bounded */
int
fx_place_open_folder(const fx_place *place, const char *key, bool make)
{
    char path[FX_STORE_KEY_MAX_BYTES + 1];
    memcpy(path, key, strlen(key) + 1);
    char *slash = strrchr(path, '/');
    if (slash == NULL) {
        return fx_place_open(place, ".", O_RDONLY | O_DIRECTORY);
    }
    *slash = '\0';
    int fd = fx_place_open(place, path, O_RDONLY | O_DIRECTORY);
    if (fd >= 0 ? is_durable(place, fd) : errno != ENOENT || !make) {
        return fd;
    }
    int parent = fx_place_open_folder(place, path, make);
    const char *last = strrchr(path, '/');
    last = last == NULL ? path : last + 1;
    if (parent >= 0 && fd < 0 && (mkdirat(parent, last, 0750) == 0 || errno == EEXIST)) {
        fd = openat(parent, last, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    }
    bool is_done = parent >= 0 && fd >= 0 && sync_names(place, parent, fd);
    int saved_errno = errno;
    if (parent >= 0) {
        (void)close(parent);
    }
    if (fd >= 0 && !is_done) {
        (void)close(fd);
        fd = -1;
    }
    errno = saved_errno;
    return fd;
}
/* NOLINTEND(misc-no-recursion) */

/* Copies of a repository may lack its empty folder. Where there is no repository, as in a folder
 * whose disk is not mounted, nothing is made. */
static int
open_temporary(const fx_place *place, const char *name)
{
    const int flags = O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
    int fd = openat(place->root_fd, name, flags, 0440);
    if (fd < 0 && errno == ENOENT && faccessat(place->root_fd, "config", F_OK, 0) == 0 &&
        (mkdirat(place->root_fd, "tmp", 0750) == 0 || errno == EEXIST)) {
        fd = openat(place->root_fd, name, flags, 0440);
    }
    return fd;
}

fx_code
fx_place_make_temporary(
    const fx_place *place,
    const char *prefix,
    const char *key,
    char out_name[FX_PLACE_TEMPORARY_BYTES],
    int *out_fd,
    fx_err *err)
{
    uint64_t drawn[2];
    if (getrandom(drawn, sizeof drawn, 0) != (ssize_t)sizeof drawn) {
        return fx_place_failed(place, "draw a temporary name for", key, err);
    }
    (void)snprintf(
        out_name,
        FX_PLACE_TEMPORARY_BYTES,
        "tmp/%.16s%016" PRIx64 "%016" PRIx64,
        prefix,
        drawn[0],
        drawn[1]);
    if (place->root_fd < 0) {
        return fx_fail(
            err,
            FX_ERR_NOT_FOUND,
            "could not store \"%s\": no folder \"%.150s\"",
            key,
            place->root);
    }
    int fd = open_temporary(place, out_name);
    if (fd < 0) {
        return fx_place_failed(place, "create", out_name, err);
    }
    *out_fd = fd;
    return FX_OK;
}

fx_code
fx_place_link(const fx_place *place, const char *temporary, const char *key, fx_err *err)
{
    int folder = fx_place_open_folder(place, key, true);
    const char *slash = strrchr(key, '/');
    const char *name = slash == NULL ? key : slash + 1;
    fx_code code = FX_OK;
    if (folder < 0) {
        code = fx_place_failed(place, "open the folder of", key, err);
    } else if (linkat(place->root_fd, temporary, folder, name, 0) != 0) {
        code = fx_place_failed(place, "create", key, err);
        /* EXISTS counts as stored for many a caller: what is there must be as durable as ours. */
        if (code == FX_ERR_EXISTS && fsync(folder) != 0) {
            code = fx_place_failed(place, "sync the folder of", key, err);
        }
    } else if (fsync(folder) != 0) {
        code = fx_place_failed(place, "sync the folder of", key, err);
        err->outcome = FX_CLASS_UNKNOWN;
    }
    if (folder >= 0) {
        (void)close(folder);
    }
    (void)unlinkat(place->root_fd, temporary, 0);
    return code;
}

typedef struct walk {
    const fx_place_walk *asked;
    bool is_enough;
    fx_err *err;
} walk;

/* Does anything below folder "path/" or the object `path` begin with the prefix, or the other way
 * round? */
static bool
may_match(const char *prefix, const char *path)
{
    size_t path_bytes = strlen(path);
    size_t prefix_bytes = strlen(prefix);
    return strncmp(prefix, path, path_bytes < prefix_bytes ? path_bytes : prefix_bytes) == 0;
}

/* Are all keys in the folder "path/", or is the key `path` itself, at or below `after`? */
static bool
is_passed(const char *after, const char *path, bool is_folder)
{
    size_t path_bytes = strlen(path);
    int order = strncmp(path, after, path_bytes);
    if (!is_folder) {
        return strcmp(path, after) <= 0;
    }
    return order < 0 || (order == 0 && (unsigned char)after[path_bytes] > '/');
}

static int
is_visible(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

/* A folder's entries and the folder call each other. */
static fx_code walk_folder(walk *w, const char *path, size_t depth);

/* NOLINTBEGIN(misc-no-recursion): a level for each slash of a key, bounded */
static fx_code
walk_entry(walk *w, int folder, const char *name, const char *path, size_t depth)
{
    struct stat info;
    if (fstatat(folder, name, &info, AT_SYMLINK_NOFOLLOW) != 0) {
        return errno == ENOENT ? FX_OK : fx_place_failed(w->asked->place, "look at", path, w->err);
    }
    if (S_ISDIR(info.st_mode)) {
        bool is_ours = depth > 0 || strcmp(name, "tmp") != 0;
        return is_ours && may_match(w->asked->prefix, path) ? walk_folder(w, path, depth + 1)
                                                            : FX_OK;
    }
    if (S_ISREG(info.st_mode) && strncmp(path, w->asked->prefix, strlen(w->asked->prefix)) == 0) {
        fx_wall stored = {
            .ns = (int64_t)info.st_mtim.tv_sec * INT64_C(1000000000) + info.st_mtim.tv_nsec};
        w->is_enough = !w->asked->visit(w->asked->ctx, path, (uint64_t)info.st_size, stored);
    }
    return FX_OK;
}
/* NOLINTEND(misc-no-recursion) */

/*
 * Names sorted within each folder give keys sorted as a whole as long as no name is another's
 * beginning followed by a byte below '/'; '-' and '.' are below it, so that "a-b" must come before
 * "a/b": names are compared as they stand in keys, a folder's with its slash.
 */
static int
by_key(const void *left, const void *right)
{
    const struct dirent *first = *(const struct dirent *const *)left;
    const struct dirent *second = *(const struct dirent *const *)right;
    char one[NAME_MAX + 2];
    char two[NAME_MAX + 2];
    (void)snprintf(one, sizeof one, "%s%s", first->d_name, first->d_type == DT_DIR ? "/" : "");
    (void)snprintf(two, sizeof two, "%s%s", second->d_name, second->d_type == DT_DIR ? "/" : "");
    return strcmp(one, two);
}

/* Some file systems do not tell an entry's type, which its place in the order depends on. */
static void
learn_types(int folder, struct dirent **entries, int count)
{
    for (int i = 0; i < count; i++) {
        struct stat info;
        if (entries[i]->d_type == DT_UNKNOWN &&
            fstatat(folder, entries[i]->d_name, &info, AT_SYMLINK_NOFOLLOW) == 0) {
            entries[i]->d_type = S_ISDIR(info.st_mode) ? DT_DIR : DT_REG;
        }
    }
}

/* NOLINTBEGIN(misc-no-recursion): a level for each slash of a key, bounded */
static fx_code
walk_folder(walk *w, const char *path, size_t depth)
{
    if (depth > DEPTH_MAX) {
        return fx_fail(w->err, FX_ERR_LIMIT, "could not list \"%.100s\": too deep", path);
    }
    if (fx_store_check_deadline(w->asked->deadline, path, w->err) != FX_OK) {
        return w->err->code;
    }
    int folder =
        fx_place_open(w->asked->place, path[0] == '\0' ? "." : path, O_RDONLY | O_DIRECTORY);
    if (folder < 0) {
        return errno == ENOENT && depth > 0
                   ? FX_OK
                   : fx_place_failed(w->asked->place, "list", path, w->err);
    }
    struct dirent **entries = NULL;
    int count = scandirat(folder, ".", &entries, is_visible, NULL);
    fx_code code = count < 0 ? fx_place_failed(w->asked->place, "list", path, w->err) : FX_OK;
    if (count > 0) {
        learn_types(folder, entries, count);
        qsort(entries, (size_t)count, sizeof(struct dirent *), by_key);
    }
    for (int i = 0; i < count; i++) {
        char key[FX_STORE_KEY_MAX_BYTES + 1];
        int length = snprintf(
            key, sizeof key, "%s%s%s", path, path[0] == '\0' ? "" : "/", entries[i]->d_name);
        bool fits = length > 0 && (size_t)length < sizeof key;
        if (code == FX_OK && fits && !w->is_enough &&
            !is_passed(
                w->asked->after,
                key,
                entries[i]->d_type == DT_DIR)) { /* a longer name is not one of ours */
            code = walk_entry(w, folder, entries[i]->d_name, key, depth);
        }
        free(entries[i]);
    }
    free(entries);
    (void)close(folder);
    return code;
}
/* NOLINTEND(misc-no-recursion) */

fx_code
fx_place_list(const fx_place_walk *asked, fx_err *err)
{
    walk w = {.asked = asked, .err = err};
    return walk_folder(&w, "", 0);
}
