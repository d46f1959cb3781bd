#include "common/dns/ldns.h"

#include <ldns/ldns.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "common/dns/exchange.h"

/* The seconds by which clocks may differ; usual elsewhere. source: RFC 8945 section 10 */
enum { FUDGE_S = 300, SECRET_MAX_BYTES = 512 };

/* The field of a TSIG record: RFC 8945 section 4.2. */
enum { TSIG_MAC = 3, TSIG_ERROR = 5 };

#define DEFINE_CLEANUP(type, free_function)                                                        \
    static void type##_clean(type **slot)                                                          \
    {                                                                                              \
        if (*slot != NULL) {                                                                       \
            free_function(*slot);                                                                  \
        }                                                                                          \
    }                                                                                              \
    struct fx_swallow_semicolon
#define CLEANED(type) __attribute__((cleanup(type##_clean))) type *

DEFINE_CLEANUP(ldns_rdf, ldns_rdf_deep_free);
DEFINE_CLEANUP(ldns_rr_list, ldns_rr_list_deep_free);
DEFINE_CLEANUP(ldns_pkt, ldns_pkt_free);

static const ldns_rr_type types[] = {
    [FX_LDNS_A] = LDNS_RR_TYPE_A,
    [FX_LDNS_AAAA] = LDNS_RR_TYPE_AAAA,
    [FX_LDNS_TXT] = LDNS_RR_TYPE_TXT,
    [FX_LDNS_CNAME] = LDNS_RR_TYPE_CNAME,
};

static const ldns_rdf_type data_types[] = {
    [FX_LDNS_A] = LDNS_RDF_TYPE_A,
    [FX_LDNS_AAAA] = LDNS_RDF_TYPE_AAAA,
    [FX_LDNS_TXT] = LDNS_RDF_TYPE_STR,
    [FX_LDNS_CNAME] = LDNS_RDF_TYPE_DNAME,
};

static fx_code
parse_name(const char *name, ldns_rdf **out_name, fx_err *err)
{
    ldns_rdf *parsed = strlen(name) <= FX_LDNS_NAME_MAX_BYTES && name[0] != '\0'
                           ? ldns_rdf_new_frm_str(LDNS_RDF_TYPE_DNAME, name)
                           : NULL;
    if (parsed == NULL) {
        return fx_fail(err, FX_ERR_INVALID, "could not use \"%.200s\" as a DNS name", name);
    }
    *out_name = parsed;
    return FX_OK;
}

fx_code
fx_ldns_check_name(const char *name, fx_err *err)
{
    CLEANED(ldns_rdf) parsed = NULL;
    return parse_name(name, &parsed, err);
}

fx_code
fx_ldns_check_key(const fx_ldns_key *key, fx_err *err)
{
    if (strcasecmp(key->algorithm, "hmac-sha256") != 0 &&
        strcasecmp(key->algorithm, "hmac-sha512") != 0) {
        return fx_fail(
            err,
            FX_ERR_UNSUPPORTED,
            "could not use \"%.50s\" as a TSIG algorithm: hmac-sha256 and hmac-sha512 are known",
            key->algorithm);
    }
    ldns_rdf *decoded = ldns_rdf_new_frm_str(LDNS_RDF_TYPE_B64, (const char *)key->base64->data);
    size_t size_bytes = decoded == NULL ? 0 : ldns_rdf_size(decoded);
    if (decoded != NULL) {
        fx_wipe(ldns_rdf_data(decoded), size_bytes);
        ldns_rdf_deep_free(decoded);
    }
    if (size_bytes == 0 || size_bytes > SECRET_MAX_BYTES) {
        return fx_fail(
            err,
            FX_ERR_INVALID,
            "could not use the secret of TSIG key \"%.100s\": it is not base64 of 1 to %d bytes",
            key->name,
            SECRET_MAX_BYTES);
    }
    return fx_ldns_check_name(key->name, err);
}

/* ---- the exchange ---------------------------------------------------------------------------- */

typedef struct reply {
    ldns_pkt *message;
    fx_buf wire;
} reply;

static void
reply_clean(reply *slot)
{
    ldns_pkt_clean(&slot->message);
    fx_buf_free(&slot->wire);
}

static fx_code
exchange(
    const fx_ldns_server *server, const ldns_pkt *query, fx_mono deadline, reply *to, fx_err *err)
{
    uint8_t *wire = NULL;
    size_t wire_bytes = 0;
    ldns_status status = ldns_pkt2wire(&wire, query, &wire_bytes);
    if (status != LDNS_STATUS_OK || wire_bytes > FX_LDNS_MESSAGE_MAX_BYTES) {
        free(wire);
        return fx_fail(
            err,
            FX_ERR_INVALID,
            "could not make a DNS message: %s",
            ldns_get_errorstr_by_id(status));
    }
    fx_buf_init(&to->wire, FX_LDNS_MESSAGE_MAX_BYTES);
    fx_code code = fx_ldns_exchange(server, (fx_bytes){wire, wire_bytes}, deadline, &to->wire, err);
    free(wire);
    if (code != FX_OK) {
        return err->code;
    }
    status = ldns_wire2pkt(&to->message, to->wire.data, to->wire.size_bytes);
    if (status != LDNS_STATUS_OK || !ldns_pkt_qr(to->message) ||
        ldns_pkt_id(to->message) != ldns_pkt_id(query)) {
        return fx_fail_as(
            err,
            FX_CLASS_UNKNOWN,
            FX_ERR_DAMAGED,
            "could not read the answer of name server %s port %u: it does not answer our message",
            server->address,
            server->port);
    }
    return FX_OK;
}

/* The name of an answer's code: "REFUSED". */
static void
name_code(ldns_pkt_rcode code, char *out_text, size_t size_bytes)
{
    const ldns_lookup_table *entry = ldns_lookup_by_id(ldns_rcodes, (int)code);
    if (entry != NULL) {
        (void)snprintf(out_text, size_bytes, "%s", entry->name);
    } else {
        (void)snprintf(out_text, size_bytes, "code %u", (unsigned)code);
    }
}

/* ---- questions ------------------------------------------------------------------------------- */

static fx_code
keep_record(const ldns_rr *rr, fx_ldns_type type, fx_ldns_record *to, fx_err *err)
{
    const ldns_rdf *data = ldns_rr_rd_count(rr) == 0 ? NULL : ldns_rr_rdf(rr, 0);
    if (data == NULL) {
        return fx_fail(err, FX_ERR_DAMAGED, "could not read a DNS record: it is empty");
    }
    *to = (fx_ldns_record){.type = type, .ttl_s = ldns_rr_ttl(rr)};
    if (type == FX_LDNS_TXT) {
        const uint8_t *bytes = ldns_rdf_data(data);
        memcpy(to->text, bytes + 1, bytes[0]); /* at most 255, and zeroes follow */
        return FX_OK;
    }
    char *text = ldns_rdf2str(data);
    FX_ASSERT(text != NULL);
    int length = snprintf(to->text, sizeof to->text, "%s", text);
    free(text);
    if (length >= (int)sizeof to->text) {
        return fx_fail(err, FX_ERR_LIMIT, "could not read a DNS record: it is too long");
    }
    return FX_OK;
}

static fx_code
keep_records(
    const ldns_pkt *message,
    const ldns_rdf *name,
    fx_ldns_type type,
    fx_ldns_answer *out_answer,
    fx_err *err)
{
    const ldns_rr_list *list = ldns_pkt_answer(message);
    for (size_t i = 0; i < ldns_rr_list_rr_count(list); i++) {
        const ldns_rr *rr = ldns_rr_list_rr(list, i);
        bool is_alias = ldns_rr_get_type(rr) == LDNS_RR_TYPE_CNAME;
        if (ldns_dname_compare(ldns_rr_owner(rr), name) != 0 ||
            (ldns_rr_get_type(rr) != types[type] && !is_alias)) {
            continue;
        }
        if (out_answer->records_count == FX_LDNS_RECORD_MAX) {
            return fx_fail(
                err,
                FX_ERR_LIMIT,
                "could not read a DNS answer: over %d records",
                FX_LDNS_RECORD_MAX);
        }
        fx_ldns_record *to = &out_answer->records[out_answer->records_count];
        if (keep_record(rr, is_alias ? FX_LDNS_CNAME : type, to, err) != FX_OK) {
            return err->code;
        }
        out_answer->records_count++;
    }
    return FX_OK;
}

static fx_code
judge_query(const fx_ldns_server *server, const char *name, const ldns_pkt *message, fx_err *err)
{
    ldns_pkt_rcode code = ldns_pkt_get_rcode(message);
    if (code != LDNS_RCODE_NOERROR && code != LDNS_RCODE_NXDOMAIN) {
        char text[32];
        name_code(code, text, sizeof text);
        bool denied = code == LDNS_RCODE_REFUSED || code == LDNS_RCODE_NOTAUTH;
        return fx_fail_as(
            err,
            denied ? FX_CLASS_PERMANENT : FX_CLASS_TRANSIENT,
            denied ? FX_ERR_DENIED : FX_ERR_FAILED,
            "could not ask name server %s port %u for %.100s: it answered %s",
            server->address,
            server->port,
            name,
            text);
    }
    if (!ldns_pkt_aa(message)) {
        return fx_fail(
            err,
            FX_ERR_FAILED,
            "could not ask name server %s port %u for %.100s: it has no authority over the name",
            server->address,
            server->port,
            name);
    }
    return FX_OK;
}

fx_code
fx_ldns_query(
    const fx_ldns_server *server,
    const char *name,
    fx_ldns_type type,
    fx_mono deadline,
    fx_ldns_answer *out_answer,
    fx_err *err)
{
    CLEANED(ldns_rdf) parsed = NULL;
    CLEANED(ldns_pkt) query = NULL;
    __attribute__((cleanup(reply_clean))) reply got = {0};
    if (parse_name(name, &parsed, err) != FX_OK) {
        return err->code;
    }
    query = ldns_pkt_query_new(ldns_rdf_clone(parsed), types[type], LDNS_RR_CLASS_IN, 0);
    FX_ASSERT(query != NULL);
    ldns_pkt_set_random_id(query);
    fx_ldns_answer answer = {0};
    if (exchange(server, query, deadline, &got, err) != FX_OK) {
        err->outcome = FX_CLASS_TRANSIENT; /* a question changes nothing */
        return err->code;
    }
    if (judge_query(server, name, got.message, err) != FX_OK ||
        keep_records(got.message, parsed, type, &answer, err) != FX_OK) {
        return err->code;
    }
    *out_answer = answer;
    return FX_OK;
}

/* ---- changes --------------------------------------------------------------------------------- */

/* How RFC 2136 sections 2.4 and 2.5 write each kind: by class, with or without data. */
static ldns_rr_class
class_of(fx_ldns_change_kind kind)
{
    switch (kind) {
    case FX_LDNS_REQUIRE:
    case FX_LDNS_ADD:
        return LDNS_RR_CLASS_IN;
    case FX_LDNS_REQUIRE_ABSENT:
        return LDNS_RR_CLASS_NONE;
    case FX_LDNS_REMOVE_SET:
        return LDNS_RR_CLASS_ANY;
    }
    fx_assert_fail("a kind of change", __FILE__, __LINE__);
}

static fx_code
push_change(ldns_rr_list *list, const fx_ldns_change *change, fx_err *err)
{
    bool has_data = change->kind == FX_LDNS_REQUIRE || change->kind == FX_LDNS_ADD;
    FX_ASSERT(has_data == (change->text != NULL));
    ldns_rdf *name = NULL;
    if (parse_name(change->name, &name, err) != FX_OK) {
        return err->code;
    }
    ldns_rr *rr = ldns_rr_new();
    FX_ASSERT(rr != NULL);
    ldns_rr_set_owner(rr, name);
    ldns_rr_set_type(rr, types[change->type]);
    ldns_rr_set_class(rr, class_of(change->kind));
    ldns_rr_set_ttl(rr, change->kind == FX_LDNS_ADD ? change->ttl_s : 0);
    bool pushed = ldns_rr_list_push_rr(list, rr); /* owns it from here */
    FX_ASSERT(pushed);
    if (has_data) {
        ldns_rdf *data = ldns_rdf_new_frm_str(data_types[change->type], change->text);
        if (data == NULL || !ldns_rr_push_rdf(rr, data)) {
            return fx_fail(err, FX_ERR_INVALID, "could not put \"%.100s\" into DNS", change->text);
        }
    }
    return FX_OK;
}

static fx_code
make_update(
    const fx_ldns_key *key, const fx_ldns_update *update, ldns_pkt **out_message, fx_err *err)
{
    CLEANED(ldns_rr_list) prerequisites = ldns_rr_list_new();
    CLEANED(ldns_rr_list) changes = ldns_rr_list_new();
    CLEANED(ldns_pkt) message = NULL;
    ldns_rdf *zone = NULL;
    for (unsigned i = 0; i < update->changes_count; i++) {
        const fx_ldns_change *change = &update->changes[i];
        bool is_change = change->kind == FX_LDNS_REMOVE_SET || change->kind == FX_LDNS_ADD;
        if (push_change(is_change ? changes : prerequisites, change, err) != FX_OK) {
            return err->code;
        }
    }
    if (parse_name(update->zone, &zone, err) != FX_OK) {
        return err->code;
    }
    message = ldns_update_pkt_new(zone, LDNS_RR_CLASS_IN, prerequisites, changes, NULL);
    FX_ASSERT(message != NULL); /* which owns the zone's name now */
    ldns_pkt_set_random_id(message);
    char algorithm[32];
    (void)snprintf(algorithm, sizeof algorithm, "%s.", key->algorithm);
    ldns_status status = ldns_pkt_tsig_sign(
        message, key->name, (const char *)key->base64->data, FUDGE_S, algorithm, NULL);
    if (status != LDNS_STATUS_OK) {
        return fx_fail(
            err,
            FX_ERR_INVALID,
            "could not sign with TSIG key \"%.100s\": %s",
            key->name,
            ldns_get_errorstr_by_id(status));
    }
    *out_message = FX_TAKE(message);
    return FX_OK;
}

/* The reason in a TSIG record, or NULL. source: RFC 8945 section 3 */
static const char *
signature_failure(const ldns_pkt *message)
{
    const ldns_rr *tsig = ldns_pkt_tsig(message);
    if (tsig == NULL || ldns_rr_rd_count(tsig) <= TSIG_ERROR) {
        return NULL;
    }
    switch (ldns_rdf2native_int16(ldns_rr_rdf(tsig, TSIG_ERROR))) {
    case 0:
        return NULL;
    case 16:
        return "BADSIG: the secret is not the server's";
    case 17:
        return "BADKEY: it does not know this key, or gives it no right to update the zone";
    case 18:
        return "BADTIME: the clocks differ too much";
    default:
        return "it refuses the signature";
    }
}

/* The key, the server and the zone of a message to people. */
typedef struct update_target {
    const fx_ldns_server *server;
    const fx_ldns_key *key;
    const char *zone;
} update_target;

static fx_code
fail_update(
    const update_target *at, fx_err_class outcome, fx_code code, const char *reason, fx_err *err)
{
    return fx_fail_as(
        err,
        outcome,
        code,
        "could not change zone %.80s on name server %.46s port %u with key \"%.60s\": %s",
        at->zone,
        at->server->address,
        at->server->port,
        at->key->name,
        reason);
}

static fx_code
judge_refusal(const update_target *at, const ldns_pkt *message, fx_err *err)
{
    char text[32];
    ldns_pkt_rcode code = ldns_pkt_get_rcode(message);
    name_code(code, text, sizeof text);
    const char *signature = signature_failure(message);
    if (signature != NULL) {
        return fail_update(at, FX_CLASS_PERMANENT, FX_ERR_DENIED, signature, err);
    }
    switch ((int)code) {
    case LDNS_RCODE_REFUSED:
        return fail_update(
            at, FX_CLASS_PERMANENT, FX_ERR_DENIED, "REFUSED: the key may not update it", err);
    case LDNS_RCODE_NOTAUTH:
        return fail_update(
            at,
            FX_CLASS_PERMANENT,
            FX_ERR_DENIED,
            "NOTAUTH: the key is refused, or the server has no authority over the zone",
            err);
    case LDNS_RCODE_NOTZONE:
        return fail_update(
            at, FX_CLASS_PERMANENT, FX_ERR_INVALID, "NOTZONE: the name is outside of it", err);
    case LDNS_RCODE_NOTIMPL:
        return fail_update(
            at, FX_CLASS_PERMANENT, FX_ERR_UNSUPPORTED, "NOTIMP: it takes no updates", err);
    default:
        return fail_update(at, FX_CLASS_UNKNOWN, FX_ERR_FAILED, text, err);
    }
}

static bool
is_prerequisite_failure(ldns_pkt_rcode code)
{
    return code == LDNS_RCODE_YXDOMAIN || code == LDNS_RCODE_YXRRSET ||
           code == LDNS_RCODE_NXRRSET || code == LDNS_RCODE_NXDOMAIN;
}

/*
 * A refusal may come unsigned, since a server cannot sign with a key that it does not know; what
 * the caller builds upon, success and a failed prerequisite, must be signed.
 */
static fx_code
judge_update(const update_target *at, const ldns_pkt *query, const reply *got, fx_err *err)
{
    ldns_pkt_rcode code = ldns_pkt_get_rcode(got->message);
    if (code != LDNS_RCODE_NOERROR && !is_prerequisite_failure(code)) {
        return judge_refusal(at, got->message, err);
    }
    /* libldns reads the answer's signature without looking whether there is one. */
    const ldns_rr *tsig = ldns_pkt_tsig(got->message);
    if (tsig == NULL || ldns_rr_rd_count(tsig) <= TSIG_ERROR ||
        !ldns_pkt_tsig_verify(
            got->message,
            got->wire.data,
            got->wire.size_bytes,
            at->key->name,
            (const char *)at->key->base64->data,
            ldns_rr_rdf(ldns_pkt_tsig(query), TSIG_MAC))) {
        return fail_update(
            at, FX_CLASS_UNKNOWN, FX_ERR_WRONG_KEY, "the answer is not signed with this key", err);
    }
    if (code != LDNS_RCODE_NOERROR) {
        return fail_update(
            at, FX_CLASS_PERMANENT, FX_ERR_CONFLICT, "it was changed meanwhile", err);
    }
    return FX_OK;
}

fx_code
fx_ldns_send_update(
    const fx_ldns_server *server,
    const fx_ldns_key *key,
    const fx_ldns_update *update,
    fx_mono deadline,
    fx_err *err)
{
    FX_ASSERT(update->changes_count <= FX_LDNS_CHANGE_MAX);
    CLEANED(ldns_pkt) message = NULL;
    __attribute__((cleanup(reply_clean))) reply got = {0};
    update_target at = {.server = server, .key = key, .zone = update->zone};
    if (fx_ldns_check_key(key, err) != FX_OK || make_update(key, update, &message, err) != FX_OK ||
        exchange(server, message, deadline, &got, err) != FX_OK) {
        return err->code;
    }
    return judge_update(&at, message, &got, err);
}
