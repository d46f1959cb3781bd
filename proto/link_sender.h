/* Who speaks: what a process puts on every envelope that it sends. */
#pragma once

#include <stdatomic.h>

#include "common/base/name.h"
#include "common/base/time.h"
#include "proto/link_check.h"

/* One a process; its address must stay. Any number of threads fill envelopes with it. */
typedef struct fx_link_sender {
    fx_name cluster;
    fx_name name;
    unsigned char incarnation[FX_LINK_INCARNATION_BYTES];
    fx_wall started;
    atomic_ullong sequence;
} fx_link_sender;

/* Draws the incarnation. `started`: now, when the process begins. */
void fx_link_sender_init(
    fx_link_sender *sender, const fx_name *cluster, const fx_name *name, fx_wall started);

/*
 * Makes an empty envelope with the next number. It borrows from `sender`: pack it, do not free it.
 */
void fx_link_sender_fill(fx_link_sender *sender, fx_link_envelope *out_envelope);
