/* What an S3 server keeps of what is expected: tried on an object of our own, or asked for. */
#include <stdio.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/store/s3/s3.h"
#include "common/xml/xml.h"

/* No key of the family begins with a dot, so that this is beside them all, and lists leave it out.
 */
static const char probe_key[] = ".fortress-probe";
static const char probe_text[] =
    "Fortress learns from this object whether the server refuses to replace one.\n";

enum { UPLOADS_MAX_BYTES = 4 * 1024 * 1024, DAYS_A_YEAR = 365 };

static void
make_probe(const fx_s3 *s3, fx_s3_put *out_put)
{
    *out_put = (fx_s3_put){
        .object = {
            .key = probe_key, .body = {probe_text, sizeof probe_text - 1}, .nonce = "probe"}};
    (void)snprintf(
        out_put->nonce_header,
        sizeof out_put->nonce_header,
        "%smeta-fortress-put",
        s3->address.dialect->header_prefix);
}

/* FX_OK: the server took it; EXISTS, UNSUPPORTED: it refused. */
static fx_code
put_probe(fx_s3 *s3, fx_mono deadline, fx_err *err)
{
    fx_s3_put put;
    fx_remote_answer answer;
    const fx_remote_pair *create_only = &s3->address.dialect->create_only;
    make_probe(s3, &put);
    fx_objects_ask ask = {
        .method = "PUT",
        .key = put.object.key,
        .body = put.object.body,
        .is_change = true,
        .what = "store"};
    fx_s3_add_object_headers(&put, &ask);
    fx_objects_add_header(&ask, create_only->name, create_only->value);
    return fx_objects_request(&s3->objects, &ask, deadline, NULL, &answer, err);
}

/* The first put may make the probe; the second is refused, or replaces it by its like. */
static fx_code
try_puts(fx_s3 *s3, fx_mono deadline, fx_store_finding *out_finding, fx_err *err)
{
    fx_code code = put_probe(s3, deadline, err);
    if (code == FX_OK) {
        code = put_probe(s3, deadline, err);
    }
    if (code != FX_OK && code != FX_ERR_EXISTS && code != FX_ERR_UNSUPPORTED) {
        return fx_err_wrap(err, "finding out whether the server refuses to replace objects");
    }
    *out_finding = code == FX_ERR_EXISTS ? FX_STORE_YES : FX_STORE_NO;
    return FX_OK;
}

fx_code
fx_s3_puts_conditionally(fx_s3 *s3, fx_mono deadline, fx_store_finding *out_finding, fx_err *err)
{
    fx_code code = FX_OK;
    if (s3->address.dialect->puts_conditionally) {
        *out_finding = FX_STORE_YES;
        return FX_OK;
    }
    (void)pthread_mutex_lock(&s3->lock);
    if (s3->puts_conditionally == FX_STORE_NOT_KNOWN) {
        code = try_puts(s3, deadline, &s3->puts_conditionally, err);
    }
    if (code == FX_OK) {
        *out_finding = s3->puts_conditionally;
    }
    (void)pthread_mutex_unlock(&s3->lock);
    return code;
}

fx_code
fx_s3_completes_conditionally(
    fx_s3 *s3, fx_mono deadline, fx_store_finding *out_finding, fx_err *err)
{
    fx_store_finding puts = FX_STORE_NOT_KNOWN;
    fx_code code = fx_s3_puts_conditionally(s3, deadline, &puts, err); /* the probe is there then */
    if (code != FX_OK || s3->address.dialect->completes_conditionally) {
        *out_finding = FX_STORE_YES;
        return code;
    }
    (void)pthread_mutex_lock(&s3->lock);
    if (s3->completes_conditionally == FX_STORE_NOT_KNOWN) {
        fx_s3_put put;
        fx_code completed = FX_OK;
        make_probe(s3, &put);
        code = fx_s3_try_upload(s3, &put, deadline, &completed, err);
        if (code == FX_OK) {
            s3->completes_conditionally = completed == FX_ERR_EXISTS ? FX_STORE_YES : FX_STORE_NO;
        }
    }
    if (code == FX_OK) {
        *out_finding = s3->completes_conditionally;
    }
    (void)pthread_mutex_unlock(&s3->lock);
    return code;
}

/* An answer about the bucket, or a note why there is none. */
static bool
ask_bucket(
    fx_s3 *s3,
    const char *about,
    fx_mono deadline,
    fx_buf *body,
    fx_remote_answer *out_answer,
    fx_store_examination *to)
{
    fx_err err;
    fx_objects_ask ask = {.method = "GET", .what = "ask about the bucket"};
    fx_objects_add_query(&ask, about, "");
    if (strcmp(about, "uploads") == 0) {
        fx_objects_add_query(&ask, "prefix", s3->address.prefix);
    }
    fx_code code = fx_objects_send(&s3->objects, &ask, deadline, body, out_answer, &err);
    if (code == FX_OK && strcmp(out_answer->code, "ObjectLockConfigurationNotFoundError") == 0) {
        return true;
    }
    if (code == FX_OK) {
        code = fx_objects_judge(&s3->objects, &ask, out_answer, &err);
    }
    if (code != FX_OK) {
        fx_store_note(to, "%s: %.150s", about, err.message);
    }
    return code == FX_OK;
}

static void
examine_versioning(fx_s3 *s3, fx_mono deadline, fx_store_examination *to)
{
    char status[16] = "";
    fx_remote_answer answer;
    FX_BUF_AUTO body;
    fx_buf_init(&body, FX_REMOTE_REFUSAL_MAX_BYTES);
    if (ask_bucket(s3, "versioning", deadline, &body, &answer, to)) {
        (void)fx_s3_find_text(&body, "VersioningConfiguration/Status", status, sizeof status);
        to->versioning = strcmp(status, "Enabled") == 0 ? FX_STORE_YES : FX_STORE_NO;
        to->knows_clock_skew = answer.knows_skew;
        to->clock_skew = answer.skew;
        (void)snprintf(to->server, sizeof to->server, "%s", answer.server);
    }
}

static void
examine_lock(fx_s3 *s3, fx_mono deadline, fx_store_examination *to)
{
    static const char days_path[] = "ObjectLockConfiguration/Rule/DefaultRetention/Days";
    static const char years_path[] = "ObjectLockConfiguration/Rule/DefaultRetention/Years";
    static const char mode_path[] = "ObjectLockConfiguration/Rule/DefaultRetention/Mode";
    char text[16] = "";
    fx_remote_answer answer;
    FX_BUF_AUTO body;
    fx_buf_init(&body, FX_REMOTE_REFUSAL_MAX_BYTES);
    if (!ask_bucket(s3, "object-lock", deadline, &body, &answer, to)) {
        return;
    }
    to->object_lock = FX_STORE_NO;
    if (fx_s3_find_text(&body, "ObjectLockConfiguration/ObjectLockEnabled", text, sizeof text) &&
        strcmp(text, "Enabled") == 0) {
        to->object_lock = FX_STORE_YES;
        (void)fx_s3_find_text(&body, mode_path, to->lock_mode, sizeof to->lock_mode);
        if (fx_s3_find_text(&body, days_path, text, sizeof text)) {
            to->lock_days = (uint32_t)strtoul(text, NULL, 10);
        } else if (fx_s3_find_text(&body, years_path, text, sizeof text)) {
            to->lock_days = (uint32_t)strtoul(text, NULL, 10) * DAYS_A_YEAR;
        }
    }
}

typedef struct leftovers {
    fx_store_examination *to;
    char key[200];
    char since[40];
} leftovers;

static fx_code
count_upload(void *ctx, const char *path, const char *text, fx_err *err)
{
    (void)err;
    leftovers *l = ctx;
    if (strcmp(path, "ListMultipartUploadsResult/Upload/Key") == 0) {
        (void)snprintf(l->key, sizeof l->key, "%s", text);
    } else if (strcmp(path, "ListMultipartUploadsResult/Upload/Initiated") == 0) {
        (void)snprintf(l->since, sizeof l->since, "%s", text);
    } else if (strcmp(path, "ListMultipartUploadsResult/Upload") == 0) {
        l->to->leftover_count++;
        if (l->to->leftover_count <= 3) {
            fx_store_note(
                l->to, "an upload of %.120s that began %s has not ended", l->key, l->since);
        }
    }
    return FX_OK;
}

/* The first thousand. */
static void
examine_leftovers(fx_s3 *s3, fx_mono deadline, fx_store_examination *to)
{
    fx_err err;
    fx_remote_answer answer;
    leftovers l = {.to = to};
    FX_BUF_AUTO body;
    fx_buf_init(&body, UPLOADS_MAX_BYTES);
    if (s3->address.dialect->has_multipart &&
        ask_bucket(s3, "uploads", deadline, &body, &answer, to) &&
        fx_xml_read(fx_buf_bytes(&body), count_upload, &l, &err) == FX_OK) {
        to->leftovers = to->leftover_count > 0 ? FX_STORE_YES : FX_STORE_NO;
    }
}

static void
examine_conditions(fx_s3 *s3, fx_mono deadline, fx_store_examination *to)
{
    fx_err err;
    fx_store_finding finding = FX_STORE_NOT_KNOWN;
    if (to->can_put != FX_STORE_YES) {
        return;
    }
    if (!s3->address.dialect->puts_conditionally &&
        fx_s3_puts_conditionally(s3, deadline, &finding, &err) == FX_OK &&
        finding != FX_STORE_YES) {
        to->refuses_replacement = finding; /* it was our question that refused */
        fx_store_note(
            to,
            "the server ignores %s: whether an object exists is asked before each put, and two "
            "writers at once could replace each other's",
            s3->address.dialect->create_only.name);
    }
    if (s3->address.multipart == FX_S3_MULTIPART_SAFE &&
        fx_s3_completes_conditionally(s3, deadline, &finding, &err) == FX_OK &&
        finding == FX_STORE_NO) {
        fx_store_note(
            to, "an upload in parts could replace an object here: large objects go in one request");
    }
}

fx_code
fx_s3_examine(void *state, fx_mono deadline, fx_store_examination *to, fx_err *err)
{
    (void)err;
    fx_s3 *s3 = state;
    examine_versioning(s3, deadline, to);
    examine_conditions(s3, deadline, to);
    if (s3->address.dialect->has_object_lock) {
        examine_lock(s3, deadline, to);
    }
    examine_leftovers(s3, deadline, to);
    return FX_OK;
}
