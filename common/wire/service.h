/*
 * The one thread of the door: ends in time what nng would let hang for ever. Inside common/wire
 * only.
 */
#pragma once

#include "common/base/time.h"

typedef struct fx_wire_duty fx_wire_duty;
struct fx_wire_duty {
    fx_mono due;
    /* On the service's thread, once `due` has passed; sets the next `due`. May not add or remove.
     */
    void (*run)(fx_wire_duty *duty, fx_mono now);
    fx_wire_duty *previous;
    fx_wire_duty *next;
};

/* Starts the thread with the first duty. */
void fx_wire_duty_add(fx_wire_duty *duty);

/* After it returned `run` does not run any more. The thread ends with the last duty. */
void fx_wire_duty_remove(fx_wire_duty *duty);

/* Changes `due` of an added duty. */
void fx_wire_duty_set_due(fx_wire_duty *duty, fx_mono due);

/* Far enough to be never. */
#define FX_WIRE_NEVER ((fx_mono){.ns = INT64_MAX})
