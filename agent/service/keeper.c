#include "agent/service/keeper.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/guard/child.h"
#include "agent/guard/orphan.h"
#include "common/base/clock.h"

enum { OUTPUT_MAX_BYTES = 65536, ARGUMENT_MAX = 24, POLL_MS = 200, WARDEN_MS = 1000 };

static void
reap(fx_keeper *keeper)
{
    int status = 0;
    if (keeper->child > 0 && waitpid(keeper->child, &status, WNOHANG) == keeper->child) {
        FX_LOG(
            keeper->log,
            WARN,
            "guard.ended",
            FX_STR("service", keeper->config->name),
            FX_INT("signal", WIFSIGNALED(status) ? WTERMSIG(status) : 0),
            FX_INT("status", WIFEXITED(status) ? WEXITSTATUS(status) : 0));
        keeper->child = 0;
    }
}

/* A guard holds guard.lock from before it touches anything until it is dead. */
static bool
lock_is_held(const fx_keeper *keeper)
{
    char path[PATH_MAX];
    (void)snprintf(path, sizeof path, "%s/" FX_GUARD_LOCK, keeper->folder);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0) {
        return false;
    }
    bool held = flock(fd, LOCK_EX | LOCK_NB) != 0;
    (void)close(fd);
    return held;
}

/*
 * A guard that holds the lock is left alone; a warden whose guard is dead lets go by itself, and is
 * ended if it does not. Gives whether a guard has it, or somebody does that cannot be ended.
 */
static bool
guard_has_lock(const fx_keeper *keeper)
{
    if (!lock_is_held(keeper)) {
        return false;
    }
    char path[PATH_MAX];
    bool ended = false;
    fx_err err;
    (void)snprintf(path, sizeof path, "%s/" FX_GUARD_LOCK, keeper->folder);
    if (fx_orphan_end_holder(path, FX_DUR_MS(WARDEN_MS), &ended, &err) != FX_OK) {
        FX_LOG(keeper->log, ERROR, "warden.not_ended", FX_ERR_FIELD(&err));
        return true;
    }
    return !ended || lock_is_held(keeper);
}

static fx_code
sweep_all(const fx_keeper *keeper, fx_mono deadline, fx_err *err)
{
    fx_confine confine;
    if (fx_confine_open(
            keeper->config->name,
            keeper->config->postgres->data_dir,
            keeper->no_cgroup,
            &confine,
            err) != FX_OK) {
        return err->code;
    }
    for (;;) {
        size_t count = 0;
        if (fx_confine_sweep(&confine, 0, &count, err) != FX_OK) {
            return err->code;
        }
        if (count == 0) {
            return FX_OK;
        }
        if (fx_clock_mono().ns > deadline.ns) {
            return fx_fail(err, FX_ERR_TIMEOUT, "could not end %zu processes of the server", count);
        }
        fx_clock_sleep(FX_DUR_MS(10));
    }
}

static void
add(const char **argv, size_t *count, const char *word)
{
    FX_ASSERT(*count + 1 < ARGUMENT_MAX);
    argv[(*count)++] = word;
    argv[*count] = NULL;
}

/* posix_spawn does not write to the words; its type is older than const. */
static char *const *
words_of(const char *const *argv)
{
    union {
        const char *const *given;
        char *const *taken;
    } same = {.given = argv};
    return same.taken;
}

static void
build_argv(const fx_keeper *keeper, const char *argv[ARGUMENT_MAX])
{
    const fx_config_postgres *postgres = keeper->config->postgres;
    size_t count = 0;
    add(argv, &count, "fortress-agent");
    add(argv, &count, "guard");
    add(argv, &count, "--service");
    add(argv, &count, keeper->config->name);
    add(argv, &count, "--state-dir");
    add(argv, &count, keeper->folder);
    add(argv, &count, "--data-dir");
    add(argv, &count, postgres->data_dir);
    add(argv, &count, "--bin-dir");
    add(argv, &count, postgres->bin_dir);
    if (postgres->run_as != NULL && postgres->run_as[0] != '\0') {
        add(argv, &count, "--run-as");
        add(argv, &count, postgres->run_as);
    }
    if (postgres->options != NULL) {
        add(argv, &count, "--options");
        add(argv, &count, postgres->options);
    }
    if (keeper->no_cgroup) {
        add(argv, &count, "--no-cgroup");
    }
}

/* In a session of its own: nothing that ends the agent ends the guard. */
static fx_code
start_guard(fx_keeper *keeper, fx_err *err)
{
    char log_path[PATH_MAX];
    (void)snprintf(log_path, sizeof log_path, "%s/guard.log", keeper->folder);
    const char *argv[ARGUMENT_MAX];
    build_argv(keeper, argv);

    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none;
    (void)sigemptyset(&none);
    int result = posix_spawn_file_actions_init(&actions);
    FX_ASSERT(result == 0);
    result = posix_spawnattr_init(&attributes);
    FX_ASSERT(result == 0);
    (void)posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    (void)posix_spawn_file_actions_addopen(
        &actions, STDERR_FILENO, log_path, O_WRONLY | O_CREAT | O_APPEND, 0600);
    (void)posix_spawn_file_actions_adddup2(&actions, STDERR_FILENO, STDOUT_FILENO);
    (void)posix_spawnattr_setsigmask(&attributes, &none);
    (void)posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK);
    pid_t pid = 0;
    result = posix_spawn(&pid, "/proc/self/exe", &actions, &attributes, words_of(argv), environ);
    (void)posix_spawn_file_actions_destroy(&actions);
    (void)posix_spawnattr_destroy(&attributes);
    if (result != 0) {
        return fx_fail_errno(err, result, "could not start the guard");
    }
    keeper->child = pid;
    FX_LOG(
        keeper->log,
        INFO,
        "guard.started",
        FX_STR("service", keeper->config->name),
        FX_INT("pid", pid));
    return FX_OK;
}

fx_code
fx_keeper_ensure(fx_keeper *keeper, fx_err *err)
{
    reap(keeper);
    if (keeper->child > 0 || guard_has_lock(keeper)) {
        return FX_OK;
    }
    fx_mono deadline = fx_mono_after(fx_clock_mono(), FX_DUR_MS(10000));
    if (sweep_all(keeper, deadline, err) != FX_OK) {
        return fx_err_wrap(err, "ending what a dead guard left");
    }
    return start_guard(keeper, err);
}

fx_code
fx_keeper_kill_all(const fx_keeper *keeper, fx_mono deadline, fx_err *err)
{
    int pidfd = -1;
    fx_err ignored;
    if (fx_guard_find(keeper->folder, &pidfd, &ignored) == FX_OK) {
        (void)pidfd_send_signal(pidfd, SIGKILL, NULL, 0); /* gone already is as good */
        (void)close(pidfd);
    }
    return sweep_all(keeper, deadline, err);
}

/* ---- programs ------------------------------------------------------------------------------- */

static fx_code
read_to_end(const fx_keeper *keeper, int fd, fx_mono deadline, fx_buf *out, fx_err *err)
{
    char part[4096];
    for (;;) {
        struct pollfd one = {.fd = fd, .events = POLLIN};
        fx_dur left = fx_mono_since(deadline, fx_clock_mono());
        if (left.ns == 0) {
            return fx_fail(err, FX_ERR_TIMEOUT, "the program did not end in time");
        }
        if (keeper->cancel != NULL && atomic_load(keeper->cancel)) {
            return fx_fail(err, FX_ERR_CANCELLED, "the agent is stopping");
        }
        int64_t wait_ms = fx_dur_ms(left) + 1;
        if (poll(&one, 1, wait_ms < POLL_MS ? (int)wait_ms : POLL_MS) <= 0) {
            continue;
        }
        ssize_t got_bytes = read(fd, part, sizeof part);
        if (got_bytes == 0) {
            return FX_OK;
        }
        if (got_bytes > 0 && fx_buf_append(out, part, (size_t)got_bytes, err) != FX_OK) {
            fx_buf_clear(out); /* keep the end of what it says, which names the reason */
        }
    }
}

static void
last_line(const fx_buf *out, char out_text[160])
{
    const char *text = fx_buf_text(out);
    const char *begin = text;
    for (const char *at = text; *at != '\0'; at++) {
        if (*at == '\n' && at[1] != '\0') {
            begin = at + 1;
        }
    }
    (void)snprintf(out_text, 160, "%.150s", begin);
    out_text[strcspn(out_text, "\n")] = '\0';
}

static fx_code
collect(const fx_keeper *keeper, pid_t pid, int fd, fx_mono deadline, fx_buf *out, fx_err *err)
{
    fx_code code = read_to_end(keeper, fd, deadline, out, err);
    if (code != FX_OK) {
        (void)kill(pid, SIGKILL); /* our child, not yet reaped */
    }
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    if (code != FX_OK) {
        return code;
    }
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        char text[160];
        last_line(out, text);
        return fx_fail(err, FX_ERR_FAILED, "it failed: %s", text);
    }
    return FX_OK;
}

/*
 * `setpriv` changes the user: a thread of ours cannot for its child alone without fork, which a
 * program with threads must not do more after than exec.
 */
fx_code
fx_keeper_run(
    const fx_keeper *keeper, const char *const *argv, fx_mono deadline, fx_buf *out, fx_err *err)
{
    fx_child_user user;
    const char *run_as = keeper->config->postgres->run_as;
    if (fx_child_user_find(run_as == NULL || run_as[0] == '\0' ? NULL : run_as, &user, err) !=
        FX_OK) {
        return err->code;
    }
    char uid[48];
    char gid[48];
    (void)snprintf(uid, sizeof uid, "--reuid=%u", user.uid);
    (void)snprintf(gid, sizeof gid, "--regid=%u", user.gid);
    const char *words[ARGUMENT_MAX] = {NULL};
    size_t count = 0;
    add(words, &count, "setpriv");
    add(words, &count, "--pdeathsig=KILL");
    if (user.change) {
        add(words, &count, uid);
        add(words, &count, gid);
        add(words, &count, "--init-groups");
    }
    add(words, &count, "--");
    for (size_t i = 0; argv[i] != NULL; i++) {
        add(words, &count, argv[i]);
    }
    int pipe_fds[2];
    if (pipe2(pipe_fds, O_CLOEXEC) != 0) {
        return fx_fail_errno(err, errno, "could not make a pipe");
    }
    posix_spawn_file_actions_t actions;
    int result = posix_spawn_file_actions_init(&actions);
    FX_ASSERT(result == 0);
    (void)posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    (void)posix_spawn_file_actions_adddup2(&actions, pipe_fds[1], STDOUT_FILENO);
    (void)posix_spawn_file_actions_adddup2(&actions, pipe_fds[1], STDERR_FILENO);
    char c_locale[] = "LC_ALL=C";
    char path[] = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    char *environment[] = {c_locale, path, NULL};
    pid_t pid = 0;
    result = posix_spawnp(&pid, words[0], &actions, NULL, words_of(words), environment);
    (void)posix_spawn_file_actions_destroy(&actions);
    (void)close(pipe_fds[1]);
    fx_code code = FX_OK;
    if (result != 0) {
        code = fx_fail_errno(err, result, "could not start \"%s\"", words[0]);
    } else {
        code = collect(keeper, pid, pipe_fds[0], deadline, out, err);
        if (code != FX_OK) {
            code = fx_err_wrap(err, "running \"%s\"", argv[0]);
        }
    }
    (void)close(pipe_fds[0]);
    return code;
}
