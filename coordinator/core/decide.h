/*
 * The leader's decisions: (ledger, view, configuration, what is being done, now) → commands as
 * data. Pure. A COMMIT is one transaction of the ledger; the others act on the world and their
 * outcome comes back as an fx_attempt.
 */
#pragma once

#include "coordinator/core/leadership.h"
#include "coordinator/core/model.h"

typedef enum fx_command_kind {
    FX_COMMAND_COMMIT,
    FX_COMMAND_SIGN_FENCE,     /* gather endorsements, put the order into the plan's FENCE step */
    FX_COMMAND_SIGN_PROMOTION, /* likewise into the service record */
    FX_COMMAND_DNS,            /* make DNS say `service`'s primary and epoch */
    FX_COMMAND_OBSERVE_DNS,    /* ask the authoritative server whether it says so */
    FX_COMMAND_VALIDATE,       /* write through DNS as a client would */
} fx_command_kind;

typedef enum fx_touch {
    FX_TOUCH_NONE,
    FX_TOUCH_COMPARE, /* must still have the revision of the record given */
    FX_TOUCH_PUT,     /* and becomes the record given */
    FX_TOUCH_DELETE,  /* and goes; a plan moves to the history as given */
} fx_touch;

/* One command for each service that there is or is to be, one for each request. */
enum { FX_COMMAND_LEASE_MAX = 2, FX_COMMAND_MAX = 2 * FX_SERVICE_MAX };

/*
 * Every transaction also compares the leader key's revision. `revision` of each record is what must
 * be found, 0: no such key.
 */
typedef struct fx_command {
    fx_command_kind kind;
    fx_name subject; /* service, or "" for a request: one command of a subject at a time */
    char reason[FX_REASON_BYTES];
    fx_revision leader_revision;
    fx_touch service_touch;
    fx_service service;
    fx_touch plan_touch;
    fx_plan plan;
    fx_touch lease_touch[FX_COMMAND_LEASE_MAX];
    fx_lease leases[FX_COMMAND_LEASE_MAX];
    fx_touch request_touch;
    fx_request request;
    bool has_decision;
    fx_decision decision; /* put into the history in the same transaction */
    fx_order_spec order;  /* to be signed */
} fx_command;

/* Why something that looks due is not done: for status and log. */
typedef struct fx_note {
    fx_name service;
    char text[FX_REASON_BYTES];
} fx_note;

typedef struct fx_commands {
    fx_command items[FX_COMMAND_MAX];
    size_t count;
    fx_note notes[FX_SERVICE_MAX];
    size_t note_count;
} fx_commands;

typedef enum fx_attempt_state {
    FX_ATTEMPT_RUNNING,
    FX_ATTEMPT_DONE,
    FX_ATTEMPT_FAILED,  /* certainly not done */
    FX_ATTEMPT_UNKNOWN, /* may be done, or be done later: to be observed (outcome.h) */
} fx_attempt_state;

/* The newest try of one kind of command for one subject, remembered by the leader's process. */
typedef struct fx_attempt {
    fx_command_kind kind;
    fx_name subject;
    fx_epoch epoch;              /* that it was for */
    fx_revision leader_revision; /* the leadership that it was made under */
    fx_attempt_state state;
    fx_mono finished_at;
    uint32_t failure_count; /* since the last success, of this kind, subject and epoch */
    fx_revision committed;  /* COMMIT and SIGN done: the ledger's revision then */
    bool is_so; /* OBSERVE done: the world is as it should be; `detail` says how it is */
    char detail[FX_REASON_BYTES];
} fx_attempt;

enum { FX_ATTEMPT_MAX = 6 * FX_SERVICE_MAX };

typedef struct fx_situation {
    const fx_ledger *ledger;
    const fx_view *view;
    const fx_policy *policy;
    const fx_candidate *self;
    const fx_service *wanted; /* of the configuration: name and members */
    size_t wanted_count;
    const fx_attempt *attempts;
    size_t attempt_count;
    fx_mono now;
    fx_wall wall;
} fx_situation;

/* Nothing unless `self` leads. `out_commands` is large: not for the stack. */
void fx_decide(const fx_situation *situation, fx_commands *out_commands);

/* Folds begin and end of a command into the attempts; when full, what ended first goes. */
void fx_attempt_begin(fx_attempt *attempts, size_t *count, const fx_command *command);
void fx_attempt_end(
    fx_attempt *attempts, size_t *count, const fx_command *command, const fx_attempt *outcome);
