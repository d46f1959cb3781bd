/*
 * A depot as a store: "depot:HOST:PORT/NAME" is the repository NAME that `fortress-agent depot`
 * keeps there; "?host=CN" names the host in its certificate where that is not HOST. The own
 * certificate says who asks.
 */
#include "common/store/depot/depot.h"

#include "common/base/clock.h"
#include "common/store/remote/credentials.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* ---- opening
 * --------------------------------------------------------------------------------------- */

static const fx_credential_name credential_names[] = {
    {"FORTRESS_DEPOT_CA", "depot_ca", true},
    {"FORTRESS_DEPOT_CERTIFICATE", "depot_certificate", true},
    {"FORTRESS_DEPOT_KEY", "depot_key", true},
};
enum { CREDENTIAL_COUNT = sizeof credential_names / sizeof credential_names[0] };

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
    fx_depot_store *store = state;
    fx_credentials credentials = {0};
    char paths[CREDENTIAL_COUNT][FX_CREDENTIAL_MAX_BYTES + 1];
    if (fx_depot_address_parse(rest, &store->address, err) != FX_OK ||
        fx_credentials_load(credential_names, CREDENTIAL_COUNT, &credentials, err) != FX_OK) {
        return err->code;
    }
    for (size_t i = 0; i < CREDENTIAL_COUNT; i++) {
        take_path(credentials.values[i], paths[i]);
    }
    fx_credentials_clear(&credentials);
    fx_depot_lines_options options = {
        .url = store->address.url,
        .peer = store->address.peer,
        .ca_file = paths[0],
        .certificate_file = paths[1],
        .key_file = paths[2]};
    return fx_depot_lines_open(&options, &store->lines, err);
}

static void
depot_close(void *state)
{
    fx_depot_store *store = state;
    fx_depot_lines_free(FX_TAKE(store->lines));
}

/* ---- reading and listing
 * ---------------------------------------------------------------------------------------- */

static fx_code
depot_digest(
    void *state,
    const char *key,
    fx_mono deadline,
    unsigned char out_digest[FX_STORE_DIGEST_BYTES],
    fx_err *err)
{
    FX_AUTO(fx_depot_reply) reply = NULL;
    if (fx_depot_scrub(state, key, deadline, &reply, err) != FX_OK) {
        return err->code;
    }
    FX_ASSERT(reply != NULL);
    memcpy(out_digest, reply->scrubbed->sha256.data, FX_STORE_DIGEST_BYTES);
    return FX_OK;
}

/* One range of at most a part; what came is counted in *out_got. */
static fx_code
get_range(
    fx_depot_store *store,
    const Fortress__Depot__Get *get,
    fx_mono deadline,
    fx_buf *out,
    fx_err *err)
{
    fx_depot_question q;
    fx_depot_question_init(&q, store, FORTRESS__DEPOT__REQUEST__BODY_GET, deadline);
    q.body.get = *get;
    FX_AUTO(fx_depot_reply) reply = NULL;
    if (fx_depot_question_ask(
            store, &q, get->key, FORTRESS__DEPOT__REPLY__BODY_CONTENT, &reply, err) != FX_OK) {
        return err->code;
    }
    FX_ASSERT(reply != NULL);
    if (reply->content->content.len > get->size_bytes) {
        return fx_depot_bad_reply(get->key, err);
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
    fx_depot_store *store = state;
    if (fx_store_check_deadline(deadline, key, err) != FX_OK) {
        return err->code;
    }
    size_t begin_bytes = out->size_bytes;
    for (;;) {
        uint64_t done = out->size_bytes - begin_bytes;
        uint64_t left = size_bytes - done;
        Fortress__Depot__Get get;
        fortress__depot__get__init(&get);
        get.key = fx_depot_text_of(key);
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
    fx_depot_store *store = state;
    fx_depot_question q;
    if (fx_store_check_deadline(deadline, key, err) != FX_OK) {
        return err->code;
    }
    fx_depot_question_init(&q, store, FORTRESS__DEPOT__REQUEST__BODY_STAT, deadline);
    fortress__depot__stat__init(&q.body.stat);
    q.body.stat.key = fx_depot_text_of(key);
    FX_AUTO(fx_depot_reply) reply = NULL;
    if (fx_depot_question_ask(store, &q, key, FORTRESS__DEPOT__REPLY__BODY_SIZE, &reply, err) !=
        FX_OK) {
        return err->code;
    }
    FX_ASSERT(reply != NULL);
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
        return fx_depot_bad_reply(after, err);
    }
    for (size_t i = 0; i < page->n_entries; i++) {
        const Fortress__Depot__Entry *entry = page->entries[i];
        if (strcmp(entry->key, after) <= 0 || !fx_store_is_key(entry->key)) {
            return fx_depot_bad_reply(after, err);
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
list_pages(
    fx_depot_store *store, const char *prefix, fx_mono deadline, const visitor *to, fx_err *err)
{
    char after[FX_STORE_KEY_MAX_BYTES + 1] = "";
    for (bool more = true; more;) {
        fx_depot_question q;
        if (fx_store_check_deadline(deadline, prefix, err) != FX_OK) {
            return err->code;
        }
        fx_depot_question_init(&q, store, FORTRESS__DEPOT__REQUEST__BODY_LIST, deadline);
        fortress__depot__list__init(&q.body.list);
        q.body.list.prefix = fx_depot_text_of(prefix);
        q.body.list.after = after;
        q.body.list.limit = FX_DEPOT_PAGE_MAX;
        FX_AUTO(fx_depot_reply) reply = NULL;
        if (fx_depot_question_ask(
                store, &q, prefix, FORTRESS__DEPOT__REPLY__BODY_PAGE, &reply, err) != FX_OK) {
            return err->code;
        }
        FX_ASSERT(reply != NULL);
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
    fx_depot_store *store = state;
    if (fx_store_check_deadline(deadline, key, err) != FX_OK) {
        return err->code;
    }
    /* Parts follow each other: as with one long append, a failure leaves a part at most. */
    for (size_t done = 0;;) {
        fx_depot_question q;
        size_t left = bytes.size_bytes - done;
        size_t now = left < FX_DEPOT_PART_MAX_BYTES ? left : FX_DEPOT_PART_MAX_BYTES;
        fx_depot_question_init(&q, store, FORTRESS__DEPOT__REQUEST__BODY_APPEND, deadline);
        fortress__depot__append__init(&q.body.append);
        q.body.append.key = fx_depot_text_of(key);
        q.body.append.offset = offset + done;
        q.body.append.content = fx_depot_field_of((fx_bytes){(const char *)bytes.data + done, now});
        q.may_repeat = false;
        if (fx_depot_question_do(store, &q, err) != FX_OK) {
            err->outcome = done > 0 ? FX_CLASS_UNKNOWN : err->outcome;
            return err->code;
        }
        done += now;
        if (done == bytes.size_bytes) {
            return FX_OK;
        }
    }
}

static fx_code
describe(fx_depot_store *store, fx_mono deadline, fx_depot_reply **out_reply, fx_err *err)
{
    fx_depot_question q;
    fx_depot_question_init(&q, store, FORTRESS__DEPOT__REQUEST__BODY_DESCRIBE, deadline);
    fortress__depot__describe__init(&q.body.describe);
    return fx_depot_question_ask(
        store, &q, "", FORTRESS__DEPOT__REPLY__BODY_DESCRIPTION, out_reply, err);
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
    .state_bytes = sizeof(fx_depot_store),
    .open = depot_open,
    .close = depot_close,
    .prepare = depot_prepare,
    .put = fx_depot_store_put,
    .get = depot_get,
    .stat = depot_stat,
    .list = depot_list,
    .list_times = depot_list_times,
    .remove = fx_depot_store_remove,
    .examine = depot_examine,
    .abilities = depot_abilities,
    .append = depot_append,
    .check_ticket = fx_depot_store_check_ticket,
    .digest = depot_digest,
};
