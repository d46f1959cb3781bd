#include "common/store/depot/depot.h"

#include "common/crypto/digest.h"

#include <string.h>

enum { UPLOAD_TRIES = 4 };

/* Whether `body` is what lies there: an answer that says so may have been lost. */
static fx_code
compare(fx_depot_store *store, const char *key, fx_bytes body, fx_mono deadline, fx_err *err)
{
    unsigned char digest[FX_SHA256_BYTES];
    FX_AUTO(fx_depot_reply) reply = NULL;
    if (fx_depot_scrub(store, key, deadline, &reply, err) != FX_OK) {
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
put_at_once(fx_depot_store *store, const char *key, fx_bytes body, fx_mono deadline, fx_err *err)
{
    fx_depot_question q;
    fx_depot_question_init(&q, store, FORTRESS__DEPOT__REQUEST__BODY_PUT, deadline);
    fortress__depot__put__init(&q.body.put);
    q.body.put.key = fx_depot_text_of(key);
    q.body.put.content = fx_depot_field_of(body);
    fx_code code = fx_depot_question_do(store, &q, err);
    return code == FX_ERR_EXISTS && q.is_doubtful ? compare(store, key, body, deadline, err) : code;
}

/* An object in parts. */
typedef struct upload {
    fx_depot_store *store;
    const char *key;
    fx_bytes body;
    fx_mono deadline;
    unsigned char id[FX_DEPOT_UPLOAD_BYTES];
} upload;

static fx_code
begin_upload(upload *u, fx_err *err)
{
    fx_depot_question q; /* in doubt or not: an upload that nobody knows of is given up there */
    fx_depot_question_init(&q, u->store, FORTRESS__DEPOT__REQUEST__BODY_BEGIN, u->deadline);
    fortress__depot__begin__init(&q.body.begin);
    q.body.begin.key = fx_depot_text_of(u->key);
    q.body.begin.size_bytes = u->body.size_bytes;
    FX_AUTO(fx_depot_reply) reply = NULL;
    if (fx_depot_question_ask(
            u->store, &q, u->key, FORTRESS__DEPOT__REPLY__BODY_BEGUN, &reply, err) != FX_OK) {
        return err->code;
    }
    FX_ASSERT(reply != NULL);
    memcpy(u->id, reply->begun->upload.data, sizeof u->id);
    return FX_OK;
}

static fx_code
send_parts(upload *u, fx_err *err)
{
    for (size_t done = 0; done < u->body.size_bytes;) {
        fx_depot_question q;
        size_t left = u->body.size_bytes - done;
        size_t now = left < FX_DEPOT_PART_MAX_BYTES ? left : FX_DEPOT_PART_MAX_BYTES;
        fx_depot_question_init(&q, u->store, FORTRESS__DEPOT__REQUEST__BODY_PART, u->deadline);
        fortress__depot__part__init(&q.body.part);
        q.body.part.upload = fx_depot_field_of((fx_bytes){u->id, sizeof u->id});
        q.body.part.offset = done;
        q.body.part.content = fx_depot_field_of((fx_bytes){(const char *)u->body.data + done, now});
        if (fx_depot_question_do(u->store, &q, err) != FX_OK) {
            return err->code;
        }
        done += now;
    }
    return FX_OK;
}

/* *out_doubt: the object may be there for all that. */
static fx_code
commit_upload(upload *u, bool *out_doubt, fx_err *err)
{
    fx_depot_question q;
    fx_depot_question_init(&q, u->store, FORTRESS__DEPOT__REQUEST__BODY_COMMIT, u->deadline);
    fortress__depot__commit__init(&q.body.commit);
    q.body.commit.upload = fx_depot_field_of((fx_bytes){u->id, sizeof u->id});
    fx_code code = fx_depot_question_do(u->store, &q, err);
    *out_doubt = q.is_doubtful || (code != FX_OK && err->outcome == FX_CLASS_UNKNOWN);
    return code;
}

/* A depot that was started anew knows nothing of what was begun (STALE): from the beginning. */
static fx_code
put_in_parts(fx_depot_store *store, const char *key, fx_bytes body, fx_mono deadline, fx_err *err)
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

fx_code
fx_depot_store_put(void *state, const char *key, fx_bytes body, fx_mono deadline, fx_err *err)
{
    fx_depot_store *store = state;
    if (fx_store_check_deadline(deadline, key, err) != FX_OK) {
        return err->code;
    }
    return body.size_bytes <= FX_DEPOT_PART_MAX_BYTES
               ? put_at_once(store, key, body, deadline, err)
               : put_in_parts(store, key, body, deadline, err);
}
