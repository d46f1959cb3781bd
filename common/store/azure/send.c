/* One question to the blob service, signed for each attempt, and what its refusals mean. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "common/crypto/digest.h"
#include "common/http/http.h"
#include "common/store/azure/azure.h"

static const char version[] = "2021-08-06"; /* of the protocol: whole blobs of up to 5000 MiB */

enum { DIGEST_TEXT_BYTES = 32 };

typedef struct sending {
    const fx_azure *azure;
    const fx_objects_ask *ask;
    char path[FX_OBJECTS_PATH_BYTES];
    char md5_text[DIGEST_TEXT_BYTES]; /* base64; "": none */
} sending;

static fx_code
prepare_md5(sending *to, fx_err *err)
{
    unsigned char digest[FX_MD5_BYTES];
    FX_BUF_AUTO text;
    fx_buf_init(&text, DIGEST_TEXT_BYTES - 1);
    if (to->ask->body.size_bytes == 0 || !fx_md5(to->ask->body, digest)) {
        return FX_OK;
    }
    if (fx_base64_encode((fx_bytes){digest, sizeof digest}, &text, err) != FX_OK) {
        return err->code;
    }
    (void)snprintf(to->md5_text, sizeof to->md5_text, "%s", fx_buf_text(&text));
    return FX_OK;
}

static fx_code
append_query(const fx_objects_ask *ask, const fx_secret *sas_token, fx_buf *out, fx_err *err)
{
    fx_code code = FX_OK;
    for (size_t i = 0; code == FX_OK && i < ask->query_count; i++) {
        code = fx_buf_append_format(out, err, "%s%s=", i > 0 ? "&" : "?", ask->query[i].name);
        if (code == FX_OK) {
            code = fx_http_escape(ask->query[i].value, out, err);
        }
    }
    if (code == FX_OK && sas_token != NULL) {
        code = fx_buf_append_format(
            out, err, "%s%s", ask->query_count > 0 ? "&" : "?", (const char *)sas_token->data);
    }
    return code;
}

static void
add(fx_azure_to_sign *what, const char *name, const char *value)
{
    FX_ASSERT(what->header_count < FX_REMOTE_PAIR_MAX);
    what->headers[what->header_count++] = (fx_remote_pair){.name = name, .value = value};
}

static fx_code
build_url(const sending *from, fx_remote_request *to, fx_err *err)
{
    const fx_azure_address *address = &from->azure->address;
    FX_BUF_AUTO url;
    fx_buf_init(&url, sizeof to->url - 1);
    if (fx_buf_append_format(&url, err, "%s://%s%s", address->scheme, address->host, from->path) !=
            FX_OK ||
        append_query(
            from->ask, from->azure->key == NULL ? from->azure->sas_token : NULL, &url, err) !=
            FX_OK) {
        return err->code;
    }
    memcpy(to->url, fx_buf_text(&url), url.size_bytes + 1);
    fx_wipe(url.data, url.size_bytes);
    return FX_OK;
}

static fx_code
build(void *ctx, fx_wall now, fx_remote_request *to, fx_err *err)
{
    const sending *from = ctx;
    const fx_objects_ask *ask = from->ask;
    char time[FX_AZURE_TIME_BYTES];
    fx_azure_time_format(now, time);
    fx_azure_to_sign what = {
        .method = ask->method,
        .account = from->azure->address.account,
        .path = from->path,
        .query_count = ask->query_count,
        .content_bytes = ask->body.size_bytes};
    memcpy(what.query, ask->query, sizeof what.query);
    add(&what, "x-ms-date", time);
    add(&what, "x-ms-version", version);
    if (from->md5_text[0] != '\0') {
        add(&what, "content-md5", from->md5_text);
    }
    if (strcmp(ask->method, "PUT") == 0) {
        add(&what, "content-type", "application/octet-stream");
    }
    for (size_t i = 0; i < ask->header_count; i++) {
        add(&what, ask->headers[i].name, ask->headers[i].value);
    }
    to->method = ask->method;
    to->body = ask->body;
    if (build_url(from, to, err) != FX_OK) {
        return err->code;
    }
    if (from->azure->key != NULL) {
        FX_BUF_AUTO authorization;
        fx_buf_init(&authorization, 256);
        if (fx_azure_sign(from->azure->key, &what, &authorization, err) != FX_OK) {
            return err->code;
        }
        fx_remote_add_header(to, "Authorization: %s", fx_buf_text(&authorization));
    }
    for (size_t i = 0; i < what.header_count; i++) {
        fx_remote_add_header(to, "%s: %s", what.headers[i].name, what.headers[i].value);
    }
    return FX_OK;
}

static fx_code
send(
    fx_objects *objects,
    const fx_objects_ask *ask,
    fx_mono deadline,
    fx_buf *body,
    fx_remote_answer *out_answer,
    fx_err *err)
{
    sending sent = {.azure = (const fx_azure *)objects, .ask = ask};
    if (prepare_md5(&sent, err) != FX_OK) {
        return err->code;
    }
    fx_objects_write_path(objects, ask, sent.path);
    fx_remote_call call = fx_objects_call(objects, ask, body);
    call.build = build;
    call.ctx = &sent;
    return fx_remote_ask(objects->remote, &call, deadline, out_answer, err);
}

/* source: learn.microsoft.com/rest/api/storageservices/blob-service-error-codes */
static const fx_remote_meaning meanings[] = {
    {"AuthenticationFailed",
     0,
     FX_ERR_DENIED,
     "wrong credentials: the key is not the account's, or the token is wrong or has expired"},
    {"AuthorizationFailure", 0, FX_ERR_DENIED, "these credentials may not do this here"},
    {"AuthorizationPermissionMismatch", 0, FX_ERR_DENIED, "these credentials may not do this here"},
    {"AuthorizationResourceTypeMismatch",
     0,
     FX_ERR_DENIED,
     "these credentials may not do this here"},
    {"AuthorizationServiceMismatch", 0, FX_ERR_DENIED, "these credentials may not do this here"},
    {"InsufficientAccountPermissions", 0, FX_ERR_DENIED, "these credentials may not do this here"},
    {"InvalidAuthenticationInfo", 0, FX_ERR_DENIED, "wrong credentials"},
    {"AccountIsDisabled", 0, FX_ERR_DENIED, "the account is disabled"},
    {"BlobImmutableDueToPolicy", 0, FX_ERR_DENIED, "it is retained"},
    {"ContainerNotFound", 0, FX_ERR_NOT_FOUND, "there is no such container"},
    {"BlobNotFound", 0, FX_ERR_NOT_FOUND, "there is no such blob"},
    {"ResourceNotFound", 0, FX_ERR_NOT_FOUND, "it is not there"},
    {"BlobAlreadyExists", 0, FX_ERR_EXISTS, "it exists already"},
    {"ContainerAlreadyExists", 0, FX_ERR_EXISTS, "it exists already"},
    {"ConditionNotMet", 0, FX_ERR_EXISTS, "it exists already"},
    {"UnauthorizedBlobOverwrite", 0, FX_ERR_EXISTS, "it exists already"},
    {"InvalidBlockList", 0, FX_ERR_CONFLICT, "another upload of it has ended"},
    {"ContainerBeingDeleted", 0, FX_ERR_CONFLICT, "the container is being deleted"},
    {"RequestBodyTooLarge", 0, FX_ERR_LIMIT, "it is too large for the service"},
    {"AccountLimitExceeded", 0, FX_ERR_NO_SPACE, "the account is full"},
    {"", 400, FX_ERR_INVALID, "the service refuses the request"},
    {"", 401, FX_ERR_DENIED, "wrong credentials"},
    {"", 403, FX_ERR_DENIED, "wrong credentials, or these may not do this here"},
    {"", 404, FX_ERR_NOT_FOUND, "it is not there"},
    {"", 409, FX_ERR_CONFLICT, "it is being changed"},
    {"", 412, FX_ERR_EXISTS, "it exists already"},
    {"", 501, FX_ERR_UNSUPPORTED, "the service does not offer this"},
    {"", 507, FX_ERR_NO_SPACE, "the store is full"},
};

/* "Mon, 23 Nov 2026 10:11:12 GMT". source: RFC 9110 section 5.6.7 */
static fx_wall
read_date(const char *text)
{
    struct tm parts = {0};
    fx_wall when = {0};
    const char *rest = strptime(text, "%a, %d %b %Y %H:%M:%S GMT", &parts);
    return rest == NULL || *rest != '\0' || !fx_wall_of_seconds((int64_t)timegm(&parts), &when)
               ? (fx_wall){0}
               : when;
}

const fx_objects_service fx_azure_service = {
    .send = send,
    .meanings = meanings,
    .meaning_count = sizeof meanings / sizeof meanings[0],
    .range_header = "x-ms-range",
    .list =
        {.fixed = {{"restype", "container"}, {"comp", "list"}},
         .fixed_count = 2,
         .count_parameter = "maxresults",
         .token_parameter = "marker",
         .item = "EnumerationResults/Blobs/Blob",
         .key = "EnumerationResults/Blobs/Blob/Name",
         .size = "EnumerationResults/Blobs/Blob/Properties/Content-Length",
         .time = "EnumerationResults/Blobs/Blob/Properties/Last-Modified",
         .token = "EnumerationResults/NextMarker"},
    .read_time = read_date,
};
