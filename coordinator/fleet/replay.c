#include "coordinator/fleet/replay.h"

#include <string.h>

static fx_replay_mark *
find(fx_replay *replay, const fx_name *sender)
{
    for (size_t i = 0; i < replay->count; i++) {
        if (fx_name_is(&replay->marks[i].sender, sender)) {
            return &replay->marks[i];
        }
    }
    return NULL;
}

/* A place of its own, or that of the one silent for longest if it may be forgotten. */
static fx_replay_mark *
make_place(fx_replay *replay, fx_mono now)
{
    if (replay->count < FX_REPLAY_SENDER_MAX) {
        return &replay->marks[replay->count++];
    }
    fx_replay_mark *oldest = &replay->marks[0];
    for (size_t i = 1; i < replay->count; i++) {
        if (replay->marks[i].heard_at.ns < oldest->heard_at.ns) {
            oldest = &replay->marks[i];
        }
    }
    return fx_dur_over(fx_mono_since(now, oldest->heard_at), FX_REPLAY_MEMORY) ? oldest : NULL;
}

fx_code
fx_replay_accept(fx_replay *replay, const fx_replay_mark *message, fx_err *err)
{
    fx_replay_mark *known = find(replay, &message->sender);
    if (known == NULL) {
        known = make_place(replay, message->heard_at);
        if (known == NULL) {
            return fx_fail(
                err, FX_ERR_LIMIT, "could not accept the message: there are too many senders");
        }
        *known = *message;
        return FX_OK;
    }
    bool same = memcmp(known->incarnation, message->incarnation, FX_REPLAY_INCARNATION_BYTES) == 0;
    if (same && message->sequence <= known->sequence) {
        return fx_fail(
            err,
            FX_ERR_STALE,
            "could not accept the message: number %llu is not after %llu",
            (unsigned long long)message->sequence,
            (unsigned long long)known->sequence);
    }
    fx_dur silence = fx_mono_since(message->heard_at, known->heard_at);
    if (!same && message->started.ns <= known->started.ns &&
        !fx_dur_over(silence, FX_REPLAY_MEMORY)) {
        return fx_fail(
            err,
            FX_ERR_STALE,
            "could not accept the message: %s has been started again since, or runs twice",
            message->sender.text);
    }
    *known = *message;
    return FX_OK;
}
