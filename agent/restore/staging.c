#include "agent/restore/staging.h"

#include "common/base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

enum { DEPTH_MAX = 1024, BASE_SHOWN_BYTES = 180 };

/* ---- listing and removing
 * ------------------------------------------------------------------------ */

static DIR *
list_of(int folder_fd)
{
    int fd = openat(folder_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *stream = fd < 0 ? NULL : fdopendir(fd);
    if (stream == NULL && fd >= 0) {
        (void)close(fd);
    }
    return stream;
}

/* The next name other than "." and ".."; NULL at the end. */
static const char *
next_name(DIR *stream)
{
    for (;;) {
        const struct dirent *entry = readdir(stream); // NOLINT(concurrency-mt-unsafe): own stream
        if (entry == NULL ||
            (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)) {
            return entry == NULL ? NULL : entry->d_name;
        }
    }
}

/* Whether the folder holds nothing but, perhaps, `allowed`. */
static fx_code
check_empty(const char *path, const char *allowed, fx_err *err)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *stream = fd < 0 ? NULL : fdopendir(fd);
    if (stream == NULL) {
        int failed = errno;
        if (fd >= 0) {
            (void)close(fd);
        }
        return fx_fail_errno(err, failed, "could not look into \"%.150s\"", path);
    }
    bool is_empty = true;
    for (const char *name = next_name(stream); name != NULL && is_empty; name = next_name(stream)) {
        is_empty = allowed != NULL && strcmp(name, allowed) == 0;
    }
    (void)closedir(stream);
    if (!is_empty) {
        return fx_fail(
            err,
            FX_ERR_EXISTS,
            "could not restore to \"%.120s\": it is not empty; name a folder that is empty or not "
            "there (nothing was changed)",
            path);
    }
    return FX_OK;
}

/* A folder that is being emptied, with its name in the one around it. */
typedef struct emptying {
    DIR *stream;
    char *name;
} emptying;

void
fx_staging_unlock(int folder_fd, const char *name, unsigned mode)
{
    int ignored = fchmodat(folder_fd, name, mode, AT_SYMLINK_NOFOLLOW);
    (void)ignored;
}

static bool
enter_to_empty(int folder_fd, const char *name, emptying *out_folder)
{
    struct stat info;
    if (fstatat(folder_fd, name, &info, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISDIR(info.st_mode)) {
        return false;
    }
    fx_staging_unlock(folder_fd, name, 0700);
    int fd = openat(folder_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) {
        return false;
    }
    out_folder->stream = fdopendir(fd);
    out_folder->name = strdup(name);
    FX_ASSERT(out_folder->stream != NULL && out_folder->name != NULL);
    return true;
}

/* Removes all that is in the folder, which we made: no link in it is followed. */
static void
remove_content(int root_fd)
{
    emptying *stack = calloc(DEPTH_MAX, sizeof *stack);
    FX_ASSERT(stack != NULL);
    size_t depth = 1;
    stack[0].stream = list_of(root_fd);
    while (depth > 0) {
        emptying *top = &stack[depth - 1];
        const char *name = top->stream == NULL ? NULL : next_name(top->stream);
        if (name != NULL) {
            int folder_fd = dirfd(top->stream);
            if (unlinkat(folder_fd, name, 0) != 0 && depth < DEPTH_MAX &&
                enter_to_empty(folder_fd, name, &stack[depth])) {
                depth++;
            }
            continue;
        }
        if (top->stream != NULL) {
            (void)closedir(top->stream);
        }
        depth--;
        if (depth > 0) {
            (void)unlinkat(dirfd(stack[depth - 1].stream), top->name, AT_REMOVEDIR);
        }
        free(top->name);
    }
    free(stack);
}

/* ---- making the place
 * ------------------------------------------------------------------------------ */

/* The absolute path of the target; the folder around it is made if it is not there, and resolved.
 */
static fx_code
join_target(
    const char *around,
    const char *base,
    bool makes,
    fx_staging *staging,
    char *parent,
    fx_err *err)
{
    if (makes && strcmp(around, "/") != 0 && fx_file_make_folder(around, 0755, err) != FX_OK) {
        return err->code;
    }
    char *resolved = realpath(around, NULL);
    if (resolved == NULL) {
        return fx_fail_errno(err, errno, "could not resolve \"%.150s\"", around);
    }
    (void)snprintf(parent, PATH_MAX, "%s", resolved);
    free(resolved);
    int written = snprintf(
        staging->target,
        sizeof staging->target,
        "%s/%s",
        strcmp(parent, "/") == 0 ? "" : parent,
        base);
    if (written < 0 || (size_t)written >= sizeof staging->target) {
        return fx_fail(err, FX_ERR_LIMIT, "could not restore: the target's path is too long");
    }
    return FX_OK;
}

/* Splits off the last name. */
static fx_code
resolve_target(
    const char *target, bool makes, fx_staging *staging, char parent[PATH_MAX], fx_err *err)
{
    char text[PATH_MAX];
    size_t length = strlen(target);
    while (length > 1 && target[length - 1] == '/') {
        length--;
    }
    if (length == 0 || length >= sizeof text) {
        return fx_fail(
            err, FX_ERR_INVALID, "could not restore: the target's path is empty or too long");
    }
    memcpy(text, target, length);
    text[length] = '\0';
    char *slash = strrchr(text, '/');
    const char *base = slash == NULL ? text : slash + 1;
    if (base[0] == '\0' || strcmp(base, ".") == 0 || strcmp(base, "..") == 0) {
        return fx_fail(
            err, FX_ERR_INVALID, "could not restore to \"%.150s\": name the folder itself", target);
    }
    const char *around = ".";
    if (slash != NULL) {
        *slash = '\0';
        around = slash == text ? "/" : text;
    }
    return join_target(around, base, makes, staging, parent, err);
}

enum { PREFIX_ROOM_BYTES = 64 };

static const char staging_word[] = "fortress-restore-";

static fx_code
look_at_target(fx_staging *staging, const char *parent, const char *label, fx_err *err)
{
    struct stat info;
    struct stat around;
    char own_name[PREFIX_ROOM_BYTES + NAME_MAX];
    if (lstat(staging->target, &info) != 0) {
        return errno == ENOENT
                   ? FX_OK
                   : fx_fail_errno(err, errno, "could not look at \"%.150s\"", staging->target);
    }
    if (!S_ISDIR(info.st_mode)) {
        return fx_fail(
            err,
            FX_ERR_EXISTS,
            "could not restore to \"%.120s\": it is %s; name a folder itself (nothing was changed)",
            staging->target,
            S_ISLNK(info.st_mode) ? "a symbolic link" : "no folder");
    }
    (void)snprintf(own_name, sizeof own_name, ".%s%.32s", staging_word, label);
    if (check_empty(staging->target, own_name, err) != FX_OK) {
        return err->code;
    }
    staging->had_target = true;
    staging->target_mode = info.st_mode & 07777;
    staging->target_uid = info.st_uid;
    staging->target_gid = info.st_gid;
    staging->is_inside =
        (stat(parent, &around) == 0 && around.st_dev != info.st_dev) || access(parent, W_OK) != 0;
    return FX_OK;
}

/* `label` "XXXXXX": for mkdtemp(). */
static fx_code
name_staging(fx_staging *staging, const char *parent, const char *label, fx_err *err)
{
    const char *base = strrchr(staging->target, '/') + 1;
    int written = 0;
    if (staging->is_inside) {
        written = snprintf(
            staging->path,
            sizeof staging->path,
            "%s/.%s%.32s",
            staging->target,
            staging_word,
            label);
    } else {
        written = snprintf(
            staging->path,
            sizeof staging->path,
            "%s/.%.*s.%s%.32s",
            strcmp(parent, "/") == 0 ? "" : parent,
            BASE_SHOWN_BYTES,
            base,
            staging_word,
            label);
    }
    if (written < 0 || (size_t)written >= sizeof staging->path) {
        return fx_fail(err, FX_ERR_LIMIT, "could not restore: the target's path is too long");
    }
    return FX_OK;
}

/* Private, and nobody else's: what is in it was put there by us, whatever it is now. */
static bool
is_ours(const fx_staging *staging)
{
    struct stat info;
    struct stat named;
    return fstat(staging->fd, &info) == 0 && info.st_uid == geteuid() &&
           (info.st_mode & 07777) == 0700 && lstat(staging->path, &named) == 0 &&
           named.st_ino == info.st_ino && named.st_dev == info.st_dev;
}

static fx_code
open_staging(fx_staging *staging, fx_err *err)
{
    staging->fd = open(staging->path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return staging->fd >= 0 ? FX_OK
                            : fx_fail_errno(err, errno, "could not open \"%.150s\"", staging->path);
}

/* One restore at a time: the lock ends with the process. */
static fx_code
lock_staging(const fx_staging *staging, fx_err *err)
{
    if (flock(staging->fd, LOCK_EX | LOCK_NB) == 0) {
        return FX_OK;
    }
    if (errno != EWOULDBLOCK) {
        return fx_fail_errno(err, errno, "could not lock \"%.150s\"", staging->path);
    }
    return fx_fail(
        err,
        FX_ERR_BUSY,
        "could not restore to \"%.120s\": the same restore is under way in another process",
        staging->target);
}

/* The folder that a restore was broken off in; false: there is none that can be used. */
static bool
take_up(fx_staging *staging, fx_err *err)
{
    fx_err ignored = {0};
    if (open_staging(staging, &ignored) != FX_OK) {
        return false;
    }
    if (lock_staging(staging, err) == FX_OK && is_ours(staging)) {
        staging->is_resumed = true;
        return true;
    }
    (void)close(staging->fd);
    staging->fd = -1;
    return false;
}

static fx_code
make_staging(fx_staging *staging, const char *parent, const char *label, fx_err *err)
{
    if (name_staging(staging, parent, label, err) != FX_OK) {
        return err->code;
    }
    if (mkdir(staging->path, 0700) != 0) {
        if (errno != EEXIST) {
            return fx_fail_errno(err, errno, "could not create \"%.150s\"", staging->path);
        }
        if (take_up(staging, err)) {
            return FX_OK;
        }
        if (err->code != FX_OK || name_staging(staging, parent, "XXXXXX", err) != FX_OK) {
            return err->code;
        }
        if (mkdtemp(staging->path) == NULL) { /* somebody else has the name */
            return fx_fail_errno(err, errno, "could not create \"%.150s\"", staging->path);
        }
    }
    if (open_staging(staging, err) != FX_OK) {
        (void)rmdir(staging->path);
        return err->code;
    }
    /* What is made here must not inherit lists of access from the folder around it. */
    (void)fremovexattr(staging->fd, "system.posix_acl_default");
    (void)fremovexattr(staging->fd, "system.posix_acl_access");
    (void)fchmod(staging->fd, 0700);
    if (lock_staging(staging, err) != FX_OK) {
        (void)close(staging->fd);
        return err->code;
    }
    return FX_OK;
}

fx_code
fx_staging_open(const char *target, const char *label, fx_staging *out_staging, fx_err *err)
{
    fx_staging staging = {.fd = -1};
    char parent[PATH_MAX];
    if (resolve_target(target, true, &staging, parent, err) != FX_OK ||
        look_at_target(&staging, parent, label, err) != FX_OK ||
        make_staging(&staging, parent, label, err) != FX_OK) {
        return err->code;
    }
    *out_staging = staging;
    return FX_OK;
}

fx_code
fx_staging_check(const char *target, const char *label, fx_err *err)
{
    fx_staging staging = {.fd = -1};
    char parent[PATH_MAX];
    fx_code code = resolve_target(target, false, &staging, parent, err);
    if (code == FX_OK) {
        code = look_at_target(&staging, parent, label, err);
    } else if (code == FX_ERR_NOT_FOUND) {
        code = FX_OK; /* not even the folder around it is there: it will be made */
        *err = (fx_err){0};
    }
    return code;
}

/* ---- into place
 * -------------------------------------------------------------------------------------- */

static fx_code
taken_meanwhile(const fx_staging *staging, int sys_errno, fx_err *err)
{
    if (sys_errno == EEXIST || sys_errno == ENOTEMPTY || sys_errno == ENOTDIR) {
        return fx_fail(
            err,
            FX_ERR_EXISTS,
            "could not put the restored files into \"%.120s\": somebody made something there",
            staging->target);
    }
    return fx_fail_errno(
        err, sys_errno, "could not put the restored files into \"%.120s\"", staging->target);
}

static fx_code
place_inside(fx_staging *staging, fx_err *err)
{
    const char *own_name = strrchr(staging->path, '/') + 1;
    if (check_empty(staging->target, own_name, err) != FX_OK) {
        return err->code;
    }
    DIR *stream = list_of(staging->fd);
    if (stream == NULL) {
        return fx_fail_errno(err, errno, "could not list \"%.150s\"", staging->path);
    }
    fx_code code = FX_OK;
    for (const char *name = next_name(stream); name != NULL && code == FX_OK;
         name = next_name(stream)) {
        char relative[NAME_MAX + 4];
        (void)snprintf(relative, sizeof relative, "../%s", name);
        if (renameat2(staging->fd, name, staging->fd, relative, RENAME_NOREPLACE) != 0) {
            code = taken_meanwhile(staging, errno, err);
        }
    }
    (void)closedir(stream);
    return code;
}

/* On file systems without RENAME_NOREPLACE a plain rename still replaces nothing but an empty
 * folder. */
static fx_code
place_beside(fx_staging *staging, fx_err *err)
{
    unsigned flags = staging->had_target ? 0 : RENAME_NOREPLACE;
    if (renameat2(AT_FDCWD, staging->path, AT_FDCWD, staging->target, flags) != 0 &&
        (errno != EINVAL || rename(staging->path, staging->target) != 0)) {
        return taken_meanwhile(staging, errno, err);
    }
    (void)close(staging->fd);
    staging->fd = -1;
    return FX_OK;
}

fx_code
fx_staging_place(fx_staging *staging, fx_err *err)
{
    if (syncfs(staging->fd) != 0) {
        return fx_fail_errno(err, errno, "could not sync \"%.150s\"", staging->path);
    }
    fx_code code = staging->is_inside ? place_inside(staging, err) : place_beside(staging, err);
    if (code != FX_OK) {
        return code;
    }
    return fx_file_sync_parent(staging->is_inside ? staging->path : staging->target, err);
}

void
fx_staging_close(fx_staging *staging)
{
    if (staging->fd < 0) {
        return;
    }
    remove_content(staging->fd);
    (void)close(staging->fd);
    (void)rmdir(staging->path);
    staging->fd = -1;
}

void
fx_staging_leave(fx_staging *staging)
{
    if (staging->fd >= 0) {
        (void)close(staging->fd);
        staging->fd = -1;
    }
}
