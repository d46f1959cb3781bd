/* To be preloaded: a host whose clock is off by FORTRESS_TEST_CLOCK_SHIFT_S seconds. */
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* Of this process, before any of its threads. */
static long shift_s;

__attribute__((constructor)) static void
read_shift(void)
{
    const char *text = getenv("FORTRESS_TEST_CLOCK_SHIFT_S"); /* NOLINT(concurrency-mt-unsafe) */
    shift_s = text == NULL ? 0 : strtol(text, NULL, 10);
}

int
/* NOLINTNEXTLINE(readability-inconsistent-declaration-parameter-name): time.h's are reserved */
clock_gettime(clockid_t clock, struct timespec *out_now)
{
    int result = (int)syscall(SYS_clock_gettime, clock, out_now);
    if (result == 0 && clock == CLOCK_REALTIME) {
        out_now->tv_sec += shift_s;
    }
    return result;
}
