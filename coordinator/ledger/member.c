#include "coordinator/ledger/member.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/file.h"

enum {
    LOG_MAX_BYTES = 16 * 1024 * 1024,
    PAUSE_FIRST_MS = 1000,
    PAUSE_MAX_MS = 30000,
    STAT_MAX_BYTES = 4096,
    COMMAND_LINE_MAX_BYTES = 64 * 1024,
    ARGUMENT_MAX = 64
};

struct fx_etcd_member {
    fx_member_options options;
    char pid_path[PATH_MAX];
    char log_path[PATH_MAX];
    pid_t pid;
    uint64_t started; /* ticks since boot: with the pid, names one process for good */
    bool pid_unwritten;
    bool is_child; /* started by this process: to be reaped */
    fx_dur pause;
    fx_mono start_at; /* not before */
};

fx_etcd_member *
fx_etcd_member_new(const fx_member_options *options)
{
    fx_etcd_member *member = calloc(1, sizeof *member);
    FX_ASSERT(member != NULL);
    member->options = *options;
    member->pause = FX_DUR_MS(PAUSE_FIRST_MS);
    (void)snprintf(member->pid_path, PATH_MAX, "%s/etcd.pid", options->state_dir);
    (void)snprintf(member->log_path, PATH_MAX, "%s/etcd.log", options->state_dir);
    return member;
}

void
fx_etcd_member_free(fx_etcd_member *member)
{
    free(member);
}

pid_t
fx_etcd_member_pid(const fx_etcd_member *member)
{
    return member->pid;
}

/*
 * When the process began, and that it is an etcd that still lives; 0 if not.
 * source: proc(5), /proc/pid/stat, fields 2 (in parentheses, may hold anything), 3 and 22
 */
static uint64_t
process_start(pid_t pid)
{
    fx_err ignored = {0};
    char path[64];
    (void)snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FX_BUF_AUTO stat;
    fx_buf_init(&stat, STAT_MAX_BYTES);
    if (fx_file_read(path, &stat, &ignored) != FX_OK) {
        return 0;
    }
    const char *name = strchr(fx_buf_text(&stat), '(');
    const char *rest = strrchr(fx_buf_text(&stat), ')');
    if (name == NULL || rest == NULL || strncmp(name, "(etcd)", 6) != 0) {
        return 0;
    }
    uint64_t started = 0;
    char state = 0;
    /* NOLINTNEXTLINE(cert-err34-c): the kernel wrote it */
    int got = sscanf(
        rest + 1,
        " %c %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %" SCNu64,
        &state,
        &started);
    return got == 2 && state != 'Z' && state != 'X' ? started : 0;
}

static fx_code
write_pid(const fx_etcd_member *member, fx_err *err)
{
    char text[64];
    int length = snprintf(text, sizeof text, "%d %" PRIu64 "\n", (int)member->pid, member->started);
    FX_ASSERT(length > 0 && (size_t)length < sizeof text);
    return fx_file_replace(member->pid_path, (fx_bytes){text, (size_t)length}, 0644, err);
}

/* etcd.pid names the process, or the next tend tries again. */
static fx_code
keep_pid(fx_etcd_member *member, fx_err *err)
{
    member->pid_unwritten = write_pid(member, err) != FX_OK;
    return member->pid_unwritten ? fx_err_wrap(err, "noting the process of etcd") : FX_OK;
}

/* Takes over the process of an earlier life of this coordinator, if it still runs. */
static bool
adopt(fx_etcd_member *member)
{
    fx_err ignored = {0};
    FX_BUF_AUTO text;
    fx_buf_init(&text, 64);
    int pid = 0;
    uint64_t started = 0;
    if (fx_file_read(member->pid_path, &text, &ignored) != FX_OK ||
        /* NOLINTNEXTLINE(cert-err34-c): a number that is wrong names no etcd process */
        sscanf(fx_buf_text(&text), "%d %" SCNu64, &pid, &started) != 2 || pid <= 1 ||
        process_start(pid) != started || started == 0) {
        return false;
    }
    member->pid = pid;
    member->started = started;
    member->is_child = false;
    FX_LOG(member->options.log, INFO, "etcd.adopted", FX_INT("pid", pid));
    return true;
}

/*
 * The value of `flag` among NUL-terminated words, in either way that etcd takes it: "--flag VALUE",
 * "--flag=VALUE"; NULL: not there. Go's flags take one dash as well as two.
 */
static const char *
find_flag(const fx_buf *words, const char *flag)
{
    const char *at = fx_buf_text(words);
    const char *end = at + words->size_bytes;
    size_t length = strlen(flag);
    while (at < end) {
        const char *next = at + strlen(at) + 1;
        const char *name = at + strspn(at, "-");
        bool found = name > at && name - at <= 2 && strncmp(name, flag, length) == 0;
        if (found && name[length] == '=') {
            return name + length + 1;
        }
        if (found && name[length] == '\0') {
            return next < end ? next : NULL;
        }
        at = next;
    }
    return NULL;
}

/* Is the folder that this process was started on the very folder of `data_dir`? */
static bool
works_on(pid_t pid, const struct stat *data_dir)
{
    fx_err ignored = {0};
    char path[PATH_MAX];
    struct stat folder;
    (void)snprintf(path, sizeof path, "/proc/%d", (int)pid);
    if (stat(path, &folder) != 0 || folder.st_uid != geteuid()) {
        return false;
    }
    FX_BUF_AUTO words;
    fx_buf_init(&words, COMMAND_LINE_MAX_BYTES);
    (void)snprintf(path, sizeof path, "/proc/%d/cmdline", (int)pid);
    if (fx_file_read(path, &words, &ignored) != FX_OK) {
        return false;
    }
    const char *value = find_flag(&words, "data-dir");
    if (value == NULL) {
        return false;
    }
    /* As that process sees it: it may have another working folder, or another root. */
    int length = snprintf(
        path, sizeof path, "/proc/%d/%s/%s", (int)pid, value[0] == '/' ? "root" : "cwd", value);
    return length > 0 && length < PATH_MAX && stat(path, &folder) == 0 &&
           folder.st_dev == data_dir->st_dev && folder.st_ino == data_dir->st_ino;
}

static pid_t
find_running(const char *data_dir)
{
    struct stat wanted;
    if (stat(data_dir, &wanted) != 0) {
        return 0; /* nobody has ever worked on it */
    }
    DIR *processes = opendir("/proc");
    if (processes == NULL) {
        return 0;
    }
    pid_t found = 0;
    const struct dirent *entry = readdir(processes); // NOLINT(concurrency-mt-unsafe): own stream
    for (; entry != NULL && found == 0;
         entry = readdir(processes)) { // NOLINT(concurrency-mt-unsafe): own stream
        char *end = NULL;
        long pid = strtol(entry->d_name, &end, 10);
        if (*end == '\0' && pid > 1 && pid <= INT_MAX && process_start((pid_t)pid) != 0 &&
            works_on((pid_t)pid, &wanted)) {
            found = (pid_t)pid;
        }
    }
    (void)closedir(processes);
    return found;
}

/*
 * Takes over the process that works on the data folder though etcd.pid does not name it (lost, or
 * of another life): a second one would only fail at the folder's lock.
 */
static bool
adopt_found(fx_etcd_member *member)
{
    pid_t pid = find_running(member->options.data_dir);
    uint64_t started = pid == 0 ? 0 : process_start(pid);
    if (started == 0) {
        return false;
    }
    member->pid = pid;
    member->started = started;
    member->is_child = false;
    FX_LOG(
        member->options.log,
        WARN,
        "etcd.found",
        FX_INT("pid", pid),
        FX_STR("data_dir", member->options.data_dir),
        FX_STR("pid_file", member->pid_path));
    return true;
}

typedef struct arguments {
    const char *items[ARGUMENT_MAX];
    size_t count;
    char quota[24];
} arguments;

static void
add(arguments *list, const char *flag, const char *value)
{
    FX_ASSERT(list->count + 3 < ARGUMENT_MAX);
    list->items[list->count++] = flag;
    if (value != NULL) {
        list->items[list->count++] = value;
    }
}

/*
 * Heartbeat and election suit regions up to 150 ms apart (etcd's tuning guide: heartbeat about one
 * round trip, election ten). The ledger is small: old revisions go after 5 minutes.
 */
static void
build_arguments(const fx_member_options *options, arguments *list)
{
    add(list, options->binary, NULL);
    add(list, "--name", options->name);
    add(list, "--data-dir", options->data_dir);
    add(list, "--listen-client-urls", options->client_url);
    add(list, "--advertise-client-urls", options->client_url);
    add(list, "--listen-peer-urls", options->peer_url);
    add(list, "--initial-advertise-peer-urls", options->peer_url);
    add(list, "--initial-cluster", options->initial_cluster);
    add(list, "--initial-cluster-token", options->cluster);
    add(list, "--initial-cluster-state", "new");
    add(list, "--client-cert-auth", NULL);
    add(list, "--trusted-ca-file", options->ca_file);
    add(list, "--cert-file", options->certificate_file);
    add(list, "--key-file", options->key_file);
    add(list, "--peer-client-cert-auth", NULL);
    add(list, "--peer-trusted-ca-file", options->ca_file);
    add(list, "--peer-cert-file", options->certificate_file);
    add(list, "--peer-key-file", options->key_file);
    add(list, "--heartbeat-interval", "150");
    add(list, "--election-timeout", "1500");
    add(list, "--auto-compaction-mode", "periodic");
    add(list, "--auto-compaction-retention", "5m");
    (void)snprintf(list->quota, sizeof list->quota, "%" PRId64, options->quota_bytes);
    add(list, "--quota-backend-bytes", list->quota);
    add(list, "--logger", "zap");
    add(list, "--log-level", "warn");
}

/* A session of its own, default signals, no descriptor of ours but the log. */
static int
spawn(const fx_etcd_member *member, arguments *list, pid_t *out_pid)
{
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attributes;
    sigset_t none;
    sigset_t all;
    (void)sigemptyset(&none);
    (void)sigfillset(&all);
    int result = posix_spawn_file_actions_init(&files);
    FX_ASSERT(result == 0);
    result = posix_spawnattr_init(&attributes);
    FX_ASSERT(result == 0);
    result = posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
    if (result == 0) {
        result = posix_spawn_file_actions_addopen(
            &files, 1, member->log_path, O_WRONLY | O_CREAT | O_APPEND, 0640);
    }
    if (result == 0) {
        result = posix_spawn_file_actions_adddup2(&files, 1, 2);
    }
    if (result == 0) {
        result = posix_spawn_file_actions_addclosefrom_np(&files, 3);
    }
    if (result == 0) {
        short flags = POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSID;
        (void)posix_spawnattr_setflags(&attributes, flags);
        (void)posix_spawnattr_setsigmask(&attributes, &none);
        (void)posix_spawnattr_setsigdefault(&attributes, &all);
        char *argv[ARGUMENT_MAX + 1];
        memset(argv, 0, sizeof argv);
        memcpy(
            argv, list->items, list->count * sizeof argv[0]); /* posix_spawn does not write them */
        result = posix_spawnp(out_pid, list->items[0], &files, &attributes, argv, environ);
    }
    (void)posix_spawnattr_destroy(&attributes);
    (void)posix_spawn_file_actions_destroy(&files);
    return result;
}

static fx_code
start(fx_etcd_member *member, fx_err *err)
{
    if (fx_file_make_folder(member->options.state_dir, 0750, err) != FX_OK ||
        fx_file_make_folder(member->options.data_dir, 0700, err) != FX_OK) {
        return fx_err_wrap(err, "starting etcd");
    }
    struct stat log;
    if (stat(member->log_path, &log) == 0 && log.st_size > LOG_MAX_BYTES) {
        char old[PATH_MAX + 2];
        (void)snprintf(old, sizeof old, "%s.1", member->log_path);
        if (rename(member->log_path, old) != 0) {
            return fx_fail_errno(err, errno, "could not rename \"%s\"", member->log_path);
        }
    }
    arguments list = {.count = 0};
    build_arguments(&member->options, &list);
    pid_t pid = 0;
    int result = spawn(member, &list, &pid);
    if (result != 0) {
        return fx_fail_errno(err, result, "could not start \"%s\"", list.items[0]);
    }
    member->pid = pid;
    member->started = process_start(pid);
    member->is_child = true;
    FX_LOG(member->options.log, INFO, "etcd.started", FX_INT("pid", pid));
    return keep_pid(member, err);
}

/* Notices that the process ended. */
static void
look(fx_etcd_member *member)
{
    int status = 0;
    bool reaped = member->is_child && waitpid(member->pid, &status, WNOHANG) == member->pid;
    if (reaped || process_start(member->pid) != member->started) {
        member->pid = 0;
        FX_LOG(
            member->options.log,
            ERROR,
            "etcd.ended",
            FX_INT("exit_code", WIFEXITED(status) ? WEXITSTATUS(status) : -1),
            FX_INT("signal", WIFSIGNALED(status) ? WTERMSIG(status) : 0),
            FX_STR("log", member->log_path));
    }
}

fx_code
fx_etcd_member_tend(fx_etcd_member *member, fx_mono now, fx_err *err)
{
    if (member->pid != 0) {
        look(member);
    }
    if (member->pid != 0) {
        if (fx_mono_since(now, member->start_at).ns > FX_DUR_MS(PAUSE_MAX_MS).ns) {
            member->pause = FX_DUR_MS(PAUSE_FIRST_MS); /* it has been well for a while */
        }
        return member->pid_unwritten ? keep_pid(member, err) : FX_OK;
    }
    if (adopt(member)) {
        return FX_OK;
    }
    if (adopt_found(member)) {
        return keep_pid(member, err);
    }
    if (now.ns < member->start_at.ns) {
        return FX_OK;
    }
    member->start_at = fx_mono_after(now, member->pause);
    member->pause.ns *= 2;
    if (fx_dur_over(member->pause, FX_DUR_MS(PAUSE_MAX_MS))) {
        member->pause = FX_DUR_MS(PAUSE_MAX_MS);
    }
    return start(member, err);
}
