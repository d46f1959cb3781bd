#include "agent/guard/confine.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/file.h"

enum { PROCESS_MAX = 65536, PROC_FILE_MAX_BYTES = 1024 * 1024 };

typedef struct process {
    pid_t pid;
    pid_t parent;
} process;

/* FNV-1a: names a folder; nothing rests on it being hard to meet again. */
static uint64_t
hash_text(const char *text)
{
    uint64_t hash = UINT64_C(14695981039346656037);
    for (; *text != '\0'; text++) {
        hash = (hash ^ (unsigned char)*text) * UINT64_C(1099511628211);
    }
    return hash;
}

/* A line of mountinfo: ID PARENT MAJOR:MINOR ROOT MOUNT-POINT … - TYPE SOURCE OPTIONS. */
static bool
parse_mount(const char *line, char out_point[FX_CONFINE_PATH_BYTES])
{
    const char *type = strstr(line, " - cgroup2 ");
    if (type == NULL) {
        return false;
    }
    const char *field = line;
    for (int skipped = 0; skipped < 4; skipped++) {
        field = strchr(field, ' ');
        if (field == NULL || field > type) {
            return false;
        }
        field++;
    }
    size_t length = strcspn(field, " ");
    if (length == 0 || length >= FX_CONFINE_PATH_BYTES) {
        return false;
    }
    memcpy(out_point, field, length);
    out_point[length] = '\0';
    return true;
}

static bool
find_mount(char out_point[FX_CONFINE_PATH_BYTES])
{
    fx_err err;
    FX_BUF_AUTO text;
    fx_buf_init(&text, PROC_FILE_MAX_BYTES);
    if (fx_file_read("/proc/self/mountinfo", &text, &err) != FX_OK) {
        return false; /* then there is no cgroup to use: the caller goes on by /proc */
    }
    char *line = (char *)text.data;
    while (line != NULL && *line != '\0') {
        char *end = strchr(line, '\n');
        if (end != NULL) {
            *end = '\0';
        }
        if (parse_mount(line, out_point)) {
            return true;
        }
        line = end == NULL ? NULL : end + 1;
    }
    return false;
}

static bool
try_cgroup(const char *service, fx_confine *confine)
{
    char point[FX_CONFINE_PATH_BYTES];
    if (!find_mount(point)) {
        return false;
    }
    int length = snprintf(
        confine->cgroup,
        sizeof confine->cgroup,
        "%s/fortress-%s-%016llx",
        point,
        service,
        (unsigned long long)hash_text(confine->data_dir));
    if (length < 0 || (size_t)length >= sizeof confine->cgroup) {
        return false;
    }
    if (mkdir(confine->cgroup, 0755) != 0 && errno != EEXIST) {
        return false;
    }
    char path[FX_CONFINE_PATH_BYTES + 32];
    (void)snprintf(path, sizeof path, "%s/cgroup.kill", confine->cgroup);
    bool can_kill = access(path, W_OK) == 0;
    (void)snprintf(path, sizeof path, "%s/cgroup.procs", confine->cgroup);
    return can_kill && access(path, W_OK) == 0;
}

fx_code
fx_confine_open(
    const char *service, const char *data_dir, bool no_cgroup, fx_confine *out_confine, fx_err *err)
{
    char resolved[PATH_MAX];
    if (realpath(data_dir, resolved) == NULL) {
        return fx_fail_errno(err, errno, "could not find the data directory \"%s\"", data_dir);
    }
    fx_confine confine = {.cgroup = ""};
    if (strlen(resolved) >= sizeof confine.data_dir) {
        return fx_fail(err, FX_ERR_LIMIT, "the path \"%s\" is too long", resolved);
    }
    memcpy(confine.data_dir, resolved, strlen(resolved) + 1);
    if (no_cgroup || !try_cgroup(service, &confine)) {
        confine.cgroup[0] = '\0';
    }
    *out_confine = confine;
    return FX_OK;
}

static bool
write_control(const fx_confine *confine, const char *name, const char *value)
{
    char path[FX_CONFINE_PATH_BYTES + 32];
    (void)snprintf(path, sizeof path, "%s/%s", confine->cgroup, name);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0) {
        return false;
    }
    ssize_t written_bytes = write(fd, value, strlen(value));
    int close_result = close(fd);
    return written_bytes == (ssize_t)strlen(value) && close_result == 0;
}

void
fx_confine_make(const fx_confine *confine)
{
    if (confine->cgroup[0] != '\0') {
        (void)mkdir(confine->cgroup, 0755);
    }
}

void
fx_confine_remove(const fx_confine *confine)
{
    if (confine->cgroup[0] != '\0') {
        (void)rmdir(confine->cgroup); /* somebody is in it: then it is still needed */
    }
}

bool
fx_confine_enter(const fx_confine *confine)
{
    return confine->cgroup[0] == '\0' || write_control(confine, "cgroup.procs", "0");
}

/* A cgroup whose state cannot be read counts as populated: proof is what we want. */
static bool
is_populated(const fx_confine *confine)
{
    char path[FX_CONFINE_PATH_BYTES + 32];
    char text[128] = "";
    (void)snprintf(path, sizeof path, "%s/cgroup.events", confine->cgroup);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return errno != ENOENT;
    }
    ssize_t got_bytes = read(fd, text, sizeof text - 1);
    (void)close(fd);
    if (got_bytes <= 0) {
        return true;
    }
    text[got_bytes] = '\0';
    return strstr(text, "populated 0") == NULL;
}

/* Reads "PID (NAME) STATE PARENT …"; the name may hold blanks and brackets. */
static bool
read_stat(int proc, const char *pid, process *out_process)
{
    char path[64];
    char text[512];
    (void)snprintf(path, sizeof path, "%.20s/stat", pid);
    int fd = openat(proc, path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return false; /* it is gone */
    }
    ssize_t got_bytes = read(fd, text, sizeof text - 1);
    (void)close(fd);
    if (got_bytes <= 0) {
        return false;
    }
    text[got_bytes] = '\0';
    const char *after = strrchr(text, ')');
    if (after == NULL || strlen(after) < 5) {
        return false;
    }
    char state = after[2];
    if (state == 'Z' || state == 'X') {
        return false; /* dead: cannot write, waits for its parent */
    }
    *out_process = (process){
        .pid = (pid_t)strtol(text, NULL, 10),
        .parent = (pid_t)strtol(after + 4, NULL, 10),
    };
    return out_process->pid > 0;
}

/* A server of this data directory: all its processes work in it and are the program postgres. */
static bool
serves(const fx_confine *confine, int proc, pid_t pid)
{
    char path[64];
    char target[PATH_MAX];
    (void)snprintf(path, sizeof path, "%d/cwd", (int)pid);
    ssize_t length = readlinkat(proc, path, target, sizeof target - 1);
    if (length <= 0) {
        return false;
    }
    target[length] = '\0';
    if (strcmp(target, confine->data_dir) != 0) {
        return false;
    }
    (void)snprintf(path, sizeof path, "%d/exe", (int)pid);
    length = readlinkat(proc, path, target, sizeof target - 1);
    if (length <= 0) {
        return false;
    }
    target[length] = '\0';
    const char *base = strrchr(target, '/');
    return base != NULL && strncmp(base, "/postgres", strlen("/postgres")) == 0;
}

static bool
is_below(const process *list, size_t count, pid_t pid, pid_t ancestor)
{
    for (int depth = 0; depth < 64 && pid > 1; depth++) {
        size_t at = 0;
        while (at < count && list[at].pid != pid) {
            at++;
        }
        if (at == count) {
            return false;
        }
        if (list[at].parent == ancestor) {
            return true;
        }
        pid = list[at].parent;
    }
    return false;
}

static fx_code
list_processes(int proc, process *list, size_t *out_count, fx_err *err)
{
    int again = openat(proc, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *folder = again < 0 ? NULL : fdopendir(again);
    if (folder == NULL) {
        int failed = errno;
        if (again >= 0) {
            (void)close(again);
        }
        return fx_fail_errno(err, failed, "could not list the processes in /proc");
    }
    size_t count = 0;
    const struct dirent *entry = NULL;
    /* NOLINTNEXTLINE(concurrency-mt-unsafe): the stream is this call's own */
    while ((entry = readdir(folder)) != NULL && count < PROCESS_MAX) {
        if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9' &&
            read_stat(proc, entry->d_name, &list[count])) {
            count++;
        }
    }
    (void)closedir(folder);
    *out_count = count;
    return FX_OK;
}

/* The pidfd is taken before the second look, so that a reused number is never killed. */
static void
kill_checked(const fx_confine *confine, int proc, const process *found)
{
    int pidfd = pidfd_open(found->pid, 0);
    if (pidfd < 0) {
        return; /* it is gone */
    }
    char name[32];
    process now;
    (void)snprintf(name, sizeof name, "%d", (int)found->pid);
    if (read_stat(proc, name, &now) &&
        (now.parent == found->parent || serves(confine, proc, found->pid))) {
        (void)pidfd_send_signal(pidfd, SIGKILL, NULL, 0); /* found again next time if it failed */
    }
    (void)close(pidfd);
}

static fx_code
visit(const fx_confine *confine, pid_t parent, bool kill, size_t *out_count, fx_err *err)
{
    if (kill && confine->cgroup[0] != '\0') {
        (void)write_control(confine, "cgroup.kill", "1"); /* what it missed is counted below */
    }
    int proc = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (proc < 0) {
        return fx_fail_errno(err, errno, "could not open /proc");
    }
    process *list = calloc(PROCESS_MAX, sizeof *list);
    FX_ASSERT(list != NULL);
    size_t listed = 0;
    size_t count = 0;
    fx_code code = list_processes(proc, list, &listed, err);
    for (size_t at = 0; code == FX_OK && at < listed; at++) {
        pid_t pid = list[at].pid;
        if (pid == confine->spared || pid == getpid()) {
            continue;
        }
        if ((parent != 0 && is_below(list, listed, pid, parent)) || serves(confine, proc, pid)) {
            count++;
            if (kill) {
                kill_checked(confine, proc, &list[at]);
            }
        }
    }
    if (code == FX_OK && count == 0 && confine->cgroup[0] != '\0' && is_populated(confine)) {
        count = 1;
    }
    free(list);
    (void)close(proc);
    if (code == FX_OK) {
        *out_count = count;
    }
    return code;
}

fx_code
fx_confine_sweep(const fx_confine *confine, pid_t parent, size_t *out_count, fx_err *err)
{
    return visit(confine, parent, true, out_count, err);
}

fx_code
fx_confine_count(const fx_confine *confine, pid_t parent, size_t *out_count, fx_err *err)
{
    return visit(confine, parent, false, out_count, err);
}
