#include "proto/link_sender.h"

#include <sys/random.h>

void
fx_link_sender_init(
    fx_link_sender *sender, const fx_name *cluster, const fx_name *name, fx_wall started)
{
    sender->cluster = *cluster;
    sender->name = *name;
    sender->started = started;
    atomic_init(&sender->sequence, 0);
    ssize_t got = getrandom(sender->incarnation, sizeof(sender->incarnation), 0);
    FX_ASSERT(got == (ssize_t)sizeof(sender->incarnation));
}

void
fx_link_sender_fill(fx_link_sender *sender, fx_link_envelope *out_envelope)
{
    fortress__link__envelope__init(out_envelope);
    out_envelope->version = FORTRESS__LINK__VERSION__VERSION_CURRENT;
    out_envelope->cluster = sender->cluster.text;
    out_envelope->sender = sender->name.text;
    out_envelope->incarnation.data = sender->incarnation;
    out_envelope->incarnation.len = sizeof(sender->incarnation);
    out_envelope->started_wall_ns = sender->started.ns;
    out_envelope->sequence = atomic_fetch_add(&sender->sequence, 1) + 1;
}
