/*
 * Buckets of Amazon S3, Google Cloud Storage and servers that speak S3's language:
 * "s3:https://HOST/ BUCKET/PREFIX", "s3://BUCKET/PREFIX". An object is created by one conditional
 * request, or in parts whose last request is conditional, so that nothing is ever replaced.
 */
#include "common/store/s3/s3.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/xml/xml.h"

enum { PAGE_MAX_BYTES = 8 * 1024 * 1024, TOKEN_MAX_BYTES = 2048 };

static const fx_credential_name credential_names[] = {
    {"AWS_ACCESS_KEY_ID", "aws_access_key_id", true},
    {"AWS_SECRET_ACCESS_KEY", "aws_secret_access_key", true},
    {"AWS_SESSION_TOKEN", "aws_session_token", false},
};

/* The environment does not change after the start; "" is as good as none. */
static const char *
variable(const char *name)
{
    const char *value = getenv(name); /* NOLINT(concurrency-mt-unsafe): see above */
    return value != NULL && value[0] != '\0' ? value : NULL;
}

static fx_code
s3_open(void *state, const char *rest, fx_err *err)
{
    fx_s3 *s3 = state;
    int result = pthread_mutex_init(&s3->lock, NULL);
    FX_ASSERT(result == 0);
    const char *region = variable("AWS_REGION");
    region = region != NULL ? region : variable("AWS_DEFAULT_REGION");
    if (fx_s3_address_parse(rest, region, &s3->address, err) != FX_OK ||
        fx_credentials_load(credential_names, 3, &s3->credentials, err) != FX_OK) {
        return err->code;
    }
    if (strpbrk((const char *)s3->credentials.values[0]->data, " \t\r\n,/") != NULL) {
        return fx_fail(
            err,
            FX_ERR_INVALID,
            "could not use the access key of %.100s: it has a blank, a comma or a slash",
            s3->credentials.origin);
    }
    s3->remote = fx_remote_new(variable("AWS_CA_BUNDLE"));
    return FX_OK;
}

static void
s3_close(void *state)
{
    fx_s3 *s3 = state;
    fx_remote_free(s3->remote);
    fx_credentials_clear(&s3->credentials);
    (void)pthread_mutex_destroy(&s3->lock);
}

static fx_code
make_bucket(fx_s3 *s3, fx_mono deadline, fx_err *err)
{
    char location[256] = "";
    fx_remote_answer answer;
    bool is_default = strcmp(s3->address.region, s3->address.dialect->default_region) == 0;
    if (s3->address.dialect->names_location && !is_default) {
        (void)snprintf(
            location,
            sizeof location,
            "<CreateBucketConfiguration><LocationConstraint>%s</LocationConstraint>"
            "</CreateBucketConfiguration>",
            s3->address.region);
    }
    const fx_s3_ask ask = {
        .method = "PUT",
        .body = {location, strlen(location)},
        .is_change = true,
        .what = "create the bucket"};
    if (fx_s3_send(s3, &ask, deadline, NULL, &answer, err) != FX_OK) {
        return err->code;
    }
    return strcmp(answer.code, "BucketAlreadyOwnedByYou") == 0
               ? FX_OK
               : fx_s3_judge(s3, &ask, &answer, err);
}

/* A key that may not list may still put: only what says that nothing can work is an error. */
static fx_code
s3_prepare(void *state, fx_err *err)
{
    fx_s3 *s3 = state;
    fx_mono deadline = fx_mono_after(fx_clock_mono(), FX_DUR_MS(60000));
    fx_remote_answer answer;
    fx_s3_ask ask = {.method = "GET", .what = "open the bucket"};
    fx_s3_add_query(&ask, "list-type", "2");
    fx_s3_add_query(&ask, "max-keys", "1");
    fx_s3_add_query(&ask, "prefix", s3->address.prefix);
    if (fx_s3_send(s3, &ask, deadline, NULL, &answer, err) != FX_OK) {
        return err->code;
    }
    if (strcmp(answer.code, "AccessDenied") == 0) {
        return FX_OK;
    }
    fx_code code = fx_s3_judge(s3, &ask, &answer, err);
    return code == FX_ERR_NOT_FOUND ? make_bucket(s3, deadline, err) : code;
}

static fx_code
head(
    fx_s3 *s3,
    const char *key,
    const char *what,
    fx_mono deadline,
    fx_remote_answer *out_answer,
    fx_err *err)
{
    fx_s3_ask ask = {.method = "HEAD", .key = key, .what = what};
    if (s3->address.dialect->digest_header != NULL) {
        fx_s3_add_header(&ask, "x-amz-checksum-mode", "ENABLED");
    }
    if (fx_s3_send(s3, &ask, deadline, NULL, out_answer, err) != FX_OK) {
        return err->code;
    }
    return fx_s3_judge(s3, &ask, out_answer, err);
}

static fx_code
exists(const char *key, fx_err *err)
{
    return fx_fail(err, FX_ERR_EXISTS, "could not store \"%s\": it exists already", key);
}

fx_code
fx_s3_settle(fx_s3 *s3, const fx_s3_put *put, fx_mono deadline, fx_err *err)
{
    fx_remote_answer answer;
    if (head(s3, put->key, "look whether it is stored:", deadline, &answer, err) != FX_OK) {
        return err->code;
    }
    if (strcmp(answer.nonce, put->nonce) != 0) {
        return exists(put->key, err);
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

void
fx_s3_add_object_headers(const fx_s3 *s3, const fx_s3_put *put, fx_s3_ask *ask)
{
    (void)s3;
    fx_s3_add_header(ask, put->nonce_header, put->nonce);
    if (put->retention != NULL) {
        fx_s3_add_header(
            ask,
            "x-amz-object-lock-mode",
            put->retention->is_absolute ? "COMPLIANCE" : "GOVERNANCE");
        fx_s3_add_header(ask, "x-amz-object-lock-retain-until-date", put->until);
    }
}

/* "2026-11-23T01:02:03Z", no earlier. */
static void
format_until(fx_wall until, char out_text[32])
{
    char text[FX_WALL_TEXT_BYTES];
    fx_wall_format((fx_wall){.ns = until.ns + 999999999}, text);
    text[strcspn(text, ".")] = '\0';
    (void)snprintf(out_text, 32, "%.24sZ", text);
}

/* An answer that a retained put gets where the bucket has no Object Lock. */
static bool
lacks_lock(const fx_s3_put *put, const fx_remote_answer *answer)
{
    return put->retention != NULL && answer->status == 400 &&
           (strcmp(answer->code, "InvalidRequest") == 0 ||
            strcmp(answer->code, "InvalidArgument") == 0);
}

static fx_code
no_lock(const char *key, fx_err *err)
{
    return fx_fail(
        err,
        FX_ERR_UNSUPPORTED,
        "could not retain \"%s\": the bucket has no Object Lock, which it gets when it is made",
        key);
}

/* The whole object in one request. */
static fx_code
put_at_once(fx_s3 *s3, const fx_s3_put *put, fx_mono deadline, fx_err *err)
{
    fx_remote_answer answer;
    const fx_s3_pair *create_only = &s3->address.dialect->create_only;
    fx_s3_ask ask = {
        .method = "PUT", .key = put->key, .body = put->body, .is_change = true, .what = "store"};
    fx_s3_add_object_headers(s3, put, &ask);
    fx_s3_add_header(&ask, create_only->name, create_only->value);
    fx_code code = fx_s3_send(s3, &ask, deadline, NULL, &answer, err);
    if (code != FX_OK && err->outcome != FX_CLASS_UNKNOWN) {
        return code;
    }
    if (code == FX_OK && lacks_lock(put, &answer)) {
        return no_lock(put->key, err);
    }
    fx_err refusal = *err;
    if (code == FX_OK) {
        code = fx_s3_judge(s3, &ask, &answer, &refusal);
        if (code != FX_ERR_EXISTS || !answer.maybe_done) {
            *err = code == FX_OK ? *err : refusal;
            return code;
        }
    }
    /* It may be there by an attempt that was not answered. */
    fx_code settled = fx_s3_settle(s3, put, deadline, err);
    if (settled == FX_OK || settled == FX_ERR_EXISTS || settled == FX_ERR_DAMAGED) {
        return settled;
    }
    *err = refusal;
    err->outcome = FX_CLASS_UNKNOWN; /* not there yet: it may still come */
    return err->code;
}

/* Where the server would replace: ask first. Two that ask at once can both find nothing. */
static fx_code
check_absent(fx_s3 *s3, const char *key, fx_mono deadline, fx_err *err)
{
    fx_remote_answer answer;
    fx_code code = head(s3, key, "look for", deadline, &answer, err);
    if (code == FX_ERR_NOT_FOUND) {
        return FX_OK;
    }
    return code == FX_OK ? exists(key, err) : code;
}

static fx_code
store_object(
    fx_s3 *s3,
    const char *key,
    fx_bytes body,
    const fx_store_retention *retention,
    fx_mono deadline,
    fx_err *err)
{
    fx_store_finding refuses = FX_STORE_NOT_KNOWN;
    fx_store_finding completes = FX_STORE_NO;
    fx_s3_multipart multipart = s3->address.multipart;
    bool is_large = body.size_bytes > s3->address.part_bytes * 2;
    if (fx_store_check_deadline(deadline, key, err) != FX_OK ||
        fx_s3_puts_conditionally(s3, deadline, &refuses, err) != FX_OK) {
        return err->code;
    }
    if (is_large && multipart == FX_S3_MULTIPART_SAFE &&
        fx_s3_completes_conditionally(s3, deadline, &completes, err) != FX_OK) {
        return err->code;
    }
    bool in_parts =
        is_large && (completes == FX_STORE_YES || multipart == FX_S3_MULTIPART_UNCONDITIONAL);
    bool must_ask = refuses != FX_STORE_YES || (in_parts && completes != FX_STORE_YES);
    if (must_ask && check_absent(s3, key, deadline, err) != FX_OK) {
        return err->code;
    }
    fx_s3_put put = {.key = key, .body = body, .retention = retention};
    if (put.body.data == NULL) {
        put.body.data = "";
    }
    fx_remote_draw_nonce(put.nonce);
    (void)snprintf(
        put.nonce_header,
        sizeof put.nonce_header,
        "%smeta-fortress-put",
        s3->address.dialect->header_prefix);
    if (retention != NULL) {
        format_until(retention->until, put.until);
    }
    return in_parts ? fx_s3_upload(s3, &put, deadline, err) : put_at_once(s3, &put, deadline, err);
}

static fx_code
s3_put(void *state, const char *key, fx_bytes body, fx_mono deadline, fx_err *err)
{
    return store_object(state, key, body, NULL, deadline, err);
}

static fx_code
s3_put_retained(
    void *state,
    const char *key,
    fx_bytes body,
    const fx_store_retention *retention,
    fx_mono deadline,
    fx_err *err)
{
    return store_object(state, key, body, retention, deadline, err);
}

static fx_code
s3_retain(
    void *state,
    const char *key,
    const fx_store_retention *retention,
    fx_mono deadline,
    fx_err *err)
{
    fx_s3 *s3 = state;
    char until[32];
    char body[256];
    fx_remote_answer answer;
    format_until(retention->until, until);
    int length = snprintf(
        body,
        sizeof body,
        "<Retention xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Mode>%s</Mode>"
        "<RetainUntilDate>%s</RetainUntilDate></Retention>",
        retention->is_absolute ? "COMPLIANCE" : "GOVERNANCE",
        until);
    fx_s3_ask ask = {
        .method = "PUT",
        .key = key,
        .body = {body, (size_t)length},
        .is_change = true,
        .what = "retain"};
    fx_s3_add_query(&ask, "retention", "");
    if (fx_s3_send(s3, &ask, deadline, NULL, &answer, err) != FX_OK) {
        return err->code;
    }
    const fx_s3_put put = {.retention = retention};
    return lacks_lock(&put, &answer) ? no_lock(key, err) : fx_s3_judge(s3, &ask, &answer, err);
}

/* NOLINTBEGIN(readability-function-size): a range and a deadline are what a get is */
static fx_code
s3_get(
    void *state,
    const char *key,
    uint64_t offset,
    uint64_t size_bytes,
    fx_mono deadline,
    fx_buf *out,
    fx_err *err)
{
    fx_s3 *s3 = state;
    char range[64];
    fx_remote_answer answer;
    size_t begin_bytes = out->size_bytes;
    fx_s3_ask ask = {.method = "GET", .key = key, .what = "read"};
    uint64_t last = offset > UINT64_MAX - size_bytes ? UINT64_MAX : offset + size_bytes;
    last -= last > 0 ? 1 : 0;
    /* No object is as long as 2^62; some servers read no longer numbers. */
    const uint64_t furthest = (UINT64_C(1) << 62) - 1;
    (void)snprintf(
        range,
        sizeof range,
        "bytes=%" PRIu64 "-%" PRIu64,
        offset > furthest ? furthest : offset,
        last > furthest ? furthest : last);
    if (size_bytes > 0) {
        fx_s3_add_header(&ask, "range", range);
    } else {
        ask.method = "HEAD"; /* whether it is there */
    }
    if (fx_s3_send(s3, &ask, deadline, out, &answer, err) != FX_OK) {
        return err->code;
    }
    if (answer.status == 416) {
        return FX_OK; /* it ends before */
    }
    if (answer.status == 200 && size_bytes > 0 &&
        (offset > 0 || out->size_bytes - begin_bytes > size_bytes)) {
        out->size_bytes = begin_bytes;
        return fx_fail(
            err,
            FX_ERR_UNSUPPORTED,
            "could not read a part of \"%s\": the server ignores ranges",
            key);
    }
    return fx_s3_judge(s3, &ask, &answer, err);
}
/* NOLINTEND(readability-function-size) */

static fx_code
s3_stat(void *state, const char *key, fx_mono deadline, uint64_t *out_size_bytes, fx_err *err)
{
    fx_remote_answer answer;
    if (head(state, key, "look at", deadline, &answer, err) != FX_OK) {
        return err->code;
    }
    if (!answer.has_content_bytes) {
        return fx_fail(err, FX_ERR_DAMAGED, "could not look at \"%s\": its size is not told", key);
    }
    *out_size_bytes = answer.content_bytes;
    return FX_OK;
}

typedef struct page {
    const fx_s3 *s3;
    fx_store_visit visit; /* or visit_time */
    fx_store_visit_time visit_time;
    void *ctx;
    char key[1100];
    uint64_t size_bytes;
    bool has_size;
    fx_wall stored; /* 0: not told */
    bool goes_on;
    char token[TOKEN_MAX_BYTES];
    char last[FX_STORE_KEY_MAX_BYTES + 1]; /* over all pages */
} page;

/* Every list of a server that we can use is in the order of bytes: who reads it relies on that. */
static fx_code
visit_one(page *p, fx_err *err)
{
    size_t prefix_bytes = strlen(p->s3->address.prefix);
    const char *key = p->key + prefix_bytes;
    if (strncmp(p->key, p->s3->address.prefix, prefix_bytes) != 0 || !fx_store_is_key(key)) {
        return FX_OK; /* none of ours */
    }
    if (!p->has_size || strcmp(p->last, key) >= 0) {
        return fx_fail(
            err,
            FX_ERR_DAMAGED,
            "could not list: the server tells \"%.80s\" %s",
            key,
            p->has_size ? "out of order" : "without a size");
    }
    (void)snprintf(p->last, sizeof p->last, "%s", key);
    if (p->visit_time == NULL) {
        p->visit(p->ctx, key, p->size_bytes);
    } else if (p->stored.ns != 0) {
        p->visit_time(p->ctx, key, p->stored);
    }
    return FX_OK;
}

static fx_code
read_page(void *ctx, const char *path, const char *text, fx_err *err)
{
    page *p = ctx;
    if (strcmp(path, "ListBucketResult/Contents/Key") == 0) {
        (void)snprintf(p->key, sizeof p->key, "%s", text);
    } else if (strcmp(path, "ListBucketResult/Contents/Size") == 0) {
        char *end = NULL;
        p->size_bytes = strtoull(text, &end, 10);
        p->has_size = end != text && *end == '\0';
    } else if (strcmp(path, "ListBucketResult/Contents/LastModified") == 0) {
        fx_err ignored = {0};
        if (fx_wall_parse(text, &p->stored, &ignored) != FX_OK) {
            p->stored = (fx_wall){0};
        }
    } else if (strcmp(path, "ListBucketResult/Contents") == 0) {
        fx_code code = visit_one(p, err);
        p->stored = (fx_wall){0};
        p->has_size = false;
        return code;
    } else if (strcmp(path, "ListBucketResult/IsTruncated") == 0) {
        p->goes_on = strcmp(text, "true") == 0;
    } else if (strcmp(path, "ListBucketResult/NextContinuationToken") == 0) {
        (void)snprintf(p->token, sizeof p->token, "%s", text);
    }
    return FX_OK;
}

static fx_code
list_page(page *p, fx_s3 *s3, const char *prefix, fx_mono deadline, fx_err *err)
{
    char token[TOKEN_MAX_BYTES];
    fx_remote_answer answer;
    FX_BUF_AUTO body;
    fx_buf_init(&body, PAGE_MAX_BYTES);
    fx_s3_ask ask = {.method = "GET", .what = "list"};
    memcpy(token, p->token, sizeof token);
    fx_s3_add_query(&ask, "list-type", "2");
    fx_s3_add_query(&ask, "max-keys", "1000");
    fx_s3_add_query(&ask, "prefix", prefix);
    if (token[0] != '\0') {
        fx_s3_add_query(&ask, "continuation-token", token);
    }
    if (fx_s3_send(s3, &ask, deadline, &body, &answer, err) != FX_OK ||
        fx_s3_judge(s3, &ask, &answer, err) != FX_OK) {
        return err->code;
    }
    p->goes_on = false;
    p->token[0] = '\0';
    if (fx_xml_read(fx_buf_bytes(&body), read_page, p, err) != FX_OK) {
        return fx_err_wrap(err, "listing \"%.100s\"", prefix);
    }
    if (p->goes_on && (p->token[0] == '\0' || strcmp(p->token, token) == 0)) {
        return fx_fail(
            err, FX_ERR_DAMAGED, "could not list: the server says there is more, but not where");
    }
    return FX_OK;
}

/* `p` has what visits. */
static fx_code
list_pages(fx_s3 *s3, const char *prefix, fx_mono deadline, page *p, fx_err *err)
{
    char whole[FX_S3_PREFIX_MAX_BYTES + FX_STORE_KEY_MAX_BYTES + 2];
    p->s3 = s3;
    (void)snprintf(whole, sizeof whole, "%s%s", s3->address.prefix, prefix);
    fx_code code = FX_OK;
    do {
        code = list_page(p, s3, whole, deadline, err);
    } while (code == FX_OK && p->goes_on);
    return code;
}

static fx_code
s3_list(
    void *state, const char *prefix, fx_mono deadline, fx_store_visit visit, void *ctx, fx_err *err)
{
    page *p = calloc(1, sizeof *p);
    FX_ASSERT(p != NULL);
    p->visit = visit;
    p->ctx = ctx;
    fx_code code = list_pages(state, prefix, deadline, p, err);
    free(p);
    return code;
}

static fx_code
s3_list_times(
    void *state,
    const char *prefix,
    fx_mono deadline,
    fx_store_visit_time visit,
    void *ctx,
    fx_err *err)
{
    page *p = calloc(1, sizeof *p);
    FX_ASSERT(p != NULL);
    p->visit_time = visit;
    p->ctx = ctx;
    fx_code code = list_pages(state, prefix, deadline, p, err);
    free(p);
    return code;
}

/* A server answers the removal of nothing like one of something. */
static fx_code
s3_remove(void *state, const char *key, fx_mono deadline, fx_err *err)
{
    fx_s3 *s3 = state;
    fx_remote_answer answer;
    if (head(s3, key, "remove", deadline, &answer, err) != FX_OK) {
        return err->code;
    }
    fx_s3_ask ask = {.method = "DELETE", .key = key, .is_change = true, .what = "remove"};
    if (fx_s3_send(s3, &ask, deadline, NULL, &answer, err) != FX_OK) {
        return err->code;
    }
    fx_code code = fx_s3_judge(s3, &ask, &answer, err);
    return code == FX_ERR_NOT_FOUND && answer.maybe_done ? FX_OK : code;
}

static unsigned
s3_abilities(const void *state)
{
    const fx_s3 *s3 = state;
    unsigned always = FX_STORE_TELLS_TIMES;
    return always | (s3->address.dialect->has_object_lock ? (unsigned)FX_STORE_CAN_RETAIN : 0U);
}

const fx_store_driver fx_store_driver_s3 = {
    .name = "s3",
    .state_bytes = sizeof(fx_s3),
    .open = s3_open,
    .close = s3_close,
    .prepare = s3_prepare,
    .put = s3_put,
    .get = s3_get,
    .stat = s3_stat,
    .list = s3_list,
    .remove = s3_remove,
    .examine = fx_s3_examine,
    .abilities = s3_abilities,
    .list_times = s3_list_times,
    .put_retained = s3_put_retained,
    .retain = s3_retain,
};
