#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/clock.h"
#include "common/http/http.h"

/* A server for one connection: reads a request's head, then says what it was told to say. */
typedef struct server {
    int listener;
    uint16_t port;
    const char *answer; /* NULL: reads and never answers */
    char request[2048];
    pthread_t thread;
} server;

static void *
serve(void *ctx)
{
    server *s = ctx;
    int fd = accept(s->listener, NULL, NULL);
    if (fd < 0) {
        return NULL;
    }
    size_t used = 0;
    while (used + 1 < sizeof s->request && strstr(s->request, "\r\n\r\n") == NULL) {
        ssize_t got = read(fd, s->request + used, sizeof s->request - 1 - used);
        if (got <= 0) {
            break;
        }
        used += (size_t)got;
    }
    if (s->answer != NULL) {
        ssize_t put = write(fd, s->answer, strlen(s->answer));
        (void)put;
        (void)shutdown(fd, SHUT_WR);
    }
    char rest[64];
    while (read(fd, rest, sizeof rest) > 0) { /* until the client hangs up */
    }
    (void)close(fd);
    return NULL;
}

static void
start(server *s, const char *answer)
{
    *s = (server){.answer = answer};
    s->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(s->listener >= 0);
    struct sockaddr_in address = {.sin_family = AF_INET};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(bind(s->listener, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(s->listener, 4), 0);
    socklen_t size = sizeof address;
    assert_int_equal(getsockname(s->listener, (struct sockaddr *)&address, &size), 0);
    s->port = ntohs(address.sin_port);
    assert_int_equal(pthread_create(&s->thread, NULL, serve, s), 0);
}

static void
stop(server *s)
{
    (void)shutdown(s->listener, SHUT_RDWR);
    (void)pthread_join(s->thread, NULL);
    (void)close(s->listener);
}

static fx_mono
in_ms(int64_t ms)
{
    return fx_mono_after(fx_clock_mono(), FX_DUR_MS(ms));
}

static void
gives_status_headers_and_body(void **state)
{
    (void)state;
    fx_err err = {0};
    server s;
    start(
        &s,
        "HTTP/1.1 503 busy\r\ncontent-type: text/plain\r\nretry-after: 7\r\n"
        "content-length: 5\r\nconnection: close\r\n\r\nhello");
    char url[64];
    (void)snprintf(url, sizeof url, "http://127.0.0.1:%u/x", (unsigned)s.port);
    fx_http_client *client = fx_http_client_new(NULL);
    FX_BUF_AUTO body;
    fx_buf_init(&body, 100);
    fx_http_request request = {
        .method = "POST", .url = url, .headers = {"X-Test: 1"}, .body = {"abc", 3}};
    fx_http_response response = {0};
    assert_int_equal(fx_http_call(client, &request, in_ms(5000), &response, &body, &err), FX_OK);
    assert_int_equal(response.status, 503);
    assert_int_equal(response.retry_after_s, 7);
    assert_string_equal(response.content_type, "text/plain");
    assert_string_equal(fx_buf_text(&body), "hello");
    fx_http_client_free(client);
    stop(&s);
    assert_non_null(strstr(s.request, "POST /x HTTP/1.1"));
    assert_non_null(strstr(s.request, "X-Test: 1"));
    assert_null(strstr(s.request, "Expect"));
}

static void
longer_answer_than_allowed_is_refused(void **state)
{
    (void)state;
    fx_err err = {0};
    server s;
    start(&s, "HTTP/1.1 200 ok\r\nconnection: close\r\n\r\nhello");
    char url[64];
    (void)snprintf(url, sizeof url, "http://127.0.0.1:%u/", (unsigned)s.port);
    fx_http_client *client = fx_http_client_new(NULL);
    FX_BUF_AUTO body;
    fx_buf_init(&body, 4);
    fx_http_request request = {.method = "GET", .url = url};
    fx_http_response response = {0};
    fx_code code = fx_http_call(client, &request, in_ms(5000), &response, &body, &err);
    assert_int_equal(code, FX_ERR_LIMIT);
    assert_int_equal(err.outcome, FX_CLASS_UNKNOWN);
    fx_http_client_free(client);
    stop(&s);
}

/* What was sent may have been done; what could not be sent was not. */
static void
outcome_tells_whether_the_request_was_sent(void **state)
{
    (void)state;
    fx_err err = {0};
    server s;
    start(&s, NULL);
    char url[64];
    (void)snprintf(url, sizeof url, "http://127.0.0.1:%u/", (unsigned)s.port);
    fx_http_client *client = fx_http_client_new(NULL);
    FX_BUF_AUTO body;
    fx_buf_init(&body, 4);
    fx_http_request request = {.method = "GET", .url = url};
    fx_http_response response = {0};
    fx_code code = fx_http_call(client, &request, in_ms(100), &response, &body, &err);
    assert_int_equal(code, FX_ERR_TIMEOUT);
    assert_int_equal(err.outcome, FX_CLASS_UNKNOWN);
    fx_http_client_free(client);
    stop(&s);

    client = fx_http_client_new(NULL);
    code = fx_http_call(client, &request, in_ms(1000), &response, &body, &err);
    assert_int_equal(code, FX_ERR_UNREACHABLE);
    assert_int_equal(err.outcome, FX_CLASS_TRANSIENT);
    request.url = "file:///etc/passwd";
    code = fx_http_call(client, &request, in_ms(1000), &response, &body, &err);
    assert_int_equal(code, FX_ERR_INVALID);
    fx_http_client_free(client);
}

/* Answers the first request and keeps the connection; ends it on every later one, and counts. */
typedef struct closer {
    int listener;
    int requests;
    pthread_t thread;
} closer;

static bool
take_request(int fd, const char *end)
{
    char text[2048] = "";
    size_t used = 0;
    while (used + 1 < sizeof text && strstr(text, end) == NULL) {
        ssize_t got = read(fd, text + used, sizeof text - 1 - used);
        if (got <= 0) {
            return false;
        }
        used += (size_t)got;
    }
    return true;
}

static void *
serve_and_close(void *ctx)
{
    static const char answer[] = "HTTP/1.1 200 ok\r\ncontent-length: 2\r\n\r\nok";
    closer *c = ctx;
    for (int fd = accept(c->listener, NULL, NULL); fd >= 0; fd = accept(c->listener, NULL, NULL)) {
        while (take_request(fd, "\r\n\r\nabc")) {
            c->requests++;
            if (c->requests > 1) {
                break;
            }
            ssize_t put = write(fd, answer, strlen(answer));
            (void)put;
        }
        (void)close(fd);
    }
    return NULL;
}

/* A connection that was kept open ends instead of an answer: whether it happened is not known. */
static void
a_post_is_never_sent_twice(void **state)
{
    (void)state;
    fx_err err = {0};
    closer c = {.listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    struct sockaddr_in address = {.sin_family = AF_INET};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(bind(c.listener, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(c.listener, 4), 0);
    socklen_t size = sizeof address;
    assert_int_equal(getsockname(c.listener, (struct sockaddr *)&address, &size), 0);
    assert_int_equal(pthread_create(&c.thread, NULL, serve_and_close, &c), 0);
    char url[64];
    (void)snprintf(url, sizeof url, "http://127.0.0.1:%u/", (unsigned)ntohs(address.sin_port));
    fx_http_client *client = fx_http_client_new(NULL);
    FX_BUF_AUTO body;
    fx_buf_init(&body, 100);
    fx_http_request request = {.method = "POST", .url = url, .body = {"abc", 3}};
    fx_http_response response = {0};
    assert_int_equal(fx_http_call(client, &request, in_ms(5000), &response, &body, &err), FX_OK);

    fx_code code = fx_http_call(client, &request, in_ms(5000), &response, &body, &err);

    fx_http_client_free(client);
    (void)shutdown(c.listener, SHUT_RDWR);
    (void)pthread_join(c.thread, NULL);
    (void)close(c.listener);
    assert_int_equal(c.requests, 2);
    assert_int_equal(code, FX_ERR_UNREACHABLE);
    assert_int_equal(err.outcome, FX_CLASS_UNKNOWN);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gives_status_headers_and_body),
        cmocka_unit_test(longer_answer_than_allowed_is_refused),
        cmocka_unit_test(outcome_tells_whether_the_request_was_sent),
        cmocka_unit_test(a_post_is_never_sent_twice),
    };
    return cmocka_run_group_tests_name("http", tests, NULL, NULL);
}
