/* Real processes, which call themselves what a warden does: the kernel's own account of locks is
 * what is read. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/guard/orphan.h"
#include "tests/support/scratch.h"

typedef struct shape {
    const char *name;
    bool locks;
    int lets_go_after_ms; /* 0: stops and never does */
} shape;

FX_NORETURN static void
live(const shape *is, int ready)
{
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    (void)prctl(PR_SET_NAME, is->name);
    int fd = open(test_scratch_path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || (is->locks && flock(fd, LOCK_EX | LOCK_NB) != 0) || write(ready, "r", 1) != 1) {
        _exit(1);
    }
    if (is->lets_go_after_ms == 0) {
        (void)raise(SIGSTOP);
    } else {
        fx_clock_sleep(FX_DUR_MS(is->lets_go_after_ms));
    }
    _exit(0);
}

/* A process of that shape, which has done what it is to do. */
static pid_t
begin(const shape *is)
{
    int fds[2];
    char byte = '\0';
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        live(is, fds[1]);
    }
    (void)close(fds[1]);
    assert_int_equal(read(fds[0], &byte, 1), 1);
    (void)close(fds[0]);
    return pid;
}

/* How it ended: a signal's number, 0 by itself. */
static int
end_of(pid_t pid)
{
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

static void
end_it(pid_t pid)
{
    int status = 0;
    assert_int_equal(waitpid(pid, &status, WNOHANG), 0); /* it lives */
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(end_of(pid), SIGKILL);
}

static bool
end_holder(int patience_ms)
{
    fx_err err = {0};
    bool ended = false;
    if (fx_orphan_end_holder(test_scratch_path, FX_DUR_MS(patience_ms), &ended, &err) != FX_OK) {
        fail_msg("%s", err.message);
    }
    return ended;
}

static void
a_stopped_warden_that_holds_the_lock_is_ended(void **state)
{
    (void)state;
    const shape stopped = {.name = FX_WARDEN_NAME, .locks = true};
    pid_t pid = begin(&stopped);
    assert_true(end_holder(50));
    assert_int_equal(end_of(pid), SIGKILL);
    assert_false(end_holder(50)); /* nobody holds it */
}

static void
a_warden_that_lets_go_in_time_is_not(void **state)
{
    (void)state;
    const shape slow = {.name = FX_WARDEN_NAME, .locks = true, .lets_go_after_ms = 200};
    pid_t pid = begin(&slow);
    assert_true(end_holder(20000));
    assert_int_equal(end_of(pid), 0);
}

static void
a_guard_that_holds_the_lock_is_left_alone(void **state)
{
    (void)state;
    const shape guard = {.name = "fortress-agent", .locks = true};
    const shape its_warden = {.name = FX_WARDEN_NAME};
    pid_t pid = begin(&guard);
    pid_t warden = begin(&its_warden); /* has the file open, but does not hold the lock */
    assert_false(end_holder(0));
    end_it(pid);
    end_it(warden);
}

static void
all_wardens_of_the_lock_are_ended_and_no_others(void **state)
{
    (void)state;
    fx_err err = {0};
    size_t count = 9;
    char mine[sizeof test_scratch_path];
    const shape one = {.name = FX_WARDEN_NAME};
    const shape other = {.name = "fortress-agent"};
    pid_t first = begin(&one);
    pid_t second = begin(&one);
    pid_t agent = begin(&other);
    (void)snprintf(mine, sizeof mine, "%s", test_scratch_path);
    (void)snprintf(test_scratch_path, sizeof test_scratch_path, "%.60s.b", mine);
    pid_t elsewhere = begin(&one);
    assert_int_equal(unlink(test_scratch_path), 0);
    (void)snprintf(test_scratch_path, sizeof test_scratch_path, "%s", mine);
    assert_int_equal(fx_orphan_end_all(test_scratch_path, &count, &err), FX_OK);
    assert_int_equal(count, 2);
    assert_int_equal(end_of(first), SIGKILL);
    assert_int_equal(end_of(second), SIGKILL);
    end_it(agent);
    end_it(elsewhere);
}

static void
a_lock_that_is_not_there_is_an_error(void **state)
{
    (void)state;
    fx_err err = {0};
    bool ended = false;
    assert_int_equal(
        fx_orphan_end_holder("/nonexistent/guard.lock", FX_DUR_MS(0), &ended, &err),
        FX_ERR_NOT_FOUND);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            a_stopped_warden_that_holds_the_lock_is_ended, test_scratch_begin, test_scratch_end),
        cmocka_unit_test_setup_teardown(
            a_warden_that_lets_go_in_time_is_not, test_scratch_begin, test_scratch_end),
        cmocka_unit_test_setup_teardown(
            a_guard_that_holds_the_lock_is_left_alone, test_scratch_begin, test_scratch_end),
        cmocka_unit_test_setup_teardown(
            all_wardens_of_the_lock_are_ended_and_no_others, test_scratch_begin, test_scratch_end),
        cmocka_unit_test(a_lock_that_is_not_there_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
