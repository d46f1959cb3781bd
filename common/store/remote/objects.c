#include "common/store/remote/objects.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static void
add(fx_remote_pair *pairs, size_t *count, const char *name, const char *value)
{
    FX_ASSERT(*count < FX_REMOTE_PAIR_MAX);
    pairs[(*count)++] = (fx_remote_pair){.name = name, .value = value};
}

void
fx_objects_add_query(fx_objects_ask *ask, const char *name, const char *value)
{
    add(ask->query, &ask->query_count, name, value);
}

void
fx_objects_add_header(fx_objects_ask *ask, const char *name, const char *value)
{
    add(ask->headers, &ask->header_count, name, value);
}

void
fx_objects_write_path(
    const fx_objects *objects, const fx_objects_ask *ask, char out_path[FX_OBJECTS_PATH_BYTES])
{
    const char *base = objects->base_path;
    int length = 0;
    if (ask->key == NULL) {
        length = snprintf(out_path, FX_OBJECTS_PATH_BYTES, "%s", base[0] == '\0' ? "/" : base);
    } else {
        length =
            snprintf(out_path, FX_OBJECTS_PATH_BYTES, "%s/%s%s", base, objects->prefix, ask->key);
    }
    FX_ASSERT(length < FX_OBJECTS_PATH_BYTES);
}

static const char *
key_to_tell(const fx_objects *objects, const fx_objects_ask *ask)
{
    return ask->key == NULL ? objects->container : ask->key;
}

fx_remote_call
fx_objects_call(const fx_objects *objects, const fx_objects_ask *ask, fx_buf *body)
{
    return (fx_remote_call){
        .body = body,
        .is_change = ask->is_change,
        .what = ask->what,
        .key = key_to_tell(objects, ask)};
}

fx_code
fx_objects_send(
    fx_objects *objects,
    const fx_objects_ask *ask,
    fx_mono deadline,
    fx_buf *body,
    fx_remote_answer *out_answer,
    fx_err *err)
{
    *out_answer = (fx_remote_answer){0};
    if (fx_store_check_deadline(deadline, ask->key == NULL ? "" : ask->key, err) != FX_OK) {
        return err->code;
    }
    return objects->service->send(objects, ask, deadline, body, out_answer, err);
}

fx_code
fx_objects_judge(
    const fx_objects *objects,
    const fx_objects_ask *ask,
    const fx_remote_answer *answer,
    fx_err *err)
{
    char hint[FX_OBJECTS_HINT_BYTES] = "";
    if (objects->service->hint != NULL) {
        objects->service->hint(objects, answer, hint);
    }
    const fx_remote_judgement judgement = {
        .meanings = objects->service->meanings,
        .count = objects->service->meaning_count,
        .what = ask->what,
        .key = key_to_tell(objects, ask),
        .hint = hint};
    return fx_remote_judge(&judgement, answer, err);
}

fx_code
fx_objects_request(
    fx_objects *objects,
    const fx_objects_ask *ask,
    fx_mono deadline,
    fx_buf *body,
    fx_remote_answer *out_answer,
    fx_err *err)
{
    if (fx_objects_send(objects, ask, deadline, body, out_answer, err) != FX_OK) {
        return err->code;
    }
    return fx_objects_judge(objects, ask, out_answer, err);
}

fx_code
fx_objects_head(
    fx_objects *objects,
    const char *key,
    const char *what,
    fx_mono deadline,
    fx_remote_answer *out_answer,
    fx_err *err)
{
    const fx_objects_ask ask = {.method = "HEAD", .key = key, .what = what};
    return fx_objects_request(objects, &ask, deadline, NULL, out_answer, err);
}

/* ---- putting ---- */

static fx_code
look_whether_ours(fx_objects *objects, const fx_objects_put *put, fx_mono deadline, fx_err *err)
{
    fx_remote_answer answer;
    const char *what = "look whether it is stored:";
    if (fx_objects_head(objects, put->key, what, deadline, &answer, err) != FX_OK) {
        return err->code;
    }
    if (strcmp(answer.nonce, put->nonce) != 0) {
        return fx_fail(err, FX_ERR_EXISTS, "could not store \"%s\": it exists already", put->key);
    }
    if (answer.has_content_bytes && answer.content_bytes != put->body.size_bytes) {
        return fx_fail(
            err,
            FX_ERR_DAMAGED,
            "could not store \"%s\": the server has %" PRIu64 " bytes of %zu",
            put->key,
            answer.content_bytes,
            put->body.size_bytes);
    }
    return FX_OK;
}

fx_code
fx_objects_settle(
    fx_objects *objects,
    const fx_objects_put *put,
    const fx_err *why,
    fx_mono deadline,
    fx_err *err)
{
    const fx_err reason = *why; /* may be *err */
    fx_code settled = look_whether_ours(objects, put, deadline, err);
    if (settled == FX_OK || settled == FX_ERR_EXISTS || settled == FX_ERR_DAMAGED) {
        return settled;
    }
    *err = reason;
    err->outcome = FX_CLASS_UNKNOWN; /* not there yet: it may still come */
    return err->code;
}

fx_code
fx_objects_create(
    fx_objects *objects,
    const fx_objects_put *put,
    const fx_objects_ask *ask,
    fx_mono deadline,
    fx_remote_answer *out_answer,
    fx_err *err)
{
    fx_err refusal = {0};
    if (fx_objects_send(objects, ask, deadline, NULL, out_answer, &refusal) == FX_OK) {
        fx_code code = fx_objects_judge(objects, ask, out_answer, &refusal);
        /* It may be there by an attempt that was not answered. Where another's upload has ended
         * ours, whose it is the object itself tells. */
        bool is_doubtful =
            code == FX_ERR_CONFLICT || (code == FX_ERR_EXISTS && out_answer->maybe_done);
        if (!is_doubtful) {
            *err = code == FX_OK ? *err : refusal;
            return code;
        }
    } else if (refusal.outcome != FX_CLASS_UNKNOWN) {
        *err = refusal;
        return err->code;
    }
    return fx_objects_settle(objects, put, &refusal, deadline, err);
}

fx_code
fx_objects_send_parts(
    fx_bytes body,
    size_t part_bytes,
    fx_objects_send_part send_part,
    void *ctx,
    fx_mono deadline,
    fx_err *err)
{
    const unsigned char *data = body.data;
    for (size_t i = 0; i * part_bytes < body.size_bytes; i++) {
        size_t left_bytes = body.size_bytes - i * part_bytes;
        fx_bytes part = {data + i * part_bytes, left_bytes < part_bytes ? left_bytes : part_bytes};
        if (send_part(ctx, i, part, deadline, err) != FX_OK) {
            err->outcome = err->outcome == FX_CLASS_UNKNOWN ? FX_CLASS_TRANSIENT : err->outcome;
            return err->code;
        }
    }
    return FX_OK;
}

/* ---- reading and removing ---- */

/* NOLINTBEGIN(readability-function-size): a range and a deadline are what a get is */
fx_code
fx_objects_get(
    void *state,
    const char *key,
    uint64_t offset,
    uint64_t size_bytes,
    fx_mono deadline,
    fx_buf *out,
    fx_err *err)
{
    fx_objects *objects = state;
    char range[64];
    fx_remote_answer answer;
    size_t begin_bytes = out->size_bytes;
    fx_objects_ask ask = {.method = "GET", .key = key, .what = "read"};
    if (size_bytes == 0) { /* whether it is there */
        return fx_objects_head(objects, key, "read", deadline, &answer, err);
    }
    /* No object is as long as 2^62; some servers read no longer numbers. */
    const uint64_t furthest = (UINT64_C(1) << 62) - 1;
    uint64_t first = offset > furthest ? furthest : offset;
    uint64_t last = size_bytes - 1 > furthest - first ? furthest : first + (size_bytes - 1);
    (void)snprintf(range, sizeof range, "bytes=%" PRIu64 "-%" PRIu64, first, last);
    fx_objects_add_header(&ask, objects->service->range_header, range);
    if (fx_objects_send(objects, &ask, deadline, out, &answer, err) != FX_OK) {
        return err->code;
    }
    if (answer.status == 416) {
        return FX_OK; /* it ends before */
    }
    if (answer.status == 200 && (offset > 0 || out->size_bytes - begin_bytes > size_bytes)) {
        out->size_bytes = begin_bytes;
        return fx_fail(
            err,
            FX_ERR_UNSUPPORTED,
            "could not read a part of \"%s\": the server ignores ranges",
            key);
    }
    return fx_objects_judge(objects, &ask, &answer, err);
}
/* NOLINTEND(readability-function-size) */

fx_code
fx_objects_stat(
    void *state, const char *key, fx_mono deadline, uint64_t *out_size_bytes, fx_err *err)
{
    fx_remote_answer answer;
    if (fx_objects_head(state, key, "look at", deadline, &answer, err) != FX_OK) {
        return err->code;
    }
    if (!answer.has_content_bytes) {
        return fx_fail(err, FX_ERR_DAMAGED, "could not look at \"%s\": its size is not told", key);
    }
    *out_size_bytes = answer.content_bytes;
    return FX_OK;
}

fx_code
fx_objects_remove(void *state, const char *key, fx_mono deadline, fx_err *err)
{
    fx_remote_answer answer;
    const fx_objects_ask ask = {
        .method = "DELETE", .key = key, .is_change = true, .what = "remove"};
    fx_code code = fx_objects_request(state, &ask, deadline, NULL, &answer, err);
    return code == FX_ERR_NOT_FOUND && answer.maybe_done ? FX_OK : code;
}
