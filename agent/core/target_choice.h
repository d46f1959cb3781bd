/* Which coordinator to report to: own region's first, the next at once after a failure. Pure. */
#pragma once

#include "common/base/time.h"

enum { FX_TARGET_MAX = 9 };

/* Set `count`, `own` and `retry_own`; zero the rest. */
typedef struct fx_target_choice {
    size_t count;            /* targets, in order of preference */
    bool own[FX_TARGET_MAX]; /* is of the own region */
    fx_dur retry_own;        /* while with another region, the own is tried again after so long */
    size_t current;
    size_t failures; /* in a row */
    fx_mono own_tried_at;
} fx_target_choice;

/* The target of the next call. */
size_t fx_target_choose(fx_target_choice *choice, fx_mono now);

/* How the call went. */
void fx_target_succeeded(fx_target_choice *choice, size_t target);
void fx_target_failed(fx_target_choice *choice, size_t target);

/* True while not yet every target has failed once since the last success. */
bool fx_target_choice_is_first_round(const fx_target_choice *choice);
