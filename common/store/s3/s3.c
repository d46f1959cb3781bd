/*
 * Buckets of Amazon S3, Google Cloud Storage and servers that speak S3's language:
 * "s3:https://HOST/ BUCKET/PREFIX", "s3://BUCKET/PREFIX". An object is created by one conditional
 * request, or in parts whose last request is conditional, so that nothing is ever replaced.
 */
#include "common/store/s3/s3.h"

#include <stdio.h>
#include <string.h>

#include "common/base/clock.h"

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
    s3->objects = (fx_objects){
        .service = &fx_s3_service,
        .container = s3->address.bucket,
        .base_path = s3->address.base_path,
        .prefix = s3->address.prefix,
        .remote = fx_remote_new(variable("AWS_CA_BUNDLE"))};
    return FX_OK;
}

static void
s3_close(void *state)
{
    fx_s3 *s3 = state;
    fx_remote_free(s3->objects.remote);
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
    const fx_objects_ask ask = {
        .method = "PUT",
        .body = {location, strlen(location)},
        .is_change = true,
        .what = "create the bucket"};
    if (fx_objects_send(&s3->objects, &ask, deadline, NULL, &answer, err) != FX_OK) {
        return err->code;
    }
    return strcmp(answer.code, "BucketAlreadyOwnedByYou") == 0
               ? FX_OK
               : fx_objects_judge(&s3->objects, &ask, &answer, err);
}

/* A key that may not list may still put: only what says that nothing can work is an error. */
static fx_code
s3_prepare(void *state, fx_err *err)
{
    fx_s3 *s3 = state;
    fx_mono deadline = fx_mono_after(fx_clock_mono(), FX_DUR_MS(60000));
    fx_remote_answer answer;
    fx_code code = fx_objects_try_list(&s3->objects, "open the bucket", deadline, &answer, err);
    if (code == FX_ERR_DENIED && strcmp(answer.code, "AccessDenied") == 0) {
        return FX_OK;
    }
    return code == FX_ERR_NOT_FOUND ? make_bucket(s3, deadline, err) : code;
}

void
fx_s3_add_object_headers(const fx_s3_put *put, fx_objects_ask *ask)
{
    fx_objects_add_header(ask, put->nonce_header, put->object.nonce);
    if (put->retention != NULL) {
        fx_objects_add_header(
            ask,
            "x-amz-object-lock-mode",
            put->retention->is_absolute ? "COMPLIANCE" : "GOVERNANCE");
        fx_objects_add_header(ask, "x-amz-object-lock-retain-until-date", put->until);
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
lacks_lock(const fx_store_retention *retention, const fx_remote_answer *answer)
{
    return retention != NULL && answer->status == 400 &&
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
    const fx_remote_pair *create_only = &s3->address.dialect->create_only;
    fx_objects_ask ask = {
        .method = "PUT",
        .key = put->object.key,
        .body = put->object.body,
        .is_change = true,
        .what = "store"};
    fx_s3_add_object_headers(put, &ask);
    fx_objects_add_header(&ask, create_only->name, create_only->value);
    fx_code code = fx_objects_create(&s3->objects, &put->object, &ask, deadline, &answer, err);
    return code != FX_OK && lacks_lock(put->retention, &answer) ? no_lock(put->object.key, err)
                                                                : code;
}

/* Where the server would replace: ask first. Two that ask at once can both find nothing. */
static fx_code
check_absent(fx_s3 *s3, const char *key, fx_mono deadline, fx_err *err)
{
    fx_remote_answer answer;
    fx_code code = fx_objects_head(&s3->objects, key, "look for", deadline, &answer, err);
    if (code == FX_ERR_NOT_FOUND) {
        return FX_OK;
    }
    return code == FX_OK
               ? fx_fail(err, FX_ERR_EXISTS, "could not store \"%s\": it exists already", key)
               : code;
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
    fx_s3_put put = {.object = {.key = key, .body = body}, .retention = retention};
    if (body.data == NULL) {
        put.object.body.data = "";
    }
    fx_remote_draw_nonce(put.object.nonce);
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
    fx_objects_ask ask = {
        .method = "PUT",
        .key = key,
        .body = {body, (size_t)length},
        .is_change = true,
        .what = "retain"};
    fx_objects_add_query(&ask, "retention", "");
    if (fx_objects_send(&s3->objects, &ask, deadline, NULL, &answer, err) != FX_OK) {
        return err->code;
    }
    return lacks_lock(retention, &answer) ? no_lock(key, err)
                                          : fx_objects_judge(&s3->objects, &ask, &answer, err);
}

/* A server answers the removal of nothing like one of something. */
static fx_code
s3_remove(void *state, const char *key, fx_mono deadline, fx_err *err)
{
    fx_remote_answer answer;
    return fx_objects_head(state, key, "remove", deadline, &answer, err) == FX_OK
               ? fx_objects_remove(state, key, deadline, err)
               : err->code;
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
    .get = fx_objects_get,
    .stat = fx_objects_stat,
    .list = fx_objects_list,
    .remove = s3_remove,
    .examine = fx_s3_examine,
    .abilities = s3_abilities,
    .list_times = fx_objects_list_times,
    .put_retained = s3_put_retained,
    .retain = s3_retain,
};
