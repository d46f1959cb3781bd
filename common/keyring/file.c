/* The keyring's file: read, created, and changed by one process at a time. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/file.h"
#include "common/base/secret.h"
#include "common/keyring/keyring.h"

static void
wipe_buf(fx_buf *buf)
{
    if (buf->data != NULL) {
        fx_wipe(buf->data, buf->capacity_bytes);
    }
}

static fx_code
check_mode(const struct stat *info, const char *path, fx_err *err)
{
    if ((info->st_mode & 077) != 0) {
        return fx_fail(
            err,
            FX_ERR_DENIED,
            "could not use key file \"%.150s\": others than its owner may read it; chmod 600 it",
            path);
    }
    return FX_OK;
}

fx_code
fx_secret_file_read(const char *path, fx_buf *out, fx_err *err)
{
    struct stat info;
    if (stat(path, &info) != 0) {
        return fx_fail_errno(err, errno, "could not open key file \"%.150s\"", path);
    }
    if (check_mode(&info, path, err) != FX_OK) {
        return err->code;
    }
    /* At once, so that what is secret does not move. */
    if (S_ISREG(info.st_mode) && (uint64_t)info.st_size < out->max_bytes) {
        fx_buf_reserve(out, (size_t)info.st_size + 1);
    }
    return fx_file_read(path, out, err) == FX_OK ? FX_OK : fx_err_wrap(err, "reading the key file");
}

static fx_code
load_once(const char *path, fx_keyring **out_keyring, fx_err *err)
{
    FX_BUF_AUTO text;
    fx_buf_init(&text, FX_KEYRING_MAX_BYTES);
    fx_code code = fx_secret_file_read(path, &text, err);
    if (code == FX_OK && fx_keyring_parse(fx_buf_bytes(&text), out_keyring, err) != FX_OK) {
        code = fx_err_wrap(err, "reading key file \"%.150s\"", path);
    }
    wipe_buf(&text);
    return code;
}

fx_code
fx_keyring_load(const char *path, fx_keyring **out_keyring, fx_err *err)
{
    fx_code code = load_once(path, out_keyring, err);
    if (code == FX_ERR_INVALID || code == FX_ERR_DAMAGED) {
        /* It may have been replaced, and the old one overwritten, while it was read. */
        *err = (fx_err){0};
        code = load_once(path, out_keyring, err);
    }
    return code;
}

static bool
write_whole(int fd, fx_bytes content)
{
    const char *data = content.data;
    size_t left_bytes = content.size_bytes;
    while (left_bytes > 0) {
        ssize_t put_bytes = write(fd, data, left_bytes);
        if (put_bytes < 0 && errno != EINTR) {
            return false;
        }
        if (put_bytes > 0) {
            data += put_bytes;
            left_bytes -= (size_t)put_bytes;
        }
    }
    return fsync(fd) == 0;
}

/* Puts zeros where a file's content is and has them reach the disk. */
static bool
overwrite(int fd)
{
    enum { PIECE_BYTES = 4096 };
    static const char zeros[PIECE_BYTES];
    struct stat info;
    if (fstat(fd, &info) != 0) {
        return false;
    }
    for (off_t at = 0; at < info.st_size; at += PIECE_BYTES) {
        off_t left = info.st_size - at;
        size_t size_bytes = left < PIECE_BYTES ? (size_t)left : (size_t)PIECE_BYTES;
        if (pwrite(fd, zeros, size_bytes, at) != (ssize_t)size_bytes) {
            return false;
        }
    }
    return fsync(fd) == 0;
}

/*
 * A new file beside `path` with the content, durable; `like` gives owner and mode, or NULL. A
 * change of a locked file has one name for it, so that the next one finds what a crash left.
 */
static fx_code
write_aside(
    const char *path,
    fx_bytes content,
    const struct stat *like,
    char out_temporary[PATH_MAX],
    fx_err *err)
{
    int length = snprintf(out_temporary, PATH_MAX, "%s.%s", path, like == NULL ? "XXXXXX" : "new");
    if (length < 0 || length >= PATH_MAX) {
        return fx_fail(err, FX_ERR_INVALID, "could not write key file \"%.80s\": too long", path);
    }
    int fd = like == NULL ? mkostemp(out_temporary, O_CLOEXEC) /* mode 0600 */
                          : open(out_temporary, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) {
        return fx_fail_errno(err, errno, "could not write key file \"%.150s\"", path);
    }
    bool is_written = (like == NULL || (fchown(fd, like->st_uid, like->st_gid) == 0 &&
                                        fchmod(fd, like->st_mode & 0700) == 0)) &&
                      write_whole(fd, content);
    fx_code code =
        is_written ? FX_OK : fx_fail_errno(err, errno, "could not write key file \"%.150s\"", path);
    (void)close(fd);
    if (code != FX_OK) {
        (void)unlink(out_temporary);
    }
    return code;
}

/*
 * Written aside and linked to its name: the name is free or the whole key's, and link(2) replaces
 * nothing, not even a symbolic link that leads nowhere.
 */
fx_code
fx_secret_file_create(const char *path, fx_bytes content, fx_err *err)
{
    char temporary[PATH_MAX];
    if (write_aside(path, content, NULL, temporary, err) != FX_OK) {
        return err->code;
    }
    fx_code code = FX_OK;
    if (link(temporary, path) != 0) {
        code = errno == EEXIST
                   ? fx_fail(
                         err,
                         FX_ERR_EXISTS,
                         "could not create key file \"%.150s\": the file exists",
                         path)
                   : fx_fail_errno(err, errno, "could not create key file \"%.150s\"", path);
    }
    (void)unlink(temporary);
    return code == FX_OK ? fx_file_sync_parent(path, err) : code;
}

fx_code
fx_keyring_create(const char *path, const fx_keyring *keyring, fx_err *err)
{
    FX_BUF_AUTO text;
    fx_buf_init(&text, FX_KEYRING_MAX_BYTES);
    fx_code code = fx_keyring_print(keyring, &text, err);
    if (code == FX_OK) {
        code = fx_secret_file_create(path, fx_buf_bytes(&text), err);
    }
    wipe_buf(&text);
    return code;
}

/* ---- changes ------------------------------------------------------------------------------------
 */

/* Opens and locks the file that has the name: it may be replaced between the two. */
static fx_code
lock_file(const char *path, int *out_fd, fx_err *err)
{
    for (int attempt = 0; attempt < 16; attempt++) {
        struct stat locked;
        struct stat named;
        int fd = open(path, O_RDWR | O_CLOEXEC);
        if (fd < 0) {
            return fx_fail_errno(err, errno, "could not open key file \"%.150s\"", path);
        }
        if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
            int flock_errno = errno;
            (void)close(fd);
            return flock_errno == EWOULDBLOCK
                       ? fx_fail(
                             err,
                             FX_ERR_BUSY,
                             "could not change key file \"%.150s\": another process is at it",
                             path)
                       : fx_fail_errno(
                             err, flock_errno, "could not lock key file \"%.150s\"", path);
        }
        if (fstat(fd, &locked) == 0 && stat(path, &named) == 0 && locked.st_dev == named.st_dev &&
            locked.st_ino == named.st_ino) {
            *out_fd = fd;
            return FX_OK;
        }
        (void)close(fd);
    }
    return fx_fail(err, FX_ERR_BUSY, "could not lock key file \"%.150s\": it keeps changing", path);
}

/* What a change that was killed left: a copy of the keys that nobody knows of. */
static fx_code
remove_leftover(const char *path, fx_err *err)
{
    char leftover[PATH_MAX];
    int length = snprintf(leftover, sizeof leftover, "%s.new", path);
    if (length < 0 || length >= PATH_MAX) {
        return fx_fail(err, FX_ERR_INVALID, "could not change key file \"%.80s\": too long", path);
    }
    int fd = open(leftover, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) {
        return errno == ENOENT ? FX_OK
                               : fx_fail_errno(err, errno, "could not remove \"%.150s\"", leftover);
    }
    bool is_gone = overwrite(fd) && unlink(leftover) == 0;
    fx_code code =
        is_gone ? FX_OK : fx_fail_errno(err, errno, "could not remove \"%.150s\"", leftover);
    (void)close(fd);
    return code;
}

fx_code
fx_keyring_edit_begin(
    const char *path, fx_keyring_edit *out_edit, fx_keyring **out_keyring, fx_err *err)
{
    fx_keyring_edit edit = {.path = realpath(path, NULL), .fd = -1};
    if (edit.path == NULL) {
        return fx_fail_errno(err, errno, "could not open key file \"%.150s\"", path);
    }
    if (lock_file(edit.path, &edit.fd, err) != FX_OK || remove_leftover(edit.path, err) != FX_OK ||
        fx_keyring_load(edit.path, out_keyring, err) != FX_OK) {
        fx_keyring_edit_end(&edit);
        return err->code;
    }
    *out_edit = edit;
    return FX_OK;
}

void
fx_keyring_edit_end(fx_keyring_edit *edit)
{
    if (edit->fd >= 0) {
        (void)close(edit->fd);
    }
    free(edit->path);
    *edit = (fx_keyring_edit){.fd = -1};
}

static fx_code
read_back(const fx_keyring_edit *edit, const fx_buf *expected, fx_err *err)
{
    FX_BUF_AUTO there;
    fx_buf_init(&there, FX_KEYRING_MAX_BYTES);
    fx_code code = fx_secret_file_read(edit->path, &there, err);
    if (code == FX_OK && (there.size_bytes != expected->size_bytes ||
                          memcmp(there.data, expected->data, there.size_bytes) != 0)) {
        code = fx_fail(
            err,
            FX_ERR_DAMAGED,
            "could not change key file \"%.150s\": other bytes are read back",
            edit->path);
    }
    wipe_buf(&there);
    return code;
}

/* The new file first, whole and durable; only then is the old one, which has no name any more,
 * overwritten: no crash loses both. */
static fx_code
replace(fx_keyring_edit *edit, const fx_buf *text, fx_err *err)
{
    struct stat info;
    char temporary[PATH_MAX];
    if (fstat(edit->fd, &info) != 0) {
        return fx_fail_errno(err, errno, "could not read the state of \"%.150s\"", edit->path);
    }
    if (write_aside(edit->path, fx_buf_bytes(text), &info, temporary, err) != FX_OK) {
        return err->code;
    }
    int fd = open(temporary, O_RDWR | O_CLOEXEC);
    if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) != 0 || rename(temporary, edit->path) != 0) {
        fx_code code = fx_fail_errno(err, errno, "could not replace \"%.150s\"", edit->path);
        (void)unlink(temporary);
        if (fd >= 0) {
            (void)close(fd);
        }
        return code;
    }
    fx_code code = fx_file_sync_parent(edit->path, err);
    if (code == FX_OK && !overwrite(edit->fd)) {
        code = fx_fail_errno(err, errno, "could not overwrite the old \"%.150s\"", edit->path);
    }
    (void)close(edit->fd);
    edit->fd = fd;
    return code == FX_OK ? read_back(edit, text, err) : code;
}

fx_code
fx_keyring_edit_save(fx_keyring_edit *edit, const fx_keyring *keyring, fx_err *err)
{
    FX_BUF_AUTO text;
    fx_buf_init(&text, FX_KEYRING_MAX_BYTES);
    fx_code code = fx_keyring_print(keyring, &text, err);
    if (code == FX_OK) {
        code = replace(edit, &text, err);
    }
    wipe_buf(&text);
    return code;
}
