#include "agent/guard/orphan.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LOOK_MS = 50, DIE_MS = 2000, ORPHAN_MAX = 64 };

typedef struct search {
    struct stat lock;
    bool holds; /* who has the file open does not do */
} search;

/* ---- /proc ---------------------------------------------------------------------------------- */

static bool
read_small(int folder, const char *path, char *out_text, size_t text_bytes)
{
    int fd = openat(folder, path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return false; /* it is gone, or not ours */
    }
    ssize_t got_bytes = read(fd, out_text, text_bytes - 1);
    (void)close(fd);
    out_text[got_bytes > 0 ? got_bytes : 0] = '\0';
    return got_bytes > 0;
}

static DIR *
open_list(int folder, const char *path)
{
    int fd = openat(folder, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *list = fd < 0 ? NULL : fdopendir(fd);
    if (list == NULL && fd >= 0) {
        (void)close(fd);
    }
    return list;
}

static const char *
next_number(DIR *list)
{
    const struct dirent *entry = NULL;
    // NOLINTNEXTLINE(concurrency-mt-unsafe): the stream is one call's own
    while ((entry = readdir(list)) != NULL) {
        if (entry->d_name[0] >= '0' && entry->d_name[0] <= '9') {
            return entry->d_name;
        }
    }
    return NULL;
}

static bool
is_named_warden(int process)
{
    char name[32];
    return read_small(process, "comm", name, sizeof name) && strcmp(name, FX_WARDEN_NAME "\n") == 0;
}

/* source: proc_pid_fdinfo(5): "lock:" lines tell the locks that were taken by that very open file
 */
static bool
is_locked_by(int process, const char *fd)
{
    char path[64];
    char text[1024];
    (void)snprintf(path, sizeof path, "fdinfo/%.20s", fd);
    if (!read_small(process, path, text, sizeof text)) {
        return false;
    }
    const char *line = strstr(text, "lock:");
    return line != NULL && strstr(line, "FLOCK") != NULL;
}

static bool
has_it(int process, const search *wanted)
{
    DIR *list = open_list(process, "fd");
    if (list == NULL) {
        return false;
    }
    bool found = false;
    const char *fd = NULL;
    while (!found && (fd = next_number(list)) != NULL) {
        char path[64];
        struct stat about;
        (void)snprintf(path, sizeof path, "fd/%.20s", fd);
        found = fstatat(process, path, &about, 0) == 0 && about.st_dev == wanted->lock.st_dev &&
                about.st_ino == wanted->lock.st_ino &&
                (!wanted->holds || is_locked_by(process, fd));
    }
    (void)closedir(list);
    return found;
}

/* A pidfd of the process if it is one of those, else -1. It is taken before the look. */
static int
open_if_wanted(int proc, const char *pid, const search *wanted)
{
    int process = openat(proc, pid, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (process < 0) {
        return -1;
    }
    int pidfd = -1;
    if (is_named_warden(process)) {
        pidfd = pidfd_open((pid_t)strtol(pid, NULL, 10), 0);
        if (pidfd >= 0 && !(is_named_warden(process) && has_it(process, wanted))) {
            (void)close(pidfd);
            pidfd = -1;
        }
    }
    (void)close(process);
    return pidfd;
}

static fx_code
find(const search *wanted, int pidfds[ORPHAN_MAX], size_t *out_count, fx_err *err)
{
    DIR *list = open_list(AT_FDCWD, "/proc");
    if (list == NULL) {
        return fx_fail_errno(err, errno, "could not list the processes in /proc");
    }
    size_t count = 0;
    const char *pid = NULL;
    while (count < ORPHAN_MAX && (pid = next_number(list)) != NULL) {
        int pidfd = open_if_wanted(dirfd(list), pid, wanted);
        if (pidfd >= 0) {
            pidfds[count++] = pidfd;
        }
    }
    (void)closedir(list);
    *out_count = count;
    return FX_OK;
}

/* ---- ending --------------------------------------------------------------------------------- */

static bool
is_dead(int pidfd, fx_dur length)
{
    struct pollfd one = {.fd = pidfd, .events = POLLIN};
    return poll(&one, 1, (int)fx_dur_ms(length)) > 0;
}

/* From then on it runs none of its code any more, even where it cannot die yet. */
static void
kill_it(int pidfd)
{
    (void)pidfd_send_signal(pidfd, SIGKILL, NULL, 0); /* dead already is as good */
}

static void
close_all(const int *pidfds, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        (void)close(pidfds[i]);
    }
}

static fx_code
begin_search(const char *lock_path, bool holds, search *out_wanted, fx_err *err)
{
    search wanted = {.holds = holds};
    if (stat(lock_path, &wanted.lock) != 0) {
        return fx_fail_errno(err, errno, "could not look at \"%s\"", lock_path);
    }
    *out_wanted = wanted;
    return FX_OK;
}

fx_code
fx_orphan_end_holder(const char *lock_path, fx_dur patience, bool *out_ended, fx_err *err)
{
    search wanted;
    if (begin_search(lock_path, true, &wanted, err) != FX_OK) {
        return err->code;
    }
    fx_mono kill_at = fx_mono_after(fx_clock_mono(), patience);
    fx_mono deadline = fx_mono_after(kill_at, FX_DUR_MS(DIE_MS));
    bool seen = false;
    for (;;) {
        int pidfds[ORPHAN_MAX];
        size_t count = 0;
        if (find(&wanted, pidfds, &count, err) != FX_OK) {
            return err->code;
        }
        if (count == 0) {
            *out_ended = seen;
            return FX_OK;
        }
        seen = true;
        fx_mono now = fx_clock_mono();
        for (size_t i = 0; i < count && now.ns >= kill_at.ns; i++) {
            kill_it(pidfds[i]);
        }
        (void)is_dead(pidfds[0], FX_DUR_MS(LOOK_MS));
        close_all(pidfds, count);
        if (now.ns >= deadline.ns) {
            return fx_fail(
                err,
                FX_ERR_TIMEOUT,
                "could not end the warden that holds \"%s\": it was killed, but does not die",
                lock_path);
        }
    }
}

fx_code
fx_orphan_end_all(const char *lock_path, size_t *out_count, fx_err *err)
{
    search wanted;
    int pidfds[ORPHAN_MAX];
    size_t count = 0;
    if (begin_search(lock_path, false, &wanted, err) != FX_OK ||
        find(&wanted, pidfds, &count, err) != FX_OK) {
        return err->code;
    }
    for (size_t i = 0; i < count; i++) {
        kill_it(pidfds[i]);
    }
    close_all(pidfds, count);
    *out_count = count;
    return FX_OK;
}
