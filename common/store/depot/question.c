#include "common/store/depot/depot.h"

ProtobufCBinaryData
fx_depot_field_of(fx_bytes bytes)
{
    union {
        const void *given;
        uint8_t *field;
    } same = {.given = bytes.data};
    return (ProtobufCBinaryData){.len = bytes.size_bytes, .data = same.field};
}

char *
fx_depot_text_of(const char *text)
{
    union {
        const char *given;
        char *field;
    } same = {.given = text};
    return same.field;
}

void
fx_depot_question_init(
    fx_depot_question *question,
    fx_depot_store *store,
    Fortress__Depot__Request__BodyCase body_case,
    fx_mono deadline)
{
    fortress__depot__request__init(&question->request);
    question->request.version = FORTRESS__DEPOT__VERSION__VERSION_CURRENT;
    question->request.repository = store->address.repository.text;
    question->request.body_case = body_case;
    question->request.put = &question->body.put; /* any member of the union: all are pointers */
    question->deadline = deadline;
    question->may_repeat = true;
    question->is_doubtful = false;
}

fx_code
fx_depot_bad_reply(const char *about, fx_err *err)
{
    return fx_fail(
        err, FX_ERR_DAMAGED, "could not use the depot's reply about \"%.100s\": wrong kind", about);
}

static fx_code
ask(fx_depot_store *store, fx_depot_question *question, fx_depot_reply **out_reply, fx_err *err)
{
    const fx_depot_call call = {
        .request = &question->request,
        .deadline = question->deadline,
        .may_repeat = question->may_repeat,
    };
    return fx_depot_ask(store->lines, &call, &question->is_doubtful, out_reply, err);
}

fx_code
fx_depot_question_ask(
    fx_depot_store *store,
    fx_depot_question *question,
    const char *about,
    Fortress__Depot__Reply__BodyCase reply_case,
    fx_depot_reply **out_reply,
    fx_err *err)
{
    FX_AUTO(fx_depot_reply) reply = NULL;
    if (ask(store, question, &reply, err) != FX_OK) {
        return err->code;
    }
    if (reply->body_case != reply_case) {
        return fx_depot_bad_reply(about, err);
    }
    *out_reply = FX_TAKE(reply);
    return FX_OK;
}

fx_code
fx_depot_question_do(fx_depot_store *store, fx_depot_question *question, fx_err *err)
{
    FX_AUTO(fx_depot_reply) reply = NULL;
    return ask(store, question, &reply, err);
}

fx_code
fx_depot_scrub(
    fx_depot_store *store,
    const char *key,
    fx_mono deadline,
    fx_depot_reply **out_reply,
    fx_err *err)
{
    fx_depot_question q;
    fx_depot_question_init(&q, store, FORTRESS__DEPOT__REQUEST__BODY_SCRUB, deadline);
    fortress__depot__scrub__init(&q.body.scrub);
    q.body.scrub.key = fx_depot_text_of(key);
    return fx_depot_question_ask(
        store, &q, key, FORTRESS__DEPOT__REPLY__BODY_SCRUBBED, out_reply, err);
}
