#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "agent/probe/kinds.h"
#include "common/base/file.h"

enum { COMM_MAX_BYTES = 64, STAT_MAX_BYTES = 4096, PID_FILE_MAX_BYTES = 64 * 1024 };

/* A process that has ended and waits to be collected runs no more. source: proc(5), /proc/PID/stat
 */
static bool
is_running(unsigned long pid)
{
    char path[64];
    fx_err err = {0};
    FX_BUF_AUTO text = {0};
    fx_buf_init(&text, STAT_MAX_BYTES);
    (void)snprintf(path, sizeof path, "/proc/%lu/stat", pid);
    if (fx_file_read(path, &text, &err) != FX_OK) {
        return false;
    }
    const char *after_name = strrchr(fx_buf_text(&text), ')');
    return after_name != NULL && after_name[1] == ' ' && after_name[2] != 'Z' &&
           after_name[2] != 'X';
}

static fx_code
look_at_pid_file(const char *path, fx_probe_result *result, fx_err *err)
{
    FX_BUF_AUTO text = {0};
    fx_buf_init(&text, PID_FILE_MAX_BYTES);
    if (fx_file_read(path, &text, err) != FX_OK) {
        return fx_err_wrap(err, "reading the file with the process id");
    }
    char *end = NULL;
    const unsigned long pid = strtoul(fx_buf_text(&text), &end, 10);
    if (end == fx_buf_text(&text) || pid == 0 || pid > INT32_MAX) {
        return fx_fail(err, FX_ERR_INVALID, "\"%.150s\" begins with no process id", path);
    }
    if (!is_running(pid)) {
        return fx_fail(
            err, FX_ERR_NOT_FOUND, "process %lu, named by \"%.120s\", does not run", pid, path);
    }
    (void)snprintf(result->detail, sizeof result->detail, "process %lu", pid);
    return FX_OK;
}

static bool
has_name(const char *pid, const char *name)
{
    char path[300];
    fx_err err = {0};
    FX_BUF_AUTO text = {0};
    fx_buf_init(&text, COMM_MAX_BYTES);
    (void)snprintf(path, sizeof path, "/proc/%s/comm", pid);
    if (fx_file_read(path, &text, &err) != FX_OK) {
        return false; /* it ended meanwhile */
    }
    const size_t length = strcspn(fx_buf_text(&text), "\n");
    /* the kernel keeps 15 bytes of a name */
    const size_t wanted = strlen(name) > 15 ? 15 : strlen(name);
    return length == wanted && memcmp(fx_buf_text(&text), name, wanted) == 0;
}

static fx_code
look_for_name(const char *name, fx_probe_result *result, fx_err *err)
{
    DIR *folder = opendir("/proc");
    if (folder == NULL) {
        return fx_fail_errno(err, errno, "could not list processes");
    }
    unsigned count = 0;
    // NOLINTNEXTLINE(concurrency-mt-unsafe): a stream of our own
    for (const struct dirent *at = readdir(folder); at != NULL; at = readdir(folder)) {
        if (isdigit((unsigned char)at->d_name[0]) && has_name(at->d_name, name) &&
            is_running(strtoul(at->d_name, NULL, 10))) {
            count++;
        }
    }
    (void)closedir(folder);
    if (count == 0) {
        return fx_fail(err, FX_ERR_NOT_FOUND, "no process named \"%.100s\" runs", name);
    }
    (void)snprintf(result->detail, sizeof result->detail, "%u processes", count);
    return FX_OK;
}

fx_code
fx_probe_process_run(
    const fx_probe_config *config, fx_mono deadline, fx_probe_result *result, fx_err *err)
{
    (void)deadline; /* reads of /proc do not wait */
    if (strncmp(config->target, "pid:", 4) == 0) {
        return look_at_pid_file(config->target + 4, result, err);
    }
    return look_for_name(config->target, result, err);
}
