/*
 * What decisions see: the agreed state (ledger) and the observed state (view) as plain structs. The
 * wiring translates from and to protobuf, so that the core imports no library.
 */
#pragma once

#include <string.h>

#include "common/base/lsn.h"
#include "common/base/name.h"
#include "common/base/time.h"

enum {
    FX_MEMBER_MAX = 8,
    FX_SERVICE_MAX = 32,
    FX_HOST_MAX = 128,
    FX_STEP_MAX = 8,
    FX_COORDINATOR_MAX = 9,
    FX_RESULT_MAX = 16,
    FX_GAP_SHOWN_MAX = 8,
    FX_EVIDENCE_MAX = 32,
    FX_ID_TEXT_BYTES = 64,
    FX_REASON_BYTES = 256,
    FX_ENDORSEMENT_MAX = 5,
    FX_SIGNATURE_BYTES = 64,
    FX_ORDER_MAX_BYTES = 2048,
    FX_INCARNATION_BYTES = 16,
    FX_REPORT_SLOWEST_MS = 5000, /* the longest that a host is told to wait between reports */
};

typedef struct {
    uint64_t value;
} fx_epoch;

/* etcd's revision of a key's last change; 0: the key is absent. */
typedef struct {
    int64_t value;
} fx_revision;

typedef struct fx_id {
    char text[FX_ID_TEXT_BYTES];
} fx_id;

/* ---- the ledger
 * ---------------------------------------------------------------------------------- */

typedef struct fx_leader {
    fx_revision revision;
    fx_name coordinator; /* none: nobody leads */
    fx_name region;
    uint64_t term;
    unsigned char incarnation[FX_INCARNATION_BYTES]; /* of the process that leads */
} fx_leader;

typedef struct fx_beat {
    fx_revision revision;
    uint64_t term;
    uint64_t count;
} fx_beat;

typedef struct fx_member {
    fx_name host;
    fx_name region;
    char address[64];
    uint16_t port;
} fx_member;

typedef struct fx_endorsement {
    fx_name coordinator;
    fx_name region;
    unsigned char signature[FX_SIGNATURE_BYTES];
} fx_endorsement;

/* A serialised link.Order and who signed it. */
typedef struct fx_signed_order {
    unsigned char bytes[FX_ORDER_MAX_BYTES];
    size_t size_bytes; /* 0: none */
    fx_id id;
    fx_endorsement endorsements[FX_ENDORSEMENT_MAX];
    size_t endorsement_count;
} fx_signed_order;

typedef struct fx_service {
    fx_revision revision;
    fx_name name;
    fx_epoch epoch;
    fx_name primary;
    fx_member members[FX_MEMBER_MAX]; /* in order of preference */
    size_t member_count;
    fx_wall changed_at;
    fx_epoch dns_epoch;
    fx_id last_plan;
    fx_signed_order promotion; /* makes `primary` primary in `epoch` */
} fx_service;

typedef struct fx_held {
    fx_name service;
    fx_epoch epoch;
} fx_held;

typedef struct fx_lease {
    fx_revision revision;
    fx_name host;
    uint64_t renewal;
    bool open;
    fx_held held[FX_MEMBER_MAX];
    size_t held_count;
    fx_name renewed_by;
    /* Observed, not agreed: arrival of the first linearizable answer that showed this revision. */
    fx_mono seen_since;
} fx_lease;

typedef enum fx_step_kind {
    FX_STEP_NONE,
    FX_STEP_FENCE,
    FX_STEP_TAKE_OVER,
    FX_STEP_PROMOTE,
    FX_STEP_DNS,
    FX_STEP_VALIDATE,
    FX_STEP_RECORD,
} fx_step_kind;

typedef enum fx_step_state {
    FX_STEP_WAITING,
    FX_STEP_RUNNING,
    FX_STEP_DONE,
    FX_STEP_FAILED,
    FX_STEP_UNKNOWN, /* it may have happened: it is observed before it is repeated or passed */
} fx_step_state;

typedef struct fx_step {
    fx_step_kind kind;
    fx_step_state state;
    fx_wall started;
    fx_wall finished;
    fx_dur deadline; /* from its start */
    uint32_t attempts;
    char detail[FX_REASON_BYTES];
    fx_name by;
    uint64_t
        term; /* of the leader that set the state; another one's tries are of unknown outcome */
    fx_signed_order order;
} fx_step;

typedef enum fx_plan_kind { FX_PLAN_KIND_NONE, FX_PLAN_FAILOVER, FX_PLAN_SWITCHOVER } fx_plan_kind;

typedef enum fx_plan_state {
    FX_PLAN_STATE_NONE,
    FX_PLAN_STATE_RUNNING,
    FX_PLAN_STATE_DONE,
    FX_PLAN_STATE_FAILED,
    FX_PLAN_STATE_ABANDONED,
} fx_plan_state;

typedef struct fx_plan {
    fx_revision revision;
    fx_id id;
    fx_plan_kind kind;
    fx_plan_state state;
    fx_name service;
    fx_name from_host;
    fx_name to_host;
    fx_epoch from_epoch;
    fx_epoch to_epoch;
    fx_id decision;
    fx_name requested_by; /* none for an automatic failover */
    fx_wall started;
    fx_wall finished;
    fx_wall lost_since; /* when the primary was last heard */
    fx_step steps[FX_STEP_MAX];
    size_t step_count;
    char outcome[FX_REASON_BYTES];
    /* Observed, not agreed: arrival of the first answer that showed this plan, and its current
     * step. */
    fx_mono seen_since;
    fx_mono step_since;
} fx_plan;

typedef struct fx_request {
    fx_revision revision;
    fx_id id;
    fx_name service;
    fx_name to_host;
    fx_name requested_by;
    fx_wall asked;
    char reason[FX_REASON_BYTES];
    fx_name host;          /* of a single order, else none */
    fx_signed_order order; /* likewise */
    char result_state[16];
    char result_detail[FX_REASON_BYTES];
} fx_request;

typedef struct fx_evidence {
    fx_name observer_region;
    fx_name observer;
    fx_name subject;
    char fact[FX_REASON_BYTES];
} fx_evidence;

/* Why: kept as history/decision/ID until newer ones have pushed it out. */
typedef struct fx_decision {
    fx_id id;
    fx_wall decided;
    fx_name coordinator;
    uint64_t term;
    fx_revision ledger_revision;
    fx_name service;
    char verdict[32]; /* "begin failover", "take over", "call off", "refuse" ... */
    char reason[FX_REASON_BYTES];
    fx_evidence evidence[FX_EVIDENCE_MAX];
    size_t evidence_count;
    fx_id plan;
} fx_decision;

typedef enum fx_order_kind {
    FX_ORDER_KIND_NONE,
    FX_ORDER_BACKUP,
    FX_ORDER_RESTORE,
    FX_ORDER_PROMOTE,
    FX_ORDER_FENCE,
    FX_ORDER_RESTORE_IN_PLACE,
    FX_ORDER_DELETE,
    FX_ORDER_RELEASE_KEY,
} fx_order_kind;

/* What a link.Order says, as far as decisions look at it. Same numbers as on the wire. */
typedef struct fx_order_spec {
    fx_id id;
    fx_order_kind kind;
    fx_name host;
    fx_name service;
    fx_epoch epoch;
    fx_revision ledger_revision;
    fx_id plan;
    bool orderly;
    char reason[FX_REASON_BYTES];
} fx_order_spec;

/* One consistent read of all live prefixes. */
typedef struct fx_ledger {
    fx_revision revision; /* the store's revision at the read */
    fx_mono asked_at;     /* when the question was sent: what ended before it is in the answer */
    fx_mono read_at;      /* when the answer arrived */
    fx_mono steady_since; /* reads have succeeded since then without a long gap */
    fx_leader leader;
    fx_beat beat;
    fx_mono beat_seen_since;
    fx_service services[FX_SERVICE_MAX];
    size_t service_count;
    fx_lease leases[FX_HOST_MAX];
    size_t lease_count;
    fx_plan plans[FX_SERVICE_MAX];
    size_t plan_count;
    fx_request requests[FX_SERVICE_MAX];
    size_t request_count;
} fx_ledger;

/* ---- the view
 * ------------------------------------------------------------------------------------ */

typedef enum fx_role { FX_ROLE_NONE, FX_ROLE_PRIMARY, FX_ROLE_STANDBY, FX_ROLE_HELD } fx_role;

typedef struct fx_service_state {
    fx_name service;
    fx_role role;
    fx_epoch epoch_seen;
    fx_epoch fenced_epoch;
    fx_lsn write_lsn;
    fx_lsn replay_lsn;
    fx_lsn stopped_lsn;
    fx_lsn wal_stored_lsn;
    uint32_t timeline;
    fx_dur replay_lag;
    bool healthy;
    fx_mono
        bad_since; /* observed: since when it neither serves nor follows in health; 0: it does */
    bool streaming;
    fx_name upstream;
    char detail[FX_REASON_BYTES];
} fx_service_state;

typedef enum fx_order_state {
    FX_ORDER_NONE,
    FX_ORDER_RUNNING,
    FX_ORDER_DONE,
    FX_ORDER_FAILED,
    FX_ORDER_UNKNOWN,
    FX_ORDER_REFUSED,
} fx_order_state;

typedef struct fx_order_result {
    fx_id order;
    fx_order_state state;
    uint32_t code;
    char detail[FX_REASON_BYTES];
    char output[96];
    fx_wall started;
    fx_wall finished;
} fx_order_result;

/* WAL that no repository has and none will get: no restore passes it. */
typedef struct fx_wal_hole {
    fx_name service;
    fx_lsn from;
    fx_lsn to;
    fx_wall since;
    char reason[FX_REASON_BYTES];
} fx_wal_hole;

/* A host as the coordinators heard it: newest report of any of them. */
typedef struct fx_host_view {
    fx_name host;
    fx_name region;
    fx_mono reported_at; /* on this coordinator's clock: arrival less the age in a digest */
    fx_name heard_by;    /* coordinator */
    fx_mono first_heard_at;
    fx_wall agent_started; /* with `sequence`: which of two reports is the newer */
    uint64_t sequence;
    bool wants_lease;
    fx_service_state services[FX_MEMBER_MAX];
    size_t service_count;
    fx_order_result results[FX_RESULT_MAX];
    size_t result_count;
    fx_wal_hole holes[FX_GAP_SHOWN_MAX]; /* the newest */
    size_t hole_count;
    uint64_t hole_total; /* all that it reported */
    uint64_t hole_bytes;
} fx_host_view;

/* What one coordinator says it sees of one member of a service, by its own probes. */
typedef struct fx_sight {
    fx_name service;
    fx_name host;
    bool reachable;
    fx_dur bad_for;
    fx_mono bad_since; /* of this coordinator's own sights; 0: reachable */
} fx_sight;

typedef struct fx_coordinator_view {
    fx_name coordinator;
    fx_name region;
    fx_mono heard_at; /* arrival of its last digest; of this coordinator itself: now */
    bool heard;
    fx_mono
        listening_since; /* it has been taking reports since then, on this coordinator's clock */
    /* Age of the last report that it got itself, for every host that it ever heard. */
    struct {
        fx_name host;
        fx_mono reported_at;
    } hosts[FX_HOST_MAX];
    size_t host_count;
    fx_sight sights[FX_HOST_MAX];
    size_t sight_count;
} fx_coordinator_view;

typedef struct fx_view {
    fx_name self;
    fx_name self_region;
    fx_mono began_at; /* when this coordinator began to listen: silence before it is no evidence */
    fx_coordinator_view coordinators[FX_COORDINATOR_MAX];
    size_t coordinator_count;
    fx_host_view hosts[FX_HOST_MAX];
    size_t host_count;
} fx_view;

typedef struct fx_policy {
    fx_dur lease;           /* 8 s */
    fx_dur renewal;         /* 2 s */
    fx_dur margin;          /* 1 s */
    fx_dur silence_max;     /* 5 s: a host that nobody heard for longer is silent */
    fx_dur view_max_age;    /* 3 s: an older digest counts for nothing */
    fx_dur unhealthy_max;   /* 10 s: a primary that does not work for longer is down */
    fx_dur leader_silence;  /* 4 s without a beat: take over leadership */
    fx_dur cool_down;       /* 60 s between automatic failovers of a service */
    fx_dur beat;            /* 1 s between a leader's signs of life */
    fx_dur fence_max;       /* 30 s for an orderly stop, else the switchover is called off */
    fx_dur take_over_max;   /* 30 s to find a successor that is as far as it must be */
    fx_dur promote_max;     /* 60 s */
    fx_dur dns_max;         /* 60 s */
    fx_dur validate_max;    /* 60 s */
    fx_dur retry_min;       /* 1 s, doubled at each failure of the same action... */
    fx_dur retry_max;       /* ...up to 15 s */
    fx_dur request_keep;    /* 10 min that a finished request stays readable */
    fx_dur gather_max;      /* 3 s for the preferred standby to catch up with the most advanced */
    uint64_t lag_max_bytes; /* a standby further behind than this is no candidate */
} fx_policy;

fx_policy fx_policy_default(void);

static inline bool
fx_same(const fx_name *left, const fx_name *right)
{
    return strcmp(left->text, right->text) == 0;
}

static inline bool
fx_same_id(const fx_id *left, const fx_id *right)
{
    return strcmp(left->text, right->text) == 0;
}
