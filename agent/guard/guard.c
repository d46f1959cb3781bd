#include "agent/guard/guard.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/guard/orphan.h"
#include "agent/guard/request.h"
#include "agent/guard/server.h"
#include "agent/guard/warden.h"
#include "common/base/clock.h"
#include "common/base/file.h"

enum { CLIENT_MAX = 8, LEFTOVER_MAX_MS = 30000, LOCK_MAX_MS = 1000, WARDEN_LOOK_MS = 500 };

typedef struct client {
    int fd; /* -1: free */
    bool waits_for_fence;
    size_t size_bytes;
    char line[FX_GUARD_LINE_MAX_BYTES];
} client;

typedef struct guard {
    const fx_guard_options *options;
    const fx_log *log;
    fx_guard_server server;
    fx_guard_model model;
    fx_warden warden;
    fx_mono warden_look; /* the next one */
    client clients[CLIENT_MAX];
    char detail[160];
    int lock_fd;
    int listen_fd;
    int signal_fd;
    int timer_fd;
    bool leaving; /* SIGTERM: ends once nothing is left */
} guard;

/* ---- talking -------------------------------------------------------------------------------- */

static void
drop_client(client *one)
{
    if (one->fd >= 0) {
        (void)close(one->fd);
    }
    *one = (client){.fd = -1};
}

/* A client that does not read its one line is dropped: the guard never waits for anybody. */
static void
reply(client *one, const char *text)
{
    char line[FX_GUARD_LINE_MAX_BYTES + 1];
    int length = snprintf(line, sizeof line, "%s\n", text);
    FX_ASSERT(length > 0 && (size_t)length < sizeof line);
    ssize_t sent_bytes = send(one->fd, line, (size_t)length, MSG_DONTWAIT | MSG_NOSIGNAL);
    one->waits_for_fence = false;
    if (sent_bytes != length) {
        drop_client(one);
    }
}

static void
reply_error(client *one, fx_code code, const char *text)
{
    char line[FX_GUARD_LINE_MAX_BYTES];
    (void)snprintf(line, sizeof line, "error %s %.400s", fx_code_name(code), text);
    line[strcspn(line, "\n")] = '\0';
    reply(one, line);
}

static void
refuse(guard *self, client *one, fx_guard_verdict verdict)
{
    char text[160];
    switch (verdict) {
    case FX_GUARD_STALE:
        (void)snprintf(text, sizeof text, "the highest epoch seen is %" PRIu64, self->model.epoch);
        reply_error(one, FX_ERR_STALE, text);
        return;
    case FX_GUARD_FENCED:
        (void)snprintf(text, sizeof text, "fenced up to epoch %" PRIu64, self->model.fenced_epoch);
        reply_error(one, FX_ERR_DENIED, text);
        return;
    case FX_GUARD_NO_LEASE:
        reply_error(one, FX_ERR_DENIED, "no live lease of that epoch");
        return;
    case FX_GUARD_BUSY:
        reply_error(
            one, FX_ERR_BUSY, "stopping, or the server runs in another role: fence it first");
        return;
    case FX_GUARD_BAD:
    case FX_GUARD_ALLOWED:
        reply_error(one, FX_ERR_INVALID, "epoch, lease end or margin make no sense");
        return;
    }
}

static fx_guard_state
state_of(const guard *self)
{
    const fx_guard_model *model = &self->model;
    if (model->stop != FX_GUARD_STOP_NONE) {
        return FX_GUARD_FENCING;
    }
    if (model->running == FX_GUARD_NONE) {
        if (model->wanted != FX_GUARD_NONE) {
            return FX_GUARD_STARTING; /* waits for its back-off */
        }
        return model->held ? FX_GUARD_HELD : FX_GUARD_DOWN;
    }
    if (!fx_guard_server_is_up(&self->server)) {
        return FX_GUARD_STARTING;
    }
    return model->running == FX_GUARD_PRIMARY ? FX_GUARD_RUNS_PRIMARY : FX_GUARD_RUNS_STANDBY;
}

static void
reply_status(const guard *self, client *one)
{
    fx_guard_status status = {
        .state = state_of(self),
        .primary = self->model.running == FX_GUARD_PRIMARY ||
                   (self->model.running == FX_GUARD_NONE && self->model.wanted == FX_GUARD_PRIMARY),
        .pid = self->server.pid,
        .epoch = self->model.epoch,
        .fenced_epoch = self->model.fenced_epoch,
        .lease_end = self->model.lease.end,
        .has_cgroup = self->server.confine.cgroup[0] != '\0',
    };
    (void)snprintf(status.detail, sizeof status.detail, "%s", self->detail);
    char line[FX_GUARD_LINE_MAX_BYTES];
    fx_guard_status_format(&status, line);
    reply(one, line);
}

static void
log_request(const guard *self, const fx_guard_request *request)
{
    char line[FX_GUARD_LINE_MAX_BYTES];
    fx_guard_request_format(request, line);
    if (request->kind == FX_GUARD_LEASE) {
        FX_LOG(self->log, DEBUG, "guard.request", FX_STR("request", line));
    } else {
        FX_LOG(self->log, INFO, "guard.request", FX_STR("request", line));
    }
}

static bool
has_warden(guard *self)
{
    fx_err err;
    if (fx_warden_ensure(&self->warden, &self->server.confine, &err) != FX_OK) {
        FX_LOG(self->log, ERROR, "warden.not_started", FX_ERR_FIELD(&err));
        (void)snprintf(self->detail, sizeof self->detail, "%.150s", err.message);
        return false;
    }
    return true;
}

static void
handle_line(guard *self, client *one)
{
    fx_err err;
    fx_guard_request request;
    if (fx_guard_request_parse(one->line, &request, &err) != FX_OK) {
        reply_error(one, err.code, err.message);
        return;
    }
    if (request.kind == FX_GUARD_STATUS) {
        reply_status(self, one);
        return;
    }
    fx_guard_model next;
    fx_guard_verdict verdict = fx_guard_decide(&self->model, &request, fx_clock_mono(), &next);
    if (verdict != FX_GUARD_ALLOWED) {
        refuse(self, one, verdict);
        return;
    }
    if (next.epoch != self->model.epoch &&
        fx_guard_server_save(&self->server, &next, &err) != FX_OK) {
        FX_LOG(self->log, ERROR, "guard.write_failed", FX_ERR_FIELD(&err));
        reply_error(one, err.code, err.message);
        return;
    }
    /* Who falls under the lease has somebody to end it even if all that follows here hangs. */
    if (request.kind == FX_GUARD_PROMOTED && !has_warden(self)) {
        reply_error(one, FX_ERR_BUSY, "the warden could not be started, see guard.log");
        return;
    }
    log_request(self, &request);
    self->model = next;
    fx_warden_set(&self->warden, fx_guard_kill_at(&self->model));
    if (request.kind == FX_GUARD_FENCE) {
        one->waits_for_fence = true;
        return;
    }
    reply(one, "ok");
}

/* ---- acting --------------------------------------------------------------------------------- */

static void
finish_fence(guard *self)
{
    for (size_t i = 0; i < CLIENT_MAX; i++) {
        if (self->clients[i].fd >= 0 && self->clients[i].waits_for_fence) {
            reply(&self->clients[i], "ok");
        }
    }
}

/* Nothing is left; the promise goes to disk before anyone hears of it. True when that worked. */
static bool
on_nothing_left(guard *self, fx_mono now)
{
    fx_err err;
    fx_guard_model next = self->model;
    fx_guard_on_empty(&next, now);
    if (fx_guard_server_write_signal_file(&self->server, &err) != FX_OK ||
        (next.fenced_epoch != self->model.fenced_epoch &&
         fx_guard_server_save(&self->server, &next, &err) != FX_OK)) {
        FX_LOG(self->log, ERROR, "guard.write_failed", FX_ERR_FIELD(&err));
        (void)snprintf(self->detail, sizeof self->detail, "%.150s", err.message);
        return false;
    }
    self->model = next;
    fx_warden_set(&self->warden, fx_guard_kill_at(&self->model));
    self->server.pid = 0;
    FX_LOG(
        self->log,
        INFO,
        "guard.stopped",
        FX_INT("epoch", next.epoch),
        FX_INT("fenced_epoch", next.fenced_epoch));
    finish_fence(self);
    return true;
}

/* True when there is more to do at once. */
static bool
sweep(guard *self, fx_mono now)
{
    fx_err err;
    size_t count = 1;
    if (fx_confine_sweep(&self->server.confine, getpid(), &count, &err) != FX_OK) {
        FX_LOG(self->log, ERROR, "guard.sweep_failed", FX_ERR_FIELD(&err));
        return false;
    }
    return count == 0 && on_nothing_left(self, now);
}

static void
send_to_server(guard *self, int signal_number)
{
    FX_LOG(
        self->log,
        WARN,
        "guard.fencing",
        FX_STR("how", signal_number == SIGINT ? "orderly" : "at once"),
        FX_INT("epoch", self->model.epoch),
        FX_INT("lease_end_ns", self->model.lease.end.ns));
    if (self->server.pid > 0) {
        (void)kill(self->server.pid, signal_number); /* it is our child, not yet reaped */
    }
}

static void
start_server(guard *self)
{
    fx_err err;
    fx_guard_role role = self->model.wanted;
    fx_guard_on_started(&self->model, fx_clock_mono());
    fx_warden_set(&self->warden, fx_guard_kill_at(&self->model)); /* before there is what to kill */
    fx_code code = has_warden(self) ? fx_guard_server_start(&self->server, role, &err)
                                    : fx_fail(&err, FX_ERR_IO, "%s", self->detail);
    fx_mono now = fx_clock_mono();
    if (code != FX_OK) {
        FX_LOG(self->log, ERROR, "guard.start_failed", FX_ERR_FIELD(&err));
        (void)snprintf(self->detail, sizeof self->detail, "%.150s", err.message);
        fx_guard_on_exit(&self->model, now);
        return;
    }
    FX_LOG(
        self->log,
        INFO,
        "guard.started",
        FX_STR("role", role == FX_GUARD_PRIMARY ? "primary" : "standby"),
        FX_INT("epoch", self->model.epoch),
        FX_INT("pid", self->server.pid));
}

/* The two watch each other: a warden that ended or hangs is replaced while there is what to watch.
 */
static void
look_after_warden(guard *self, fx_mono now)
{
    if (self->model.running == FX_GUARD_NONE || now.ns < self->warden_look.ns) {
        return;
    }
    self->warden_look = fx_mono_after(now, FX_DUR_MS(WARDEN_LOOK_MS));
    fx_warden_check(&self->warden, now);
    (void)has_warden(self); /* tried again at the next look; the guard fences without one, too */
}

static void
arm(const guard *self, fx_mono wake)
{
    if (self->model.running != FX_GUARD_NONE && (wake.ns == 0 || self->warden_look.ns < wake.ns)) {
        wake = self->warden_look;
    }
    struct itimerspec when = {
        .it_value = {.tv_sec = wake.ns / 1000000000, .tv_nsec = wake.ns % 1000000000}};
    int result = timerfd_settime(self->timer_fd, TFD_TIMER_ABSTIME, &when, NULL);
    FX_ASSERT(result == 0);
}

static void
act(guard *self)
{
    for (;;) {
        fx_mono now = fx_clock_mono();
        fx_guard_next next = fx_guard_step(&self->model, now);
        switch (next.act) {
        case FX_GUARD_SEND_FAST:
            send_to_server(self, SIGINT);
            continue;
        case FX_GUARD_SEND_QUIT:
            send_to_server(self, SIGQUIT);
            continue;
        case FX_GUARD_START:
            start_server(self);
            continue;
        case FX_GUARD_SWEEP:
            if (sweep(self, now)) {
                continue;
            }
            break;
        case FX_GUARD_WAIT:
            break;
        }
        look_after_warden(self, now);
        arm(self, next.wake);
        return;
    }
}

/* ---- events --------------------------------------------------------------------------------- */

static void
reap(guard *self)
{
    int status = 0;
    pid_t pid = 0;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        if (fx_warden_on_exit(&self->warden, pid)) {
            self->server.confine.spared = 0;
            self->warden_look = (fx_mono){0}; /* at once */
            continue;
        }
        if (pid != self->server.pid) {
            continue; /* a backend whose parent is gone: we are the subreaper */
        }
        self->server.pid = 0;
        (void)snprintf(
            self->detail,
            sizeof self->detail,
            "the server ended by %s %d, see postgres.log",
            WIFSIGNALED(status) ? "signal" : "itself with status",
            WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
        FX_LOG(self->log, WARN, "guard.server_ended", FX_STR("detail", self->detail));
        fx_guard_on_exit(&self->model, fx_clock_mono());
    }
}

static void
leave(guard *self)
{
    self->leaving = true;
    self->model.wanted = FX_GUARD_NONE;
    if (self->model.stop == FX_GUARD_STOP_NONE) {
        self->model.stop = FX_GUARD_STOP_ORDERLY;
        self->model.stop_sent = false;
        self->model.stop_since = fx_clock_mono();
    }
}

static void
on_signals(guard *self)
{
    struct signalfd_siginfo info;
    while (read(self->signal_fd, &info, sizeof info) == (ssize_t)sizeof info) {
        if (info.ssi_signo != SIGCHLD) {
            leave(self);
        }
    }
    reap(self);
}

static void
on_connection(guard *self)
{
    int fd = accept4(self->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0) {
        return;
    }
    for (size_t i = 0; i < CLIENT_MAX; i++) {
        if (self->clients[i].fd < 0) {
            self->clients[i] = (client){.fd = fd};
            return;
        }
    }
    (void)close(fd);
}

/* One line a turn, so that between any two requests the lease is looked at. */
static void
take_line(guard *self, client *one)
{
    char *end = memchr(one->line, '\n', one->size_bytes);
    if (end == NULL) {
        return;
    }
    size_t used_bytes = (size_t)(end - one->line) + 1;
    *end = '\0';
    handle_line(self, one);
    if (one->fd >= 0) {
        memmove(one->line, one->line + used_bytes, one->size_bytes - used_bytes);
        one->size_bytes -= used_bytes;
    }
}

static void
on_client(guard *self, client *one)
{
    size_t room_bytes = sizeof one->line - one->size_bytes;
    ssize_t got_bytes = recv(one->fd, one->line + one->size_bytes, room_bytes, MSG_DONTWAIT);
    if (got_bytes < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    if (got_bytes <= 0) {
        drop_client(one); /* gone, or more than a line without an end */
        return;
    }
    one->size_bytes += (size_t)got_bytes;
    take_line(self, one);
}

static void
drain_timer(const guard *self)
{
    uint64_t count = 0;
    ssize_t got_bytes = read(self->timer_fd, &count, sizeof count);
    (void)got_bytes; /* nothing to read means that it did not fire */
}

static bool
has_whole_line(const client *one)
{
    return one->fd >= 0 && !one->waits_for_fence &&
           memchr(one->line, '\n', one->size_bytes) != NULL;
}

static void
serve(guard *self)
{
    while (!self->leaving || self->model.stop != FX_GUARD_STOP_NONE ||
           self->model.running != FX_GUARD_NONE) {
        act(self);
        struct pollfd fds[3 + CLIENT_MAX] = {
            {.fd = self->listen_fd, .events = POLLIN},
            {.fd = self->signal_fd, .events = POLLIN},
            {.fd = self->timer_fd, .events = POLLIN},
        };
        int timeout_ms = -1;
        for (size_t i = 0; i < CLIENT_MAX; i++) {
            fds[3 + i] = (struct pollfd){.fd = self->clients[i].fd, .events = POLLIN};
            timeout_ms = has_whole_line(&self->clients[i]) ? 0 : timeout_ms;
        }
        int ready = poll(fds, 3 + CLIENT_MAX, timeout_ms);
        if (ready < 0) {
            FX_ASSERT(errno == EINTR);
            continue;
        }
        /*
         * Whatever woke us, and however long we were stopped or asleep: the lease first, before a
         * request that waits in a socket can be answered.
         */
        act(self);
        drain_timer(self);
        if (fds[1].revents != 0) {
            on_signals(self);
        }
        if (fds[0].revents != 0) {
            on_connection(self);
        }
        for (size_t i = 0; i < CLIENT_MAX; i++) {
            client *one = &self->clients[i];
            if (has_whole_line(one)) {
                take_line(self, one);
            } else if (fds[3 + i].revents != 0 && one->fd == fds[3 + i].fd) {
                on_client(self, one);
            }
            act(self);
        }
    }
}

/* ---- beginning ------------------------------------------------------------------------------ */

static bool
try_lock(const guard *self, fx_dur length)
{
    fx_mono deadline = fx_mono_after(fx_clock_mono(), length);
    while (flock(self->lock_fd, LOCK_EX | LOCK_NB) != 0) {
        if (fx_clock_mono().ns >= deadline.ns) {
            return false;
        }
        fx_clock_sleep(FX_DUR_MS(20));
    }
    return true;
}

/*
 * The warden of a guard that has just died holds the lock until nothing of its server is left; one
 * that is stopped holds it for ever. What either had to kill is killed before this guard listens.
 */
static fx_code
take_lock_from_warden(const guard *self, fx_err *err)
{
    bool ended = false;
    if (fx_orphan_end_holder(FX_GUARD_LOCK, FX_DUR_MS(LOCK_MAX_MS), &ended, err) != FX_OK) {
        return fx_err_wrap(err, "ending what an earlier guard left");
    }
    if (!try_lock(self, FX_DUR_MS(LOCK_MAX_MS))) {
        return fx_fail(
            err,
            FX_ERR_BUSY,
            "another guard of \"%s\" runs: it holds guard.lock",
            self->options->service);
    }
    return FX_OK;
}

static fx_code
end_orphans(const guard *self, fx_err *err)
{
    size_t count = 0;
    if (fx_orphan_end_all(FX_GUARD_LOCK, &count, err) != FX_OK) {
        return fx_err_wrap(err, "ending what an earlier guard left");
    }
    if (count > 0) {
        FX_LOG(self->log, WARN, "guard.orphans_killed", FX_INT("count", count));
    }
    return FX_OK;
}

static fx_code
take_lock(guard *self, fx_err *err)
{
    self->lock_fd = open(FX_GUARD_LOCK, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (self->lock_fd < 0) {
        return fx_fail_errno(err, errno, "could not open guard.lock");
    }
    if (!try_lock(self, FX_DUR_MS(0)) && take_lock_from_warden(self, err) != FX_OK) {
        return err->code;
    }
    /* For fx_guard_find(): who holds the lock. */
    char text[24];
    int length = snprintf(text, sizeof text, "%ld\n", (long)getpid());
    if (ftruncate(self->lock_fd, 0) != 0 ||
        pwrite(self->lock_fd, text, (size_t)length, 0) != (ssize_t)length) {
        return fx_fail_errno(err, errno, "could not write to guard.lock");
    }
    return end_orphans(self, err);
}

static fx_code
open_descriptors(guard *self, fx_err *err)
{
    sigset_t signals;
    (void)sigemptyset(&signals);
    (void)sigaddset(&signals, SIGCHLD);
    (void)sigaddset(&signals, SIGTERM);
    (void)sigaddset(&signals, SIGINT);
    // NOLINTNEXTLINE(concurrency-mt-unsafe): the guard has one thread
    if (sigprocmask(SIG_BLOCK, &signals, NULL) != 0) {
        return fx_fail_errno(err, errno, "could not block signals");
    }
    self->signal_fd = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
    self->timer_fd = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK);
    self->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (self->signal_fd < 0 || self->timer_fd < 0 || self->listen_fd < 0) {
        return fx_fail_errno(err, errno, "could not make the guard's descriptors");
    }
    if (prctl(PR_SET_CHILD_SUBREAPER, 1) != 0) {
        return fx_fail_errno(err, errno, "could not become the subreaper");
    }
    return FX_OK;
}

/* The path is relative to the state folder, which may be longer than a socket's path can be. */
static fx_code
listen_now(guard *self, fx_err *err)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "guard.sock"};
    (void)unlink(address.sun_path);
    mode_t before = umask(0177);
    int bound = bind(self->listen_fd, (struct sockaddr *)&address, sizeof address);
    int failed = errno;
    (void)umask(before);
    if (bound != 0 || listen(self->listen_fd, CLIENT_MAX) != 0) {
        return fx_fail_errno(err, bound != 0 ? failed : errno, "could not listen on guard.sock");
    }
    return FX_OK;
}

static fx_code
clean_leftovers(guard *self, fx_err *err)
{
    fx_mono deadline = fx_mono_after(fx_clock_mono(), FX_DUR_MS(LEFTOVER_MAX_MS));
    size_t count = 1;
    size_t killed = 0;
    while (count > 0) {
        if (fx_confine_sweep(&self->server.confine, getpid(), &count, err) != FX_OK) {
            return err->code;
        }
        killed = count > killed ? count : killed;
        if (count > 0 && fx_clock_mono().ns > deadline.ns) {
            return fx_fail(
                err, FX_ERR_TIMEOUT, "could not end %zu processes of an earlier life", count);
        }
        if (count > 0) {
            fx_clock_sleep(FX_DUR_MS(10));
        }
    }
    if (killed > 0) {
        FX_LOG(self->log, WARN, "guard.leftovers_killed", FX_INT("count", killed));
    }
    return fx_guard_server_write_signal_file(&self->server, err);
}

static fx_code
begin(guard *self, fx_err *err)
{
    const char *folder = self->options->state_dir;
    if (fx_file_make_folder(folder, 0700, err) != FX_OK) {
        return fx_err_wrap(err, "making the guard's folder");
    }
    if (fx_guard_server_open(&self->server, self->options, err) != FX_OK) {
        return err->code;
    }
    if (chdir(folder) != 0) {
        return fx_fail_errno(err, errno, "could not enter \"%s\"", folder);
    }
    if (take_lock(self, err) != FX_OK || fx_warden_init(&self->warden, self->log, err) != FX_OK ||
        open_descriptors(self, err) != FX_OK ||
        fx_guard_server_load(&self->server, &self->model, err) != FX_OK ||
        clean_leftovers(self, err) != FX_OK) {
        return err->code;
    }
    return listen_now(self, err); /* last: who can connect finds nothing of an earlier life left */
}

fx_code
fx_guard_run(const fx_guard_options *options, fx_err *err)
{
    FX_ASSERT(options->service != NULL);
    FX_ASSERT(options->state_dir != NULL);
    guard self = {
        .options = options,
        .log = options->log,
        .lock_fd = -1,
        .listen_fd = -1,
        .signal_fd = -1,
        .timer_fd = -1,
    };
    for (size_t i = 0; i < CLIENT_MAX; i++) {
        self.clients[i].fd = -1;
    }
    fx_code code = begin(&self, err);
    if (code == FX_OK) {
        fx_warden_hurry();
        FX_LOG(
            self.log,
            INFO,
            "guard.ready",
            FX_STR("service", options->service),
            FX_INT("epoch", self.model.epoch),
            FX_STR("cgroup", self.server.confine.cgroup));
        serve(&self);
        FX_LOG(self.log, INFO, "guard.ended", FX_STR("service", options->service));
    }
    for (size_t i = 0; i < CLIENT_MAX; i++) {
        drop_client(&self.clients[i]);
    }
    if (self.lock_fd >= 0 && code == FX_OK) {
        fx_confine_remove(&self.server.confine);
    }
    const int fds[] = {self.listen_fd, self.signal_fd, self.timer_fd, self.lock_fd};
    for (size_t i = 0; i < sizeof fds / sizeof fds[0]; i++) {
        if (fds[i] >= 0) {
            (void)close(fds[i]);
        }
    }
    fx_warden_deinit(&self.warden); /* the warden has it still: it ends by itself */
    fx_guard_server_close(&self.server);
    return code;
}
