#include "common/http/http.h"

#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include <curl/curl.h>

#include "common/base/clock.h"

enum { CLIENT_MAGIC = 0x477c11e4 };

struct fx_http_client {
    uint32_t magic;
    CURL *curl;
    char *ca_file;
    char *certificate_file;
    char *key_file;
};

typedef struct call {
    CURL *curl;
    const fx_http_request *request;
    fx_bytes unsent;
    fx_buf *body;
    fx_err *err;
    fx_http_response *response;
    bool body_failed;
} call;

static pthread_once_t begun = PTHREAD_ONCE_INIT;

static void
begin_library(void)
{
    CURLcode result = curl_global_init(CURL_GLOBAL_DEFAULT);
    FX_ASSERT(result == CURLE_OK);
}

static char *
copy_text(const char *text)
{
    if (text == NULL) {
        return NULL;
    }
    char *copy = strdup(text);
    FX_ASSERT(copy != NULL);
    return copy;
}

fx_http_client *
fx_http_client_new(const fx_http_tls *tls)
{
    (void)pthread_once(&begun, begin_library);
    fx_http_client *client = calloc(1, sizeof *client);
    FX_ASSERT(client != NULL);
    client->magic = CLIENT_MAGIC;
    client->curl = curl_easy_init();
    FX_ASSERT(client->curl != NULL);
    if (tls != NULL) {
        client->ca_file = copy_text(tls->ca_file);
        client->certificate_file = copy_text(tls->certificate_file);
        client->key_file = copy_text(tls->key_file);
    }
    return client;
}

void
fx_http_client_free(fx_http_client *client)
{
    if (client == NULL) {
        return;
    }
    FX_ASSERT(client->magic == CLIENT_MAGIC);
    curl_easy_cleanup(client->curl);
    free(client->ca_file);
    free(client->certificate_file);
    free(client->key_file);
    client->magic = 0;
    free(client);
}

/* libcurl refuses an option only for exhaustion or a build without it: both are fatal here. */
static void
must(CURLcode result)
{
    FX_ASSERT(result == CURLE_OK);
}

static size_t
on_body(char *data, size_t size, size_t count, void *ctx)
{
    call *now = ctx;
    size_t size_bytes = size * count;
    long status = 0;
    must(curl_easy_getinfo(now->curl, CURLINFO_RESPONSE_CODE, &status));
    fx_buf *refusal = now->request->refusal_body;
    if (fx_buf_append(
            status >= 300 && refusal != NULL ? refusal : now->body, data, size_bytes, now->err) !=
        FX_OK) {
        now->body_failed = true;
        return 0;
    }
    return size_bytes;
}

/* The value of header `name` in the line, cut to the room; false if it is another header. */
static bool
take_header(const char *line, size_t length, const char *name, char *out_value, size_t room_bytes)
{
    size_t name_bytes = strlen(name);
    if (length <= name_bytes || strncasecmp(line, name, name_bytes) != 0 ||
        line[name_bytes] != ':') {
        return false;
    }
    const char *value = line + name_bytes + 1;
    const char *end = line + length;
    while (value < end && (*value == ' ' || *value == '\t')) {
        value++;
    }
    while (end > value && (end[-1] == '\r' || end[-1] == '\n' || end[-1] == ' ')) {
        end--;
    }
    size_t value_bytes = (size_t)(end - value);
    if (value_bytes >= room_bytes) {
        value_bytes = room_bytes - 1;
    }
    memcpy(out_value, value, value_bytes);
    out_value[value_bytes] = '\0';
    return true;
}

enum { HEADER_NAME_MAX_BYTES = 64, HEADER_VALUE_MAX_BYTES = 1024 };

/* The line as a name and a value, for whoever asked for all of them. */
static void
tell_header(const call *now, const char *line, size_t length)
{
    char name[HEADER_NAME_MAX_BYTES];
    char value[HEADER_VALUE_MAX_BYTES];
    const char *colon = memchr(line, ':', length);
    size_t name_bytes = colon == NULL ? 0 : (size_t)(colon - line);
    if (now->request->on_header == NULL || name_bytes == 0 || name_bytes >= sizeof name) {
        return;
    }
    memcpy(name, line, name_bytes);
    name[name_bytes] = '\0';
    if (take_header(line, length, name, value, sizeof value)) {
        now->request->on_header(now->request->header_ctx, name, value);
    }
}

static size_t
on_header(char *line, size_t size, size_t count, void *ctx)
{
    call *now = ctx;
    fx_http_response *response = now->response;
    size_t length = size * count;
    char number[24];
    tell_header(now, line, length);
    if (take_header(line, length, "Retry-After", number, sizeof number)) {
        char *end = NULL;
        long seconds = strtol(number, &end, 10);
        response->retry_after_s = *end == '\0' && seconds >= 0 ? seconds : -1;
        return length;
    }
    if (!take_header(
            line, length, "Content-Type", response->content_type, sizeof response->content_type)) {
        (void)take_header(line, length, "Location", response->location, sizeof response->location);
    }
    return length;
}

#define SET(curl, option, value) must(curl_easy_setopt((curl), (option), (value)))

static long
left_ms(fx_mono deadline)
{
    int64_t left = fx_dur_ms(fx_mono_since(deadline, fx_clock_mono()));
    return left > 0 ? (long)left : 1;
}

static void
set_tls(const fx_http_client *client)
{
    CURL *curl = client->curl;
    SET(curl, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    if (client->ca_file != NULL) {
        SET(curl, CURLOPT_CAINFO, client->ca_file);
        SET(curl, CURLOPT_CAPATH, NULL); /* ours alone */
    }
    if (client->certificate_file != NULL) {
        SET(curl, CURLOPT_SSLCERT, client->certificate_file);
        SET(curl, CURLOPT_SSLKEY, client->key_file);
    }
}

static size_t
on_send(char *room, size_t size, size_t count, void *ctx)
{
    call *now = ctx;
    size_t room_bytes = size * count;
    size_t give_bytes = now->unsent.size_bytes < room_bytes ? now->unsent.size_bytes : room_bytes;
    if (give_bytes > 0) {
        memcpy(room, now->unsent.data, give_bytes);
        now->unsent.data = (const char *)now->unsent.data + give_bytes;
        now->unsent.size_bytes -= give_bytes;
    }
    return give_bytes;
}

/*
 * libcurl sends a request again by itself where a connection that was kept open ends before any
 * byte of the answer: the server may have acted by then. A body that comes from a function without
 * a seek function cannot be rewound, so that fails; a request without a body gets a connection of
 * its own, on which libcurl never repeats.
 */
static void
set_body(CURL *curl, const fx_http_request *request, call *now)
{
    now->unsent = request->body;
    SET(curl, CURLOPT_POST, 1L);
    SET(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request->body.size_bytes);
    SET(curl, CURLOPT_READFUNCTION, on_send);
    SET(curl, CURLOPT_READDATA, now);
}

static void
set_request(CURL *curl, const fx_http_request *request, struct curl_slist *headers, call *now)
{
    SET(curl, CURLOPT_URL, request->url);
    SET(curl, CURLOPT_HTTPHEADER, headers);
    bool is_safe = strcmp(request->method, "GET") == 0 || strcmp(request->method, "HEAD") == 0;
    if (request->body.size_bytes > 0 || strcmp(request->method, "POST") == 0 ||
        strcmp(request->method, "PUT") == 0) {
        set_body(curl, request, now);
    }
    if (!is_safe && !request->is_repeatable && request->body.size_bytes == 0) {
        SET(curl, CURLOPT_FRESH_CONNECT, 1L);
    }
    if (strcmp(request->method, "HEAD") == 0) {
        SET(curl, CURLOPT_NOBODY, 1L);
    }
    SET(curl, CURLOPT_CUSTOMREQUEST, request->method);
}

static void
set_receivers(CURL *curl, call *now)
{
    SET(curl, CURLOPT_WRITEFUNCTION, on_body);
    SET(curl, CURLOPT_WRITEDATA, now);
    SET(curl, CURLOPT_HEADERFUNCTION, on_header);
    SET(curl, CURLOPT_HEADERDATA, now);
}

static void
set_up(fx_http_client *client, const fx_http_request *request, fx_mono deadline, call *now)
{
    CURL *curl = client->curl;
    curl_easy_reset(curl); /* keeps connections */
    SET(curl, CURLOPT_NOSIGNAL, 1L);
    SET(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    if (!request->use_proxy) {
        SET(curl, CURLOPT_PROXY, ""); /* what is asked for is near, or pinned */
    }
    if (request->stall_max.ns > 0) {
        SET(curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
        SET(curl, CURLOPT_LOW_SPEED_TIME, (long)(fx_dur_ms(request->stall_max) / 1000));
    }
    SET(curl, CURLOPT_TIMEOUT_MS, left_ms(deadline));
    if (request->connect_max.ns > 0) {
        SET(curl, CURLOPT_CONNECTTIMEOUT_MS, (long)fx_dur_ms(request->connect_max));
    }
    set_receivers(curl, now);
    set_tls(client);
}

static struct curl_slist *
build_headers(const fx_http_request *request)
{
    /* libcurl waits a second for "100 Continue" unless told not to ask. */
    struct curl_slist *headers = curl_slist_append(NULL, "Expect:");
    FX_ASSERT(headers != NULL);
    for (size_t i = 0; i < FX_HTTP_HEADER_MAX && request->headers[i] != NULL; i++) {
        headers = curl_slist_append(headers, request->headers[i]);
        FX_ASSERT(headers != NULL);
    }
    return headers;
}

static fx_code
code_of(CURLcode result)
{
    switch (result) {
    case CURLE_URL_MALFORMAT:
    case CURLE_UNSUPPORTED_PROTOCOL:
        return FX_ERR_INVALID;
    case CURLE_OPERATION_TIMEDOUT:
        return FX_ERR_TIMEOUT;
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_SSL_ISSUER_ERROR:
        return FX_ERR_DENIED;
    default:
        return FX_ERR_UNREACHABLE;
    }
}

/* Was anything of the request handed to the connection? Then the other side may have acted. */
static bool
was_sent(CURL *curl)
{
    long size_bytes = 0;
    CURLcode result = curl_easy_getinfo(curl, CURLINFO_REQUEST_SIZE, &size_bytes);
    return result != CURLE_OK || size_bytes > 0;
}

/* How much of an address a message shows: no query, in which a token can be. */
enum { SHOWN_MAX_BYTES = 100 };

static int
shown_bytes(const char *url)
{
    size_t length = strcspn(url, "?");
    return (int)(length < SHOWN_MAX_BYTES ? length : SHOWN_MAX_BYTES);
}

static fx_code
failure(CURL *curl, const fx_http_request *request, CURLcode result, const char *why, fx_err *err)
{
    fx_code code = code_of(result);
    const char *reason = why[0] != '\0' ? why : curl_easy_strerror(result);
    if (code == FX_ERR_INVALID) {
        return fx_fail(
            err, code, "could not ask %.*s: %s", shown_bytes(request->url), request->url, reason);
    }
    fx_err_class outcome = code == FX_ERR_DENIED ? FX_CLASS_PERMANENT : FX_CLASS_TRANSIENT;
    if (result == CURLE_SEND_FAIL_REWIND || was_sent(curl)) {
        outcome = FX_CLASS_UNKNOWN;
    }
    return fx_fail_as(
        err,
        outcome,
        code,
        "could not %s %.*s: %s",
        outcome == FX_CLASS_UNKNOWN ? "get an answer from" : "reach",
        shown_bytes(request->url),
        request->url,
        reason);
}

fx_code
fx_http_call(
    fx_http_client *client,
    const fx_http_request *request,
    fx_mono deadline,
    fx_http_response *out_response,
    fx_buf *body,
    fx_err *err)
{
    FX_ASSERT(client->magic == CLIENT_MAGIC);
    FX_ASSERT(request->method != NULL && request->url != NULL);

    fx_http_response response = {.retry_after_s = -1};
    call now = {
        .curl = client->curl, .request = request, .body = body, .err = err, .response = &response};
    char why[CURL_ERROR_SIZE] = "";
    struct curl_slist *headers = build_headers(request);
    set_up(client, request, deadline, &now);
    set_request(client->curl, request, headers, &now);
    SET(client->curl, CURLOPT_ERRORBUFFER, why);
    CURLcode result = curl_easy_perform(client->curl);
    SET(client->curl, CURLOPT_ERRORBUFFER, NULL);
    curl_slist_free_all(headers);
    if (now.body_failed) {
        err->outcome = FX_CLASS_UNKNOWN;
        return fx_err_wrap(
            err, "reading the answer of %.*s", shown_bytes(request->url), request->url);
    }
    if (result != CURLE_OK) {
        return failure(client->curl, request, result, why, err);
    }
    long status = 0;
    result = curl_easy_getinfo(client->curl, CURLINFO_RESPONSE_CODE, &status);
    FX_ASSERT(result == CURLE_OK);
    response.status = (int)status;
    *out_response = response;
    return FX_OK;
}

static bool
copy_part(CURLU *url, CURLUPart part, char *out_text, size_t room_bytes)
{
    char *text = NULL;
    if (curl_url_get(url, part, &text, 0) != CURLUE_OK) {
        out_text[0] = '\0';
        return true; /* there is none */
    }
    size_t length = strlen(text);
    bool fits = length < room_bytes;
    if (fits) {
        memcpy(out_text, text, length + 1);
    }
    curl_free(text);
    return fits;
}

static bool
has_part(CURLU *url, CURLUPart part)
{
    char *text = NULL;
    bool is_there = curl_url_get(url, part, &text, 0) == CURLUE_OK;
    curl_free(text);
    return is_there;
}

static fx_code
take_parts(CURLU *parts, fx_http_url *out_url, fx_err *err)
{
    char port[8];
    fx_http_url url;
    if (has_part(parts, CURLUPART_USER) || has_part(parts, CURLUPART_PASSWORD)) {
        return fx_fail(
            err,
            FX_ERR_INVALID,
            "could not use the address: it has a user or a password in it, which belong in the "
            "environment or in a file");
    }
    bool fits = copy_part(parts, CURLUPART_SCHEME, url.scheme, sizeof url.scheme) &&
                copy_part(parts, CURLUPART_HOST, url.host, sizeof url.host) &&
                copy_part(parts, CURLUPART_PORT, port, sizeof port) &&
                copy_part(parts, CURLUPART_PATH, url.path, sizeof url.path) &&
                copy_part(parts, CURLUPART_QUERY, url.query, sizeof url.query);
    if (!fits || url.host[0] == '\0' || has_part(parts, CURLUPART_FRAGMENT)) {
        return fx_fail(
            err,
            FX_ERR_INVALID,
            "could not use the address: a part is missing, too "
            "long, or begins with '#'");
    }
    bool is_https = strcmp(url.scheme, "https") == 0;
    if (!is_https && strcmp(url.scheme, "http") != 0) {
        return fx_fail(
            err,
            FX_ERR_INVALID,
            "could not use the address: it begins with neither https nor http");
    }
    bool is_usual = port[0] == '\0' || strcmp(port, is_https ? "443" : "80") == 0;
    (void)snprintf(
        url.authority,
        sizeof url.authority,
        "%s%s%s",
        url.host,
        is_usual ? "" : ":",
        is_usual ? "" : port);
    *out_url = url;
    return FX_OK;
}

fx_code
fx_http_url_parse(const char *text, fx_http_url *out_url, fx_err *err)
{
    (void)pthread_once(&begun, begin_library);
    CURLU *parts = curl_url();
    FX_ASSERT(parts != NULL);
    CURLUcode result = curl_url_set(parts, CURLUPART_URL, text, 0);
    fx_code code =
        result == CURLUE_OK
            ? take_parts(parts, out_url, err)
            : fx_fail(
                  err, FX_ERR_INVALID, "could not read the address: %s", curl_url_strerror(result));
    curl_url_cleanup(parts);
    return code;
}

fx_code
fx_http_escape(const char *text, fx_buf *out, fx_err *err)
{
    if (text[0] == '\0') {
        return FX_OK;
    }
    size_t length = strlen(text);
    FX_ASSERT(length < INT_MAX);
    char *escaped = curl_easy_escape(NULL, text, (int)length);
    FX_ASSERT(escaped != NULL);
    fx_code code = fx_buf_append_text(out, escaped, err);
    curl_free(escaped);
    return code;
}

fx_code
fx_http_date_parse(const char *text, fx_wall *out_when, fx_err *err)
{
    time_t seconds = curl_getdate(text, NULL);
    if (seconds < 0 || !fx_wall_of_seconds((int64_t)seconds, out_when)) {
        return fx_fail(err, FX_ERR_INVALID, "could not read \"%.60s\" as a date", text);
    }
    return FX_OK;
}
