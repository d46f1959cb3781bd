/* What the parts of the depot driver share: one question to the depot, and its reply. */
#pragma once

#include "common/store/depot/address.h"
#include "common/store/depot/line.h"

typedef struct fx_depot_store {
    fx_depot_lines *lines;
    fx_depot_address address;
} fx_depot_store;

typedef struct fx_depot_question {
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
    fx_mono deadline;
    bool may_repeat;  /* doing it twice is as good as once: true unless it is set */
    bool is_doubtful; /* once asked: an earlier try may have been carried out */
} fx_depot_question;

/* Begins a question; the member of `body` that it is about is for the caller to initialise. */
void fx_depot_question_init(
    fx_depot_question *question,
    fx_depot_store *store,
    Fortress__Depot__Request__BodyCase body_case,
    fx_mono deadline);

/*
 * Asks. `about`: a key, for messages. owns: free the reply with fx_depot_reply_free(). errors: as
 * fx_depot_ask(); DAMAGED (a reply of another kind than `reply_case`)
 */
FX_MUST_USE fx_code fx_depot_question_ask(
    fx_depot_store *store,
    fx_depot_question *question,
    const char *about,
    Fortress__Depot__Reply__BodyCase reply_case,
    fx_depot_reply **out_reply,
    fx_err *err);

/* Has done what there is no reply to but that it is done. errors: as fx_depot_ask() */
FX_MUST_USE fx_code
fx_depot_question_do(fx_depot_store *store, fx_depot_question *question, fx_err *err);

/* errors: DAMAGED, that the reply is of no use */
FX_MUST_USE fx_code fx_depot_bad_reply(const char *about, fx_err *err);

/* protobuf-c's structs know no const; what these give is only packed. */
ProtobufCBinaryData fx_depot_field_of(fx_bytes bytes);
char *fx_depot_text_of(const char *text);

/* Has the depot read an object: its size and digest. errors: as fx_depot_question_ask() */
FX_MUST_USE fx_code fx_depot_scrub(
    fx_depot_store *store,
    const char *key,
    fx_mono deadline,
    fx_depot_reply **out_reply,
    fx_err *err);

/* ---- of the driver, see common/store/store.h ---------------------------------------------------
 */

/* upload.c */
FX_MUST_USE fx_code
fx_depot_store_put(void *state, const char *key, fx_bytes body, fx_mono deadline, fx_err *err);

/* ticket.c */
FX_MUST_USE fx_code fx_depot_store_check_ticket(const void *state, const char *key, fx_err *err);
FX_MUST_USE fx_code
fx_depot_store_remove(void *state, const char *key, fx_mono deadline, fx_err *err);
