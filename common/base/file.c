#include "common/base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { READ_STEP_BYTES = 65536 };

static fx_code
read_all(int fd, const char *path, fx_buf *out, fx_err *err)
{
    for (;;) {
        unsigned char step[READ_STEP_BYTES];
        ssize_t got_bytes = read(fd, step, sizeof step);
        if (got_bytes < 0 && errno == EINTR) {
            continue;
        }
        if (got_bytes < 0) {
            return fx_fail_errno(err, errno, "could not read \"%s\"", path);
        }
        if (got_bytes == 0) {
            return FX_OK;
        }
        if (fx_buf_append(out, step, (size_t)got_bytes, err) != FX_OK) {
            return fx_err_wrap(err, "reading \"%s\"", path);
        }
    }
}

fx_code
fx_file_read(const char *path, fx_buf *out, fx_err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return fx_fail_errno(err, errno, "could not open \"%s\"", path);
    }
    fx_code code = read_all(fd, path, out, err);
    (void)close(fd);
    return code;
}

static fx_code
write_all(int fd, fx_bytes content, const char *path, fx_err *err)
{
    const unsigned char *data = content.data;
    size_t left_bytes = content.size_bytes;
    while (left_bytes > 0) {
        ssize_t put_bytes = write(fd, data, left_bytes);
        if (put_bytes < 0 && errno == EINTR) {
            continue;
        }
        if (put_bytes < 0) {
            return fx_fail_errno(err, errno, "could not write \"%s\"", path);
        }
        data += put_bytes;
        left_bytes -= (size_t)put_bytes;
    }
    if (fsync(fd) != 0) {
        return fx_fail_errno(err, errno, "could not sync \"%s\"", path);
    }
    return FX_OK;
}

static fx_code
write_temporary(const char *temporary, fx_bytes content, unsigned mode, fx_err *err)
{
    int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        return fx_fail_errno(err, errno, "could not create \"%s\"", temporary);
    }
    fx_code code = write_all(fd, content, temporary, err);
    if (code == FX_OK && fchmod(fd, (mode_t)mode) != 0) {
        code = fx_fail_errno(err, errno, "could not set the mode of \"%s\"", temporary);
    }
    (void)close(fd);
    return code;
}

fx_code
fx_file_replace(const char *path, fx_bytes content, unsigned mode, fx_err *err)
{
    char temporary[PATH_MAX];
    int length = snprintf(temporary, sizeof temporary, "%s.tmp.%d", path, (int)getpid());
    if (length < 0 || (size_t)length >= sizeof temporary) {
        return fx_fail(err, FX_ERR_LIMIT, "could not write \"%.80s…\": path is too long", path);
    }
    fx_code code = write_temporary(temporary, content, mode, err);
    if (code == FX_OK && rename(temporary, path) != 0) {
        code = fx_fail_errno(err, errno, "could not replace \"%s\"", path);
    }
    if (code != FX_OK) {
        (void)unlink(temporary);
        return code;
    }
    return fx_file_sync_parent(path, err);
}

fx_code
fx_file_sync_parent(const char *path, fx_err *err)
{
    char folder[PATH_MAX];
    const char *slash = strrchr(path, '/');
    size_t length = slash == NULL ? 1 : (size_t)(slash - path);
    FX_ASSERT(length < sizeof folder);
    memcpy(folder, slash == NULL ? "." : path, length);
    folder[length] = '\0';
    if (length == 0) {
        memcpy(folder, "/", 2);
    }

    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int sync_errno = fd < 0 || fsync(fd) != 0 ? errno : 0;
    if (fd >= 0) {
        (void)close(fd);
    }
    if (sync_errno != 0) {
        fx_code code = fx_fail_errno(err, sync_errno, "could not sync folder \"%s\"", folder);
        err->outcome = FX_CLASS_UNKNOWN;
        return code;
    }
    return FX_OK;
}

static bool
is_folder(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

/*
 * Who made it may have been killed before the sync. Of folders around it that cannot be opened, we
 * made none.
 */
static fx_code
sync_found(const char *path, fx_err *err)
{
    fx_err failure = {0};
    fx_code code = fx_file_sync_parent(path, &failure);
    if (code != FX_OK && code != FX_ERR_DENIED) {
        *err = failure;
        return code;
    }
    return FX_OK;
}

/* `around` has been found there; NULL: it was made just now. */
static fx_code
make_one(const char *path, const char *around, unsigned mode, fx_err *err)
{
    if (around != NULL && sync_found(around, err) != FX_OK) {
        return err->code;
    }
    if (mkdir(path, (mode_t)mode) == 0) {
        return fx_file_sync_parent(path, err);
    }
    int mkdir_errno = errno;
    if (mkdir_errno == EEXIST && is_folder(path)) { /* another process was faster */
        return sync_found(path, err);
    }
    return fx_fail_errno(err, mkdir_errno, "could not create folder \"%s\"", path);
}

/*
 * Of folders that are there, only the last can be one whose maker was killed before it was durable:
 * nothing is made below one before that.
 */
fx_code
fx_file_make_folder(const char *path, unsigned mode, fx_err *err)
{
    char part[PATH_MAX];
    char found[PATH_MAX] = "";
    size_t length = strlen(path);
    if (length == 0 || length >= sizeof part) {
        return fx_fail(err, FX_ERR_LIMIT, "could not create a folder: path is empty or too long");
    }
    memcpy(part, path, length + 1);
    for (char *slash = strchr(part + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (is_folder(part)) {
            memcpy(found, part, strlen(part) + 1);
        } else if (make_one(part, found[0] == '\0' ? NULL : found, 0755, err) != FX_OK) {
            return err->code;
        } else {
            found[0] = '\0';
        }
        *slash = '/';
    }
    return is_folder(path) ? sync_found(path, err)
                           : make_one(path, found[0] == '\0' ? NULL : found, mode, err);
}
