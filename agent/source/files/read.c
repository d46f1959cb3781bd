#include "agent/source/files/read.h"

#include "agent/source/files/meta.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

enum { STEP_BYTES = 1024 * 1024 };

/* Reading must not change what is read, where the system lets us: O_NOATIME takes ownership. */
static int
open_file(const fx_read_request *request)
{
    int flags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | O_NOCTTY;
    int fd = openat(request->folder_fd, request->name, flags | O_NOATIME);
    if (fd < 0 && errno == EPERM) {
        fd = openat(request->folder_fd, request->name, flags);
    }
    return fd;
}

static bool
is_unchanged(const struct stat *before, const struct stat *after)
{
    return before->st_size == after->st_size &&
           fx_meta_mtime_ns(before) == fx_meta_mtime_ns(after) &&
           fx_meta_ctime_ns(before) == fx_meta_ctime_ns(after);
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

/* What is read at a time. */
typedef struct step {
    unsigned char *room;
    size_t size_bytes;
    off_t offset;
} step;

/* Reads data; 0 bytes: the file became shorter. */
static fx_code
read_step(
    const fx_read_request *request,
    int fd,
    step *at,
    fx_err *out_reason,
    ssize_t *out_bytes,
    fx_err *err)
{
    ssize_t got_bytes = -1;
    do {
        got_bytes = pread(fd, at->room, at->size_bytes, at->offset);
    } while (got_bytes < 0 && errno == EINTR);
    *out_bytes = got_bytes;
    if (got_bytes < 0) {
        fx_ignore(fx_fail_errno(out_reason, errno, "could not read"), "it is the outcome");
        return FX_OK;
    }
    fx_bytes got = {at->room, (size_t)got_bytes};
    if (fx_content_add(request->content, got, err) != FX_OK) {
        return err->code;
    }
    request->progress->done_bytes += (uint64_t)got_bytes;
    fx_events_progress(request->events, request->progress);
    return FX_OK;
}

/* Up to the size it had when it was opened: a log that grows faster than we read has an end, too.
 */
static fx_code
read_all(
    const fx_read_request *request,
    int fd,
    off_t end,
    fx_err *out_reason,
    fx_read_outcome *out_outcome,
    fx_err *err)
{
    unsigned char *room = malloc(STEP_BYTES);
    FX_ASSERT(room != NULL);
    fx_code code = FX_OK;
    off_t at = 0;
    off_t data_until = 0; /* known to be data up to here */
    while (code == FX_OK && at < end) {
        if (fx_events_cancelled(request->events)) {
            code = fx_fail(err, FX_ERR_CANCELLED, "could not finish the backup: it was cancelled");
            break;
        }
        if (at >= data_until) {
            off_t data = next_data(fd, at, end);
            code = fx_content_add_hole(request->content, (uint64_t)(data - at), err);
            at = data;
            off_t hole = lseek(fd, at, SEEK_HOLE);
            data_until = hole > at && hole < end ? hole : end;
            continue;
        }
        off_t left = data_until - at;
        step next = {
            .room = room,
            .size_bytes = left < STEP_BYTES ? (size_t)left : (size_t)STEP_BYTES,
            .offset = at,
        };
        ssize_t got_bytes = 0;
        code = read_step(request, fd, &next, out_reason, &got_bytes, err);
        if (code == FX_OK && got_bytes <= 0) {
            *out_outcome = got_bytes < 0 ? FX_READ_UNREADABLE : FX_READ_CHANGED;
            break;
        }
        at += got_bytes;
    }
    free(room);
    return code;
}

static fx_code
read_opened(
    const fx_read_request *request,
    int fd,
    fx_node *node,
    fx_err *out_reason,
    fx_read_outcome *out_outcome,
    fx_err *err)
{
    struct stat before;
    struct stat after;
    if (fstat(fd, &before) != 0 || before.st_ino != request->seen->st_ino ||
        before.st_dev != request->seen->st_dev || !S_ISREG(before.st_mode)) {
        fx_ignore(
            fx_fail(out_reason, FX_ERR_CONFLICT, "could not read: it was replaced meanwhile"),
            "it is the outcome");
        *out_outcome = FX_READ_UNREADABLE;
        return FX_OK;
    }
    fx_content_begin(request->content, FX_CUT_CONTENT);
    *out_outcome = FX_READ_DONE;
    if (read_all(request, fd, before.st_size, out_reason, out_outcome, err) != FX_OK) {
        return err->code;
    }
    if (*out_outcome == FX_READ_UNREADABLE) {
        return FX_OK;
    }
    if (fx_content_end(request->content, node, err) != FX_OK) {
        return err->code;
    }
    if (!is_unchanged(request->seen, &before) || fstat(fd, &after) != 0 ||
        !is_unchanged(&before, &after)) {
        *out_outcome = FX_READ_CHANGED;
    }
    return FX_OK;
}

fx_code
fx_read_file(
    const fx_read_request *request,
    fx_node *node,
    fx_err *out_reason,
    fx_read_outcome *out_outcome,
    fx_err *err)
{
    int fd = open_file(request);
    if (fd < 0) {
        *out_outcome = errno == ENOENT ? FX_READ_GONE : FX_READ_UNREADABLE;
        fx_ignore(fx_fail_errno(out_reason, errno, "could not open"), "it is the outcome");
        return FX_OK;
    }
    fx_code code = read_opened(request, fd, node, out_reason, out_outcome, err);
    (void)close(fd);
    return code;
}
