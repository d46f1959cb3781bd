#include "agent/guard/child.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

fx_code
fx_child_user_find(const char *name, fx_child_user *out_user, fx_err *err)
{
    fx_child_user user = {.change = false};
    if (name == NULL) {
        *out_user = user;
        return FX_OK;
    }
    struct passwd entry;
    struct passwd *found = NULL;
    char room[16384];
    int result = getpwnam_r(name, &entry, room, sizeof room, &found);
    if (result != 0 || found == NULL) {
        return fx_fail(
            err, FX_ERR_NOT_FOUND, "could not find the user \"%s\": set run_as to one", name);
    }
    if (entry.pw_uid == geteuid()) {
        *out_user = user;
        return FX_OK;
    }
    if (entry.pw_uid == 0) {
        return fx_fail(err, FX_ERR_INVALID, "run_as must not be root: PostgreSQL refuses it");
    }
    if (geteuid() != 0) {
        return fx_fail(
            err, FX_ERR_DENIED, "could not run as \"%s\": only root can change the user", name);
    }
    user.change = true;
    user.uid = entry.pw_uid;
    user.gid = entry.pw_gid;
    user.group_count = FX_CHILD_GROUP_MAX;
    if (getgrouplist(name, entry.pw_gid, user.groups, &user.group_count) < 0) {
        return fx_fail(err, FX_ERR_LIMIT, "the user \"%s\" is in too many groups", name);
    }
    *out_user = user;
    return FX_OK;
}

/* Only calls that are safe after fork; a failure is told by the exit status and in the log. */
FX_NORETURN static void
become(
    char *const *argv,
    const fx_child_user *user,
    const fx_confine *confine,
    int log_fd,
    pid_t parent)
{
    sigset_t none;
    (void)sigemptyset(&none);
    // NOLINTNEXTLINE(concurrency-mt-unsafe): a forked child has one thread
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    (void)signal(SIGPIPE, SIG_DFL); // NOLINT(cert-err33-c): SIGPIPE can be reset everywhere
    int null = open("/dev/null", O_RDONLY);
    if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(log_fd, STDOUT_FILENO) < 0 ||
        dup2(log_fd, STDERR_FILENO) < 0) {
        _exit(120);
    }
    if (!fx_confine_enter(confine)) {
        _exit(121);
    }
    if (user->change && (setgroups((size_t)user->group_count, user->groups) != 0 ||
                         setgid(user->gid) != 0 || setuid(user->uid) != 0)) {
        _exit(122);
    }
    (void)umask(0077);
    /* After the change of user, which would clear it. source: prctl(2), PR_SET_PDEATHSIG */
    if (prctl(PR_SET_PDEATHSIG, SIGQUIT) != 0 || getppid() != parent) {
        _exit(123);
    }
    (void)execv(argv[0], argv);
    static const char text[] = "could not start the server: check bin_dir\n";
    ssize_t ignored = write(STDERR_FILENO, text, sizeof text - 1);
    (void)ignored;
    _exit(124);
}

fx_code
fx_child_start(
    char *const *argv,
    const fx_child_user *user,
    const fx_confine *confine,
    int log_fd,
    pid_t *out_pid,
    fx_err *err)
{
    FX_ASSERT(argv[0] != NULL);
    pid_t parent = getpid();
    pid_t pid = fork();
    if (pid < 0) {
        return fx_fail_errno(err, errno, "could not start \"%s\"", argv[0]);
    }
    if (pid == 0) {
        become(argv, user, confine, log_fd, parent);
    }
    *out_pid = pid;
    return FX_OK;
}

fx_code
fx_child_give(const fx_child_user *user, const char *path, fx_err *err)
{
    if (user->change && lchown(path, user->uid, user->gid) != 0) {
        return fx_fail_errno(err, errno, "could not give \"%s\" to the server's user", path);
    }
    return FX_OK;
}
