/* An object in parts: begun, its parts sent one after the other, ended; taken back on failure. */
#include <stdio.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/store/s3/s3.h"

enum { UPLOAD_ID_MAX_BYTES = 1024, PART_COUNT_MAX = 64, ETAG_BYTES = 128, ABORT_MAX_MS = 10000 };

typedef struct upload {
    fx_s3 *s3;
    const fx_s3_put *put;
    char id[UPLOAD_ID_MAX_BYTES];
    char etags[PART_COUNT_MAX][ETAG_BYTES];
    size_t part_count;
} upload;

static fx_code
begin(upload *u, fx_mono deadline, fx_err *err)
{
    FX_BUF_AUTO body;
    fx_remote_answer answer;
    fx_buf_init(&body, FX_REMOTE_REFUSAL_MAX_BYTES);
    fx_objects_ask ask = {
        .method = "POST", .key = u->put->object.key, .is_change = true, .what = "begin to store"};
    fx_objects_add_query(&ask, "uploads", "");
    fx_s3_add_object_headers(u->put, &ask);
    if (fx_objects_request(&u->s3->objects, &ask, deadline, &body, &answer, err) != FX_OK) {
        return err->code;
    }
    if (!fx_s3_find_text(&body, "InitiateMultipartUploadResult/UploadId", u->id, sizeof u->id)) {
        return fx_fail(
            err,
            FX_ERR_FAILED,
            "could not store \"%s\" in parts: the server names no upload",
            u->put->object.key);
    }
    return FX_OK;
}

static fx_code
send_part(void *ctx, size_t index, fx_bytes part, fx_mono deadline, fx_err *err)
{
    upload *u = ctx;
    char number[16];
    fx_remote_answer answer;
    (void)snprintf(number, sizeof number, "%zu", index + 1);
    fx_objects_ask ask = {
        .method = "PUT",
        .key = u->put->object.key,
        .body = part,
        .is_change = true,
        .what = "store a part of"};
    fx_objects_add_query(&ask, "partNumber", number);
    fx_objects_add_query(&ask, "uploadId", u->id);
    if (fx_objects_request(&u->s3->objects, &ask, deadline, NULL, &answer, err) != FX_OK) {
        return err->code;
    }
    if (answer.etag[0] == '\0' || strpbrk(answer.etag, "<>&") != NULL) {
        return fx_fail(
            err, FX_ERR_FAILED, "could not store \"%s\": a part got no ETag", u->put->object.key);
    }
    (void)snprintf(u->etags[index], ETAG_BYTES, "%s", answer.etag);
    return FX_OK;
}

/*
 * The end makes the object. It can be answered with status 200 and a refusal in the body, since a
 * server keeps the connection alive while it works.
 * source: docs.aws.amazon.com/AmazonS3/latest/API/API_CompleteMultipartUpload.html
 */
static fx_code
complete(upload *u, fx_mono deadline, fx_remote_answer *out_answer, fx_err *err)
{
    FX_BUF_AUTO list;
    FX_BUF_AUTO body;
    const fx_remote_pair *create_only = &u->s3->address.dialect->create_only;
    fx_buf_init(&list, (size_t)PART_COUNT_MAX * 256);
    fx_buf_init(&body, FX_REMOTE_REFUSAL_MAX_BYTES);
    fx_code code = fx_buf_append_text(&list, "<CompleteMultipartUpload>", err);
    for (size_t i = 0; code == FX_OK && i < u->part_count; i++) {
        code = fx_buf_append_format(
            &list,
            err,
            "<Part><PartNumber>%zu</PartNumber><ETag>%s</ETag></Part>",
            i + 1,
            u->etags[i]);
    }
    if (code != FX_OK || fx_buf_append_text(&list, "</CompleteMultipartUpload>", err) != FX_OK) {
        return err->code;
    }
    fx_objects_ask ask = {
        .method = "POST",
        .key = u->put->object.key,
        .body = fx_buf_bytes(&list),
        .is_change = true,
        .what = "store"};
    fx_objects_add_query(&ask, "uploadId", u->id);
    fx_objects_add_header(&ask, create_only->name, create_only->value);
    if (fx_objects_request(&u->s3->objects, &ask, deadline, &body, out_answer, err) != FX_OK) {
        return err->code;
    }
    if (fx_s3_find_text(&body, "Error/Code", out_answer->code, sizeof out_answer->code)) {
        return fx_fail_as(
            err,
            FX_CLASS_UNKNOWN,
            FX_ERR_FAILED,
            "could not store \"%s\": the server failed at its end (%s)",
            u->put->object.key,
            out_answer->code);
    }
    return FX_OK;
}

/* Parts cost room until somebody takes them back; a doctor shows those that nobody did. */
static void
take_back(upload *u)
{
    fx_err err;
    fx_remote_answer answer;
    fx_mono deadline = fx_mono_after(fx_clock_mono(), FX_DUR_MS(ABORT_MAX_MS));
    fx_objects_ask ask = {
        .method = "DELETE", .key = u->put->object.key, .is_change = true, .what = "take back"};
    fx_objects_add_query(&ask, "uploadId", u->id);
    fx_ignore(
        fx_objects_send(&u->s3->objects, &ask, deadline, NULL, &answer, &err),
        "the first failure is told");
}

static fx_code
finish(upload *u, fx_mono deadline, fx_err *err)
{
    fx_remote_answer answer;
    fx_code code = complete(u, deadline, &answer, err);
    /* An attempt that was not answered may have ended it: then its id is gone, or the key taken. */
    if (code == FX_OK || (err->outcome != FX_CLASS_UNKNOWN && !answer.maybe_done)) {
        return code;
    }
    return fx_objects_settle(&u->s3->objects, &u->put->object, err, deadline, err);
}

fx_code
fx_s3_upload(fx_s3 *s3, const fx_s3_put *put, fx_mono deadline, fx_err *err)
{
    size_t part_bytes = s3->address.part_bytes;
    upload *u = calloc(1, sizeof *u);
    FX_ASSERT(u != NULL);
    u->s3 = s3;
    u->put = put;
    u->part_count = (put->object.body.size_bytes + part_bytes - 1) / part_bytes;
    FX_ASSERT(u->part_count > 0 && u->part_count <= PART_COUNT_MAX);
    fx_code code = begin(u, deadline, err);
    if (code != FX_OK) {
        err->outcome = err->outcome == FX_CLASS_UNKNOWN ? FX_CLASS_TRANSIENT : err->outcome;
    } else {
        code = fx_objects_send_parts(put->object.body, part_bytes, send_part, u, deadline, err);
        if (code == FX_OK) {
            code = finish(u, deadline, err);
        }
        if (code != FX_OK && err->outcome != FX_CLASS_UNKNOWN) {
            take_back(u);
        }
    }
    free(u);
    return code;
}

/*
 * Tries it on an object that is there: ends an upload of the same content over it. Where that is
 * not refused, the object was replaced by its like.
 */
fx_code
fx_s3_try_upload(fx_s3 *s3, const fx_s3_put *put, fx_mono deadline, fx_code *out_code, fx_err *err)
{
    upload u = {.s3 = s3, .put = put, .part_count = 1};
    fx_remote_answer answer;
    if (begin(&u, deadline, err) != FX_OK) {
        return err->code;
    }
    fx_code code = send_part(&u, 0, put->object.body, deadline, err);
    if (code == FX_OK) {
        *out_code = complete(&u, deadline, &answer, err);
        code = *out_code == FX_OK || err->outcome == FX_CLASS_PERMANENT ? FX_OK : *out_code;
    }
    if (code != FX_OK || *out_code != FX_OK) {
        take_back(&u);
    }
    return code;
}
