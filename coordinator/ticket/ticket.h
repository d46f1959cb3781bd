/*
 * fortress-coordinator ticket: makes permissions for a depot to remove objects, and signs them. One
 * is a line of base64; two coordinators of different regions sign it one after the other, each with
 * its own key on its own host.
 */
#pragma once

#include "common/base/buf.h"
#include "common/base/name.h"
#include "common/base/time.h"

typedef struct fx_ticket_request {
    fx_name cluster;
    fx_name depot; /* the host that keeps */
    fx_name repository;
    const char *reason;
    fx_wall now;
    fx_dur validity; /* at most a week: the depot accepts no longer one */
} fx_ticket_request;

/*
 * Appends an unsigned ticket for the keys, one a line, and a line feed. errors: INVALID (no key, or
 * one that is none), LIMIT (too many)
 */
FX_MUST_USE fx_code
fx_ticket_make(const fx_ticket_request *request, const char *keys, fx_buf *out, fx_err *err);

typedef struct fx_ticket_signer {
    fx_name name; /* of the coordinator */
    fx_name region;
    const char *key_file; /* PEM, private */
    fx_wall now;
} fx_ticket_signer;

/*
 * Appends the ticket with one endorsement more, and a line feed; to `summary` what was signed, for
 * a person. errors: INVALID, DAMAGED, EXISTS (this coordinator has signed), STALE (expired), and of
 * the key's file
 */
FX_MUST_USE fx_code fx_ticket_sign(
    const fx_ticket_signer *signer, const char *line, fx_buf *out, fx_buf *summary, fx_err *err);

/* The verb; argv[0] is "ticket". Gives the program's exit status. */
int fx_ticket_verb(int argc, char **argv);
