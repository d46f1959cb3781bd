#include "proto/depot_check.h"

#include <string.h>

#include "proto/message.h"

/* ---- to bytes and back
 * ----------------------------------------------------------------------------- */

static const fx_message_kind request_kind = {
    &fortress__depot__request__descriptor,
    "a request to a depot",
    FX_DEPOT_MESSAGE_MAX_BYTES,
    FX_DEPOT_MEMORY_MAX_BYTES};
static const fx_message_kind reply_kind = {
    &fortress__depot__reply__descriptor,
    "a depot's reply",
    FX_DEPOT_MESSAGE_MAX_BYTES,
    FX_DEPOT_MEMORY_MAX_BYTES};
static const fx_message_kind ticket_kind = {
    &fortress__depot__ticket__descriptor,
    "a ticket",
    FX_DEPOT_TICKET_MAX_BYTES,
    FX_DEPOT_MEMORY_MAX_BYTES};
static const fx_message_kind signed_ticket_kind = {
    &fortress__depot__signed_ticket__descriptor,
    "a signed ticket",
    FX_DEPOT_TICKET_MAX_BYTES + 4096,
    FX_DEPOT_MEMORY_MAX_BYTES};

/* ---- fields
 * ---------------------------------------------------------------------------------------- */

/* Printable ASCII: no key has anything else, and a text may come to a terminal. */
static fx_code
check_text(const char *text, size_t max_bytes, const char *what, fx_err *err)
{
    size_t length = strnlen(text, max_bytes + 1);
    if (length > max_bytes) {
        return fx_message_bad_field(what, "is too long", err);
    }
    for (size_t i = 0; i < length; i++) {
        if (text[i] < ' ' || text[i] > '~') {
            return fx_message_bad_field(what, "has a character that is not printable ASCII", err);
        }
    }
    return FX_OK;
}

static fx_code
check_key(const char *key, fx_err *err)
{
    return check_text(key, FX_DEPOT_KEY_MAX_BYTES, "a key", err);
}

static fx_code
check_bytes(
    const ProtobufCBinaryData *bytes,
    size_t least_bytes,
    size_t most_bytes,
    const char *what,
    fx_err *err)
{
    return bytes->len >= least_bytes && bytes->len <= most_bytes
               ? FX_OK
               : fx_message_bad_field(what, "has a wrong length", err);
}

static fx_code
check_content(const ProtobufCBinaryData *bytes, fx_err *err)
{
    return check_bytes(bytes, 0, FX_DEPOT_PART_MAX_BYTES, "the content", err);
}

static fx_code
check_upload(const ProtobufCBinaryData *bytes, fx_err *err)
{
    return check_bytes(bytes, FX_DEPOT_UPLOAD_BYTES, FX_DEPOT_UPLOAD_BYTES, "an upload's id", err);
}

/* Texts for people are cleaned instead of refused: a failure must be told all the same. */
static void
clean(char *text)
{
    for (size_t i = 0; text[i] != '\0'; i++) {
        if (i == FX_DEPOT_TEXT_MAX_BYTES) {
            text[i] = '\0';
            return;
        }
        if ((unsigned char)text[i] < ' ' || text[i] == 0x7f) {
            text[i] = '?';
        }
    }
}

/* ---- tickets
 * --------------------------------------------------------------------------------------- */

static fx_code
check_keys(char *const *keys, size_t count, fx_err *err)
{
    if (count == 0 || count > FX_DEPOT_TICKET_KEY_MAX) {
        return fx_message_bad_field("the list of keys", "has a wrong length", err);
    }
    for (size_t i = 0; i < count; i++) {
        if (check_key(keys[i], err) != FX_OK) {
            return err->code;
        }
    }
    return FX_OK;
}

static fx_code
check_signed_ticket(const fx_depot_signed_ticket *ticket, fx_err *err)
{
    if (check_bytes(&ticket->ticket, 1, FX_DEPOT_TICKET_MAX_BYTES, "a ticket", err) != FX_OK) {
        return err->code;
    }
    if (ticket->n_endorsements > FX_DEPOT_ENDORSEMENT_MAX) {
        return fx_message_bad_field("a ticket", "has too many endorsements", err);
    }
    for (size_t i = 0; i < ticket->n_endorsements; i++) {
        const Fortress__Link__Endorsement *each = ticket->endorsements[i];
        if (fx_message_check_name(each->coordinator, "the coordinator of an endorsement", err) !=
                FX_OK ||
            fx_message_check_name(each->region, "the region of an endorsement", err) != FX_OK ||
            check_bytes(
                &each->signature,
                FX_DEPOT_SIGNATURE_BYTES,
                FX_DEPOT_SIGNATURE_BYTES,
                "a signature",
                err) != FX_OK) {
            return err->code;
        }
    }
    return FX_OK;
}

static fx_code
check_ticket(fx_depot_ticket *ticket, fx_err *err)
{
    clean(ticket->reason);
    if (check_text(ticket->id, FX_DEPOT_TICKET_ID_MAX_BYTES, "a ticket's id", err) != FX_OK ||
        fx_message_check_name(ticket->cluster, "a ticket's cluster", err) != FX_OK ||
        fx_message_check_name(ticket->depot, "a ticket's depot", err) != FX_OK ||
        fx_message_check_name(ticket->repository, "a ticket's repository", err) != FX_OK ||
        check_keys(ticket->keys, ticket->n_keys, err) != FX_OK) {
        return err->code;
    }
    if (ticket->id[0] == '\0') {
        return fx_message_bad_field("a ticket's id", "is absent", err);
    }
    if (ticket->issued_wall_ns < 0 || ticket->expires_wall_ns <= ticket->issued_wall_ns) {
        return fx_message_bad_field("a ticket's end", "is not after its beginning", err);
    }
    return FX_OK;
}

fx_code
fx_depot_ticket_pack(const fx_depot_ticket *ticket, fx_buf *out, fx_err *err)
{
    return fx_message_pack(&ticket_kind, &ticket->base, out, err);
}

fx_code
fx_depot_ticket_unpack(fx_bytes bytes, fx_depot_ticket **out_ticket, fx_err *err)
{
    ProtobufCMessage *message = NULL;
    if (fx_message_unpack(&ticket_kind, bytes, &message, err) != FX_OK) {
        return err->code;
    }
    FX_AUTO(fx_depot_ticket) ticket = (fx_depot_ticket *)(void *)message;
    if (check_ticket(ticket, err) != FX_OK) {
        return err->code;
    }
    *out_ticket = FX_TAKE(ticket);
    return FX_OK;
}

void
fx_depot_ticket_free(fx_depot_ticket *ticket)
{
    if (ticket != NULL) {
        fortress__depot__ticket__free_unpacked(ticket, NULL);
    }
}

fx_code
fx_depot_signed_ticket_pack(const fx_depot_signed_ticket *ticket, fx_buf *out, fx_err *err)
{
    return fx_message_pack(&signed_ticket_kind, &ticket->base, out, err);
}

fx_code
fx_depot_signed_ticket_unpack(fx_bytes bytes, fx_depot_signed_ticket **out_ticket, fx_err *err)
{
    ProtobufCMessage *message = NULL;
    if (fx_message_unpack(&signed_ticket_kind, bytes, &message, err) != FX_OK) {
        return err->code;
    }
    FX_AUTO(fx_depot_signed_ticket) ticket = (fx_depot_signed_ticket *)(void *)message;
    if (check_signed_ticket(ticket, err) != FX_OK) {
        return err->code;
    }
    *out_ticket = FX_TAKE(ticket);
    return FX_OK;
}

void
fx_depot_signed_ticket_free(fx_depot_signed_ticket *ticket)
{
    if (ticket != NULL) {
        fortress__depot__signed_ticket__free_unpacked(ticket, NULL);
    }
}

/* ---- requests
 * -------------------------------------------------------------------------------------- */

static fx_code
check_remove(const Fortress__Depot__Remove *remove, fx_err *err)
{
    if (check_keys(remove->keys, remove->n_keys, err) != FX_OK) {
        return err->code;
    }
    return remove->ticket == NULL ? FX_OK : check_signed_ticket(remove->ticket, err);
}

static fx_code
check_list(const Fortress__Depot__List *list, fx_err *err)
{
    if (check_key(list->prefix, err) != FX_OK || check_key(list->after, err) != FX_OK) {
        return err->code;
    }
    return list->limit > 0 && list->limit <= FX_DEPOT_PAGE_MAX
               ? FX_OK
               : fx_message_bad_field("the length of a page", "is 0 or too much", err);
}

static fx_code
check_key_and_content(const char *key, const ProtobufCBinaryData *content, fx_err *err)
{
    return check_key(key, err) != FX_OK ? err->code : check_content(content, err);
}

static fx_code
check_part(const Fortress__Depot__Part *part, fx_err *err)
{
    return check_upload(&part->upload, err) != FX_OK ? err->code
                                                     : check_content(&part->content, err);
}

static fx_code
check_get(const Fortress__Depot__Get *get, fx_err *err)
{
    if (check_key(get->key, err) != FX_OK) {
        return err->code;
    }
    return get->size_bytes <= FX_DEPOT_PART_MAX_BYTES
               ? FX_OK
               : fx_message_bad_field("the size of a range", "is too much", err);
}

static fx_code
check_request(const fx_depot_request *request, fx_err *err)
{
    if (request->version != FORTRESS__DEPOT__VERSION__VERSION_CURRENT) {
        return fx_fail(
            err,
            FX_ERR_UNSUPPORTED,
            "could not accept the message: it is of version %u, this is %u",
            request->version,
            (unsigned)FORTRESS__DEPOT__VERSION__VERSION_CURRENT);
    }
    if (fx_message_check_name(request->repository, "the repository", err) != FX_OK) {
        return err->code;
    }
    switch (request->body_case) {
    case FORTRESS__DEPOT__REQUEST__BODY_DESCRIBE:
        return FX_OK;
    case FORTRESS__DEPOT__REQUEST__BODY_PUT:
        return check_key_and_content(request->put->key, &request->put->content, err);
    case FORTRESS__DEPOT__REQUEST__BODY_BEGIN:
        return check_key(request->begin->key, err);
    case FORTRESS__DEPOT__REQUEST__BODY_PART:
        return check_part(request->part, err);
    case FORTRESS__DEPOT__REQUEST__BODY_COMMIT:
        return check_upload(&request->commit->upload, err);
    case FORTRESS__DEPOT__REQUEST__BODY_APPEND:
        return check_key_and_content(request->append->key, &request->append->content, err);
    case FORTRESS__DEPOT__REQUEST__BODY_GET:
        return check_get(request->get, err);
    case FORTRESS__DEPOT__REQUEST__BODY_STAT:
        return check_key(request->stat->key, err);
    case FORTRESS__DEPOT__REQUEST__BODY_LIST:
        return check_list(request->list, err);
    case FORTRESS__DEPOT__REQUEST__BODY_SCRUB:
        return check_key(request->scrub->key, err);
    case FORTRESS__DEPOT__REQUEST__BODY_REMOVE:
        return check_remove(request->remove, err);
    case FORTRESS__DEPOT__REQUEST__BODY__NOT_SET:
    case _FORTRESS__DEPOT__REQUEST__BODY__CASE_IS_INT_SIZE:
        break;
    }
    return fx_message_bad_field("body", "is absent or unknown", err);
}

fx_code
fx_depot_request_pack(const fx_depot_request *request, fx_buf *out, fx_err *err)
{
    return fx_message_pack(&request_kind, &request->base, out, err);
}

fx_code
fx_depot_request_unpack(fx_bytes bytes, fx_depot_request **out_request, fx_err *err)
{
    ProtobufCMessage *message = NULL;
    if (fx_message_unpack(&request_kind, bytes, &message, err) != FX_OK) {
        return err->code;
    }
    FX_AUTO(fx_depot_request) request = (fx_depot_request *)(void *)message;
    if (check_request(request, err) != FX_OK) {
        return err->code;
    }
    *out_request = FX_TAKE(request);
    return FX_OK;
}

void
fx_depot_request_free(fx_depot_request *request)
{
    if (request != NULL) {
        fortress__depot__request__free_unpacked(request, NULL);
    }
}

/* ---- replies
 * --------------------------------------------------------------------------------------- */

static fx_code
check_page(const Fortress__Depot__Page *page, fx_err *err)
{
    if (page->n_entries > FX_DEPOT_PAGE_MAX) {
        return fx_message_bad_field("a page", "is too long", err);
    }
    for (size_t i = 0; i < page->n_entries; i++) {
        if (check_key(page->entries[i]->key, err) != FX_OK) {
            return err->code;
        }
    }
    return FX_OK;
}

static fx_code
check_reply_body(const fx_depot_reply *reply, fx_err *err)
{
    switch (reply->body_case) {
    case FORTRESS__DEPOT__REPLY__BODY_DESCRIPTION:
        return fx_message_check_name(reply->description->host, "the host", err);
    case FORTRESS__DEPOT__REPLY__BODY_BEGUN:
        return check_upload(&reply->begun->upload, err);
    case FORTRESS__DEPOT__REPLY__BODY_CONTENT:
        return check_content(&reply->content->content, err);
    case FORTRESS__DEPOT__REPLY__BODY_PAGE:
        return check_page(reply->page, err);
    case FORTRESS__DEPOT__REPLY__BODY_SCRUBBED:
        return check_bytes(
            &reply->scrubbed->sha256,
            FX_DEPOT_DIGEST_BYTES,
            FX_DEPOT_DIGEST_BYTES,
            "a digest",
            err);
    case FORTRESS__DEPOT__REPLY__BODY_SIZE:
    case FORTRESS__DEPOT__REPLY__BODY_REMOVED:
    case FORTRESS__DEPOT__REPLY__BODY__NOT_SET:
    case _FORTRESS__DEPOT__REPLY__BODY__CASE_IS_INT_SIZE:
        break;
    }
    return FX_OK;
}

fx_code
fx_depot_reply_pack(const fx_depot_reply *reply, fx_buf *out, fx_err *err)
{
    return fx_message_pack(&reply_kind, &reply->base, out, err);
}

fx_code
fx_depot_reply_unpack(fx_bytes bytes, fx_depot_reply **out_reply, fx_err *err)
{
    ProtobufCMessage *message = NULL;
    if (fx_message_unpack(&reply_kind, bytes, &message, err) != FX_OK) {
        return err->code;
    }
    FX_AUTO(fx_depot_reply) reply = (fx_depot_reply *)(void *)message;
    clean(reply->message);
    if (reply->version != FORTRESS__DEPOT__VERSION__VERSION_CURRENT) {
        return fx_fail(
            err, FX_ERR_UNSUPPORTED, "could not use a depot's reply of version %u", reply->version);
    }
    if (check_reply_body(reply, err) != FX_OK) {
        return err->code;
    }
    *out_reply = FX_TAKE(reply);
    return FX_OK;
}

void
fx_depot_reply_free(fx_depot_reply *reply)
{
    if (reply != NULL) {
        fortress__depot__reply__free_unpacked(reply, NULL);
    }
}
