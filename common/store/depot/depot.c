/*
 * A depot as a store: "depot:HOST:PORT/NAME" is the repository NAME that `fortress-agent depot`
 * keeps there; "?host=CN" names the host in its certificate where that is not HOST. The own
 * certificate says who asks.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/base/name.h"
#include "common/crypto/digest.h"
#include "common/store/depot/line.h"
#include "common/store/remote/credentials.h"

enum { HOST_MAX_BYTES = 255, UPLOAD_TRIES = 4, TICKETS_MAX_BYTES = 16 * 1024 * 1024 };

typedef struct depot_store {
    fx_depot_lines *lines;
    fx_name repository;
    char peer[HOST_MAX_BYTES + 1]; /* the depot's name in its certificate */
} depot_store;

/* ---- opening
 * --------------------------------------------------------------------------------------- */

static const fx_credential_name credential_names[] = {
    {"FORTRESS_DEPOT_CA", "depot_ca", true},
    {"FORTRESS_DEPOT_CERTIFICATE", "depot_certificate", true},
    {"FORTRESS_DEPOT_KEY", "depot_key", true},
};
enum { CREDENTIAL_COUNT = sizeof credential_names / sizeof credential_names[0] };

typedef struct address {
    char url[HOST_MAX_BYTES + 32];
    char peer[HOST_MAX_BYTES + 1];
    fx_name repository;
} address;

static fx_code
bad_address(fx_err *err)
{
    return fx_fail(
        err,
        FX_ERR_INVALID,
        "could not use this as a depot's address: expected depot:HOST:PORT/NAME or "
        "depot:HOST:PORT/NAME?host=NAME-IN-ITS-CERTIFICATE");
}

static fx_code
parse_address(const char *rest, address *out, fx_err *err)
{
    static const char host_query[] = "?host=";
    const char *slash = strchr(rest, '/');
    const char *query = strchr(rest, '?');
    size_t authority_bytes = slash == NULL ? 0 : (size_t)(slash - rest);
    char name[FX_NAME_MAX_BYTES + 2];
    if (authority_bytes == 0 || authority_bytes > HOST_MAX_BYTES ||
        memchr(rest, '@', authority_bytes) != NULL || (query != NULL && query < slash)) {
        return bad_address(err);
    }
    (void)snprintf(out->url, sizeof out->url, "tls+tcp://%.*s", (int)authority_bytes, rest);
    const char *colon = strrchr(out->url + strlen("tls+tcp:"), ':');
    if (colon == NULL || strspn(colon + 1, "0123456789") != strlen(colon + 1) ||
        strlen(colon + 1) == 0 || strlen(colon + 1) > 5) {
        return bad_address(err);
    }
    size_t host_bytes = authority_bytes - strlen(colon);
    (void)snprintf(out->peer, sizeof out->peer, "%.*s", (int)host_bytes, rest);
    size_t name_bytes = query == NULL ? strlen(slash + 1) : (size_t)(query - slash - 1);
    (void)snprintf(name, sizeof name, "%.*s", (int)(name_bytes > 64 ? 64 : name_bytes), slash + 1);
    if (query != NULL && strncmp(query, host_query, strlen(host_query)) != 0) {
        return bad_address(err);
    }
    if (query != NULL) {
        (void)snprintf(out->peer, sizeof out->peer, "%s", query + strlen(host_query));
    }
    return fx_name_parse(name, "a depot's repository", &out->repository, err);
}

/* A path, terminated. */
static void
take_path(const fx_secret *value, char out_path[FX_CREDENTIAL_MAX_BYTES + 1])
{
    memcpy(out_path, value->data, value->size_bytes);
    out_path[value->size_bytes] = '\0';
}

static fx_code
depot_open(void *state, const char *rest, fx_err *err)
{
    depot_store *store = state;
    address to = {0};
    fx_credentials credentials = {0};
    char paths[CREDENTIAL_COUNT][FX_CREDENTIAL_MAX_BYTES + 1];
    if (parse_address(rest, &to, err) != FX_OK ||
        fx_credentials_load(credential_names, CREDENTIAL_COUNT, &credentials, err) != FX_OK) {
        return err->code;
    }
    for (size_t i = 0; i < CREDENTIAL_COUNT; i++) {
        take_path(credentials.values[i], paths[i]);
    }
    fx_credentials_clear(&credentials);
    fx_depot_lines_options options = {
        .url = to.url,
        .peer = to.peer,
        .ca_file = paths[0],
        .certificate_file = paths[1],
        .key_file = paths[2]};
    store->repository = to.repository;
    memcpy(store->peer, to.peer, sizeof store->peer);
    return fx_depot_lines_open(&options, &store->lines, err);
}

static void
depot_close(void *state)
{
    depot_store *store = state;
    fx_depot_lines_free(FX_TAKE(store->lines));
}

/* ---- asking
 * ---------------------------------------------------------------------------------------- */

typedef struct question {
    fx_depot_request request;
    union {
        Fortress__Depot__Describe describe;
        Fortress__Depot__Put put;
        Fortress__Depot__Begin begin;
        Fortress__Depot__Part part;
        Fortress__Depot__Commit commit;
        Fortress__Depot__Append append;
        Fortress__Depot__Get get;
        Fortress__Depot__Stat stat;
        Fortress__Depot__List list;
        Fortress__Depot__Scrub scrub;
        Fortress__Depot__Remove remove;
    } body;
} question;

/* protobuf-c's structs know no const; these are only packed. */
static ProtobufCBinaryData
field_of(fx_bytes bytes)
{
    union {
        const void *given;
        uint8_t *field;
    } same = {.given = bytes.data};
    return (ProtobufCBinaryData){.len = bytes.size_bytes, .data = same.field};
}

static char *
text_of(const char *text)
{
    union {
        const char *given;
        char *field;
    } same = {.given = text};
    return same.field;
}

static void
init_question(depot_store *store, question *q, Fortress__Depot__Request__BodyCase body_case)
{
    fortress__depot__request__init(&q->request);
    q->request.version = FORTRESS__DEPOT__VERSION__VERSION_CURRENT;
    q->request.repository = store->repository.text;
    q->request.body_case = body_case;
    q->request.put = &q->body.put; /* any member of the union: all are pointers */
}

static fx_code
bad_reply(const char *key, fx_err *err)
{
    return fx_fail(
        err, FX_ERR_DAMAGED, "could not use the depot's reply about \"%.100s\": wrong kind", key);
}

/* Has the depot read an object. */
static fx_code
scrub(
    depot_store *store, const char *key, fx_mono deadline, fx_depot_reply **out_reply, fx_err *err)
{
    question q;
    bool doubt = false;
    init_question(store, &q, FORTRESS__DEPOT__REQUEST__BODY_SCRUB);
    fortress__depot__scrub__init(&q.body.scrub);
    q.body.scrub.key = text_of(key);
    fx_depot_call call = {.request = &q.request, .deadline = deadline, .may_repeat = true};
    FX_AUTO(fx_depot_reply) reply = NULL;
    if (fx_depot_ask(store->lines, &call, &doubt, &reply, err) != FX_OK) {
        return err->code;
    }
    if (reply->body_case != FORTRESS__DEPOT__REPLY__BODY_SCRUBBED) {
        return bad_reply(key, err);
    }
    *out_reply = FX_TAKE(reply);
    return FX_OK;
}

static fx_code
depot_digest(
    void *state,
    const char *key,
    fx_mono deadline,
    unsigned char out_digest[FX_STORE_DIGEST_BYTES],
    fx_err *err)
{
    FX_AUTO(fx_depot_reply) reply = NULL;
    if (scrub(state, key, deadline, &reply, err) != FX_OK) {
        return err->code;
    }
    FX_ASSERT(reply != NULL);
    memcpy(out_digest, reply->scrubbed->sha256.data, FX_STORE_DIGEST_BYTES);
    return FX_OK;
}

/* Whether `body` is what lies there: an answer that says so may have been lost. */
static fx_code
compare(depot_store *store, const char *key, fx_bytes body, fx_mono deadline, fx_err *err)
{
    unsigned char digest[FX_SHA256_BYTES];
    FX_AUTO(fx_depot_reply) reply = NULL;
    if (scrub(store, key, deadline, &reply, err) != FX_OK) {
        err->outcome = FX_CLASS_UNKNOWN;
        return fx_err_wrap(err, "looking whether \"%.100s\" was stored", key);
    }
    FX_ASSERT(reply != NULL);
    fx_sha256(body, digest);
    bool is_ours = reply->scrubbed->size_bytes == body.size_bytes &&
                   memcmp(reply->scrubbed->sha256.data, digest, sizeof digest) == 0;
    return is_ours
               ? FX_OK
               : fx_fail(err, FX_ERR_EXISTS, "could not store \"%.100s\": it exists already", key);
}

static fx_code
put_at_once(depot_store *store, const char *key, fx_bytes body, fx_mono deadline, fx_err *err)
{
    question q;
    bool doubt = false;
    init_question(store, &q, FORTRESS__DEPOT__REQUEST__BODY_PUT);
    fortress__depot__put__init(&q.body.put);
    q.body.put.key = text_of(key);
    q.body.put.content = field_of(body);
    fx_depot_call call = {.request = &q.request, .deadline = deadline, .may_repeat = true};
    FX_AUTO(fx_depot_reply) reply = NULL;
    fx_code code = fx_depot_ask(store->lines, &call, &doubt, &reply, err);
    return code == FX_ERR_EXISTS && doubt ? compare(store, key, body, deadline, err) : code;
}

/* An object in parts; *out_doubt: it may be there for all that. */
typedef struct upload {
    depot_store *store;
    const char *key;
    fx_bytes body;
    fx_mono deadline;
    unsigned char id[FX_DEPOT_UPLOAD_BYTES];
} upload;

static fx_code
begin_upload(upload *u, fx_err *err)
{
    question q;
    bool doubt = false; /* an upload that nobody knows of is given up by the depot */
    init_question(u->store, &q, FORTRESS__DEPOT__REQUEST__BODY_BEGIN);
    fortress__depot__begin__init(&q.body.begin);
    q.body.begin.key = text_of(u->key);
    q.body.begin.size_bytes = u->body.size_bytes;
    fx_depot_call call = {.request = &q.request, .deadline = u->deadline, .may_repeat = true};
    FX_AUTO(fx_depot_reply) reply = NULL;
    if (fx_depot_ask(u->store->lines, &call, &doubt, &reply, err) != FX_OK) {
        return err->code;
    }
    if (reply->body_case != FORTRESS__DEPOT__REPLY__BODY_BEGUN) {
        return bad_reply(u->key, err);
    }
    memcpy(u->id, reply->begun->upload.data, sizeof u->id);
    return FX_OK;
}

static fx_code
send_parts(upload *u, fx_err *err)
{
    for (size_t done = 0; done < u->body.size_bytes;) {
        question q;
        bool doubt = false;
        size_t left = u->body.size_bytes - done;
        size_t now = left < FX_DEPOT_PART_MAX_BYTES ? left : FX_DEPOT_PART_MAX_BYTES;
        init_question(u->store, &q, FORTRESS__DEPOT__REQUEST__BODY_PART);
        fortress__depot__part__init(&q.body.part);
        q.body.part.upload = field_of((fx_bytes){u->id, sizeof u->id});
        q.body.part.offset = done;
        q.body.part.content = field_of((fx_bytes){(const char *)u->body.data + done, now});
        fx_depot_call call = {.request = &q.request, .deadline = u->deadline, .may_repeat = true};
        FX_AUTO(fx_depot_reply) reply = NULL;
        if (fx_depot_ask(u->store->lines, &call, &doubt, &reply, err) != FX_OK) {
            return err->code;
        }
        done += now;
    }
    return FX_OK;
}

static fx_code
commit_upload(upload *u, bool *out_doubt, fx_err *err)
{
    question q;
    init_question(u->store, &q, FORTRESS__DEPOT__REQUEST__BODY_COMMIT);
    fortress__depot__commit__init(&q.body.commit);
    q.body.commit.upload = field_of((fx_bytes){u->id, sizeof u->id});
    fx_depot_call call = {.request = &q.request, .deadline = u->deadline, .may_repeat = true};
    FX_AUTO(fx_depot_reply) reply = NULL;
    fx_code code = fx_depot_ask(u->store->lines, &call, out_doubt, &reply, err);
    *out_doubt = *out_doubt || (code != FX_OK && err->outcome == FX_CLASS_UNKNOWN);
    return code;
}

/* A depot that was started anew knows nothing of what was begun (STALE): from the beginning. */
static fx_code
put_in_parts(depot_store *store, const char *key, fx_bytes body, fx_mono deadline, fx_err *err)
{
    upload u = {.store = store, .key = key, .body = body, .deadline = deadline};
    bool in_doubt = false;
    fx_code code = FX_OK;
    for (unsigned i = 0; i < UPLOAD_TRIES; i++) {
        bool doubt = false;
        code = begin_upload(&u, err);
        if (code == FX_OK) {
            code = send_parts(&u, err);
        }
        if (code == FX_OK) {
            code = commit_upload(&u, &doubt, err);
        }
        in_doubt = in_doubt || doubt;
        if (code != FX_ERR_STALE) {
            break;
        }
    }
    if (code == FX_ERR_EXISTS && in_doubt) {
        return compare(store, key, body, deadline, err);
    }
    if (code != FX_OK && err->outcome == FX_CLASS_UNKNOWN && !in_doubt) {
        err->outcome = FX_CLASS_TRANSIENT; /* nothing was committed */
    }
    return code;
}

static fx_code
depot_put(void *state, const char *key, fx_bytes body, fx_mono deadline, fx_err *err)
{
    depot_store *store = state;
    if (fx_store_check_deadline(deadline, key, err) != FX_OK) {
        return err->code;
    }
    return body.size_bytes <= FX_DEPOT_PART_MAX_BYTES
               ? put_at_once(store, key, body, deadline, err)
               : put_in_parts(store, key, body, deadline, err);
}

/* One range of at most a part; what came is counted in *out_got. */
static fx_code
get_range(
    depot_store *store, const Fortress__Depot__Get *get, fx_mono deadline, fx_buf *out, fx_err *err)
{
    question q;
    bool doubt = false;
    init_question(store, &q, FORTRESS__DEPOT__REQUEST__BODY_GET);
    q.body.get = *get;
    fx_depot_call call = {.request = &q.request, .deadline = deadline, .may_repeat = true};
    FX_AUTO(fx_depot_reply) reply = NULL;
    if (fx_depot_ask(store->lines, &call, &doubt, &reply, err) != FX_OK) {
        return err->code;
    }
    if (reply->body_case != FORTRESS__DEPOT__REPLY__BODY_CONTENT ||
        reply->content->content.len > get->size_bytes) {
        return bad_reply(get->key, err);
    }
    return fx_buf_append(out, reply->content->content.data, reply->content->content.len, err);
}

/* NOLINTBEGIN(readability-function-size): a range and a deadline are what a get is */
static fx_code
depot_get(
    void *state,
    const char *key,
    uint64_t offset,
    uint64_t size_bytes,
    fx_mono deadline,
    fx_buf *out,
    fx_err *err)
{
    depot_store *store = state;
    if (fx_store_check_deadline(deadline, key, err) != FX_OK) {
        return err->code;
    }
    size_t begin_bytes = out->size_bytes;
    for (;;) {
        uint64_t done = out->size_bytes - begin_bytes;
        uint64_t left = size_bytes - done;
        Fortress__Depot__Get get;
        fortress__depot__get__init(&get);
        get.key = text_of(key);
        get.offset = offset + done;
        get.size_bytes =
            (uint32_t)(left < FX_DEPOT_PART_MAX_BYTES ? left : FX_DEPOT_PART_MAX_BYTES);
        if (get_range(store, &get, deadline, out, err) != FX_OK) {
            out->size_bytes = begin_bytes;
            return err->code;
        }
        uint64_t got = out->size_bytes - begin_bytes - done;
        if (got < get.size_bytes || done + got == size_bytes) {
            return FX_OK;
        }
    }
}
/* NOLINTEND(readability-function-size) */

static fx_code
depot_stat(void *state, const char *key, fx_mono deadline, uint64_t *out_size_bytes, fx_err *err)
{
    depot_store *store = state;
    question q;
    bool doubt = false;
    if (fx_store_check_deadline(deadline, key, err) != FX_OK) {
        return err->code;
    }
    init_question(store, &q, FORTRESS__DEPOT__REQUEST__BODY_STAT);
    fortress__depot__stat__init(&q.body.stat);
    q.body.stat.key = text_of(key);
    fx_depot_call call = {.request = &q.request, .deadline = deadline, .may_repeat = true};
    FX_AUTO(fx_depot_reply) reply = NULL;
    if (fx_depot_ask(store->lines, &call, &doubt, &reply, err) != FX_OK) {
        return err->code;
    }
    if (reply->body_case != FORTRESS__DEPOT__REPLY__BODY_SIZE) {
        return bad_reply(key, err);
    }
    *out_size_bytes = reply->size->size_bytes;
    return FX_OK;
}

typedef struct visitor {
    fx_store_visit visit; /* or visit_time */
    fx_store_visit_time visit_time;
    void *ctx;
} visitor;

/* Visits a page, checks that it goes on in order, and keeps where it ended. */
static fx_code
visit_page(const Fortress__Depot__Page *page, char *after, const visitor *to, fx_err *err)
{
    if (page->more && page->n_entries == 0) {
        return bad_reply(after, err);
    }
    for (size_t i = 0; i < page->n_entries; i++) {
        const Fortress__Depot__Entry *entry = page->entries[i];
        if (strcmp(entry->key, after) <= 0 || !fx_store_is_key(entry->key)) {
            return bad_reply(after, err);
        }
        memcpy(after, entry->key, strlen(entry->key) + 1);
        if (to->visit != NULL) {
            to->visit(to->ctx, entry->key, entry->size_bytes);
        } else if (entry->stored_wall_ns != 0) {
            FX_ASSERT(to->visit_time != NULL);
            to->visit_time(to->ctx, entry->key, (fx_wall){.ns = entry->stored_wall_ns});
        }
    }
    return FX_OK;
}

static fx_code
list_pages(depot_store *store, const char *prefix, fx_mono deadline, const visitor *to, fx_err *err)
{
    char after[FX_STORE_KEY_MAX_BYTES + 1] = "";
    for (bool more = true; more;) {
        question q;
        bool doubt = false;
        if (fx_store_check_deadline(deadline, prefix, err) != FX_OK) {
            return err->code;
        }
        init_question(store, &q, FORTRESS__DEPOT__REQUEST__BODY_LIST);
        fortress__depot__list__init(&q.body.list);
        q.body.list.prefix = text_of(prefix);
        q.body.list.after = after;
        q.body.list.limit = FX_DEPOT_PAGE_MAX;
        fx_depot_call call = {.request = &q.request, .deadline = deadline, .may_repeat = true};
        FX_AUTO(fx_depot_reply) reply = NULL;
        if (fx_depot_ask(store->lines, &call, &doubt, &reply, err) != FX_OK) {
            return err->code;
        }
        if (reply->body_case != FORTRESS__DEPOT__REPLY__BODY_PAGE) {
            return bad_reply(prefix, err);
        }
        if (visit_page(reply->page, after, to, err) != FX_OK) {
            return err->code;
        }
        more = reply->page->more;
    }
    return FX_OK;
}

static fx_code
depot_list(
    void *state, const char *prefix, fx_mono deadline, fx_store_visit visit, void *ctx, fx_err *err)
{
    const visitor to = {.visit = visit, .ctx = ctx};
    return list_pages(state, prefix, deadline, &to, err);
}

static fx_code
depot_list_times(
    void *state,
    const char *prefix,
    fx_mono deadline,
    fx_store_visit_time visit,
    void *ctx,
    fx_err *err)
{
    const visitor to = {.visit_time = visit, .ctx = ctx};
    return list_pages(state, prefix, deadline, &to, err);
}

static fx_code
depot_append(
    void *state, const char *key, uint64_t offset, fx_bytes bytes, fx_mono deadline, fx_err *err)
{
    depot_store *store = state;
    if (fx_store_check_deadline(deadline, key, err) != FX_OK) {
        return err->code;
    }
    /* Parts follow each other: as with one long append, a failure leaves a part at most. */
    for (size_t done = 0;;) {
        question q;
        bool doubt = false;
        size_t left = bytes.size_bytes - done;
        size_t now = left < FX_DEPOT_PART_MAX_BYTES ? left : FX_DEPOT_PART_MAX_BYTES;
        init_question(store, &q, FORTRESS__DEPOT__REQUEST__BODY_APPEND);
        fortress__depot__append__init(&q.body.append);
        q.body.append.key = text_of(key);
        q.body.append.offset = offset + done;
        q.body.append.content = field_of((fx_bytes){(const char *)bytes.data + done, now});
        fx_depot_call call = {.request = &q.request, .deadline = deadline, .may_repeat = false};
        FX_AUTO(fx_depot_reply) reply = NULL;
        if (fx_depot_ask(store->lines, &call, &doubt, &reply, err) != FX_OK) {
            err->outcome = done > 0 ? FX_CLASS_UNKNOWN : err->outcome;
            return err->code;
        }
        done += now;
        if (done == bytes.size_bytes) {
            return FX_OK;
        }
    }
}

/* ---- removing
 * -------------------------------------------------------------------------------------- */

static bool
names_key(const fx_depot_ticket *ticket, const char *key)
{
    for (size_t i = 0; i < ticket->n_keys; i++) {
        if (strcmp(ticket->keys[i], key) == 0) {
            return true;
        }
    }
    return false;
}

/* Why the depot would refuse it, as far as can be told without the coordinators' keys; or NULL. */
static const char *
find_fault(
    const depot_store *store,
    const fx_depot_signed_ticket *signed_ticket,
    const fx_depot_ticket *ticket)
{
    bool has_two = false;
    for (size_t i = 1; i < signed_ticket->n_endorsements; i++) {
        has_two = has_two || strcmp(
                                 signed_ticket->endorsements[i]->region,
                                 signed_ticket->endorsements[0]->region) != 0;
    }
    if (strcmp(ticket->depot, store->peer) != 0) {
        return "the ticket that names it is for another depot";
    }
    if (ticket->expires_wall_ns <= fx_clock_wall().ns) {
        return "the ticket that names it has expired";
    }
    return has_two ? NULL : "the ticket that names it lacks signatures of two regions";
}

/* What the tickets say of an object. */
typedef struct permit {
    fx_depot_signed_ticket *ticket; /* one that names it, the best; NULL: there is none */
    const char *fault;              /* of that; NULL: none can be seen */
} permit;

static fx_code
look_at_ticket(
    const depot_store *store, const char *line, const char *key, permit *out, fx_err *err)
{
    FX_BUF_AUTO bytes;
    FX_AUTO(fx_depot_signed_ticket) signed_ticket = NULL;
    FX_AUTO(fx_depot_ticket) ticket = NULL;
    fx_buf_init(&bytes, FX_DEPOT_TICKET_MAX_BYTES + 4096);
    if (fx_base64_decode(line, &bytes, err) != FX_OK ||
        fx_depot_signed_ticket_unpack(fx_buf_bytes(&bytes), &signed_ticket, err) != FX_OK ||
        fx_depot_ticket_unpack(
            (fx_bytes){signed_ticket->ticket.data, signed_ticket->ticket.len}, &ticket, err) !=
            FX_OK) {
        return err->code;
    }
    if (strcmp(ticket->repository, store->repository.text) == 0 && names_key(ticket, key)) {
        fx_depot_signed_ticket_free(FX_TAKE(out->ticket));
        out->fault = find_fault(store, signed_ticket, ticket);
        out->ticket = FX_TAKE(signed_ticket);
    }
    return FX_OK;
}

/* From the file that FORTRESS_DEPOT_TICKETS names, a ticket in base64 a line. */
static fx_code
find_permit(const depot_store *store, const char *key, permit *out, fx_err *err)
{
    const char *path = getenv("FORTRESS_DEPOT_TICKETS"); /* NOLINT(concurrency-mt-unsafe): never
                                                            changed after the start */
    if (path == NULL || path[0] == '\0') {
        return FX_OK;
    }
    FX_BUF_AUTO content;
    fx_buf_init(&content, TICKETS_MAX_BYTES);
    if (fx_file_read(path, &content, err) != FX_OK) {
        return fx_err_wrap(err, "reading the tickets");
    }
    char *next = (char *)content.data;
    while (next != NULL && *next != '\0' && (out->ticket == NULL || out->fault != NULL)) {
        char *line = next;
        size_t length = strcspn(line, "\n");
        next = line[length] == '\0' ? NULL : line + length + 1;
        line[length] = '\0';
        if (length > 0 && look_at_ticket(store, line, key, out, err) != FX_OK) {
            fx_depot_signed_ticket_free(FX_TAKE(out->ticket));
            return fx_err_wrap(err, "reading the tickets in \"%.150s\"", path);
        }
    }
    return FX_OK;
}

static fx_code
depot_check_ticket(const void *state, const char *key, fx_err *err)
{
    const depot_store *store = state;
    permit found = {0};
    if (find_permit(store, key, &found, err) != FX_OK) {
        return err->code;
    }
    const char *fault = found.ticket == NULL ? "no ticket names it" : found.fault;
    fx_depot_signed_ticket_free(found.ticket);
    return fault == NULL ? FX_OK
                         : fx_fail(
                               err,
                               FX_ERR_DENIED,
                               "could not remove \"%.90s\": %s; a depot removes by a ticket of two "
                               "coordinators alone, in the file that FORTRESS_DEPOT_TICKETS names",
                               key,
                               fault);
}

static fx_code
depot_remove(void *state, const char *key, fx_mono deadline, fx_err *err)
{
    depot_store *store = state;
    question q;
    bool doubt = false;
    char *keys[] = {text_of(key)};
    permit found = {0};
    if (fx_store_check_deadline(deadline, key, err) != FX_OK ||
        find_permit(store, key, &found, err) != FX_OK) {
        return err->code;
    }
    FX_AUTO(fx_depot_signed_ticket) ticket = found.ticket;
    init_question(store, &q, FORTRESS__DEPOT__REQUEST__BODY_REMOVE);
    fortress__depot__remove__init(&q.body.remove);
    q.body.remove.keys = keys;
    q.body.remove.n_keys = 1;
    q.body.remove.ticket = ticket;
    fx_depot_call call = {.request = &q.request, .deadline = deadline, .may_repeat = true};
    FX_AUTO(fx_depot_reply) reply = NULL;
    fx_code code = fx_depot_ask(store->lines, &call, &doubt, &reply, err);
    return code == FX_ERR_NOT_FOUND && doubt ? FX_OK : code;
}

/* ---- the rest
 * -------------------------------------------------------------------------------------- */

static fx_code
describe(depot_store *store, fx_mono deadline, fx_depot_reply **out_reply, fx_err *err)
{
    question q;
    bool doubt = false;
    init_question(store, &q, FORTRESS__DEPOT__REQUEST__BODY_DESCRIBE);
    fortress__depot__describe__init(&q.body.describe);
    fx_depot_call call = {.request = &q.request, .deadline = deadline, .may_repeat = true};
    FX_AUTO(fx_depot_reply) reply = NULL;
    if (fx_depot_ask(store->lines, &call, &doubt, &reply, err) != FX_OK) {
        return err->code;
    }
    if (reply->body_case != FORTRESS__DEPOT__REPLY__BODY_DESCRIPTION) {
        return bad_reply("", err);
    }
    *out_reply = FX_TAKE(reply);
    return FX_OK;
}

/* The depot has made the folder; it must only be there for us. */
static fx_code
depot_prepare(void *state, fx_err *err)
{
    FX_AUTO(fx_depot_reply) reply = NULL;
    fx_mono deadline = fx_mono_after(fx_clock_mono(), FX_DUR_MS(FX_DEPOT_CALL_MS));
    return describe(state, deadline, &reply, err);
}

static fx_code
depot_examine(void *state, fx_mono deadline, fx_store_examination *to, fx_err *err)
{
    FX_AUTO(fx_depot_reply) reply = NULL;
    if (describe(state, deadline, &reply, err) != FX_OK) {
        return err->code;
    }
    const Fortress__Depot__Description *found = reply == NULL ? NULL : reply->description;
    FX_ASSERT(found != NULL); /* of the kind that describe() has checked */
    const uint64_t mib = UINT64_C(1024) * 1024;
    to->versioning = FX_STORE_NO;
    to->object_lock = FX_STORE_NO;
    (void)snprintf(to->server, sizeof to->server, "fortress-agent depot");
    fx_store_note(
        to,
        "the depot takes this host for %.60s: it may %s, and has %" PRIu64 " MiB stored",
        found->host,
        found->may_write ? "write" : "only read",
        found->used_bytes / mib);
    if (found->quota_bytes > 0) {
        fx_store_note(to, "its quota is %" PRIu64 " MiB", found->quota_bytes / mib);
    }
    fx_store_note(to, "%" PRIu64 " MiB are free there", found->free_bytes / mib);
    fx_store_note(to, "objects are removed by tickets of two coordinators alone");
    return FX_OK;
}

static unsigned
depot_abilities(const void *state)
{
    (void)state;
    return FX_STORE_CAN_APPEND | FX_STORE_TELLS_TIMES | FX_STORE_NEEDS_TICKETS |
           FX_STORE_CAN_DIGEST;
}

const fx_store_driver fx_store_driver_depot = {
    .name = "depot",
    .state_bytes = sizeof(depot_store),
    .open = depot_open,
    .close = depot_close,
    .prepare = depot_prepare,
    .put = depot_put,
    .get = depot_get,
    .stat = depot_stat,
    .list = depot_list,
    .list_times = depot_list_times,
    .remove = depot_remove,
    .examine = depot_examine,
    .abilities = depot_abilities,
    .append = depot_append,
    .check_ticket = depot_check_ticket,
    .digest = depot_digest,
};
