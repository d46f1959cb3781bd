/*
 * Serves repositories of this host to others by the wire: who asks is the host in the certificate,
 * and the configuration says what it may do. Inside agent/depot: its parts share this header.
 */
#pragma once

#include "agent/depot/shelf.h"
#include "common/base/monitor.h"
#include "common/base/pool.h"
#include "common/base/rate.h"
#include "common/config/depot_config.h"
#include "common/endorsement/endorsement.h"
#include "common/wire/wire.h"
#include "proto/depot_check.h"

enum {
    FX_DEPOT_HOST_UPLOAD_MAX = 16, /* open at a time */
    FX_DEPOT_UPLOAD_MAX = 512,     /* of all hosts: each has a file open */
    FX_DEPOT_UPLOAD_IDLE_MS = 60000,
    FX_DEPOT_HOST_SHARE = 2, /* of what is carried out at a time one host has a half at most */
};

/* One host's share in one repository. */
typedef struct fx_depot_share {
    fx_name host;
    fx_depot_access access;
    uint64_t quota_bytes;    /* 0: none */
    uint64_t used_bytes;     /* of objects that are there; under the depot's monitor */
    uint64_t reserved_bytes; /* of those that come; likewise */
} fx_depot_share;

typedef struct fx_depot_room {
    fx_name name;
    fx_shelf *shelf;
    fx_depot_share *shares;
    size_t share_count;
} fx_depot_room;

/* A host that any repository knows: how much it asks. Under the depot's monitor. */
typedef struct fx_depot_guest {
    fx_name name;
    fx_rate rate;
    size_t busy_count;
} fx_depot_guest;

typedef struct fx_depot_upload fx_depot_upload;
struct fx_depot_upload {
    fx_depot_upload *next;
    unsigned char id[FX_DEPOT_UPLOAD_BYTES];
    fx_depot_room *room;
    fx_depot_share *share;
    fx_stage *stage;
    fx_mono last;
    bool is_busy; /* a part is being written */
};

typedef struct fx_depot {
    const fx_log *log;
    fx_name cluster;
    fx_name host;
    size_t request_max;
    fx_endorsers endorsers;
    fx_depot_room *rooms;
    size_t room_count;
    fx_pool *pool;
    fx_wire_server *server;
    fx_monitor monitor; /* of what follows, and of shares */
    fx_depot_guest *guests;
    size_t guest_count;
    fx_depot_upload *uploads;
    fx_rate log_rate;
} fx_depot;

/* Opens all folders, counts what each host has there, and listens. errors: as of its parts */
FX_MUST_USE fx_code
fx_depot_open(const fx_depot_config *config, const fx_log *log, fx_depot **out_depot, fx_err *err);
void fx_depot_free(fx_depot *depot);
FX_DEFINE_AUTO(fx_depot);

/* Gives up uploads that nobody continues. thread: any */
void fx_depot_sweep(fx_depot *depot);

/* For its parts: a line that others can provoke. */
void fx_depot_log_refused(fx_depot *depot, const fx_wire_peer *peer, const fx_err *reason);

/*
 * Carries a request of `host` out and appends the packed reply; false: it is garbage. thread: any
 */
bool fx_depot_answer(fx_depot *depot, const fx_name *host, fx_bytes request, fx_buf *reply);

/* Appends a packed refusal. */
void fx_depot_refusal(const fx_err *reason, fx_buf *reply);

/* Whether the ticket permits to remove these keys. errors: DENIED, with the reason */
FX_MUST_USE fx_code fx_depot_check_ticket(
    const fx_depot *depot,
    const fx_depot_room *room,
    const Fortress__Depot__Remove *remove,
    fx_err *err);
