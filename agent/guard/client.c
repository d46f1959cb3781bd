#include "agent/guard/client.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "agent/guard/orphan.h"
#include "common/base/clock.h"

/* Non-blocking; through /proc, since the folder's path may be longer than a socket's can be. */
static fx_code
connect_to(const char *state_dir, int *out_fd, fx_err *err)
{
    int folder = open(state_dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0) {
        return fx_fail_errno(err, errno, "could not find the guard's folder \"%s\"", state_dir);
    }
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    (void)snprintf(
        address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d/guard.sock", folder);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int failed = errno;
    if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) != 0) {
        failed = errno;
        (void)close(fd);
        fd = -1;
    }
    (void)close(folder);
    if (fd < 0) {
        if (failed == EAGAIN) { /* source: unix(7): so says a full backlog, nobody takes from it */
            return fx_fail(
                err, FX_ERR_TIMEOUT, "the guard in \"%s\" takes no connection", state_dir);
        }
        fx_code code = failed == ENOENT ? FX_ERR_NOT_FOUND : FX_ERR_UNREACHABLE;
        return fx_fail(
            err, code, "could not reach the guard in \"%s\": errno %d", state_dir, failed);
    }
    *out_fd = fd;
    return FX_OK;
}

static bool
wait_until(int fd, short events, fx_mono deadline)
{
    for (;;) {
        fx_dur left = fx_mono_since(deadline, fx_clock_mono());
        if (left.ns == 0) {
            return false;
        }
        struct pollfd one = {.fd = fd, .events = events};
        int ready = poll(&one, 1, (int)fx_dur_ms(left) + 1);
        if (ready > 0) {
            return true;
        }
        if (ready < 0 && errno != EINTR) {
            return false;
        }
    }
}

static fx_code
read_line(int fd, fx_mono deadline, char out_line[FX_GUARD_LINE_MAX_BYTES], fx_err *err)
{
    size_t size_bytes = 0;
    while (size_bytes < FX_GUARD_LINE_MAX_BYTES) {
        if (!wait_until(fd, POLLIN, deadline)) {
            return fx_fail(err, FX_ERR_TIMEOUT, "the guard did not answer in time");
        }
        ssize_t got_bytes =
            recv(fd, out_line + size_bytes, FX_GUARD_LINE_MAX_BYTES - size_bytes, MSG_DONTWAIT);
        if (got_bytes < 0 && (errno == EAGAIN || errno == EINTR)) {
            continue;
        }
        if (got_bytes <= 0) {
            return fx_fail_as(
                err, FX_CLASS_UNKNOWN, FX_ERR_UNREACHABLE, "the guard went away while asked");
        }
        size_bytes += (size_t)got_bytes;
        char *end = memchr(out_line, '\n', size_bytes);
        if (end != NULL) {
            *end = '\0';
            return FX_OK;
        }
    }
    return fx_fail(err, FX_ERR_INVALID, "the guard's answer is too long");
}

static fx_code
fail_as_told(const char *line, fx_err *err)
{
    static const struct {
        const char *name;
        fx_code code;
    } codes[] = {
#define FX_ERR(name, number, class, text) {#name " ", FX_ERR_##name},
#include "common/base/err_codes.def"
#undef FX_ERR
    };
    static const char error[] = "error ";
    if (strncmp(line, error, strlen(error)) == 0) {
        const char *rest = line + strlen(error);
        for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++) {
            size_t length = strlen(codes[i].name);
            if (strncmp(rest, codes[i].name, length) == 0) {
                return fx_fail(err, codes[i].code, "the guard refused: %s", rest + length);
            }
        }
    }
    return fx_fail(err, FX_ERR_INVALID, "could not understand the guard's answer \"%s\"", line);
}

static fx_code
exchange(
    int fd,
    const fx_guard_request *request,
    fx_mono deadline,
    fx_guard_status *out_status,
    fx_err *err)
{
    char line[FX_GUARD_LINE_MAX_BYTES];
    fx_guard_request_format(request, line);
    size_t length = strlen(line);
    line[length++] = '\n';
    if (send(fd, line, length, MSG_NOSIGNAL) != (ssize_t)length) {
        return fx_fail(err, FX_ERR_UNREACHABLE, "could not ask the guard: errno %d", errno);
    }
    if (read_line(fd, deadline, line, err) != FX_OK) {
        return err->code;
    }
    if (strncmp(line, "ok", 2) != 0) {
        return fail_as_told(line, err);
    }
    return out_status == NULL ? FX_OK : fx_guard_status_parse(line, out_status, err);
}

fx_code
fx_guard_ask(
    const char *state_dir,
    const fx_guard_request *request,
    fx_mono deadline,
    fx_guard_status *out_status,
    fx_err *err)
{
    FX_ASSERT(out_status == NULL || request->kind == FX_GUARD_STATUS);
    int fd = -1;
    if (connect_to(state_dir, &fd, err) != FX_OK) {
        return err->code;
    }
    fx_code code = exchange(fd, request, deadline, out_status, err);
    (void)close(fd);
    return code;
}

/* A pidfd of the process at the other end of the socket. */
static int
open_listener(int fd)
{
    struct ucred peer = {.pid = 0};
    socklen_t size_bytes = sizeof peer;
    int result = getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size_bytes);
    return result == 0 && peer.pid > 0 ? pidfd_open(peer.pid, 0) : -1;
}

static pid_t
read_pid(int fd)
{
    char text[24] = "";
    ssize_t got_bytes = pread(fd, text, sizeof text - 1, 0);
    long pid = got_bytes > 0 ? strtol(text, NULL, 10) : 0;
    return pid > 1 && pid <= INT32_MAX ? (pid_t)pid : 0;
}

/*
 * A pidfd of the process that holds guard.lock and wrote its number there. The lock is looked at
 * after the pidfd was opened: while it is held its holder lives, and the number is not another's.
 */
static int
open_lock_holder(const char *state_dir)
{
    char path[PATH_MAX];
    int length = snprintf(path, sizeof path, "%s/" FX_GUARD_LOCK, state_dir);
    int fd = length > 0 && length < PATH_MAX ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0) {
        return -1;
    }
    pid_t pid = read_pid(fd);
    int pidfd = pid > 0 ? pidfd_open(pid, 0) : -1;
    bool held = flock(fd, LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK;
    if (pidfd >= 0 && (!held || read_pid(fd) != pid)) {
        (void)close(pidfd);
        pidfd = -1;
    }
    (void)close(fd);
    return pidfd;
}

fx_code
fx_guard_find(const char *state_dir, int *out_pidfd, fx_err *err)
{
    int fd = -1;
    int pidfd = -1;
    fx_code code = connect_to(state_dir, &fd, err);
    if (code == FX_OK) {
        pidfd = open_listener(fd);
        (void)close(fd);
    } else {
        pidfd = open_lock_holder(state_dir); /* one that hangs has its socket full after a while */
    }
    if (pidfd >= 0) {
        *out_pidfd = pidfd;
        return FX_OK;
    }
    return code != FX_OK ? code
                         : fx_fail(err, FX_ERR_UNREACHABLE, "could not find the guard's process");
}
