#include "common/base/monitor.h"

#include <errno.h>
#include <time.h>

#include "common/base/clock.h"

void
fx_monitor_init(fx_monitor *monitor)
{
    int result = pthread_mutex_init(&monitor->lock, NULL);
    FX_ASSERT(result == 0);
    pthread_condattr_t attributes;
    result = pthread_condattr_init(&attributes);
    FX_ASSERT(result == 0);
    result = pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    FX_ASSERT(result == 0);
    result = pthread_cond_init(&monitor->changed, &attributes);
    FX_ASSERT(result == 0);
    (void)pthread_condattr_destroy(&attributes);
}

void
fx_monitor_deinit(fx_monitor *monitor)
{
    int result = pthread_cond_destroy(&monitor->changed);
    FX_ASSERT(result == 0);
    result = pthread_mutex_destroy(&monitor->lock);
    FX_ASSERT(result == 0);
}

void
fx_monitor_lock(fx_monitor *monitor)
{
    int result = pthread_mutex_lock(&monitor->lock);
    FX_ASSERT(result == 0);
}

void
fx_monitor_unlock(fx_monitor *monitor)
{
    int result = pthread_mutex_unlock(&monitor->lock);
    FX_ASSERT(result == 0);
}

void
fx_monitor_wake(fx_monitor *monitor)
{
    int result = pthread_cond_broadcast(&monitor->changed);
    FX_ASSERT(result == 0);
}

void
fx_monitor_wait(fx_monitor *monitor)
{
    int result = pthread_cond_wait(&monitor->changed, &monitor->lock);
    FX_ASSERT(result == 0);
}

bool
fx_monitor_wait_until(fx_monitor *monitor, fx_mono deadline)
{
    struct timespec until = fx_clock_wait_limit(deadline);
    int result = pthread_cond_timedwait(&monitor->changed, &monitor->lock, &until);
    FX_ASSERT(result == 0 || result == ETIMEDOUT);
    return result == 0 || fx_clock_mono().ns < deadline.ns;
}
