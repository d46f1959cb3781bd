#include "agent/source/files/read.h"

#include "agent/source/files/meta.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

/* Reading must not change what is read, where the system lets us: O_NOATIME takes ownership. */
static int
open_file(int folder_fd, const char *name)
{
    int flags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | O_NOCTTY;
    int fd = openat(folder_fd, name, flags | O_NOATIME);
    if (fd < 0 && errno == EPERM) {
        fd = openat(folder_fd, name, flags);
    }
    return fd;
}

/* What is no file any more: a link is not followed, a socket does not open, nothing is waited for.
 */
static bool
is_of_another_kind(int sys_errno)
{
    return sys_errno == ELOOP || sys_errno == ENXIO || sys_errno == ENODEV;
}

static fx_read_result
replaced(void)
{
    fx_read_result result = {.outcome = FX_READ_UNREADABLE};
    fx_ignore(
        fx_fail(&result.reason, FX_ERR_CONFLICT, "could not read: it was replaced meanwhile"),
        "it is the outcome");
    return result;
}

static bool
is_unchanged(const struct stat *before, const struct stat *after)
{
    return before->st_size == after->st_size &&
           fx_meta_mtime_ns(before) == fx_meta_mtime_ns(after) &&
           fx_meta_ctime_ns(before) == fx_meta_ctime_ns(after);
}

fx_read_result
fx_read_open(int folder_fd, const char *name, const struct stat *seen, fx_reading *out_reading)
{
    fx_read_result result = {.outcome = FX_READ_DONE};
    int fd = open_file(folder_fd, name);
    if (fd < 0 && is_of_another_kind(errno)) {
        return replaced();
    }
    if (fd < 0) {
        result.outcome = errno == ENOENT ? FX_READ_GONE : FX_READ_UNREADABLE;
        fx_ignore(fx_fail_errno(&result.reason, errno, "could not open"), "it is the outcome");
        return result;
    }
    struct stat before;
    if (fstat(fd, &before) != 0 || before.st_ino != seen->st_ino || before.st_dev != seen->st_dev ||
        !S_ISREG(before.st_mode)) {
        (void)close(fd);
        return replaced();
    }
    *out_reading = (fx_reading){.fd = fd, .seen = *seen, .before = before};
    return result;
}

/* Where the next data begins at or after `at`; `end` when only a hole is left. */
static off_t
next_data(int fd, off_t at, off_t end)
{
    off_t data = lseek(fd, at, SEEK_DATA);
    if (data >= 0) {
        return data < end ? data : end;
    }
    return errno == ENXIO ? end : at; /* other errors: holes are not known here, so read it all */
}

static ssize_t
read_at(int fd, unsigned char *room, size_t size_bytes, off_t at)
{
    ssize_t got_bytes = -1;
    do {
        got_bytes = pread(fd, room, size_bytes, at);
    } while (got_bytes < 0 && errno == EINTR);
    return got_bytes;
}

/* The file became shorter, or cannot be read on. */
static fx_read_result
end_early(ssize_t got_bytes)
{
    fx_read_result result = {.outcome = FX_READ_CHANGED};
    if (got_bytes < 0) {
        result.outcome = FX_READ_UNREADABLE;
        fx_ignore(fx_fail_errno(&result.reason, errno, "could not read"), "it is the outcome");
    }
    return result;
}

/* Reads up to `end`, which is known to be data; `*at` then says how far it came. */
static fx_code
read_data(const fx_read_request *request, off_t *at, off_t end, fx_read_result *result, fx_err *err)
{
    while (*at < end) {
        if (request->cancel != NULL && atomic_load(request->cancel)) {
            return fx_fail(err, FX_ERR_CANCELLED, "could not finish the backup: it was cancelled");
        }
        off_t left = end - *at;
        size_t step_bytes = left < FX_READER_ROOM_BYTES ? (size_t)left : FX_READER_ROOM_BYTES;
        unsigned char *room = request->reader->room;
        ssize_t got_bytes = read_at(request->reading->fd, room, step_bytes, *at);
        if (got_bytes <= 0) {
            *result = end_early(got_bytes);
            return FX_OK;
        }
        fx_bytes got = {room, (size_t)got_bytes};
        if (fx_content_add(request->reader->content, got, err) != FX_OK) {
            return err->code;
        }
        *at += got_bytes;
        request->progress(request->ctx, (uint64_t)got_bytes);
    }
    return FX_OK;
}

fx_code
fx_read_part(const fx_read_request *request, fx_node *node, fx_read_result *out_result, fx_err *err)
{
    fx_content *content = request->reader->content;
    const struct stat *info = &request->reading->before;
    /* Most files have no holes; their blocks tell. */
    bool has_holes = (uint64_t)info->st_blocks * 512 < (uint64_t)info->st_size;
    fx_read_result result = {.outcome = FX_READ_DONE};
    off_t at = request->from;
    fx_content_begin(content, FX_CUT_CONTENT);
    while (at < request->to && result.outcome == FX_READ_DONE) {
        off_t end = request->to;
        if (has_holes) {
            off_t data = next_data(request->reading->fd, at, request->to);
            if (fx_content_add_hole(content, (uint64_t)(data - at), err) != FX_OK) {
                return err->code;
            }
            at = data;
            off_t hole = lseek(request->reading->fd, at, SEEK_HOLE);
            end = hole > at && hole < request->to ? hole : request->to;
        }
        if (read_data(request, &at, end, &result, err) != FX_OK) {
            return err->code;
        }
    }
    *out_result = result;
    return result.outcome == FX_READ_UNREADABLE ? FX_OK : fx_content_end(content, node, err);
}

fx_read_outcome
fx_read_close(fx_reading *reading)
{
    struct stat after;
    bool is_same = is_unchanged(&reading->seen, &reading->before) &&
                   fstat(reading->fd, &after) == 0 && is_unchanged(&reading->before, &after);
    (void)close(reading->fd);
    reading->fd = -1;
    return is_same ? FX_READ_DONE : FX_READ_CHANGED;
}
