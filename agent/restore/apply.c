#include "agent/restore/apply.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pthread.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

enum { IDS_MAX = 256, LOOKUP_BYTES = 16384, PROC_PATH_BYTES = 64, SET_ID_BITS = 06000 };

typedef struct id_of_name {
    char *name;
    uint32_t saved_id;
    uint32_t id;
} id_of_name;

typedef struct id_cache {
    id_of_name items[IDS_MAX];
    size_t count;
} id_cache;

struct fx_apply {
    bool by_name;
    pthread_mutex_t lock; /* guards all below */
    bool has_left_owners;
    const fx_events *events;
    uint32_t *warning_count;
    id_cache users;
    id_cache groups;
};

/* Where attributes go: a descriptor, or where that is of a name alone (O_PATH), its path in /proc.
 */
typedef struct place {
    int fd;
    const char *proc_path;
} place;

fx_apply *
fx_apply_new(bool numeric_owner, const fx_events *events, uint32_t *warning_count)
{
    fx_apply *apply = calloc(1, sizeof *apply);
    FX_ASSERT(apply != NULL);
    apply->by_name = !numeric_owner;
    int result = pthread_mutex_init(&apply->lock, NULL);
    FX_ASSERT(result == 0);
    apply->events = events;
    apply->warning_count = warning_count;
    return apply;
}

static void
forget(id_cache *cache)
{
    while (cache->count > 0) {
        free(cache->items[--cache->count].name);
    }
}

void
fx_apply_free(fx_apply *apply)
{
    if (apply != NULL) {
        forget(&apply->users);
        forget(&apply->groups);
        (void)pthread_mutex_destroy(&apply->lock);
        free(apply);
    }
}

void
fx_apply_warn(fx_apply *apply, const char *path, const char *reason)
{
    (void)pthread_mutex_lock(&apply->lock);
    (*apply->warning_count)++;
    fx_events_warn(apply->events, path, reason);
    (void)pthread_mutex_unlock(&apply->lock);
}

static void
warn_errno(fx_apply *apply, const char *path, int sys_errno, const char *what)
{
    fx_err reason = {0};
    fx_ignore(fx_fail_errno(&reason, sys_errno, "could not set %s", what), "it is a warning");
    fx_apply_warn(apply, path, reason.message);
}

static uint32_t
look_up(const char *name, uint32_t saved_id, bool is_group)
{
    char room[LOOKUP_BYTES];
    if (is_group) {
        struct group found;
        struct group *result = NULL;
        int failed = getgrnam_r(name, &found, room, sizeof room, &result);
        return failed != 0 || result == NULL ? saved_id : (uint32_t)found.gr_gid;
    }
    struct passwd found;
    struct passwd *result = NULL;
    int failed = getpwnam_r(name, &found, room, sizeof room, &result);
    return failed != 0 || result == NULL ? saved_id : (uint32_t)found.pw_uid;
}

/* With the lock held. */
static uint32_t
cached_id(fx_apply *apply, const char *name, uint32_t saved_id, bool is_group)
{
    id_cache *cache = is_group ? &apply->groups : &apply->users;
    for (size_t index = 0; index < cache->count; index++) {
        if (cache->items[index].saved_id == saved_id &&
            strcmp(cache->items[index].name, name) == 0) {
            return cache->items[index].id;
        }
    }
    uint32_t id = look_up(name, saved_id, is_group);
    if (cache->count < IDS_MAX) {
        char *copy = strdup(name);
        FX_ASSERT(copy != NULL);
        cache->items[cache->count++] = (id_of_name){.name = copy, .saved_id = saved_id, .id = id};
    }
    return id;
}

/* The same person can have another number on this host. */
static uint32_t
id_here(fx_apply *apply, const char *name, uint32_t saved_id, bool is_group)
{
    if (name == NULL || !apply->by_name) {
        return saved_id;
    }
    (void)pthread_mutex_lock(&apply->lock);
    uint32_t id = cached_id(apply, name, saved_id, is_group);
    (void)pthread_mutex_unlock(&apply->lock);
    return id;
}

/* Root is refused by some file systems: one warning says so for all entries. */
static void
owner_refused(fx_apply *apply, const char *path, int sys_errno)
{
    (void)pthread_mutex_lock(&apply->lock);
    bool is_known = apply->has_left_owners;
    apply->has_left_owners = is_known || sys_errno == EPERM;
    (void)pthread_mutex_unlock(&apply->lock);
    if (sys_errno != EPERM) {
        warn_errno(apply, path, sys_errno, "the owner");
    } else if (!is_known && geteuid() == 0) {
        fx_apply_warn(
            apply, path, "could not set the owner of this and perhaps others: it is not permitted");
    }
}

bool
fx_apply_left_owners(const fx_apply *apply)
{
    return apply->has_left_owners;
}

/* Also access control lists; after the mode, which would change them. */
static void
set_xattrs(fx_apply *apply, place where, const fx_node *node, const char *path)
{
    for (size_t index = 0; index < node->xattr_count; index++) {
        const fx_xattr *xattr = &node->xattrs[index];
        const void *value = xattr->value.data;
        size_t size_bytes = xattr->value.size_bytes;
        int failed = where.proc_path == NULL
                         ? fsetxattr(where.fd, xattr->name, value, size_bytes, 0)
                         : setxattr(where.proc_path, xattr->name, value, size_bytes, 0);
        if (failed != 0) {
            int sys_errno = errno;
            char what[128];
            (void)snprintf(what, sizeof what, "the attribute %.100s", xattr->name);
            warn_errno(apply, path, sys_errno, what);
        }
    }
}

static void
times_of(const fx_node *node, struct timespec times[2])
{
    int64_t seconds = node->mtime_ns / 1000000000;
    int64_t rest = node->mtime_ns % 1000000000;
    if (rest < 0) {
        rest += 1000000000;
        seconds--;
    }
    times[0] = (struct timespec){.tv_nsec = UTIME_OMIT};
    times[1] = (struct timespec){.tv_sec = (time_t)seconds, .tv_nsec = (long)rest};
}

void
fx_apply_opened(fx_apply *apply, int fd, const fx_node *node, const char *path)
{
    uid_t uid = id_here(apply, node->user, node->uid, false);
    gid_t gid = id_here(apply, node->group, node->gid, true);
    mode_t mode = node->mode;
    /* What is right already is not set again: it costs more than to look. */
    struct stat seen;
    bool is_seen = fstat(fd, &seen) == 0;
    if ((!is_seen || seen.st_uid != uid || seen.st_gid != gid) && fchown(fd, uid, gid) != 0) {
        owner_refused(apply, path, errno);
        mode &= ~(mode_t)SET_ID_BITS; /* they would lend the wrong owner's rights */
    }
    if ((!is_seen || (seen.st_mode & 07777) != mode || (mode & SET_ID_BITS) != 0) &&
        fchmod(fd, mode) != 0) {
        warn_errno(apply, path, errno, "the mode");
    }
    set_xattrs(apply, (place){.fd = fd}, node, path);
    struct timespec times[2];
    times_of(node, times);
    if (futimens(fd, times) != 0) {
        warn_errno(apply, path, errno, "the times");
    }
}

/* What we made and nobody exchanged since: a link, or another's file, gets nothing. */
static int
open_made(int folder_fd, const fx_node *node)
{
    struct stat info;
    int fd = openat(folder_fd, node->name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    bool is_symlink = node->kind == FX_NODE_SYMLINK;
    if (fd >= 0 && (fstat(fd, &info) != 0 || S_ISLNK(info.st_mode) != is_symlink ||
                    S_ISREG(info.st_mode) || S_ISDIR(info.st_mode) || info.st_nlink != 1)) {
        (void)close(fd);
        fd = -1;
        errno = ESTALE;
    }
    return fd;
}

void
fx_apply_named(fx_apply *apply, int folder_fd, const fx_node *node, const char *path)
{
    uid_t uid = id_here(apply, node->user, node->uid, false);
    gid_t gid = id_here(apply, node->group, node->gid, true);
    char proc_path[PROC_PATH_BYTES];
    int fd = open_made(folder_fd, node);
    if (fd < 0) {
        warn_errno(apply, path, errno, "owner, mode and times");
        return;
    }
    (void)snprintf(proc_path, sizeof proc_path, "/proc/self/fd/%d", fd);
    if (fchownat(fd, "", uid, gid, AT_EMPTY_PATH) != 0) {
        owner_refused(apply, path, errno);
    }
    if (node->kind != FX_NODE_SYMLINK && chmod(proc_path, node->mode) != 0) {
        warn_errno(apply, path, errno, "the mode");
    }
    set_xattrs(apply, (place){.proc_path = proc_path}, node, path);
    struct timespec times[2];
    times_of(node, times);
    if (utimensat(fd, "", times, AT_EMPTY_PATH) != 0) {
        warn_errno(apply, path, errno, "the times");
    }
    (void)close(fd);
}
