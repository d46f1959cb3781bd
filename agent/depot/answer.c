#include <stdio.h>
#include <string.h>

#include "agent/depot/store.h"
#include "common/base/clock.h"

enum {
    LIST_MAX_MS = 50000,
    PAGE_BYTES = FX_DEPOT_PART_MAX_BYTES,
    ENTRY_BYTES = 36,
    SHOWN_BYTES = 80
};

static const fx_mono never = {.ns = INT64_MAX};

/* One request and what is said to it. */
typedef struct answer {
    fx_depot_asker asker;
    const fx_depot_request *request;
    fx_depot_reply reply;
    fx_buf content; /* behind the body: bytes of an object, texts of a page */
    unsigned char upload[FX_DEPOT_UPLOAD_BYTES];
    fx_shelf_finding finding;
    Fortress__Depot__Entry *entries;
    Fortress__Depot__Entry **entry_list;
    size_t entry_count;
    bool is_full;
    union {
        Fortress__Depot__Description description;
        Fortress__Depot__Begun begun;
        Fortress__Depot__Content content;
        Fortress__Depot__Size size;
        Fortress__Depot__Page page;
        Fortress__Depot__Scrubbed scrubbed;
        Fortress__Depot__Removed removed;
    } body;
} answer;

static fx_bytes
bytes_of(ProtobufCBinaryData field)
{
    return (fx_bytes){field.data, field.len};
}

static char *
text_of(const char *text)
{
    union {
        const char *given;
        char *field;
    } same = {.given = text}; /* only packed */
    return same.field;
}

static void
set_body(answer *a, Fortress__Depot__Reply__BodyCase body_case)
{
    a->reply.body_case = body_case;
    a->reply.description = &a->body.description; /* any member of the union: all are pointers */
}

static fx_code
check_key(const char *key, fx_err *err)
{
    return fx_store_is_key(key)
               ? FX_OK
               : fx_fail(err, FX_ERR_INVALID, "could not use \"%.100s\" as an object's key", key);
}

/* ---- reading
 * --------------------------------------------------------------------------------------- */

static fx_code
describe(answer *a)
{
    const fx_depot_share *share = a->asker.share;
    set_body(a, FORTRESS__DEPOT__REPLY__BODY_DESCRIPTION);
    fortress__depot__description__init(&a->body.description);
    a->body.description.host = text_of(share->host.text);
    a->body.description.may_write = share->access != FX_DEPOT_READ;
    a->body.description.quota_bytes = share->quota_bytes;
    fx_monitor_lock(&a->asker.depot->monitor);
    a->body.description.used_bytes = share->used_bytes;
    fx_monitor_unlock(&a->asker.depot->monitor);
    a->body.description.free_bytes = fx_shelf_free_bytes(a->asker.room->shelf);
    return FX_OK;
}

static fx_code
get(answer *a, fx_err *err)
{
    const Fortress__Depot__Get *asked = a->request->get;
    fx_store *store = fx_shelf_store(a->asker.room->shelf);
    if (check_key(asked->key, err) != FX_OK ||
        fx_store_get(
            store, asked->key, asked->offset, asked->size_bytes, never, &a->content, err) !=
            FX_OK) {
        return err->code;
    }
    set_body(a, FORTRESS__DEPOT__REPLY__BODY_CONTENT);
    fortress__depot__content__init(&a->body.content);
    a->body.content.content.data = a->content.data;
    a->body.content.content.len = a->content.size_bytes;
    return FX_OK;
}

static fx_code
stat_object(answer *a, fx_err *err)
{
    fx_name ignored;
    set_body(a, FORTRESS__DEPOT__REPLY__BODY_SIZE);
    fortress__depot__size__init(&a->body.size);
    return fx_shelf_owner(
        a->asker.room->shelf, a->request->stat->key, &ignored, &a->body.size.size_bytes, err);
}

static bool
add_entry(void *ctx, const char *key, uint64_t size_bytes, fx_wall stored)
{
    answer *a = ctx;
    fx_err ignored = {0};
    if (!fx_store_is_key(key)) {
        return true; /* what else lies there is none of ours */
    }
    size_t begin = a->content.size_bytes;
    a->is_full = a->entry_count == a->request->list->limit ||
                 begin + a->entry_count * ENTRY_BYTES + FX_STORE_KEY_MAX_BYTES > PAGE_BYTES ||
                 fx_buf_append(&a->content, key, strlen(key) + 1, &ignored) != FX_OK;
    if (a->is_full) {
        return false;
    }
    Fortress__Depot__Entry *entry = &a->entries[a->entry_count];
    fortress__depot__entry__init(entry);
    entry->key = (char *)a->content.data + begin;
    entry->size_bytes = size_bytes;
    entry->stored_wall_ns = stored.ns;
    a->entry_list[a->entry_count++] = entry;
    return true;
}

static fx_code
list(answer *a, fx_err *err)
{
    const Fortress__Depot__List *asked = a->request->list;
    a->entries = calloc(asked->limit, sizeof *a->entries);
    a->entry_list = calloc(asked->limit, sizeof(Fortress__Depot__Entry *));
    FX_ASSERT(a->entries != NULL && a->entry_list != NULL);
    fx_buf_reserve(&a->content, PAGE_BYTES); /* entries point into it */
    fx_place_walk walk = {
        .prefix = asked->prefix,
        .after = asked->after,
        .deadline = fx_mono_after(fx_clock_mono(), FX_DUR_MS(LIST_MAX_MS)),
        .visit = add_entry,
        .ctx = a};
    if (fx_shelf_list(a->asker.room->shelf, &walk, err) != FX_OK) {
        return err->code;
    }
    set_body(a, FORTRESS__DEPOT__REPLY__BODY_PAGE);
    fortress__depot__page__init(&a->body.page);
    a->body.page.entries = a->entry_list;
    a->body.page.n_entries = a->entry_count;
    a->body.page.more = a->is_full;
    return FX_OK;
}

static fx_code
scrub(answer *a, fx_err *err)
{
    const char *key = a->request->scrub->key;
    if (check_key(key, err) != FX_OK ||
        fx_shelf_scrub(a->asker.room->shelf, key, &a->finding, err) != FX_OK) {
        return err->code;
    }
    if (a->finding.is_named && !a->finding.is_whole) {
        FX_LOG(
            a->asker.depot->log,
            ERROR,
            "object.damaged",
            FX_STR("depot", a->asker.room->name.text),
            FX_STR("key", key));
    }
    set_body(a, FORTRESS__DEPOT__REPLY__BODY_SCRUBBED);
    fortress__depot__scrubbed__init(&a->body.scrubbed);
    a->body.scrubbed.size_bytes = a->finding.size_bytes;
    a->body.scrubbed.sha256.data = a->finding.sha256;
    a->body.scrubbed.sha256.len = sizeof a->finding.sha256;
    a->body.scrubbed.is_named = a->finding.is_named;
    a->body.scrubbed.is_whole = a->finding.is_whole;
    return FX_OK;
}

/* ---- storing and removing
 * -------------------------------------------------------------------------- */

static fx_code
begin(answer *a, fx_err *err)
{
    const Fortress__Depot__Begin *asked = a->request->begin;
    if (fx_depot_begin(&a->asker, asked->key, asked->size_bytes, a->upload, err) != FX_OK) {
        return err->code;
    }
    set_body(a, FORTRESS__DEPOT__REPLY__BODY_BEGUN);
    fortress__depot__begun__init(&a->body.begun);
    a->body.begun.upload.data = a->upload;
    a->body.begun.upload.len = sizeof a->upload;
    return FX_OK;
}

static fx_code
remove_one(const answer *a, const char *key, fx_err *err)
{
    const fx_depot_asker *asker = &a->asker;
    fx_name owner;
    uint64_t size_bytes = 0;
    if (fx_shelf_owner(asker->room->shelf, key, &owner, &size_bytes, err) != FX_OK ||
        fx_store_remove(fx_shelf_store(asker->room->shelf), key, never, err) != FX_OK) {
        return err->code;
    }
    fx_depot_give_back(asker, &owner, size_bytes);
    FX_LOG(
        asker->depot->log,
        INFO,
        "object.removed",
        FX_STR("depot", asker->room->name.text),
        FX_STR("host", asker->share->host.text),
        FX_STR("key", key));
    return FX_OK;
}

static fx_code
remove_all(answer *a, fx_err *err)
{
    const Fortress__Depot__Remove *asked = a->request->remove;
    set_body(a, FORTRESS__DEPOT__REPLY__BODY_REMOVED);
    fortress__depot__removed__init(&a->body.removed);
    bool is_free = true;
    for (size_t i = 0; i < asked->n_keys; i++) {
        is_free = is_free && fx_depot_may_take_away(&a->asker, asked->keys[i]);
    }
    if (!is_free && fx_depot_check_ticket(a->asker.depot, a->asker.room, asked, err) != FX_OK) {
        return err->code;
    }
    for (size_t i = 0; i < asked->n_keys; i++) {
        fx_code code = remove_one(a, asked->keys[i], err);
        /* Of several some may be gone already: a request is repeated when its answer is lost. */
        if (code != FX_OK && (code != FX_ERR_NOT_FOUND || asked->n_keys == 1)) {
            return code;
        }
        a->body.removed.count += code == FX_OK ? 1 : 0;
    }
    return FX_OK;
}

/* ---- all of them
 * ----------------------------------------------------------------------------------- */

static fx_code
carry_out(answer *a, fx_err *err)
{
    const fx_depot_request *asked = a->request;
    switch (asked->body_case) {
    case FORTRESS__DEPOT__REQUEST__BODY_DESCRIBE:
        return describe(a);
    case FORTRESS__DEPOT__REQUEST__BODY_PUT:
        return fx_depot_put_whole(&a->asker, asked->put->key, bytes_of(asked->put->content), err);
    case FORTRESS__DEPOT__REQUEST__BODY_BEGIN:
        return begin(a, err);
    case FORTRESS__DEPOT__REQUEST__BODY_PART:
        return fx_depot_add_part(&a->asker, asked->part, err);
    case FORTRESS__DEPOT__REQUEST__BODY_COMMIT:
        return fx_depot_commit(&a->asker, asked->commit->upload.data, err);
    case FORTRESS__DEPOT__REQUEST__BODY_APPEND:
        return fx_depot_append(
            &a->asker,
            asked->append->key,
            asked->append->offset,
            bytes_of(asked->append->content),
            err);
    case FORTRESS__DEPOT__REQUEST__BODY_GET:
        return get(a, err);
    case FORTRESS__DEPOT__REQUEST__BODY_STAT:
        return stat_object(a, err);
    case FORTRESS__DEPOT__REQUEST__BODY_LIST:
        return list(a, err);
    case FORTRESS__DEPOT__REQUEST__BODY_SCRUB:
        return scrub(a, err);
    case FORTRESS__DEPOT__REQUEST__BODY_REMOVE:
        return remove_all(a, err);
    case FORTRESS__DEPOT__REQUEST__BODY__NOT_SET:
    case _FORTRESS__DEPOT__REQUEST__BODY__CASE_IS_INT_SIZE:
        break;
    }
    return fx_fail(err, FX_ERR_UNSUPPORTED, "could not do this: a depot does not know it");
}

/* A repository that is not there and one that is not the host's look the same. */
static fx_code
find_room(answer *a, const fx_name *host, fx_err *err)
{
    fx_depot *depot = a->asker.depot;
    for (size_t i = 0; i < depot->room_count; i++) {
        fx_depot_room *room = &depot->rooms[i];
        bool is_asked = strcmp(room->name.text, a->request->repository) == 0;
        for (size_t k = 0; is_asked && k < room->share_count; k++) {
            if (fx_name_is(&room->shares[k].host, host)) {
                a->asker.room = room;
                a->asker.share = &room->shares[k];
                return FX_OK;
            }
        }
    }
    return fx_fail(
        err,
        FX_ERR_DENIED,
        "could not do this: host %s may not use a repository \"%s\" of this depot",
        host->text,
        a->request->repository);
}

static void
init_reply(fx_depot_reply *reply)
{
    fortress__depot__reply__init(reply);
    reply->version = FORTRESS__DEPOT__VERSION__VERSION_CURRENT;
}

void
fx_depot_refusal(const fx_err *reason, fx_buf *reply)
{
    fx_err err;
    fx_depot_reply refusal;
    init_reply(&refusal);
    refusal.code = (uint32_t)reason->code;
    refusal.outcome = (uint32_t)reason->outcome;
    refusal.message = text_of(reason->message);
    fx_buf_clear(reply);
    fx_code code = fx_depot_reply_pack(&refusal, reply, &err);
    FX_ASSERT(code == FX_OK); /* a code and a short text always fit */
}

/* Where the objects lie here is nobody else's business: "FOLDER/KEY" becomes "KEY". */
static void
hide_folder(const char *folder, fx_err *err)
{
    char shown[SHOWN_BYTES + 1]; /* as much of it as messages show */
    (void)snprintf(shown, sizeof shown, "%.*s", SHOWN_BYTES, folder);
    size_t length = strlen(shown);
    char *found = strstr(err->message, shown);
    if (found != NULL && found[length] == '/') {
        memmove(found, found + length + 1, strlen(found + length + 1) + 1);
    }
}

static void
log_refusal(fx_depot *depot, const fx_name *host, const fx_err *err)
{
    fx_wire_peer peer = {.name = *host, .role = fx_name_of("agent")};
    bool is_usual = err->code == FX_ERR_NOT_FOUND || err->code == FX_ERR_EXISTS ||
                    err->code == FX_ERR_STALE || err->code == FX_ERR_CONFLICT;
    if (!is_usual) {
        fx_depot_log_refused(depot, &peer, err);
    }
}

bool
fx_depot_answer(fx_depot *depot, const fx_name *host, fx_bytes request, fx_buf *reply)
{
    fx_err err = {0};
    FX_AUTO(fx_depot_request) message = NULL;
    fx_code code = fx_depot_request_unpack(request, &message, &err);
    if (code != FX_OK) {
        log_refusal(depot, host, &err);
        fx_depot_refusal(&err, reply);
        return code == FX_ERR_INVALID || code == FX_ERR_UNSUPPORTED;
    }
    answer a = {.asker = {.depot = depot}, .request = message};
    init_reply(&a.reply);
    fx_buf_init(&a.content, FX_DEPOT_MESSAGE_MAX_BYTES);
    code = find_room(&a, host, &err);
    if (code == FX_OK) {
        code = carry_out(&a, &err);
    }
    if (code == FX_OK) {
        code = fx_depot_reply_pack(&a.reply, reply, &err);
    }
    if (code != FX_OK) {
        log_refusal(depot, host, &err);
        if (a.asker.room != NULL) {
            hide_folder(fx_shelf_path(a.asker.room->shelf), &err);
        }
        fx_depot_refusal(&err, reply);
    }
    fx_buf_free(&a.content);
    free(a.entries);
    free(a.entry_list);
    return true;
}
