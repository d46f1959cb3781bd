#include "agent/guard/warden.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "agent/guard/orphan.h"
#include "common/base/clock.h"

enum {
    TICK_MS = 100,
    SWEEP_MS = 10,       /* between sweeps, while something is left */
    IDLE_SWEEP_MS = 500, /* of a dead guard's data directory, were something to stay for long */
    GUARD_CLEARS_MS = 1000,
    SILENT_MS = 2000,
    GUARD_FD = 3, /* the warden's descriptors, others are closed */
    LOCK_FD = 4,
};

/* Numbers that each side writes alone; a torn or a late one is not possible for 64 bits. */
struct fx_warden_page {
    _Atomic int64_t kill_at_ns; /* the guard's */
    _Atomic int64_t alive_ns;   /* the warden's */
};

_Static_assert(ATOMIC_LLONG_LOCK_FREE == 2, "the page is shared between processes");

typedef struct watch {
    const fx_log *log;
    fx_warden_page *page;
    const fx_confine *confine;
    pid_t guard;
} watch;

/* ---- the warden's own life ------------------------------------------------------------------ */

/* Waits until the guard is dead, at most `length`. */
static bool
is_guard_dead(fx_dur length)
{
    struct pollfd one = {.fd = GUARD_FD, .events = POLLIN};
    return poll(&one, 1, (int)fx_dur_ms(length)) > 0;
}

/* What is left, or 1 where that cannot be known. `guard` 0: it is dead, its number means nothing.
 */
static size_t
sweep(const watch *self, pid_t guard)
{
    fx_err err;
    size_t count = 1;
    fx_ignore(
        fx_confine_sweep(self->confine, guard, &count, &err), "it is done again until it is known");
    return count;
}

/*
 * The guard is dead, and its server leaves by its parent-death signal; what is stopped or hangs
 * does not. The lock keeps the next guard out while this one's processes are being ended. Whoever
 * finds the lock taken has a successor that has done all this itself.
 */
static void
end_what_is_left(const watch *self)
{
    if (flock(LOCK_FD, LOCK_EX | LOCK_NB) != 0) {
        return;
    }
    /* Who holds it now, for those who look for a guard that hangs. */
    char text[24];
    int length = snprintf(text, sizeof text, "%ld\n", (long)getpid());
    if (ftruncate(LOCK_FD, 0) != 0 || pwrite(LOCK_FD, text, (size_t)length, 0) != length) {
        FX_LOG(self->log, WARN, "warden.lock_not_marked", FX_INT("errno", errno));
    }
    size_t count = 1;
    size_t killed = 0;
    for (int64_t waited_ms = 0; (count = sweep(self, 0)) > 0; waited_ms += SWEEP_MS) {
        killed = count > killed ? count : killed;
        fx_clock_sleep(
            FX_DUR_MS(waited_ms < INT64_C(2) * IDLE_SWEEP_MS ? SWEEP_MS : IDLE_SWEEP_MS));
    }
    if (killed > 0) {
        FX_LOG(self->log, WARN, "warden.leftovers_killed", FX_INT("count", killed));
    }
}

static bool
is_due(const watch *self, fx_mono now)
{
    int64_t kill_at_ns = atomic_load(&self->page->kill_at_ns);
    return kill_at_ns != 0 && now.ns >= kill_at_ns;
}

/*
 * The moment to fence has passed, and the guard has not said that nothing is left. Its server is
 * killed whatever the reason; the guard only if it does not notice then, for one that is merely
 * slow goes on well. No line is written before that: the disk may be what hangs.
 */
static void
fence(const watch *self)
{
    fx_mono began = fx_clock_mono();
    fx_mono guard_until = fx_mono_after(began, FX_DUR_MS(GUARD_CLEARS_MS));
    bool killed_guard = false;
    /* Of a dead guard nothing is left to fence, but perhaps its successor's server is there. */
    while (!is_guard_dead(FX_DUR_MS(0)) && is_due(self, fx_clock_mono())) {
        atomic_store(&self->page->alive_ns, fx_clock_mono().ns);
        size_t count = sweep(self, self->guard);
        if (count == 0 && !killed_guard && fx_clock_mono().ns >= guard_until.ns) {
            (void)pidfd_send_signal(GUARD_FD, SIGKILL, NULL, 0); /* dead already is as good */
            killed_guard = true;
        }
        if (is_guard_dead(FX_DUR_MS(SWEEP_MS))) {
            break;
        }
    }
    FX_LOG(
        self->log,
        ERROR,
        "warden.fenced",
        FX_STR("because", "the guard had not done it in time"),
        FX_INT("guard_killed", killed_guard ? 1 : 0),
        FX_DUR("took_ms", fx_mono_since(fx_clock_mono(), began)));
}

static fx_dur
until_next_look(const watch *self, fx_mono now)
{
    int64_t kill_at_ns = atomic_load(&self->page->kill_at_ns);
    fx_dur tick = FX_DUR_MS(TICK_MS);
    if (kill_at_ns > now.ns && kill_at_ns - now.ns < tick.ns) {
        return (fx_dur){.ns = kill_at_ns - now.ns};
    }
    return tick;
}

static void
watch_over(const watch *self)
{
    for (;;) {
        fx_mono now = fx_clock_mono();
        atomic_store(&self->page->alive_ns, now.ns);
        if (is_due(self, now)) {
            fence(self);
        }
        if (is_guard_dead(until_next_look(self, now))) {
            end_what_is_left(self);
            return;
        }
    }
}

void
fx_warden_hurry(void)
{
    const struct sched_param lowest = {.sched_priority = 1};
    (void)sched_setscheduler(0, SCHED_RR | SCHED_RESET_ON_FORK, &lowest);
}

/* In a session of its own, and with nothing of the guard's open: what strikes one spares the other.
 */
FX_NORETURN static void
live(const watch *self, int guard_fd, int lock_fd)
{
    (void)prctl(PR_SET_NAME, FX_WARDEN_NAME); /* first: by it one that hangs is found */
    if (setsid() < 0 || dup2(guard_fd, GUARD_FD) < 0 || dup2(lock_fd, LOCK_FD) < 0 ||
        close_range(LOCK_FD + 1, ~0U, 0) != 0) {
        _exit(120);
    }
    /* So that it does not wait for a disk when it must act; it does without where it may not. */
    (void)mlockall(MCL_CURRENT);
    fx_warden_hurry();
    watch_over(self);
    _exit(0);
}

/* ---- from the guard ------------------------------------------------------------------------- */

fx_code
fx_warden_init(fx_warden *warden, const fx_log *log, fx_err *err)
{
    void *page = mmap(
        NULL, sizeof(fx_warden_page), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED) {
        return fx_fail_errno(err, errno, "could not share memory with the warden");
    }
    *warden = (fx_warden){.log = log, .page = page};
    return FX_OK;
}

void
fx_warden_deinit(fx_warden *warden)
{
    if (warden->page != NULL) {
        (void)munmap(warden->page, sizeof *warden->page);
        warden->page = NULL;
    }
}

fx_code
fx_warden_ensure(fx_warden *warden, fx_confine *confine, fx_err *err)
{
    if (warden->pid > 0) {
        return FX_OK;
    }
    /* Above the numbers that the warden gives them: dup2 must not close one for the other. */
    int self_fd = pidfd_open(getpid(), 0);
    int guard_fd = self_fd < 0 ? -1 : fcntl(self_fd, F_DUPFD_CLOEXEC, LOCK_FD + 1);
    int file_fd = open(FX_GUARD_LOCK, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    int lock_fd = file_fd < 0 ? -1 : fcntl(file_fd, F_DUPFD_CLOEXEC, LOCK_FD + 1);
    watch self = {.log = warden->log, .page = warden->page, .confine = confine, .guard = getpid()};
    pid_t pid = -1;
    if (guard_fd >= 0 && lock_fd >= 0) {
        atomic_store(&warden->page->alive_ns, fx_clock_mono().ns);
        pid = fork();
        if (pid == 0) {
            live(&self, guard_fd, lock_fd);
        }
    }
    int failed = errno;
    const int fds[] = {self_fd, guard_fd, file_fd, lock_fd};
    for (size_t i = 0; i < sizeof fds / sizeof fds[0]; i++) {
        if (fds[i] >= 0) {
            (void)close(fds[i]);
        }
    }
    if (pid < 0) {
        return fx_fail_errno(err, failed, "could not start the warden");
    }
    warden->pid = pid;
    confine->spared = pid;
    FX_LOG(warden->log, INFO, "warden.started", FX_INT("pid", pid));
    return FX_OK;
}

void
fx_warden_set(fx_warden *warden, fx_mono kill_at)
{
    atomic_store(&warden->page->kill_at_ns, kill_at.ns);
}

bool
fx_warden_on_exit(fx_warden *warden, pid_t pid)
{
    if (pid != warden->pid) {
        return false;
    }
    FX_LOG(warden->log, WARN, "warden.ended", FX_INT("pid", pid));
    warden->pid = 0;
    return true;
}

void
fx_warden_check(const fx_warden *warden, fx_mono now)
{
    int64_t alive_ns = atomic_load(&warden->page->alive_ns);
    if (warden->pid > 0 && now.ns - alive_ns > FX_DUR_MS(SILENT_MS).ns) {
        FX_LOG(warden->log, ERROR, "warden.silent", FX_INT("pid", warden->pid));
        (void)kill(warden->pid, SIGKILL); /* our child, not yet reaped */
    }
}
