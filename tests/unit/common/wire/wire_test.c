#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <arpa/inet.h>
#include <sys/socket.h>

#include "common/base/clock.h"
#include "common/base/monitor.h"
#include "common/wire/wire.h"
#include "tests/unit/common/wire/certificates.h"

enum {
    MESSAGE_MAX = 65536,
    CLIENTS = 6,
    ROUNDS = 20,
    URL_BYTES = 64,
    PATIENCE_MS = 30000, /* for what will happen; a busy machine is slow */
};

static char folder[] = "/tmp/fx_wire_test_XXXXXX";
static fx_monitor handling; /* woken by each request */

/* ---- a server that answers with the name it saw, and counts
 * ---------------------------------------- */

typedef struct echo {
    atomic_int handled;
    atomic_bool silent;
    atomic_bool garbage;
    fx_wire_request *_Atomic held; /* the last one left without an answer */
} echo;

static void
count_request(echo *self)
{
    fx_monitor_lock(&handling);
    (void)atomic_fetch_add(&self->handled, 1);
    fx_monitor_wake(&handling);
    fx_monitor_unlock(&handling);
}

/* Waits until so many have come. */
static void
wait_for_requests(echo *self, int count)
{
    fx_mono deadline = fx_mono_after(fx_clock_mono(), FX_DUR_MS(PATIENCE_MS));
    fx_monitor_lock(&handling);
    while (atomic_load(&self->handled) < count && fx_monitor_wait_until(&handling, deadline)) {
    }
    fx_monitor_unlock(&handling);
}

static void
assert_handles(echo *self, int count)
{
    wait_for_requests(self, count);
    assert_int_equal(atomic_load(&self->handled), count);
}

static void
answer(void *ctx, fx_wire_request *request)
{
    echo *self = ctx;
    if (atomic_load(&self->silent)) {
        fx_wire_request *before = atomic_exchange(&self->held, request);
        if (before != NULL) {
            fx_wire_drop(before);
        }
        count_request(self);
        return;
    }
    count_request(self);
    if (atomic_load(&self->garbage)) {
        fx_wire_drop(request);
        return;
    }
    const fx_wire_peer *peer = fx_wire_request_peer(request);
    fx_bytes bytes = fx_wire_request_bytes(request);
    char text[FX_NAME_MAX_BYTES * 3];
    int length = snprintf(
        text,
        sizeof(text),
        "%s/%s:%.*s",
        peer->role.text,
        peer->name.text,
        (int)(bytes.size_bytes < 32 ? bytes.size_bytes : 32),
        (const char *)bytes.data);
    fx_wire_reply(request, (fx_bytes){.data = text, .size_bytes = (size_t)length});
}

static fx_wire_server *
open_server_as(echo *ctx, const char *who, uint16_t port, size_t connection_max)
{
    test_tls_paths paths;
    char url[URL_BYTES];
    (void)snprintf(url, sizeof(url), "tls+tcp://127.0.0.1:%u", port);
    fx_wire_server_options options = {
        .url = url,
        .tls = test_tls_of(&paths, folder, "ca", who),
        .message_max_bytes = MESSAGE_MAX,
        .connection_max = connection_max,
        .request_max = 32,
        .handler = answer,
        .ctx = ctx,
        .log = NULL,
    };
    fx_err err = {0};
    fx_wire_server *server = NULL;
    if (fx_wire_server_open(&options, &server, &err) != FX_OK) {
        fail_msg("%s", err.message);
    }
    return server;
}

static fx_wire_server *
open_server(echo *ctx)
{
    return open_server_as(ctx, "coord", 0, 100);
}

static size_t client_message_max = MESSAGE_MAX;

static fx_wire_client *
open_client_to(uint16_t port, const char *ca, const char *who, const char *expected)
{
    test_tls_paths paths;
    char url[URL_BYTES];
    (void)snprintf(url, sizeof(url), "tls+tcp://127.0.0.1:%u", port);
    fx_wire_client_options options = {
        .url = url,
        .tls = test_tls_of(&paths, folder, ca, who),
        .peer_name = fx_name_of(expected),
        .peer_role = fx_name_of("coordinator"),
        .message_max_bytes = client_message_max,
        .redial_min = FX_DUR_MS(20),
        .redial_max = FX_DUR_MS(200),
    };
    fx_err err = {0};
    fx_wire_client *client = NULL;
    if (fx_wire_client_open(&options, &client, &err) != FX_OK) {
        fail_msg("%s", err.message);
    }
    return client;
}

static fx_wire_client *
open_client(const fx_wire_server *server, const char *who)
{
    return open_client_to(fx_wire_server_port(server), "ca", who, "usw2-coord");
}

static fx_code
call_text(fx_wire_client *client, const char *text, int64_t ms, fx_buf *reply, fx_err *err)
{
    fx_mono deadline = fx_mono_after(fx_clock_mono(), FX_DUR_MS(ms));
    fx_bytes bytes = {.data = text, .size_bytes = strlen(text)};
    return fx_wire_client_call(client, bytes, deadline, reply, err);
}

static void
assert_served(fx_wire_client *client, const char *text, const char *expected)
{
    FX_BUF_AUTO reply;
    fx_buf_init(&reply, MESSAGE_MAX);
    fx_err err = {0};
    if (call_text(client, text, PATIENCE_MS, &reply, &err) != FX_OK) {
        fail_msg("%s", err.message);
    }
    assert_string_equal(fx_buf_text(&reply), expected);
}

/* ---- tests
 * ----------------------------------------------------------------------------------------- */

/* A request is answered, and the server knows who asked. */
static void
serves_and_knows_the_peer(void **state)
{
    (void)state;
    echo ctx = {0};
    FX_AUTO(fx_wire_server) server = open_server(&ctx);
    FX_AUTO(fx_wire_client) client = open_client(server, "db1");

    assert_served(client, "hello", "agent/db1:hello");
    assert_served(client, "again", "agent/db1:again");
    assert_int_equal(atomic_load(&ctx.handled), 2);
}

typedef struct caller {
    const fx_wire_server *server;
    const char *who;
    int wrong;
} caller;

static void *
call_often(void *ctx)
{
    caller *self = ctx;
    fx_wire_client *client = open_client(self->server, self->who);
    char expected[URL_BYTES];
    (void)snprintf(expected, sizeof(expected), "agent/%s:x", self->who);
    FX_BUF_AUTO reply;
    fx_buf_init(&reply, MESSAGE_MAX);
    for (int i = 0; i < ROUNDS; i++) {
        fx_err err;
        if (call_text(client, "x", PATIENCE_MS, &reply, &err) != FX_OK ||
            strcmp(fx_buf_text(&reply), expected) != 0) {
            self->wrong++;
        }
    }
    fx_wire_client_free(client);
    return NULL;
}

/* Several clients at once: each message carries its own sender's name. */
static void
never_mixes_identities(void **state)
{
    (void)state;
    static const char *const names[CLIENTS] = {"db1", "db2", "db1", "db2", "db1", "db2"};
    echo ctx = {0};
    FX_AUTO(fx_wire_server) server = open_server(&ctx);
    caller callers[CLIENTS];
    pthread_t threads[CLIENTS];
    for (int i = 0; i < CLIENTS; i++) {
        callers[i] = (caller){.server = server, .who = names[i]};
        assert_int_equal(pthread_create(&threads[i], NULL, call_often, &callers[i]), 0);
    }
    for (int i = 0; i < CLIENTS; i++) {
        (void)pthread_join(threads[i], NULL);
        assert_int_equal(callers[i].wrong, 0);
    }
    assert_int_equal(atomic_load(&ctx.handled), CLIENTS * ROUNDS);
}

/* The client's certificate is of another authority: nothing reaches the handler. */
static void
refuses_a_client_of_another_authority(void **state)
{
    (void)state;
    echo ctx = {0};
    FX_AUTO(fx_wire_server) server = open_server(&ctx);
    FX_AUTO(fx_wire_client)
    stranger = open_client_to(fx_wire_server_port(server), "ca", "stranger", "usw2-coord");
    FX_BUF_AUTO reply;
    fx_buf_init(&reply, MESSAGE_MAX);
    fx_err err;

    fx_code code = call_text(stranger, "x", 1500, &reply, &err);

    assert_true(code == FX_ERR_DENIED || code == FX_ERR_UNREACHABLE);
    assert_int_equal(atomic_load(&ctx.handled), 0);
    FX_AUTO(fx_wire_client) client = open_client(server, "db1");
    assert_served(client, "hello", "agent/db1:hello");
}

/* The server's certificate is of another authority: DENIED. */
static void
refuses_a_server_of_another_authority(void **state)
{
    (void)state;
    echo ctx = {0};
    FX_AUTO(fx_wire_server) server = open_server(&ctx);
    FX_AUTO(fx_wire_client)
    client = open_client_to(fx_wire_server_port(server), "other", "db1", "usw2-coord");
    FX_BUF_AUTO reply;
    fx_buf_init(&reply, MESSAGE_MAX);
    fx_err err;

    assert_int_equal(call_text(client, "x", PATIENCE_MS, &reply, &err), FX_ERR_DENIED);
    assert_int_equal(atomic_load(&ctx.handled), 0);
}

/* Another name than expected, and the right name with the wrong role: DENIED before a byte is sent.
 */
static void
refuses_another_server(void **state)
{
    (void)state;
    echo ctx = {0};
    FX_AUTO(fx_wire_server) server = open_server(&ctx);
    FX_AUTO(fx_wire_client)
    client = open_client_to(fx_wire_server_port(server), "ca", "db1", "use1-coord");
    FX_BUF_AUTO reply;
    fx_buf_init(&reply, MESSAGE_MAX);
    fx_err err;
    assert_int_equal(call_text(client, "x", PATIENCE_MS, &reply, &err), FX_ERR_DENIED);
    assert_non_null(strstr(err.message, "use1-coord"));

    FX_AUTO(fx_wire_server) agent = open_server_as(&ctx, "false_coord", 0, 100);
    FX_AUTO(fx_wire_client) second = open_client(agent, "db1");
    assert_int_equal(call_text(second, "x", PATIENCE_MS, &reply, &err), FX_ERR_DENIED);
    assert_int_equal(atomic_load(&ctx.handled), 0);
}

/* The exact maximum passes; one byte more is refused by the sender, and ends the connection if not.
 */
static void
limits_messages(void **state)
{
    (void)state;
    echo ctx = {0};
    FX_AUTO(fx_wire_server) server = open_server(&ctx);
    FX_AUTO(fx_wire_client) client = open_client(server, "db1");
    client_message_max = MESSAGE_MAX + 1;
    FX_AUTO(fx_wire_client) generous = open_client(server, "db2");
    client_message_max = MESSAGE_MAX;
    static unsigned char data[MESSAGE_MAX + 1];
    memset(data, 'a', sizeof(data));
    FX_BUF_AUTO reply;
    fx_buf_init(&reply, MESSAGE_MAX);
    fx_err err;
    fx_mono deadline = fx_mono_after(fx_clock_mono(), FX_DUR_MS(PATIENCE_MS));
    fx_bytes most = {.data = data, .size_bytes = MESSAGE_MAX};
    fx_bytes over = {.data = data, .size_bytes = MESSAGE_MAX + 1};

    assert_int_equal(fx_wire_client_call(client, most, deadline, &reply, &err), FX_OK);
    assert_int_equal(fx_wire_client_call(client, over, deadline, &reply, &err), FX_ERR_LIMIT);
    assert_int_equal(
        fx_wire_client_call(generous, over, deadline, &reply, &err), FX_ERR_UNREACHABLE);
    assert_int_equal(err.outcome, FX_CLASS_UNKNOWN);

    assert_int_equal(atomic_load(&ctx.handled), 1);
    assert_served(client, "after", "agent/db1:after");
    assert_served(generous, "after", "agent/db2:after");
}

/* More connections than allowed are closed; those that are there go on. */
static void
limits_connections(void **state)
{
    (void)state;
    echo ctx = {0};
    FX_AUTO(fx_wire_server) server = open_server_as(&ctx, "coord", 0, 2);
    FX_AUTO(fx_wire_client) first = open_client(server, "db1");
    FX_AUTO(fx_wire_client) second = open_client(server, "db2");
    assert_served(first, "a", "agent/db1:a");
    assert_served(second, "b", "agent/db2:b");
    FX_AUTO(fx_wire_client) third = open_client(server, "db1");
    FX_BUF_AUTO reply;
    fx_buf_init(&reply, MESSAGE_MAX);
    fx_err err;

    assert_int_not_equal(call_text(third, "c", 500, &reply, &err), FX_OK);

    assert_served(first, "d", "agent/db1:d");
    assert_served(second, "e", "agent/db2:e");
    assert_int_equal(atomic_load(&ctx.handled), 4);
    fx_wire_client_free(FX_TAKE(second));
    fx_mono deadline = fx_mono_after(fx_clock_mono(), FX_DUR_MS(PATIENCE_MS));
    fx_code code = FX_ERR_UNREACHABLE;
    while (code != FX_OK && fx_clock_mono().ns < deadline.ns) { /* until the server has seen it */
        code = call_text(third, "f", 500, &reply, &err);
    }
    if (code != FX_OK) {
        fail_msg("%s", err.message);
    }
}

/* No reply: TIMEOUT, it may have happened, and nothing is ever sent a second time. */
static void
never_sends_twice(void **state)
{
    (void)state;
    echo ctx = {0};
    FX_AUTO(fx_wire_server) server = open_server(&ctx);
    FX_AUTO(fx_wire_client) client = open_client(server, "db1");
    FX_BUF_AUTO reply;
    fx_buf_init(&reply, MESSAGE_MAX);
    fx_err err;
    assert_served(client, "w", "agent/db1:w"); /* the short time below is for the reply alone */
    atomic_store(&ctx.silent, true);

    assert_int_equal(call_text(client, "x", 700, &reply, &err), FX_ERR_TIMEOUT);
    assert_int_equal(err.outcome, FX_CLASS_UNKNOWN);
    assert_handles(&ctx, 2);

    /* The late answer to the first request is not taken for the answer to the second. */
    atomic_store(&ctx.silent, false);
    fx_wire_request *late = atomic_exchange(&ctx.held, NULL);
    assert_non_null(late);
    fx_wire_reply(late, (fx_bytes){.data = "late", .size_bytes = 4});
    assert_served(client, "y", "agent/db1:y");
    assert_int_equal(atomic_load(&ctx.handled), 3);
}

/* The server ends the connection instead of answering: it may have happened. */
static void
tells_of_a_dropped_request(void **state)
{
    (void)state;
    echo ctx = {0};
    FX_AUTO(fx_wire_server) server = open_server(&ctx);
    FX_AUTO(fx_wire_client) client = open_client(server, "db1");
    assert_served(client, "a", "agent/db1:a");
    atomic_store(&ctx.garbage, true);
    FX_BUF_AUTO reply;
    fx_buf_init(&reply, MESSAGE_MAX);
    fx_err err;

    assert_int_equal(call_text(client, "x", PATIENCE_MS, &reply, &err), FX_ERR_UNREACHABLE);

    assert_int_equal(err.outcome, FX_CLASS_UNKNOWN);
    assert_int_equal(atomic_load(&ctx.handled), 2);
}

/*
 * A port where nobody listens, and that nobody else is given as long as the socket is open; only a
 * server that asks for this very port gets it, if it is shared. Freed ports are soon another's.
 */
static int
hold_port(bool shared, uint16_t *out_port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof(address);
    int yes = shared ? 1 : 0;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes)), 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, length), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &length), 0);
    *out_port = ntohs(address.sin_port);
    return fd;
}

/* A port with nobody behind it: not sent, so nothing happened. */
static void
fails_without_a_server(void **state)
{
    (void)state;
    uint16_t port = 0;
    int held = hold_port(false, &port);
    FX_AUTO(fx_wire_client) client = open_client_to(port, "ca", "db1", "usw2-coord");
    FX_BUF_AUTO reply;
    fx_buf_init(&reply, MESSAGE_MAX);
    fx_err err;

    assert_int_equal(call_text(client, "x", 300, &reply, &err), FX_ERR_UNREACHABLE);
    assert_int_equal(err.outcome, FX_CLASS_TRANSIENT);
    (void)close(held);
}

/* After a restart of the server the client finds it again by itself. */
static void
dials_again_after_a_restart(void **state)
{
    (void)state;
    echo ctx = {0};
    uint16_t port = 0;
    int held = hold_port(true, &port);
    fx_wire_server *server = open_server_as(&ctx, "coord", port, 100);
    FX_AUTO(fx_wire_client) client = open_client(server, "db1");
    assert_served(client, "a", "agent/db1:a");
    fx_wire_server_free(server);
    FX_BUF_AUTO reply;
    fx_buf_init(&reply, MESSAGE_MAX);
    fx_err err;
    assert_int_not_equal(call_text(client, "x", 300, &reply, &err), FX_OK);

    FX_AUTO(fx_wire_server) next = open_server_as(&ctx, "coord", port, 100);
    assert_non_null(next);
    assert_served(client, "b", "agent/db1:b");
    (void)close(held);
}

typedef struct canceller {
    fx_wire_client *client;
    echo *seen;    /* cancels once this has had a request, */
    int listening; /* or, without it, this socket a connection that speaks */
} canceller;

static void *
cancel_when_waiting(void *ctx)
{
    canceller *self = ctx;
    int fd = -1;
    if (self->seen != NULL) {
        wait_for_requests(self->seen, 1);
    } else {
        char byte = 0;
        fd = accept4(self->listening, NULL, NULL, SOCK_CLOEXEC);
        (void)recv(fd, &byte, 1, 0);
    }
    fx_wire_client_cancel(self->client);
    if (fd >= 0) {
        (void)close(fd);
    }
    return NULL;
}

/* Cancelling ends a call that waits for a reply, one that dials, and every later one. */
static void
cancels(void **state)
{
    (void)state;
    echo ctx = {0};
    atomic_store(&ctx.silent, true);
    FX_AUTO(fx_wire_server) server = open_server(&ctx);
    FX_AUTO(fx_wire_client) client = open_client(server, "db1");
    FX_BUF_AUTO reply;
    fx_buf_init(&reply, MESSAGE_MAX);
    fx_err err;
    pthread_t thread;
    canceller of_reply = {.client = client, .seen = &ctx};
    assert_int_equal(pthread_create(&thread, NULL, cancel_when_waiting, &of_reply), 0);

    assert_int_equal(call_text(client, "x", PATIENCE_MS, &reply, &err), FX_ERR_CANCELLED);
    (void)pthread_join(thread, NULL);
    assert_int_equal(call_text(client, "x", PATIENCE_MS, &reply, &err), FX_ERR_CANCELLED);

    /* A listening socket that never answers: the dial hangs in the handshake. */
    uint16_t port = 0;
    int silent = hold_port(false, &port);
    assert_int_equal(listen(silent, 5), 0);
    FX_AUTO(fx_wire_client)
    dialing = open_client_to(port, "ca", "db1", "usw2-coord");
    canceller of_dial = {.client = dialing, .listening = silent};
    assert_int_equal(pthread_create(&thread, NULL, cancel_when_waiting, &of_dial), 0);
    assert_int_equal(call_text(dialing, "x", PATIENCE_MS, &reply, &err), FX_ERR_CANCELLED);
    (void)pthread_join(thread, NULL);
    FX_AUTO(fx_wire_client)
    impatient = open_client_to(port, "ca", "db1", "usw2-coord");
    assert_int_equal(call_text(impatient, "x", 300, &reply, &err), FX_ERR_UNREACHABLE);
    (void)close(silent);
    fx_wire_request *held = atomic_exchange(&ctx.held, NULL);
    assert_non_null(held);
    fx_wire_drop(held);
}

/* A request may be answered after its server has gone, in vain. */
static void
outlives_its_server(void **state)
{
    (void)state;
    echo ctx = {0};
    fx_wire_server *server = open_server(&ctx);
    FX_AUTO(fx_wire_client) client = open_client(server, "db1");
    FX_BUF_AUTO reply;
    fx_buf_init(&reply, MESSAGE_MAX);
    fx_err err;
    assert_served(client, "w", "agent/db1:w");
    atomic_store(&ctx.silent, true);
    assert_int_equal(call_text(client, "x", 300, &reply, &err), FX_ERR_TIMEOUT);
    assert_handles(&ctx, 2);
    fx_wire_server_free(server);

    fx_wire_request *late = atomic_exchange(&ctx.held, NULL);
    assert_non_null(late);
    fx_wire_reply(late, (fx_bytes){.data = "late", .size_bytes = 4});
}

static int
connect_raw(uint16_t port)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET,
        .sin_port = htons(port),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    return fd;
}

/* Connections that say nothing neither keep others out nor stay for ever: the oldest give way. */
static void
silent_connections_give_way(void **state)
{
    (void)state;
    enum { SILENT = 300 };
    static int fds[SILENT];
    echo ctx = {0};
    FX_AUTO(fx_wire_server) server = open_server(&ctx);
    for (int i = 0; i < SILENT; i++) {
        fds[i] = connect_raw(fx_wire_server_port(server));
    }
    FX_AUTO(fx_wire_client) client = open_client(server, "db1");
    assert_served(client, "hello", "agent/db1:hello");

    struct timeval patience = {.tv_sec = PATIENCE_MS / 1000};
    char byte = 0;
    (void)setsockopt(fds[0], SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    assert_int_equal(recv(fds[0], &byte, 1, 0), 0);
    for (int i = 0; i < SILENT; i++) {
        (void)close(fds[i]);
    }
    assert_served(client, "hello", "agent/db1:hello");
}

/* Garbage in place of a handshake ends that connection only. */
static void
garbage_harms_nobody(void **state)
{
    (void)state;
    echo ctx = {0};
    FX_AUTO(fx_wire_server) server = open_server(&ctx);
    FX_AUTO(fx_wire_client) client = open_client(server, "db1");
    char garbage[4096];
    memset(garbage, 0x16, sizeof(garbage));
    for (int i = 0; i < 50; i++) {
        int fd = connect_raw(fx_wire_server_port(server));
        (void)send(fd, garbage, sizeof(garbage), MSG_NOSIGNAL);
        (void)close(fd);
    }
    assert_served(client, "hello", "agent/db1:hello");
    FX_AUTO(fx_wire_client) fresh = open_client(server, "db2");
    assert_served(fresh, "hello", "agent/db2:hello");
}

/* What cannot be used is refused when it is opened, with the file's name. */
static void
names_unusable_files(void **state)
{
    (void)state;
    fx_wire_client_options options = {
        .url = "tls+tcp://127.0.0.1:1",
        .tls = {.ca_file = "/nonexistent/ca.pem", .certificate_file = "x", .key_file = "y"},
        .message_max_bytes = MESSAGE_MAX,
        .redial_min = FX_DUR_MS(20),
        .redial_max = FX_DUR_MS(200),
    };
    fx_err err;
    fx_wire_client *client = NULL;
    assert_int_equal(fx_wire_client_open(&options, &client, &err), FX_ERR_NOT_FOUND);
    assert_non_null(strstr(err.message, "/nonexistent/ca.pem"));

    test_tls_paths paths;
    options.tls = test_tls_of(&paths, folder, "ca", "db1");
    options.url = "http://127.0.0.1:1";
    assert_int_equal(fx_wire_client_open(&options, &client, &err), FX_ERR_INVALID);
    options.url = "tls+tcp://127.0.0.1:1";
    options.tls.key_file = options.tls.ca_file;
    assert_int_equal(fx_wire_client_open(&options, &client, &err), FX_ERR_INVALID);
    assert_null(client);
}

static int
make_certificates(void **state)
{
    (void)state;
    if (mkdtemp(folder) == NULL) {
        return -1;
    }
    fx_monitor_init(&handling);
    test_authority *authority = test_authority_new(folder, "ca");
    test_authority *other = test_authority_new(folder, "other");
    test_certificate_make(authority, folder, "coord", "coordinator", "usw2-coord");
    test_certificate_make(authority, folder, "false_coord", "agent", "usw2-coord");
    test_certificate_make(authority, folder, "db1", "agent", "db1");
    test_certificate_make(authority, folder, "db2", "agent", "db2");
    test_certificate_make(other, folder, "stranger", "agent", "db1");
    test_authority_free(authority);
    test_authority_free(other);
    return 0;
}

static int
remove_certificates(void **state)
{
    (void)state;
    test_folder_remove(folder);
    fx_monitor_deinit(&handling);
    return 0;
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(serves_and_knows_the_peer),
        cmocka_unit_test(never_mixes_identities),
        cmocka_unit_test(refuses_a_client_of_another_authority),
        cmocka_unit_test(refuses_a_server_of_another_authority),
        cmocka_unit_test(refuses_another_server),
        cmocka_unit_test(limits_messages),
        cmocka_unit_test(limits_connections),
        cmocka_unit_test(never_sends_twice),
        cmocka_unit_test(tells_of_a_dropped_request),
        cmocka_unit_test(fails_without_a_server),
        cmocka_unit_test(dials_again_after_a_restart),
        cmocka_unit_test(cancels),
        cmocka_unit_test(outlives_its_server),
        cmocka_unit_test(silent_connections_give_way),
        cmocka_unit_test(garbage_harms_nobody),
        cmocka_unit_test(names_unusable_files),
    };
    return cmocka_run_group_tests(tests, make_certificates, remove_certificates);
}
