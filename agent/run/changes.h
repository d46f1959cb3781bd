/* Reports at once when a service is another than the last look saw: role, health, streaming, fenced
 * epoch. */
#pragma once

#include "agent/link/reporter.h"
#include "agent/service/service.h"

typedef struct fx_changes fx_changes;

/* Borrows all until freed. thread: the loop's */
fx_changes *fx_changes_start(
    fx_loop *loop, fx_service *const *services, size_t service_count, fx_reporter *reporter);
void fx_changes_free(fx_changes *changes);
