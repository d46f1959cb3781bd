/* One question to an S3 server, signed for each attempt, and what its refusals mean. */
#include <stdio.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/hex.h"
#include "common/crypto/digest.h"
#include "common/store/s3/s3.h"
#include "common/xml/xml.h"

enum { DIGEST_HEX_BYTES = 65, DIGEST_TEXT_BYTES = 48 };

/* What is the same for all attempts. */
typedef struct sending {
    const fx_s3 *s3;
    const fx_objects_ask *ask;
    char path[FX_OBJECTS_PATH_BYTES];
    fx_buf query;
    char digest_hex[DIGEST_HEX_BYTES];
    char digest_text[DIGEST_TEXT_BYTES]; /* base64 of what the dialect wants; "": none */
} sending;

static fx_code
encode_digest(fx_bytes digest, char out_text[DIGEST_TEXT_BYTES], fx_err *err)
{
    FX_BUF_AUTO text;
    fx_buf_init(&text, DIGEST_TEXT_BYTES - 1);
    if (fx_base64_encode(digest, &text, err) != FX_OK) {
        return err->code;
    }
    (void)snprintf(out_text, DIGEST_TEXT_BYTES, "%s", fx_buf_text(&text));
    return FX_OK;
}

static fx_code
prepare_digests(sending *to, fx_err *err)
{
    unsigned char digest[FX_SHA256_BYTES];
    unsigned char md5[FX_MD5_BYTES];
    fx_bytes body = to->ask->body;
    if (body.data == NULL) {
        body.data = "";
    }
    fx_sha256(body, digest);
    fx_hex_encode((fx_bytes){digest, sizeof digest}, to->digest_hex);
    if (strcmp(to->ask->method, "PUT") != 0 && to->ask->body.size_bytes == 0) {
        return FX_OK;
    }
    if (to->s3->address.dialect->digest_header != NULL) {
        return encode_digest((fx_bytes){digest, sizeof digest}, to->digest_text, err);
    }
    return fx_md5(body, md5) ? encode_digest((fx_bytes){md5, sizeof md5}, to->digest_text, err)
                             : FX_OK;
}

static void
sign_header(fx_s3_to_sign *what, const char *name, const char *value)
{
    FX_ASSERT(what->header_count < FX_S3_SIGNED_HEADER_MAX);
    what->headers[what->header_count++] = (fx_remote_pair){.name = name, .value = value};
}

/* Names of the dialect's headers, with its prefix. */
typedef struct own_names {
    char date[32], digest[40], token[40];
} own_names;

static void
collect_headers(const sending *from, const own_names *names, const char *time, fx_s3_to_sign *what)
{
    const fx_s3_dialect *dialect = from->s3->address.dialect;
    const fx_secret *token = from->s3->credentials.values[2];
    sign_header(what, "host", from->s3->address.host);
    sign_header(what, names->date, time);
    sign_header(what, names->digest, from->digest_hex);
    if (token != NULL) {
        sign_header(what, names->token, (const char *)token->data);
    }
    if (from->digest_text[0] != '\0') {
        const char *name = dialect->digest_header;
        sign_header(what, name == NULL ? "content-md5" : name, from->digest_text);
    }
    if (from->ask->body.size_bytes > 0 || strcmp(from->ask->method, "PUT") == 0) {
        sign_header(what, "content-type", "application/octet-stream");
    }
    for (size_t i = 0; i < from->ask->header_count; i++) {
        sign_header(what, from->ask->headers[i].name, from->ask->headers[i].value);
    }
}

static fx_code
build(void *ctx, fx_wall now, fx_remote_request *to, fx_err *err)
{
    const sending *from = ctx;
    const fx_s3 *s3 = from->s3;
    const fx_s3_address *address = &s3->address;
    char time[FX_S3_TIME_BYTES];
    own_names names;
    fx_s3_time_format(now, time);
    (void)snprintf(names.date, sizeof names.date, "%sdate", address->dialect->header_prefix);
    (void)snprintf(
        names.digest, sizeof names.digest, "%scontent-sha256", address->dialect->header_prefix);
    (void)snprintf(
        names.token, sizeof names.token, "%ssecurity-token", address->dialect->header_prefix);
    fx_s3_to_sign what = {
        .method = from->ask->method,
        .path = from->path,
        .query = fx_buf_text(&from->query),
        .payload_digest = from->digest_hex};
    collect_headers(from, &names, time, &what);
    const fx_s3_signer signer = {
        .signing = &address->dialect->signing,
        .access_key = (const char *)s3->credentials.values[0]->data,
        .secret_key = s3->credentials.values[1],
        .region = address->region};
    FX_BUF_AUTO authorization;
    fx_buf_init(&authorization, 4096);
    if (fx_s3_sign(&signer, &what, time, &authorization, err) != FX_OK) {
        return err->code;
    }
    to->method = from->ask->method;
    to->body = from->ask->body;
    int length = snprintf(
        to->url,
        sizeof to->url,
        "%s://%s%s%s%s",
        address->scheme,
        address->host,
        from->path,
        from->query.size_bytes > 0 ? "?" : "",
        fx_buf_text(&from->query));
    if (length >= (int)sizeof to->url) {
        return fx_fail(err, FX_ERR_LIMIT, "could not ask for an address of %d bytes", length);
    }
    fx_remote_add_header(to, "Authorization: %s", fx_buf_text(&authorization));
    for (size_t i = 1; i < what.header_count; i++) { /* libcurl sends the host */
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
    sending sent = {.s3 = (const fx_s3 *)objects, .ask = ask};
    FX_BUF_AUTO query;
    fx_buf_init(&query, FX_REMOTE_URL_MAX_BYTES);
    fx_remote_pair pairs[FX_REMOTE_PAIR_MAX];
    memcpy(pairs, ask->query, sizeof pairs);
    if (fx_s3_build_query(pairs, ask->query_count, &query, err) != FX_OK ||
        prepare_digests(&sent, err) != FX_OK) {
        return err->code;
    }
    sent.query = query; /* borrowed: freed once, here */
    fx_objects_write_path(objects, ask, sent.path);
    fx_remote_call call = fx_objects_call(objects, ask, body);
    call.build = build;
    call.ctx = &sent;
    return fx_remote_ask(objects->remote, &call, deadline, out_answer, err);
}

static const fx_remote_meaning meanings[] = {
    {"InvalidAccessKeyId",
     0,
     FX_ERR_DENIED,
     "wrong credentials: the server does not know this access key"},
    {"SignatureDoesNotMatch",
     0,
     FX_ERR_DENIED,
     "wrong credentials: the secret key is not this access key's"},
    {"InvalidSecurity", 0, FX_ERR_DENIED, "wrong credentials"},
    {"InvalidToken", 0, FX_ERR_DENIED, "wrong credentials: the session token is malformed"},
    {"ExpiredToken", 0, FX_ERR_DENIED, "wrong credentials: the session token has expired"},
    {"RequestTimeTooSkewed",
     0,
     FX_ERR_DENIED,
     "the clocks differ too much; set this host's clock (NTP)"},
    {"RequestExpired", 0, FX_ERR_DENIED, "the clocks differ too much; set this host's clock (NTP)"},
    {"AuthorizationHeaderMalformed", 0, FX_ERR_INVALID, "wrong region"},
    {"PermanentRedirect", 0, FX_ERR_INVALID, "wrong region or address"},
    {"IllegalLocationConstraintException", 0, FX_ERR_INVALID, "wrong region"},
    {"InvalidLocationConstraint", 0, FX_ERR_INVALID, "wrong region"},
    {"InvalidRegionName", 0, FX_ERR_INVALID, "wrong region"},
    {"NoSuchBucket", 0, FX_ERR_NOT_FOUND, "there is no such bucket"},
    {"NoSuchKey", 0, FX_ERR_NOT_FOUND, "there is no such object"},
    {"PreconditionFailed", 0, FX_ERR_EXISTS, "it exists already"},
    {"QuotaExceeded", 0, FX_ERR_NO_SPACE, "the quota is used up"},
    {"InsufficientCapacity", 0, FX_ERR_NO_SPACE, "the store is full"},
    {"XMinioStorageFull", 0, FX_ERR_NO_SPACE, "the store is full"},
    {"EntityTooLarge", 0, FX_ERR_LIMIT, "it is too large for this server"},
    {"NotImplemented", 0, FX_ERR_UNSUPPORTED, "the server does not offer this"},
    {"AccessDenied", 0, FX_ERR_DENIED, "these credentials may not do this here"},
    {"AllAccessDisabled", 0, FX_ERR_DENIED, "the bucket is closed"},
    {"", 301, FX_ERR_INVALID, "wrong region or address"},
    {"",
     400,
     FX_ERR_INVALID,
     "the server refuses the request, as it does in a wrong region or for wrong credentials"},
    {"", 401, FX_ERR_DENIED, "wrong credentials"},
    {"", 403, FX_ERR_DENIED, "wrong credentials, or these may not do this here"},
    {"", 404, FX_ERR_NOT_FOUND, "it is not there"},
    {"", 412, FX_ERR_EXISTS, "it exists already"},
    {"", 501, FX_ERR_UNSUPPORTED, "the server does not offer this"},
    {"", 507, FX_ERR_NO_SPACE, "the store is full"},
};

/* A wrong region looks like many things. */
static void
hint_region(
    const fx_objects *objects, const fx_remote_answer *answer, char out_hint[FX_OBJECTS_HINT_BYTES])
{
    const fx_s3 *s3 = (const fx_s3 *)objects;
    if (answer->region[0] != '\0' && strcmp(answer->region, s3->address.region) != 0) {
        (void)snprintf(
            out_hint,
            FX_OBJECTS_HINT_BYTES,
            "; the server names %s, not %s: set AWS_REGION or ?region=",
            answer->region,
            s3->address.region);
    }
}

static fx_wall
read_time(const char *text)
{
    fx_wall when = {0};
    fx_err ignored = {0};
    return fx_wall_parse(text, &when, &ignored) == FX_OK ? when : (fx_wall){0};
}

const fx_objects_service fx_s3_service = {
    .send = send,
    .meanings = meanings,
    .meaning_count = sizeof meanings / sizeof meanings[0],
    .hint = hint_region,
    .range_header = "range",
    .list =
        {.fixed = {{"list-type", "2"}},
         .fixed_count = 1,
         .count_parameter = "max-keys",
         .token_parameter = "continuation-token",
         .item = "ListBucketResult/Contents",
         .key = "ListBucketResult/Contents/Key",
         .size = "ListBucketResult/Contents/Size",
         .time = "ListBucketResult/Contents/LastModified",
         .token = "ListBucketResult/NextContinuationToken",
         .more = "ListBucketResult/IsTruncated"},
    .read_time = read_time,
};

typedef struct search {
    const char *path;
    char *out_text;
    size_t room_bytes;
    bool is_found;
} search;

static fx_code
match(void *ctx, const char *path, const char *text, fx_err *err)
{
    (void)err;
    search *s = ctx;
    if (strcmp(path, s->path) == 0 && strlen(text) < s->room_bytes) {
        memcpy(s->out_text, text, strlen(text) + 1);
        s->is_found = true;
    }
    return FX_OK;
}

/* NOLINTBEGIN(readability-non-const-parameter): what is found is written through it */
bool
fx_s3_find_text(const fx_buf *body, const char *path, char *out_text, size_t room_bytes)
{
    fx_err ignored;
    search s = {.path = path, .out_text = out_text, .room_bytes = room_bytes};
    return fx_xml_read(fx_buf_bytes(body), match, &s, &ignored) == FX_OK && s.is_found;
}
/* NOLINTEND(readability-non-const-parameter) */
