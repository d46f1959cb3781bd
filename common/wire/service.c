#include "common/wire/service.h"

#include "common/base/clock.h"
#include "common/base/monitor.h"

enum { TICK_MS = 60000 };

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_mutex_t lifecycle = PTHREAD_MUTEX_INITIALIZER; /* start and end of the thread */
static fx_monitor monitor;                                    /* of what follows */
static fx_wire_duty *first;
static size_t duty_count;
static bool stopping;
static pthread_t thread;

static void
prepare(void)
{
    fx_monitor_init(&monitor);
}

static void *
serve(void *ctx)
{
    (void)ctx;
    fx_monitor_lock(&monitor);
    while (!stopping) {
        fx_mono now = fx_clock_mono();
        fx_mono next = fx_mono_after(now, FX_DUR_MS(TICK_MS));
        for (fx_wire_duty *duty = first; duty != NULL; duty = duty->next) {
            if (duty->due.ns <= now.ns) {
                duty->run(duty, now);
            }
            if (duty->due.ns < next.ns) {
                next = duty->due;
            }
        }
        (void)fx_monitor_wait_until(&monitor, next);
    }
    fx_monitor_unlock(&monitor);
    return NULL;
}

void
fx_wire_duty_add(fx_wire_duty *duty)
{
    (void)pthread_once(&once, prepare);
    (void)pthread_mutex_lock(&lifecycle);
    fx_monitor_lock(&monitor);
    duty->previous = NULL;
    duty->next = first;
    if (first != NULL) {
        first->previous = duty;
    }
    first = duty;
    duty_count++;
    bool start = duty_count == 1;
    stopping = false;
    fx_monitor_wake(&monitor);
    fx_monitor_unlock(&monitor);
    if (start) {
        int result = pthread_create(&thread, NULL, serve, NULL);
        FX_ASSERT(result == 0);
    }
    (void)pthread_mutex_unlock(&lifecycle);
}

void
fx_wire_duty_remove(fx_wire_duty *duty)
{
    (void)pthread_mutex_lock(&lifecycle);
    fx_monitor_lock(&monitor);
    if (duty->next != NULL) {
        duty->next->previous = duty->previous;
    }
    if (duty->previous != NULL) {
        duty->previous->next = duty->next;
    } else {
        first = duty->next;
    }
    FX_ASSERT(duty_count > 0);
    duty_count--;
    bool stop = duty_count == 0;
    stopping = stop;
    fx_monitor_wake(&monitor);
    fx_monitor_unlock(&monitor);
    if (stop) {
        int result = pthread_join(thread, NULL);
        FX_ASSERT(result == 0);
    }
    (void)pthread_mutex_unlock(&lifecycle);
}

void
fx_wire_duty_set_due(fx_wire_duty *duty, fx_mono due)
{
    fx_monitor_lock(&monitor);
    duty->due = due;
    fx_monitor_wake(&monitor);
    fx_monitor_unlock(&monitor);
}
