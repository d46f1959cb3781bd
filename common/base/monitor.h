/* A lock and a condition in one, with deadlines on the monotonic clock: for the few threads we own.
 */
#pragma once

#include <pthread.h>

#include "common/base/time.h"

/* Place it in the object that it protects. */
typedef struct fx_monitor {
    pthread_mutex_t lock;
    pthread_cond_t changed;
} fx_monitor;

void fx_monitor_init(fx_monitor *monitor);
void fx_monitor_deinit(fx_monitor *monitor);

void fx_monitor_lock(fx_monitor *monitor);
void fx_monitor_unlock(fx_monitor *monitor);

/* Wakes all that wait; call it with the lock held, after the change. */
void fx_monitor_wake(fx_monitor *monitor);

/* With the lock held: gives it up until woken, or for no reason: ask the condition again. */
void fx_monitor_wait(fx_monitor *monitor);

/* The same, at the latest until `deadline`; false once it has passed. */
bool fx_monitor_wait_until(fx_monitor *monitor, fx_mono deadline);
