#include "common/httpd/httpd.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include <microhttpd.h>

#include "common/base/file.h"
#include "common/base/secret.h"

enum {
    REQUEST_MAGIC = 0x68747470,
    HEADERS_MAX_BYTES = 32 * 1024, /* of one connection: headers, and MHD's own buffers */
    PEM_MAX_BYTES = 1024 * 1024,
    BACKLOG = 128,
    SOURCE_MAX_BYTES = INET6_ADDRSTRLEN,
    NOTE_MAX_BYTES = 160,
};

struct fx_httpd {
    fx_httpd_options options;
    struct MHD_Daemon *daemon;
    uint16_t port;
    char note[NOTE_MAX_BYTES]; /* what the library said last; read only while it starts */
};

struct fx_httpd_request {
    unsigned magic;
    const fx_httpd *httpd;
    struct MHD_Connection *connection;
    const char *method;
    const char *path;
    fx_buf body;
    bool too_large;
    bool malformed;
    char client[SOURCE_MAX_BYTES];
};

/* ---- starting
 * ------------------------------------------------------------------------------------ */

typedef union address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
} address;

static fx_code
parse_port(const char *text, uint16_t *out_port, fx_err *err)
{
    char *end = NULL;
    errno = 0;
    long port = strtol(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0 || port > UINT16_MAX) {
        return fx_fail(
            err, FX_ERR_INVALID, "could not use port \"%.20s\": a number up to 65535", text);
    }
    *out_port = (uint16_t)port;
    return FX_OK;
}

/* "127.0.0.1:7443" or "[::1]:7443". */
static fx_code
parse_listen(const char *text, address *out_address, fx_err *err)
{
    const char *colon = strrchr(text, ':');
    char host[64];
    size_t host_bytes = colon == NULL ? 0 : (size_t)(colon - text);
    if (host_bytes == 0 || host_bytes >= sizeof host) {
        return fx_fail(
            err,
            FX_ERR_INVALID,
            "could not use address \"%.80s\": write it as 127.0.0.1:7443 or [::1]:7443",
            text);
    }
    memcpy(host, text, host_bytes);
    host[host_bytes] = '\0';
    uint16_t port = 0;
    if (parse_port(colon + 1, &port, err) != FX_OK) {
        return fx_err_wrap(err, "reading address \"%.80s\"", text);
    }
    address parsed = {.v6 = {.sin6_family = AF_UNSPEC}};
    int known = 0;
    if (host[0] == '[' && host[host_bytes - 1] == ']') {
        host[host_bytes - 1] = '\0';
        parsed.v6.sin6_family = AF_INET6;
        parsed.v6.sin6_port = htons(port);
        known = inet_pton(AF_INET6, host + 1, &parsed.v6.sin6_addr);
    } else {
        parsed.v4.sin_family = AF_INET;
        parsed.v4.sin_port = htons(port);
        known = inet_pton(AF_INET, host, &parsed.v4.sin_addr);
    }
    if (known != 1) {
        return fx_fail(
            err,
            FX_ERR_INVALID,
            "could not use address \"%.80s\": \"%s\" is no IPv4 or [IPv6] address",
            text,
            host);
    }
    *out_address = parsed;
    return FX_OK;
}

static fx_code
fail_listen(const char *text, int sys_errno, fx_err *err)
{
    if (sys_errno == EADDRINUSE) {
        return fx_fail(
            err, FX_ERR_BUSY, "could not listen on %.80s: another process listens there", text);
    }
    return fx_fail_errno(err, sys_errno, "could not listen on %.80s", text);
}

/* Our own socket, so that a failure can be told: the library says only that it did not start. */
static fx_code
listen_on(const char *text, int *out_fd, uint16_t *out_port, fx_err *err)
{
    address where;
    fx_code code = parse_listen(text, &where, err);
    if (code != FX_OK) {
        return code;
    }
    socklen_t size_bytes =
        where.any.sa_family == AF_INET6 ? (socklen_t)sizeof where.v6 : (socklen_t)sizeof where.v4;
    int fd = socket(where.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return fail_listen(text, errno, err);
    }
    int yes = 1;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) != 0 ||
        bind(fd, &where.any, size_bytes) != 0 || listen(fd, BACKLOG) != 0 ||
        getsockname(fd, &where.any, &size_bytes) != 0) {
        int sys_errno = errno;
        (void)close(fd);
        return fail_listen(text, sys_errno, err);
    }
    *out_port = ntohs(where.any.sa_family == AF_INET6 ? where.v6.sin6_port : where.v4.sin_port);
    *out_fd = fd;
    return FX_OK;
}

FX_PRINTF(2, 0)
static void
on_library_log(void *ctx, const char *format, va_list arguments)
{
    fx_httpd *httpd = ctx;
    char text[NOTE_MAX_BYTES];
    (void)vsnprintf(text, sizeof text, format, arguments);
    text[strcspn(text, "\n")] = '\0';
    if (httpd->daemon == NULL) { /* starting, on the caller's thread */
        memcpy(httpd->note, text, sizeof text);
    }
    FX_LOG(httpd->options.log, DEBUG, "httpd.note", FX_STR("text", text));
}

/* ---- one request
 * --------------------------------------------------------------------------------- */

static void
name_client(fx_httpd_request *request)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(request->connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    const char *text = NULL;
    if (info != NULL && info->client_addr->sa_family == AF_INET) {
        struct sockaddr_in v4;
        memcpy(&v4, info->client_addr, sizeof v4);
        text = inet_ntop(AF_INET, &v4.sin_addr, request->client, sizeof request->client);
    } else if (info != NULL && info->client_addr->sa_family == AF_INET6) {
        struct sockaddr_in6 v6;
        memcpy(&v6, info->client_addr, sizeof v6);
        text = inet_ntop(AF_INET6, &v6.sin6_addr, request->client, sizeof request->client);
    }
    if (text == NULL) {
        (void)snprintf(request->client, sizeof request->client, "unknown");
    }
}

/* The library calls this first, before it decodes: an encoded NUL would cut the path short. */
static void *
on_uri(void *ctx, const char *uri, struct MHD_Connection *connection)
{
    const fx_httpd *httpd = ctx;
    fx_httpd_request *request = calloc(1, sizeof *request);
    FX_ASSERT(request != NULL);
    *request = (fx_httpd_request){.magic = REQUEST_MAGIC, .httpd = httpd, .connection = connection};
    fx_buf_init(&request->body, httpd->options.body_max_bytes);
    request->malformed = strstr(uri, "%00") != NULL;
    name_client(request);
    return request;
}

static void
on_completed(
    void *ctx,
    struct MHD_Connection *connection,
    void **slot,
    enum MHD_RequestTerminationCode reason)
{
    (void)ctx;
    (void)connection;
    (void)reason;
    fx_httpd_request *request = *slot;
    if (request == NULL) {
        return;
    }
    FX_ASSERT(request->magic == REQUEST_MAGIC);
    fx_buf_free(&request->body);
    request->magic = 0;
    free(request);
    *slot = NULL;
}

/* Fails only when memory is exhausted or a header is malformed, and ours are literals. */
static void
add_header(struct MHD_Response *response, const char *name, const char *value)
{
    FX_ASSERT(MHD_add_response_header(response, name, value) == MHD_YES);
}

static enum MHD_Result
send_response(struct MHD_Connection *connection, const fx_httpd_response *from)
{
    struct MHD_Response *response = MHD_create_response_from_buffer(
        from->body.size_bytes, from->body.data, MHD_RESPMEM_MUST_COPY);
    FX_ASSERT(response != NULL);
    add_header(
        response,
        MHD_HTTP_HEADER_CONTENT_TYPE,
        from->content_type == NULL ? "application/json" : from->content_type);
    add_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
    add_header(response, "X-Content-Type-Options", "nosniff");
    if (from->allow != NULL) {
        add_header(response, MHD_HTTP_HEADER_ALLOW, from->allow);
    }
    if (from->authenticate) {
        add_header(response, MHD_HTTP_HEADER_WWW_AUTHENTICATE, "Bearer realm=\"fortress\"");
    }
    unsigned status = from->status == 0 ? MHD_HTTP_OK : from->status;
    enum MHD_Result result = MHD_queue_response(connection, status, response);
    MHD_destroy_response(response);
    return result;
}

/* Answers what the server refuses by itself, in the shape of every other error. */
static enum MHD_Result
refuse(struct MHD_Connection *connection, unsigned status, const char *code, const char *message)
{
    fx_err err;
    fx_httpd_response response = {.status = status};
    fx_buf_init(&response.body, 512);
    fx_code appended = fx_buf_append_format(
        &response.body, &err, "{\"error\":{\"code\":\"%s\",\"message\":\"%s\"}}\n", code, message);
    FX_ASSERT(appended == FX_OK); /* literals that fit */
    enum MHD_Result result = send_response(connection, &response);
    fx_buf_free(&response.body);
    return result;
}

static enum MHD_Result
refuse_large(struct MHD_Connection *connection)
{
    return refuse(
        connection,
        MHD_HTTP_CONTENT_TOO_LARGE,
        "LIMIT",
        "could not read the request: its body is larger than this server accepts");
}

static bool
announces_too_much(const fx_httpd_request *request)
{
    const char *length = fx_httpd_header(request, MHD_HTTP_HEADER_CONTENT_LENGTH);
    return length != NULL && strtoull(length, NULL, 10) > request->body.max_bytes;
}

static enum MHD_Result
answer(fx_httpd_request *request)
{
    const fx_httpd_options *options = &request->httpd->options;
    fx_httpd_response response = {.status = 0};
    fx_buf_init(&response.body, options->response_max_bytes);
    options->handler(options->ctx, request, &response);
    enum MHD_Result result = send_response(request->connection, &response);
    fx_buf_free(&response.body);
    return result;
}

/* Called once with the headers, then for each part of the body, then once more with none left. */
static enum MHD_Result
/* NOLINTNEXTLINE(readability-function-size): the library gives the parameters */
on_access(
    void *ctx,
    struct MHD_Connection *connection,
    const char *url,
    const char *method,
    const char *version,
    const char *part,
    size_t *part_bytes,
    void **slot)
{
    (void)ctx;
    (void)version;
    fx_httpd_request *request = *slot;
    FX_ASSERT(request != NULL && request->magic == REQUEST_MAGIC);
    if (request->path == NULL) {
        request->path = url;
        request->method = method;
        return announces_too_much(request) ? refuse_large(connection) : MHD_YES;
    }
    if (*part_bytes > 0) {
        fx_err err;
        if (!request->too_large &&
            fx_buf_append(&request->body, part, *part_bytes, &err) != FX_OK) {
            request->too_large = true; /* the rest is read and dropped: it cannot be answered yet */
            fx_buf_free(&request->body);
        }
        *part_bytes = 0;
        return MHD_YES;
    }
    if (request->too_large) {
        return refuse_large(connection);
    }
    if (request->malformed) {
        return refuse(
            connection,
            MHD_HTTP_BAD_REQUEST,
            "INVALID",
            "could not read the request: an encoded NUL in its address");
    }
    return answer(request);
}

/* ---- opening and closing
 * ------------------------------------------------------------------------- */

static fx_code
start_daemon(fx_httpd *httpd, int fd, const char *certificate, const char *key, fx_err *err)
{
    const fx_httpd_options *options = &httpd->options;
    union { /* the list takes pointers to what it will not change */
        const char *borrowed;
        void *item;
    } certificate_item = {certificate}, key_item = {key},
      priorities = {"NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2:%SERVER_PRECEDENCE"};
    int64_t idle_s = fx_dur_ms(options->idle_max) / 1000;
    const struct MHD_OptionItem items[] = {
        {MHD_OPTION_LISTEN_SOCKET, fd, NULL},
        {MHD_OPTION_CONNECTION_LIMIT, (intptr_t)options->connection_max, NULL},
        {MHD_OPTION_PER_IP_CONNECTION_LIMIT, (intptr_t)options->connection_address_max, NULL},
        {MHD_OPTION_CONNECTION_TIMEOUT, (intptr_t)(idle_s > 0 ? idle_s : 1), NULL},
        {MHD_OPTION_CONNECTION_MEMORY_LIMIT, HEADERS_MAX_BYTES, NULL},
        {MHD_OPTION_STRICT_FOR_CLIENT, 1, NULL},
        {MHD_OPTION_HTTPS_MEM_CERT, 0, certificate_item.item},
        {MHD_OPTION_HTTPS_MEM_KEY, 0, key_item.item},
        {MHD_OPTION_HTTPS_PRIORITIES, 0, priorities.item},
        {MHD_OPTION_END, 0, NULL},
    };
    httpd->daemon = MHD_start_daemon(
        MHD_USE_EPOLL_INTERNAL_THREAD | MHD_USE_TLS | MHD_USE_ERROR_LOG,
        0,
        NULL,
        NULL,
        on_access,
        httpd,
        MHD_OPTION_EXTERNAL_LOGGER,
        on_library_log,
        httpd,
        MHD_OPTION_URI_LOG_CALLBACK,
        on_uri,
        httpd,
        MHD_OPTION_NOTIFY_COMPLETED,
        on_completed,
        httpd,
        MHD_OPTION_ARRAY,
        items,
        MHD_OPTION_END);
    if (httpd->daemon == NULL) {
        return fx_fail(
            err,
            FX_ERR_INVALID,
            "could not start the HTTPS server: %s",
            httpd->note[0] != '\0' ? httpd->note : "the library says no reason");
    }
    return FX_OK;
}

static void
wipe_and_free(fx_buf *buf)
{
    if (buf->data != NULL) {
        fx_wipe(buf->data, buf->capacity_bytes);
    }
    fx_buf_free(buf);
}

fx_code
fx_httpd_open(const fx_httpd_options *options, fx_httpd **out_httpd, fx_err *err)
{
    FX_ASSERT(options->handler != NULL);
    FX_ASSERT(options->connection_max > 0);
    FX_BUF_AUTO certificate;
    __attribute__((cleanup(wipe_and_free))) fx_buf key;
    fx_buf_init(&certificate, PEM_MAX_BYTES);
    fx_buf_init(&key, PEM_MAX_BYTES);
    if (fx_file_read(options->certificate_file, &certificate, err) != FX_OK) {
        return fx_err_wrap(err, "reading the server's certificate");
    }
    if (fx_file_read(options->key_file, &key, err) != FX_OK) {
        return fx_err_wrap(err, "reading the key of the server's certificate");
    }
    FX_AUTO(fx_httpd) httpd = calloc(1, sizeof *httpd);
    FX_ASSERT(httpd != NULL);
    httpd->options = *options;
    int fd = -1;
    fx_code code = listen_on(options->listen, &fd, &httpd->port, err);
    if (code != FX_OK) {
        /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): freed by the cleanup attribute */
        return code;
    }
    /* From here on the descriptor is the library's: it closes it at the failures that can happen.
     */
    code = start_daemon(httpd, fd, fx_buf_text(&certificate), fx_buf_text(&key), err);
    if (code != FX_OK) {
        return fx_err_wrap(
            err,
            "using certificate %.120s, key %.120s",
            options->certificate_file,
            options->key_file);
    }
    *out_httpd = FX_TAKE(httpd);
    return FX_OK;
}

void
fx_httpd_free(fx_httpd *httpd)
{
    if (httpd == NULL) {
        return;
    }
    if (httpd->daemon != NULL) {
        MHD_stop_daemon(httpd->daemon); /* closes the listening socket too */
    }
    free(httpd);
}

uint16_t
fx_httpd_port(const fx_httpd *httpd)
{
    return httpd->port;
}

/* ---- what a handler reads
 * ------------------------------------------------------------------------ */

const char *
fx_httpd_method(const fx_httpd_request *request)
{
    return request->method;
}

const char *
fx_httpd_path(const fx_httpd_request *request)
{
    return request->path;
}

typedef struct search {
    const char *name;
    const char *found;
} search;

static enum MHD_Result
match_argument(void *ctx, enum MHD_ValueKind kind, const char *name, const char *value)
{
    (void)kind;
    search *for_name = ctx;
    if (strcmp(name, for_name->name) != 0) {
        return MHD_YES;
    }
    for_name->found = value == NULL ? "" : value;
    return MHD_NO;
}

const char *
fx_httpd_query(const fx_httpd_request *request, const char *name)
{
    search for_name = {.name = name, .found = NULL};
    (void)MHD_get_connection_values(
        request->connection, MHD_GET_ARGUMENT_KIND, match_argument, &for_name);
    return for_name.found;
}

const char *
fx_httpd_header(const fx_httpd_request *request, const char *name)
{
    return MHD_lookup_connection_value(request->connection, MHD_HEADER_KIND, name);
}

fx_bytes
fx_httpd_body(const fx_httpd_request *request)
{
    return fx_buf_bytes(&request->body);
}

const char *
fx_httpd_client(const fx_httpd_request *request)
{
    return request->client;
}
