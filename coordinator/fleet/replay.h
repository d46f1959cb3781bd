/*
 * Which message of a sender comes next: repeated and overtaken ones are refused. TLS lets nobody
 * replay another's bytes; this is for a sender's own retries, and for a copy of a host that woke
 * up.
 */
#pragma once

#include "common/base/err.h"
#include "common/base/name.h"
#include "common/base/time.h"

enum { FX_REPLAY_SENDER_MAX = 256, FX_REPLAY_INCARNATION_BYTES = 16 };

/* Of a sender that was silent for longer, an incarnation with an earlier start is taken: its clock
 * may have been set back before it started again. */
#define FX_REPLAY_MEMORY FX_DUR_MS(60000)

typedef struct fx_replay_mark {
    fx_name sender;
    unsigned char incarnation[FX_REPLAY_INCARNATION_BYTES];
    fx_wall started;
    uint64_t sequence;
    fx_mono heard_at;
} fx_replay_mark;

/* Zero it to begin with. */
typedef struct fx_replay {
    fx_replay_mark marks[FX_REPLAY_SENDER_MAX];
    size_t count;
} fx_replay;

/*
 * Takes note of `message` (heard_at is now), or refuses it. errors: STALE, LIMIT (too many senders)
 */
FX_MUST_USE fx_code fx_replay_accept(fx_replay *replay, const fx_replay_mark *message, fx_err *err);
