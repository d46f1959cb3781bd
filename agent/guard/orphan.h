/*
 * Wardens that outlived their guard and do not leave, because they are stopped or hang: found by
 * their name and by guard.lock, which each has open, and ended, so that the next guard can begin.
 */
#pragma once

#include "common/base/clock.h"
#include "common/base/err.h"

/* In the service's state folder; its holder's number is in it. */
#define FX_GUARD_LOCK "guard.lock"
/* What a warden calls itself: at most 15 characters, see PR_SET_NAME in prctl(2). */
#define FX_WARDEN_NAME "fx-warden"

/*
 * Ends the warden that holds `lock_path`, if one does, and if it has not let go within `patience`:
 * a warden takes the lock only when its guard is dead, and for no longer than it needs to kill.
 * What it was about to kill is the caller's to kill then. A guard that holds the lock is left
 * alone. `out_ended` says whether nobody holds it now who did before.
 *
 * errors: TIMEOUT (it does not die), IO (/proc)
 */
FX_MUST_USE fx_code
fx_orphan_end_holder(const char *lock_path, fx_dur patience, bool *out_ended, fx_err *err);

/*
 * Ends every warden that has `lock_path` open. For who holds the lock and has no warden: they are a
 * dead guard's, and one that is woken later would look at what is not its server any more. None
 * runs on once it returns, though one may not be dead yet.
 *
 * errors: IO (/proc)
 */
FX_MUST_USE fx_code fx_orphan_end_all(const char *lock_path, size_t *out_count, fx_err *err);
