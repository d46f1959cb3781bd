#include "coordinator/cli/client.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/base/secret.h"
#include "common/http/http.h"

enum {
    URL_MAX = 16,
    URL_MAX_BYTES = 512,
    TOKEN_MAX_BYTES = 512,
    ANSWER_MAX_BYTES = 16 * 1024 * 1024,
    CONNECT_MAX_MS = 2000,
    CALL_MAX_MS = 10000,
};

struct fx_client {
    fx_http_client *http;
    char urls[URL_MAX][URL_MAX_BYTES];
    size_t url_count;
    size_t first; /* the one that answered last is asked first */
    char authorization[TOKEN_MAX_BYTES + 32];
};

static fx_code
add_url(fx_client *client, const char *text, size_t size_bytes, fx_err *err)
{
    static const char scheme[] = "https://";
    while (size_bytes > 0 && text[size_bytes - 1] == '/') {
        size_bytes--;
    }
    if (size_bytes >= URL_MAX_BYTES || client->url_count == URL_MAX ||
        strncmp(text, scheme, sizeof scheme - 1) != 0 || size_bytes < sizeof scheme) {
        return fx_fail(
            err,
            FX_ERR_INVALID,
            "could not use the API's address \"%.*s\": up to %d of https://HOST:PORT are expected",
            (int)(size_bytes < 100 ? size_bytes : 100),
            text,
            (int)URL_MAX);
    }
    memcpy(client->urls[client->url_count], text, size_bytes);
    client->urls[client->url_count++][size_bytes] = '\0';
    return FX_OK;
}

static fx_code
add_urls(fx_client *client, const char *list, fx_err *err)
{
    fx_code code = FX_OK;
    for (const char *at = list; code == FX_OK && *at != '\0';) {
        size_t size_bytes = strcspn(at, ",");
        code = add_url(client, at, size_bytes, err);
        at += size_bytes + (at[size_bytes] == ',' ? 1 : 0);
    }
    if (code == FX_OK && client->url_count == 0) {
        return fx_fail(
            err,
            FX_ERR_INVALID,
            "could not find the API: give --api https://HOST:PORT or set FORTRESS_API");
    }
    return code;
}

static fx_code
read_token(fx_client *client, const char *path, fx_err *err)
{
    if (path == NULL || path[0] == '\0') {
        return fx_fail(
            err,
            FX_ERR_INVALID,
            "could not find the token: give --token-file FILE or set FORTRESS_TOKEN_FILE");
    }
    fx_buf text;
    fx_buf_init(&text, TOKEN_MAX_BYTES);
    fx_code code = fx_file_read(path, &text, err);
    if (code == FX_OK) {
        const char *begin = fx_buf_text(&text);
        begin += strspn(begin, " \t\r\n");
        size_t size_bytes = strcspn(begin, " \t\r\n");
        if (size_bytes == 0) {
            code = fx_fail(err, FX_ERR_INVALID, "could not use the token: \"%s\" is empty", path);
        } else {
            (void)snprintf(
                client->authorization,
                sizeof client->authorization,
                "Authorization: Bearer %.*s",
                (int)size_bytes,
                begin);
        }
    }
    if (text.data != NULL) {
        fx_wipe(text.data, text.capacity_bytes);
    }
    fx_buf_free(&text);
    return code == FX_OK ? FX_OK : fx_err_wrap(err, "reading the token");
}

fx_code
fx_client_new(const fx_client_options *options, fx_client **out_client, fx_err *err)
{
    FX_AUTO(fx_client) client = calloc(1, sizeof *client);
    FX_ASSERT(client != NULL);
    fx_code code = add_urls(client, options->urls == NULL ? "" : options->urls, err);
    if (code == FX_OK) {
        code = read_token(client, options->token_file, err);
    }
    if (code != FX_OK) {
        /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): freed by the cleanup attribute */
        return code;
    }
    const fx_http_tls tls = {.ca_file = options->ca_file};
    client->http = fx_http_client_new(&tls);
    *out_client = FX_TAKE(client);
    return FX_OK;
}

void
fx_client_free(fx_client *client)
{
    if (client != NULL) {
        fx_http_client_free(client->http);
        fx_wipe(client->authorization, sizeof client->authorization);
        free(client);
    }
}

static fx_code
code_of(int status)
{
    switch (status) {
    case 400:
        return FX_ERR_INVALID;
    case 401:
    case 403:
        return FX_ERR_DENIED;
    case 404:
        return FX_ERR_NOT_FOUND;
    case 409:
        return FX_ERR_CONFLICT;
    case 413:
        return FX_ERR_LIMIT;
    case 503:
        return FX_ERR_UNREACHABLE;
    case 504:
        return FX_ERR_TIMEOUT;
    default:
        return FX_ERR_FAILED;
    }
}

/* The API's own words, if it gave any. */
static fx_code
fail_status(int status, const fx_json *answer, fx_err *err)
{
    char message[FX_ERR_MESSAGE_MAX_BYTES];
    const fx_json *said = fx_json_get(fx_json_get(answer, "error"), "message");
    (void)snprintf(message, sizeof message, "%s", fx_json_as_text(said, "could not get an answer"));
    for (char *at = message; *at != '\0'; at++) {
        if (iscntrl((unsigned char)*at)) {
            *at = '?';
        }
    }
    return fx_fail(err, code_of(status), "%.220s (HTTP %d)", message, status);
}

/* One call at one coordinator. */
static fx_code
call(
    fx_client *client,
    size_t index,
    const fx_http_request *from,
    const char *path,
    fx_json **out_answer,
    fx_err *err)
{
    char url[URL_MAX_BYTES * 2];
    (void)snprintf(url, sizeof url, "%s%.500s", client->urls[index], path);
    fx_http_request request = *from;
    request.url = url;
    request.headers[0] = client->authorization;
    request.headers[1] = "Accept: application/json";
    request.headers[2] = from->body.size_bytes > 0 ? "Content-Type: application/json" : NULL;
    request.connect_max = FX_DUR_MS(CONNECT_MAX_MS);
    FX_BUF_AUTO body;
    fx_buf_init(&body, ANSWER_MAX_BYTES);
    fx_http_response response;
    fx_mono deadline = fx_mono_after(fx_clock_mono(), FX_DUR_MS(CALL_MAX_MS));
    fx_code code = fx_http_call(client->http, &request, deadline, &response, &body, err);
    if (code != FX_OK) {
        return fx_err_wrap(err, "asking %s", client->urls[index]);
    }
    FX_AUTO(fx_json) answer = NULL;
    code = fx_json_parse(fx_buf_bytes(&body), &answer, err);
    if (response.status / 100 != 2) {
        return fail_status(response.status, answer, err);
    }
    if (code != FX_OK) {
        return fx_err_wrap(err, "reading the answer of %s", client->urls[index]);
    }
    *out_answer = FX_TAKE(answer);
    return FX_OK;
}

/* What another coordinator would answer alike. */
static bool
is_answer(const fx_err *err)
{
    return err->code == FX_ERR_INVALID || err->code == FX_ERR_CONFLICT;
}

fx_code
fx_client_get(fx_client *client, const char *path, fx_json **out_answer, fx_err *err)
{
    const fx_http_request request = {.method = "GET"};
    fx_code code = FX_OK;
    for (size_t i = 0; i < client->url_count; i++) {
        size_t index = (client->first + i) % client->url_count;
        code = call(client, index, &request, path, out_answer, err);
        if (code == FX_OK) {
            client->first = index;
            return FX_OK;
        }
        if (is_answer(err)) {
            return code;
        }
    }
    return code;
}

fx_code
fx_client_post(
    fx_client *client, const char *path, const fx_json *body, fx_json **out_answer, fx_err *err)
{
    FX_BUF_AUTO text;
    fx_buf_init(&text, ANSWER_MAX_BYTES);
    fx_code code = fx_json_print(body, 0, &text, err);
    if (code != FX_OK) {
        return code;
    }
    const fx_http_request request = {.method = "POST", .body = fx_buf_bytes(&text)};
    for (size_t i = 0; i < client->url_count; i++) {
        size_t index = (client->first + i) % client->url_count;
        code = call(client, index, &request, path, out_answer, err);
        if (code == FX_OK) {
            client->first = index;
            return FX_OK;
        }
        /* Only what was surely not taken may be asked for a second time. */
        if (err->outcome != FX_CLASS_TRANSIENT) {
            return code;
        }
    }
    return code;
}
