/*
 * The live state: who reported what, when. Folds reports of agents and digests of other
 * coordinators into the view that decisions look at. True now, worthless in a minute; nothing is
 * kept.
 *
 * thread: one at a time, the loop's
 */
#pragma once

#include "common/base/buf.h"
#include "coordinator/core/model.h"
#include "proto/link.pb-c.h"

typedef struct fx_fleet fx_fleet;

typedef struct fx_fleet_options {
    fx_name self;
    fx_name self_region;
    const fx_name *peers; /* copied */
    const fx_name *peer_regions;
    size_t peer_count;
    fx_mono now;
} fx_fleet_options;

fx_fleet *fx_fleet_new(const fx_fleet_options *options);
void fx_fleet_free(fx_fleet *fleet);
FX_DEFINE_AUTO(fx_fleet);

/*
 * Takes a report that arrived here at `now`, in `envelope`. The host's view afterwards is borrowed
 * until the next call. errors: INVALID, LIMIT (too many hosts or services), STALE (an older one
 * than known)
 */
FX_MUST_USE fx_code fx_fleet_hear_report(
    fx_fleet *fleet,
    const Fortress__Link__Envelope *envelope,
    fx_mono now,
    const fx_host_view **out_host,
    fx_err *err);

/* errors: INVALID, NOT_FOUND (not a configured coordinator) */
FX_MUST_USE fx_code fx_fleet_hear_digest(
    fx_fleet *fleet, const Fortress__Link__Envelope *envelope, fx_mono now, fx_err *err);

/* This coordinator's own sight of one member of a service. */
void fx_fleet_see(
    fx_fleet *fleet, const fx_name *service, const fx_name *host, bool reachable, fx_mono now);

/*
 * Packs this coordinator's Digest message. errors: LIMIT
 */
FX_MUST_USE fx_code
fx_fleet_digest(fx_fleet *fleet, uint64_t term, fx_mono now, fx_buf *out, fx_err *err);

/* Valid until the next call; with this coordinator's own row made fresh for `now`. */
const fx_view *fx_fleet_view(fx_fleet *fleet, fx_mono now);

/* Copies what is there: the struct is large and mostly empty. */
void fx_view_copy(fx_view *to, const fx_view *from);
