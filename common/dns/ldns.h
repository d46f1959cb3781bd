/* Questions to one name server, and signed changes there: RFC 1035, 2136, 8945. Door to libldns. */
#pragma once

#include "common/base/secret.h"
#include "common/base/time.h"

enum {
    FX_LDNS_TEXT_MAX_BYTES = 256,
    FX_LDNS_RECORD_MAX = 32,
    FX_LDNS_CHANGE_MAX = 32,
    FX_LDNS_NAME_MAX_BYTES = 254,
};

/* An address and not a name: whoever changes DNS must not depend on it. */
typedef struct fx_ldns_server {
    const char *address;
    uint16_t port;
} fx_ldns_server;

typedef struct fx_ldns_key {
    const char *name;
    const char *algorithm;   /* "hmac-sha256", "hmac-sha512" */
    const fx_secret *base64; /* without white space */
} fx_ldns_key;

typedef enum fx_ldns_type {
    FX_LDNS_A,
    FX_LDNS_AAAA,
    FX_LDNS_TXT,
    FX_LDNS_CNAME,
} fx_ldns_type;

typedef struct fx_ldns_record {
    fx_ldns_type type;
    uint32_t ttl_s;
    char text[FX_LDNS_TEXT_MAX_BYTES]; /* an address, a text's first string, an alias' target */
} fx_ldns_record;

typedef struct fx_ldns_answer {
    fx_ldns_record records[FX_LDNS_RECORD_MAX];
    unsigned records_count; /* 0 also where the name does not exist */
} fx_ldns_answer;

/* errors: INVALID (not a name) */
FX_MUST_USE fx_code fx_ldns_check_name(const char *name, fx_err *err);

/* errors: INVALID (not an address, no port) */
FX_MUST_USE fx_code fx_ldns_check_server(const fx_ldns_server *server, fx_err *err);

/* errors: INVALID (not base64), UNSUPPORTED (algorithm) */
FX_MUST_USE fx_code fx_ldns_check_key(const fx_ldns_key *key, fx_err *err);

/*
 * Asks, over TCP, for the records of that type, or the alias, that the name itself has. The answer
 * is not signed: what depends on it must be proven by a prerequisite.
 *
 * errors: UNREACHABLE, TIMEOUT, DENIED, FAILED (SERVFAIL, or the server has no authority),
 *         LIMIT (more records), DAMAGED (no DNS message)
 * thread: any
 */
FX_MUST_USE fx_code fx_ldns_query(
    const fx_ldns_server *server,
    const char *name,
    fx_ldns_type type,
    fx_mono deadline,
    fx_ldns_answer *out_answer,
    fx_err *err);

typedef enum fx_ldns_change_kind {
    FX_LDNS_REQUIRE,        /* the set is exactly the records that changes of this kind give */
    FX_LDNS_REQUIRE_ABSENT, /* there is no such set */
    FX_LDNS_REMOVE_SET,
    FX_LDNS_ADD,
} fx_ldns_change_kind;

typedef struct fx_ldns_change {
    fx_ldns_change_kind kind;
    fx_ldns_type type;
    const char *name;
    const char *text; /* NULL where the change is about a whole set */
    uint32_t ttl_s;   /* of FX_LDNS_ADD */
} fx_ldns_change;

typedef struct fx_ldns_update {
    const char *zone;
    const fx_ldns_change *changes; /* prerequisites and changes, each in the order given */
    unsigned changes_count;
} fx_ldns_update;

/*
 * Sends one UPDATE, which the server carries out as a whole or not at all. With prerequisites alone
 * it is a question whose answer is signed.
 *
 * errors: CONFLICT (a prerequisite does not hold), DENIED (key or right refused), WRONG_KEY (the
 *         answer's signature), UNREACHABLE, TIMEOUT, INVALID (outside of the zone), UNSUPPORTED,
 *         FAILED; outcome UNKNOWN whenever it was sent and no proven answer came
 * thread: any
 * source: RFC 2136 sections 2 and 3; RFC 8945 section 5.3
 */
FX_MUST_USE fx_code fx_ldns_send_update(
    const fx_ldns_server *server,
    const fx_ldns_key *key,
    const fx_ldns_update *update,
    fx_mono deadline,
    fx_err *err);
