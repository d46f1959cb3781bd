#include "agent/source/files/meta.h"

#include <errno.h>
#include <grp.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

enum {
    NAMES_MAX = 256, /* more different owners than that are looked up again and again */
    LOOKUP_BYTES = 16384,
    XATTR_LIST_MAX_BYTES = 65536, /* the kernel's limits, xattr(7) */
    XATTR_VALUE_MAX_BYTES = 65536,
    PROC_PATH_BYTES = 64 + NAME_MAX,
};

typedef struct owner_name {
    uint32_t id;
    char *text; /* NULL: nobody is called that */
} owner_name;

typedef struct name_cache {
    owner_name items[NAMES_MAX];
    size_t count;
} name_cache;

struct fx_owner_names {
    name_cache users;
    name_cache groups;
};

fx_owner_names *
fx_owner_names_new(void)
{
    fx_owner_names *names = calloc(1, sizeof *names);
    FX_ASSERT(names != NULL);
    return names;
}

static void
forget(name_cache *cache)
{
    while (cache->count > 0) {
        free(cache->items[--cache->count].text);
    }
}

void
fx_owner_names_free(fx_owner_names *names)
{
    if (names != NULL) {
        forget(&names->users);
        forget(&names->groups);
        free(names);
    }
}

static char *
copy_text(const char *text)
{
    char *copy = text == NULL ? NULL : strdup(text);
    FX_ASSERT(text == NULL || copy != NULL);
    return copy;
}

static char *
look_up(uint32_t id, bool is_group)
{
    char room[LOOKUP_BYTES];
    if (is_group) {
        struct group found;
        struct group *result = NULL;
        int failed = getgrgid_r((gid_t)id, &found, room, sizeof room, &result);
        return failed != 0 || result == NULL ? NULL : copy_text(found.gr_name);
    }
    struct passwd found;
    struct passwd *result = NULL;
    int failed = getpwuid_r((uid_t)id, &found, room, sizeof room, &result);
    return failed != 0 || result == NULL ? NULL : copy_text(found.pw_name);
}

/* The caller owns the copy. */
static char *
name_of(name_cache *cache, uint32_t id, bool is_group)
{
    for (size_t index = 0; index < cache->count; index++) {
        if (cache->items[index].id == id) {
            return copy_text(cache->items[index].text);
        }
    }
    char *text = look_up(id, is_group);
    if (cache->count == NAMES_MAX) {
        return text;
    }
    cache->items[cache->count++] = (owner_name){.id = id, .text = text};
    return copy_text(text);
}

static int64_t
time_ns(struct timespec when)
{
    return (int64_t)when.tv_sec * 1000000000 + when.tv_nsec;
}

int64_t
fx_meta_mtime_ns(const struct stat *info)
{
    return time_ns(info->st_mtim);
}

int64_t
fx_meta_ctime_ns(const struct stat *info)
{
    return time_ns(info->st_ctim);
}

fx_node_kind
fx_meta_kind(mode_t mode)
{
    switch (mode & S_IFMT) {
    case S_IFDIR:
        return FX_NODE_FOLDER;
    case S_IFLNK:
        return FX_NODE_SYMLINK;
    case S_IFIFO:
        return FX_NODE_FIFO;
    case S_IFSOCK:
        return FX_NODE_SOCKET;
    case S_IFCHR:
        return FX_NODE_CHARACTER_DEVICE;
    case S_IFBLK:
        return FX_NODE_BLOCK_DEVICE;
    default:
        return FX_NODE_FILE;
    }
}

static fx_code
read_link(int folder_fd, const char *name, fx_node *node, fx_err *err)
{
    char target[PATH_MAX + 1];
    ssize_t length = readlinkat(folder_fd, name, target, sizeof target - 1);
    if (length < 0) {
        return fx_fail_errno(err, errno, "could not read the symbolic link");
    }
    target[length] = '\0';
    node->link_target = copy_text(target);
    return FX_OK;
}

/* One attribute; one that vanished meanwhile is left out. */
static fx_code
read_xattr(const char *path, const char *name, fx_node *node, fx_err *err)
{
    unsigned char *value = malloc(XATTR_VALUE_MAX_BYTES);
    FX_ASSERT(value != NULL);
    ssize_t size_bytes = lgetxattr(path, name, value, XATTR_VALUE_MAX_BYTES);
    if (size_bytes < 0) {
        int failed = errno;
        free(value);
        return failed == ENODATA
                   ? FX_OK
                   : fx_fail_errno(err, failed, "could not read the attribute %.100s", name);
    }
    unsigned char *kept = realloc(value, (size_t)size_bytes + 1);
    FX_ASSERT(kept != NULL);
    node->xattrs[node->xattr_count++] = (fx_xattr){
        .name = copy_text(name),
        .value = {.data = kept, .size_bytes = (size_t)size_bytes},
    };
    return FX_OK;
}

static fx_code
read_listed(const char *path, const char *list, size_t list_bytes, fx_node *node, fx_err *err)
{
    size_t count = 0;
    for (const char *name = list; name < list + list_bytes; name += strlen(name) + 1) {
        count++;
    }
    node->xattrs = calloc(count + 1, sizeof *node->xattrs);
    FX_ASSERT(node->xattrs != NULL);
    for (const char *name = list; name < list + list_bytes; name += strlen(name) + 1) {
        if (read_xattr(path, name, node, err) != FX_OK) {
            return err->code;
        }
    }
    return FX_OK;
}

/* Also access control lists: they are the attributes system.posix_acl_*. source: acl(5), xattr(7)
 */
static fx_code
read_xattrs(int folder_fd, const char *name, fx_node *node, fx_err *err)
{
    char path[PROC_PATH_BYTES]; /* there is no llistxattrat */
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d/%s", folder_fd, name);
    char probe[1024];
    ssize_t list_bytes = llistxattr(path, probe, sizeof probe);
    if (list_bytes >= 0) {
        return list_bytes == 0 ? FX_OK : read_listed(path, probe, (size_t)list_bytes, node, err);
    }
    if (errno == ENOTSUP) {
        return FX_OK;
    }
    if (errno != ERANGE) {
        return fx_fail_errno(err, errno, "could not list the attributes");
    }
    char *list = malloc(XATTR_LIST_MAX_BYTES);
    FX_ASSERT(list != NULL);
    list_bytes = llistxattr(path, list, XATTR_LIST_MAX_BYTES);
    fx_code code = list_bytes < 0 ? fx_fail_errno(err, errno, "could not list the attributes")
                                  : read_listed(path, list, (size_t)list_bytes, node, err);
    free(list);
    return code;
}

void
fx_meta_read_owner(const struct stat *info, fx_owner_names *names, fx_node *node)
{
    free(node->user);
    free(node->group);
    node->uid = info->st_uid;
    node->gid = info->st_gid;
    node->user = name_of(&names->users, info->st_uid, false);
    node->group = name_of(&names->groups, info->st_gid, true);
}

fx_code
fx_meta_read(
    int folder_fd,
    const char *name,
    const struct stat *info,
    fx_owner_names *names,
    fx_node *node,
    fx_err *err)
{
    *node = (fx_node){
        .kind = fx_meta_kind(info->st_mode),
        .name = copy_text(name),
        .mode = (uint32_t)info->st_mode & 07777,
        .uid = info->st_uid,
        .gid = info->st_gid,
        .user = name_of(&names->users, info->st_uid, false),
        .group = name_of(&names->groups, info->st_gid, true),
        .mtime_ns = fx_meta_mtime_ns(info),
        .ctime_ns = fx_meta_ctime_ns(info),
        .inode = info->st_ino,
    };
    if (node->kind == FX_NODE_CHARACTER_DEVICE || node->kind == FX_NODE_BLOCK_DEVICE) {
        node->device = info->st_rdev;
    }
    if (node->kind == FX_NODE_SYMLINK && read_link(folder_fd, name, node, err) != FX_OK) {
        return err->code;
    }
    return read_xattrs(folder_fd, name, node, err);
}
