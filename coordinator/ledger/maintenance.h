/*
 * etcd's maintenance, through its JSON gateway: how large each member's database is, alarms,
 * compaction, defragmentation.
 * source: etcd 3.4, rpc.proto, services Maintenance and KV
 */
#pragma once

#include "coordinator/core/upkeep.h"
#include "coordinator/ledger/etcd.h"

enum { FX_ETCD_LOOK_MS = 1000, FX_ETCD_DEFRAGMENT_MS = 60000 };

/*
 * Asks every endpoint, at most FX_ETCD_LOOK_MS each; one that fails does not answer. `quota_bytes`
 * is what the members were started with: they do not tell. thread: a worker's
 */
void fx_etcd_look(fx_etcd *etcd, int64_t quota_bytes, fx_store_health *out_health);

/* Removes what is older than `revision`, and waits for it; success also if it is gone already. */
FX_MUST_USE fx_code fx_etcd_compact(fx_etcd *etcd, int64_t revision, fx_mono deadline, fx_err *err);

/* One member writes its database anew, and answers nothing meanwhile. */
FX_MUST_USE fx_code fx_etcd_defragment(fx_etcd *etcd, size_t member, fx_mono deadline, fx_err *err);

/* Ends every alarm NOSPACE: the members take records again, until the quota is reached. */
FX_MUST_USE fx_code fx_etcd_disarm(fx_etcd *etcd, fx_mono deadline, fx_err *err);
