#include "agent/guard/server.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/file.h"

enum { SMALL_FILE_MAX_BYTES = 4096, WORDS_MAX_BYTES = 4096 };

fx_code
fx_guard_server_open(fx_guard_server *server, const fx_guard_options *options, fx_err *err)
{
    *server = (fx_guard_server){.options = options, .log_fd = -1};
    if (fx_child_user_find(options->run_as, &server->user, err) != FX_OK ||
        fx_confine_open(
            options->service, options->data_dir, options->no_cgroup, &server->confine, err) !=
            FX_OK) {
        return err->code;
    }
    char path[PATH_MAX];
    (void)snprintf(path, sizeof path, "%s/postgres.log", options->state_dir);
    server->log_fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (server->log_fd < 0) {
        return fx_fail_errno(err, errno, "could not open \"%s\"", path);
    }
    return FX_OK;
}

void
fx_guard_server_close(fx_guard_server *server)
{
    if (server->log_fd >= 0) {
        (void)close(server->log_fd);
        server->log_fd = -1;
    }
}

static void
path_of(const fx_guard_server *server, const char *name, char out_path[PATH_MAX])
{
    (void)snprintf(out_path, PATH_MAX, "%s/%s", server->confine.data_dir, name);
}

static bool
exists(const fx_guard_server *server, const char *name)
{
    char path[PATH_MAX];
    path_of(server, name, path);
    return access(path, F_OK) == 0;
}

fx_code
fx_guard_server_write_signal_file(const fx_guard_server *server, fx_err *err)
{
    if (!exists(server, "PG_VERSION")) {
        return FX_OK;
    }
    char path[PATH_MAX];
    path_of(server, "standby.signal", path);
    if (access(path, F_OK) != 0 &&
        fx_file_replace(path, (fx_bytes){.data = "", .size_bytes = 0}, 0600, err) != FX_OK) {
        return fx_err_wrap(err, "keeping the server from starting as primary");
    }
    return fx_child_give(&server->user, path, err);
}

static fx_code
remove_signal_file(const fx_guard_server *server, fx_err *err)
{
    char path[PATH_MAX];
    path_of(server, "standby.signal", path);
    if (unlink(path) != 0 && errno != ENOENT) {
        return fx_fail_errno(err, errno, "could not remove \"%s\"", path);
    }
    return fx_file_sync_parent(path, err);
}

/* "NAME -D FOLDER" and the further words of the configuration. */
static fx_code
build_argv(
    const fx_guard_server *server,
    char words[WORDS_MAX_BYTES],
    char *argv[FX_CHILD_ARGUMENT_MAX],
    fx_err *err)
{
    static char option[] = "-c";
    static char no_restart[] = "restart_after_crash=off";
    static char data[] = "-D";
    int length = snprintf(
        words,
        WORDS_MAX_BYTES,
        "%s/postgres%c%s%c%s",
        server->options->bin_dir,
        '\0',
        server->confine.data_dir,
        '\0',
        server->options->options == NULL ? "" : server->options->options);
    if (length < 0 || length >= WORDS_MAX_BYTES) {
        return fx_fail(err, FX_ERR_LIMIT, "the server's command line is too long");
    }
    size_t count = 0;
    argv[count++] = words;
    argv[count++] = data;
    argv[count++] = words + strlen(words) + 1;
    /* After a crash of a backend it would read standby.signal anew; starting is the guard's. */
    argv[count++] = option;
    argv[count++] = no_restart;
    char *rest = argv[2] + strlen(argv[2]) + 1;
    char *word = NULL;
    while ((word = strtok_r(rest, " ", &rest)) != NULL) {
        if (count + 1 >= FX_CHILD_ARGUMENT_MAX) {
            return fx_fail(err, FX_ERR_LIMIT, "the server's options have too many words");
        }
        argv[count++] = word;
    }
    argv[count] = NULL;
    return FX_OK;
}

fx_code
fx_guard_server_start(fx_guard_server *server, fx_guard_role role, fx_err *err)
{
    FX_ASSERT(role != FX_GUARD_NONE);
    if (!exists(server, "PG_VERSION")) {
        return fx_fail(
            err,
            FX_ERR_NOT_FOUND,
            "could not start the server: \"%s\" is no database cluster",
            server->confine.data_dir);
    }
    fx_code code = role == FX_GUARD_PRIMARY ? remove_signal_file(server, err)
                                            : fx_guard_server_write_signal_file(server, err);
    if (code != FX_OK) {
        return code;
    }
    char words[WORDS_MAX_BYTES];
    char *argv[FX_CHILD_ARGUMENT_MAX];
    fx_confine_make(&server->confine); /* the guard before this one may have removed it */
    if (build_argv(server, words, argv, err) != FX_OK) {
        return err->code;
    }
    return fx_child_start(argv, &server->user, &server->confine, server->log_fd, &server->pid, err);
}

bool
fx_guard_server_is_up(const fx_guard_server *server)
{
    fx_err err;
    char path[PATH_MAX];
    path_of(server, "postmaster.pid", path);
    FX_BUF_AUTO text;
    fx_buf_init(&text, SMALL_FILE_MAX_BYTES);
    if (server->pid == 0 || fx_file_read(path, &text, &err) != FX_OK) {
        return false; /* not yet written */
    }
    const char *line = fx_buf_text(&text);
    if (strtol(line, NULL, 10) != server->pid) {
        return false;
    }
    for (int skipped = 0; skipped < 7 && line != NULL; skipped++) { /* LOCK_FILE_LINE_PM_STATUS */
        line = strchr(line, '\n');
        line = line == NULL ? NULL : line + 1;
    }
    return line != NULL && (strncmp(line, "ready", 5) == 0 || strncmp(line, "standby", 7) == 0);
}

static void
state_path(const fx_guard_server *server, char out_path[PATH_MAX])
{
    (void)snprintf(out_path, PATH_MAX, "%s/guard_state", server->options->state_dir);
}

fx_code
fx_guard_server_load(const fx_guard_server *server, fx_guard_model *model, fx_err *err)
{
    char path[PATH_MAX];
    state_path(server, path);
    FX_BUF_AUTO text;
    fx_buf_init(&text, SMALL_FILE_MAX_BYTES);
    if (fx_file_read(path, &text, err) != FX_OK) {
        return err->code == FX_ERR_NOT_FOUND ? FX_OK : err->code;
    }
    uint64_t epoch = 0;
    uint64_t fenced_epoch = 0;
    int end = 0;
    /* NOLINTNEXTLINE(cert-err34-c): `end` tells that the whole file had the form we write */
    int count = sscanf(
        fx_buf_text(&text),
        "version 1 epoch %" SCNu64 " fenced_epoch %" SCNu64 " end%n",
        &epoch,
        &fenced_epoch,
        &end);
    if (count != 2 || end == 0) {
        return fx_fail(
            err,
            FX_ERR_DAMAGED,
            "\"%s\" is damaged: remove it only if no other host can be primary",
            path);
    }
    model->epoch = epoch;
    model->fenced_epoch = fenced_epoch;
    return FX_OK;
}

fx_code
fx_guard_server_save(const fx_guard_server *server, const fx_guard_model *model, fx_err *err)
{
    char path[PATH_MAX];
    char text[128];
    state_path(server, path);
    int length = snprintf(
        text,
        sizeof text,
        "version 1\nepoch %" PRIu64 "\nfenced_epoch %" PRIu64 "\nend\n",
        model->epoch,
        model->fenced_epoch);
    fx_bytes content = {.data = text, .size_bytes = (size_t)length};
    if (fx_file_replace(path, content, 0600, err) != FX_OK) {
        return fx_err_wrap(err, "writing down the epoch");
    }
    return FX_OK;
}
