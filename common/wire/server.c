#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include <arpa/inet.h>
#include <nng/nng.h>
#include <nng/supplemental/tls/tls.h>

#include "common/base/clock.h"
#include "common/base/monitor.h"
#include "common/base/rate.h"
#include "common/wire/frame.h"
#include "common/wire/service.h"
#include "common/wire/tls.h"
#include "common/wire/wire.h"

enum { SWEEP_MS = 500, ADDRESS_BYTES = 64, REASON_BYTES = 256, ACCEPT_PAUSE_MS = 50 };

/* What a connection does; each but HANDLING and PARKED has its aio under way. */
typedef enum step {
    STEP_SEND_HELLO,
    STEP_RECEIVE_HELLO,
    STEP_RECEIVE_LENGTH,
    STEP_RECEIVE_MESSAGE,
    STEP_PARKED, /* a whole request, but request_max are unanswered */
    STEP_HANDLING,
    STEP_SEND_REPLY,
} step;

/* One connection and the one request it may have. Owned by whoever runs its step. */
struct fx_wire_request {
    fx_wire_request *previous;
    fx_wire_request *next;
    fx_wire_server *server;
    nng_stream *stream;
    nng_aio *aio;
    step step;
    fx_mono opened;
    fx_mono deadline; /* of the step */
    bool ready;       /* the peer is known */
    bool ending;      /* the server closed the stream */
    bool lost;        /* the last sweep found its TCP connection gone */
    fx_wire_peer peer;
    char address[ADDRESS_BYTES];
    unsigned char head[FX_FRAME_HELLO_BYTES];
    unsigned char *data; /* of the message or reply under way */
    size_t size_bytes;
    size_t done_bytes; /* of `data`, or of `head` */
    uint32_t id;
};

/* Counted: its owner and every connection hold it. */
struct fx_wire_server {
    fx_wire_duty duty; /* first: run() casts back */
    atomic_int references;
    fx_wire_server_options options;
    char *url;
    fx_tls *tls;
    nng_tls_config *config;
    nng_stream_listener *listener;
    nng_aio *accept_aio;
    nng_aio *pause_aio;
    uint16_t port;
    bool on_duty;

    fx_monitor monitor; /* of what follows, and of each connection's step and deadline */
    bool closed;
    fx_wire_request *first; /* newest first */
    size_t ready_count;
    size_t unready_count;
    size_t busy_count; /* aios under way, and callbacks of them */
    size_t unanswered;
    fx_rate log_rate;
};

static void
drop_reference(fx_wire_server *server)
{
    if (atomic_fetch_sub(&server->references, 1) != 1) {
        return;
    }
    if (server->config != NULL) {
        nng_tls_config_free(server->config);
    }
    fx_tls_free(server->tls);
    fx_monitor_deinit(&server->monitor);
    free(server->url);
    free(server);
}

/* ---- connections
 * ----------------------------------------------------------------------------------- */

/* With the monitor held. */
static void
list_add(fx_wire_server *server, fx_wire_request *connection)
{
    connection->next = server->first;
    if (server->first != NULL) {
        server->first->previous = connection;
    }
    server->first = connection;
    server->unready_count++;
}

/* With the monitor held. */
static void
list_remove(fx_wire_server *server, fx_wire_request *connection)
{
    if (connection->next != NULL) {
        connection->next->previous = connection->previous;
    }
    if (connection->previous != NULL) {
        connection->previous->next = connection->next;
    } else {
        server->first = connection->next;
    }
    if (connection->ready) {
        server->ready_count--;
    } else {
        server->unready_count--;
    }
}

/* With the monitor held: the aio under way ends with an error, and step_done() does the rest. */
static void
close_stream(fx_wire_request *connection)
{
    connection->ending = true;
    nng_stream_close(connection->stream);
}

static void
log_end(fx_wire_request *connection, const char *event, const char *reason)
{
    fx_wire_server *server = connection->server;
    uint64_t suppressed = 0;
    fx_monitor_lock(&server->monitor);
    bool log = fx_rate_take(&server->log_rate, fx_clock_mono(), &suppressed);
    fx_monitor_unlock(&server->monitor);
    if (log) {
        FX_LOG(
            server->options.log,
            WARN,
            event,
            FX_STR("address", connection->address),
            FX_STR("peer", connection->peer.name.text),
            FX_STR("reason", reason),
            FX_INT("suppressed", suppressed));
    }
}

/* Frees a connection whose aio is not under way. */
static void
end_connection(fx_wire_request *connection)
{
    fx_wire_server *server = connection->server;
    fx_monitor_lock(&server->monitor);
    list_remove(server, connection);
    fx_monitor_unlock(&server->monitor);
    nng_stream_close(connection->stream);
    nng_stream_free(connection->stream);
    nng_aio_reap(connection->aio);
    free(connection->data);
    free(connection);
    drop_reference(server);
}

static void
describe_address(fx_wire_request *connection)
{
    nng_sockaddr address;
    char host[INET6_ADDRSTRLEN] = "";
    char *text = connection->address;
    (void)snprintf(text, ADDRESS_BYTES, "unknown");
    if (nng_stream_get_addr(connection->stream, NNG_OPT_REMADDR, &address) != 0) {
        return;
    }
    if (address.s_family == NNG_AF_INET &&
        inet_ntop(AF_INET, &address.s_in.sa_addr, host, sizeof(host)) != NULL) {
        (void)snprintf(text, ADDRESS_BYTES, "%s:%d", host, ntohs(address.s_in.sa_port));
    } else if (
        address.s_family == NNG_AF_INET6 &&
        inet_ntop(AF_INET6, address.s_in6.sa_addr, host, sizeof(host)) != NULL) {
        (void)snprintf(text, ADDRESS_BYTES, "[%s]:%d", host, ntohs(address.s_in6.sa_port));
    }
}

/* ---- steps
 * ----------------------------------------------------------------------------------------- */

static bool
is_sending(step now)
{
    return now == STEP_SEND_HELLO || now == STEP_SEND_REPLY;
}

/* Where the bytes of this step lie. */
static unsigned char *
step_bytes(fx_wire_request *connection, size_t *out_size_bytes)
{
    if (connection->step == STEP_RECEIVE_MESSAGE || connection->step == STEP_SEND_REPLY) {
        *out_size_bytes = connection->size_bytes;
        return connection->data;
    }
    *out_size_bytes = sizeof(connection->head);
    return connection->head;
}

/* Hands what is left of the step to nng; step_done() follows on another thread, always. */
static void
submit(fx_wire_request *connection)
{
    size_t size_bytes = 0;
    unsigned char *bytes = step_bytes(connection, &size_bytes);
    nng_iov vector = {
        .iov_buf = bytes + connection->done_bytes,
        .iov_len = size_bytes - connection->done_bytes,
    };
    int set = nng_aio_set_iov(connection->aio, 1, &vector);
    FX_ASSERT(set == 0);
    if (is_sending(connection->step)) {
        nng_stream_send(connection->stream, connection->aio);
    } else {
        nng_stream_recv(connection->stream, connection->aio);
    }
}

/* With the monitor held. */
static void
set_step(fx_wire_request *connection, step next, int64_t limit_ms)
{
    connection->step = next;
    connection->done_bytes = 0;
    connection->deadline = fx_mono_after(fx_clock_mono(), FX_DUR_MS(limit_ms));
}

/* Counts the aio as under way; false if the server closes: then the connection has to end. */
static bool
begin_step(fx_wire_request *connection, step next, int64_t limit_ms)
{
    fx_wire_server *server = connection->server;
    fx_monitor_lock(&server->monitor);
    bool go = !server->closed && !connection->ending;
    if (go) {
        set_step(connection, next, limit_ms);
        server->busy_count++;
    }
    fx_monitor_unlock(&server->monitor);
    return go;
}

static void
run_step(fx_wire_request *connection, step next, int64_t limit_ms)
{
    if (begin_step(connection, next, limit_ms)) {
        submit(connection);
    } else {
        end_connection(connection);
    }
}

/* The peer's hello has come, so the handshake is over: who is it? */
static void
meet_peer(fx_wire_request *connection)
{
    fx_wire_server *server = connection->server;
    bool verified = false;
    if (!fx_frame_is_hello(connection->head, FX_FRAME_REQ) ||
        nng_stream_get_bool(connection->stream, NNG_OPT_TLS_VERIFIED, &verified) != 0 ||
        !verified || !fx_tls_noted_peer(&connection->peer)) {
        log_end(connection, "connection.refused", "it does not speak the REQ protocol");
        end_connection(connection);
        return;
    }
    fx_monitor_lock(&server->monitor);
    bool room = server->ready_count < server->options.connection_max;
    if (room) {
        connection->ready = true;
        server->unready_count--;
        server->ready_count++;
    }
    fx_monitor_unlock(&server->monitor);
    if (!room) {
        log_end(connection, "connection.refused", "too many connections");
        end_connection(connection);
        return;
    }
    run_step(connection, STEP_RECEIVE_LENGTH, FX_WIRE_IDLE_MAX_MS);
}

static void
begin_message(fx_wire_request *connection)
{
    uint64_t size_bytes = fx_frame_get(connection->head, FX_FRAME_LENGTH_BYTES);
    if (size_bytes < FX_FRAME_ID_BYTES ||
        size_bytes - FX_FRAME_ID_BYTES > connection->server->options.message_max_bytes) {
        log_end(connection, "connection.closed", "a message of impossible or forbidden length");
        end_connection(connection);
        return;
    }
    connection->data = malloc((size_t)size_bytes);
    FX_ASSERT(connection->data != NULL);
    connection->size_bytes = (size_t)size_bytes;
    run_step(connection, STEP_RECEIVE_MESSAGE, FX_WIRE_MESSAGE_MAX_MS);
}

static void
hand_over(fx_wire_request *connection)
{
    fx_wire_server *server = connection->server;
    connection->id = (uint32_t)fx_frame_get(connection->data, FX_FRAME_ID_BYTES);
    if ((connection->id & FX_FRAME_ID_MARK) == 0) {
        log_end(connection, "connection.closed", "a request that has been forwarded");
        end_connection(connection);
        return;
    }
    fx_monitor_lock(&server->monitor);
    bool closed = server->closed || connection->ending;
    bool now = !closed && server->unanswered < server->options.request_max;
    if (now) {
        server->unanswered++;
    }
    set_step(connection, now ? STEP_HANDLING : STEP_PARKED, FX_WIRE_IDLE_MAX_MS);
    fx_monitor_unlock(&server->monitor);
    if (closed) {
        end_connection(connection);
    } else if (now) {
        server->options.handler(server->options.ctx, connection);
    }
}

static void
end_failed(fx_wire_request *connection, int result)
{
    char reason[REASON_BYTES];
    if (!connection->ready) {
        fx_tls_take_failure(connection->server->tls, reason, sizeof(reason));
        if (reason[0] == '\0') {
            (void)snprintf(reason, sizeof(reason), "%s", nng_strerror(result));
        }
        log_end(connection, "connection.refused", reason);
    }
    end_connection(connection);
}

/* Counts what was moved; true if the step needs more, and may have it. */
static bool
continue_step(fx_wire_request *connection)
{
    fx_wire_server *server = connection->server;
    size_t size_bytes = 0;
    (void)step_bytes(connection, &size_bytes);
    connection->done_bytes += nng_aio_count(connection->aio);
    fx_monitor_lock(&server->monitor);
    bool more = connection->done_bytes < size_bytes && !connection->ending;
    if (more) {
        server->busy_count++;
    }
    if (more && connection->step == STEP_RECEIVE_LENGTH) { /* a message has begun */
        fx_mono limit = fx_mono_after(fx_clock_mono(), FX_DUR_MS(FX_WIRE_MESSAGE_MAX_MS));
        connection->deadline = connection->deadline.ns < limit.ns ? connection->deadline : limit;
    }
    fx_monitor_unlock(&server->monitor);
    return more;
}

static void
next_step(fx_wire_request *connection)
{
    switch (connection->step) {
    case STEP_SEND_HELLO:
        run_step(connection, STEP_RECEIVE_HELLO, FX_WIRE_READY_MAX_MS);
        break;
    case STEP_RECEIVE_HELLO:
        meet_peer(connection);
        break;
    case STEP_RECEIVE_LENGTH:
        begin_message(connection);
        break;
    case STEP_RECEIVE_MESSAGE:
        hand_over(connection);
        break;
    case STEP_SEND_REPLY:
        free(connection->data);
        connection->data = NULL;
        run_step(connection, STEP_RECEIVE_LENGTH, FX_WIRE_IDLE_MAX_MS);
        break;
    case STEP_PARKED:
    case STEP_HANDLING:
        fx_assert_fail("the operation was begun", __FILE__, __LINE__);
    }
}

static void
step_done(void *ctx)
{
    fx_wire_request *connection = ctx;
    fx_wire_server *server = connection->server;
    int result = nng_aio_result(connection->aio);
    (void)atomic_fetch_add(&server->references, 1); /* the connection may end here */
    if (result != 0) {
        end_failed(connection, result);
    } else if (continue_step(connection)) {
        submit(connection);
    } else {
        next_step(connection);
    }
    /* NOLINTBEGIN(clang-analyzer-unix.Malloc): counted, this reference is still held */
    fx_monitor_lock(&server->monitor);
    server->busy_count--;
    fx_monitor_wake(&server->monitor);
    fx_monitor_unlock(&server->monitor);
    /* NOLINTEND(clang-analyzer-unix.Malloc) */
    drop_reference(server);
}

/* ---- requests
 * -------------------------------------------------------------------------------------- */

fx_bytes
fx_wire_request_bytes(const fx_wire_request *request)
{
    return (fx_bytes){
        .data = request->data + FX_FRAME_ID_BYTES,
        .size_bytes = request->size_bytes - FX_FRAME_ID_BYTES,
    };
}

const fx_wire_peer *
fx_wire_request_peer(const fx_wire_request *request)
{
    return &request->peer;
}

/* Counts a request as answered and gives its place to one that waits. */
static void
end_request(fx_wire_server *server)
{
    fx_monitor_lock(&server->monitor);
    FX_ASSERT(server->unanswered > 0);
    server->unanswered--;
    fx_wire_request *parked = NULL;
    for (fx_wire_request *at = server->first; at != NULL && !server->closed; at = at->next) {
        if (at->step == STEP_PARKED && !at->ending) {
            parked = at; /* the last of the list has waited longest */
        }
    }
    if (parked != NULL) {
        server->unanswered++;
        set_step(parked, STEP_HANDLING, FX_WIRE_IDLE_MAX_MS);
    }
    fx_monitor_unlock(&server->monitor);
    if (parked != NULL) {
        server->options.handler(server->options.ctx, parked);
    }
}

void
fx_wire_reply(fx_wire_request *request, fx_bytes reply)
{
    fx_wire_server *server = request->server;
    (void)atomic_fetch_add(&server->references, 1);
    size_t size_bytes = FX_FRAME_LENGTH_BYTES + FX_FRAME_ID_BYTES + reply.size_bytes;
    unsigned char *data = malloc(size_bytes);
    FX_ASSERT(data != NULL);
    fx_frame_put_message(data, request->id, reply); /* `reply` may lie in the request */
    free(request->data);
    request->data = data;
    request->size_bytes = size_bytes;
    run_step(request, STEP_SEND_REPLY, FX_WIRE_MESSAGE_MAX_MS);
    /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): counted, this reference is still held */
    end_request(server);
    drop_reference(server);
}

void
fx_wire_drop(fx_wire_request *request)
{
    fx_wire_server *server = request->server;
    (void)atomic_fetch_add(&server->references, 1);
    end_connection(request);
    /* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): counted, this reference is still held */
    end_request(server);
    drop_reference(server);
}

/* ---- accepting
 * ------------------------------------------------------------------------------------- */

/* With the monitor held: who says nothing must not keep others out. */
static void
make_room(fx_wire_server *server)
{
    fx_wire_request *oldest = NULL;
    if (server->unready_count < FX_WIRE_UNREADY_MAX) {
        return;
    }
    for (fx_wire_request *at = server->first; at != NULL; at = at->next) {
        if (!at->ready && !at->ending) {
            oldest = at;
        }
    }
    if (oldest != NULL) {
        close_stream(oldest);
    }
}

static void
add_connection(fx_wire_server *server, nng_stream *stream)
{
    fx_wire_request *connection = calloc(1, sizeof(*connection));
    FX_ASSERT(connection != NULL);
    connection->server = server;
    connection->stream = stream;
    connection->opened = fx_clock_mono();
    int result = nng_aio_alloc(&connection->aio, step_done, connection);
    FX_ASSERT(result == 0);
    describe_address(connection);
    fx_frame_put_hello(connection->head, FX_FRAME_REP);
    (void)atomic_fetch_add(&server->references, 1);
    fx_monitor_lock(&server->monitor);
    make_room(server);
    list_add(server, connection);
    fx_monitor_unlock(&server->monitor);
    run_step(connection, STEP_SEND_HELLO, FX_WIRE_READY_MAX_MS);
}

static void
accept_next(fx_wire_server *server)
{
    fx_monitor_lock(&server->monitor);
    bool closed = server->closed;
    fx_monitor_unlock(&server->monitor);
    if (!closed) {
        nng_stream_listener_accept(server->listener, server->accept_aio);
    }
}

static void
accepted(void *ctx)
{
    fx_wire_server *server = ctx;
    int result = nng_aio_result(server->accept_aio);
    if (result == 0) {
        add_connection(server, nng_aio_get_output(server->accept_aio, 0));
        accept_next(server);
        return;
    }
    fx_monitor_lock(&server->monitor);
    bool closed = server->closed;
    fx_monitor_unlock(&server->monitor);
    if (!closed) {
        /* Most likely no file descriptor is left: later there may be one again. */
        nng_sleep_aio(ACCEPT_PAUSE_MS, server->pause_aio);
    }
}

static void
paused(void *ctx)
{
    fx_wire_server *server = ctx;
    if (nng_aio_result(server->pause_aio) == 0) {
        accept_next(server);
    }
}

static void
sweep(fx_wire_duty *duty, fx_mono now)
{
    fx_wire_server *server = (fx_wire_server *)(void *)duty;
    fx_monitor_lock(&server->monitor);
    for (fx_wire_request *at = server->first; at != NULL; at = at->next) {
        bool ours = at->step == STEP_HANDLING || at->step == STEP_PARKED;
        bool over = at->deadline.ns < now.ns || at->lost; /* it had a sweep's time to end itself */
        at->lost = fx_tls_stream_is_lost(at->stream);
        if (!ours && !at->ending && over) {
            close_stream(at);
        }
    }
    fx_monitor_unlock(&server->monitor);
    duty->due = fx_mono_after(now, FX_DUR_MS(SWEEP_MS));
}

/* ---- opening and closing
 * --------------------------------------------------------------------------- */

static fx_code
start_listener(fx_wire_server *server, fx_err *err)
{
    int result = nng_stream_listener_alloc(&server->listener, server->url);
    if (result == 0) {
        result = nng_stream_listener_set_ptr(server->listener, NNG_OPT_TLS_CONFIG, server->config);
    }
    if (result == 0) {
        result = nng_stream_listener_listen(server->listener);
    }
    if (result == 0) {
        int port = 0;
        result = nng_stream_listener_get_int(server->listener, NNG_OPT_TCP_BOUND_PORT, &port);
        server->port = (uint16_t)port;
    }
    if (result == 0) {
        result = nng_aio_alloc(&server->accept_aio, accepted, server);
    }
    if (result == 0) {
        result = nng_aio_alloc(&server->pause_aio, paused, server);
    }
    if (result != 0) {
        fx_code code = result == NNG_EADDRINUSE ? FX_ERR_BUSY : FX_ERR_INVALID;
        return fx_fail(
            err, code, "could not listen on \"%s\": %s", server->url, nng_strerror(result));
    }
    return FX_OK;
}

static fx_code
open_parts(fx_wire_server *server, fx_err *err)
{
    fx_tls_options tls = {.files = server->options.tls, .server = true};
    void *config = NULL;
    if (fx_tls_new(&tls, &server->tls, err) != FX_OK ||
        fx_tls_config(server->tls, &config, err) != FX_OK) {
        return fx_err_wrap(err, "opening the wire server on \"%s\"", server->url);
    }
    server->config = config;
    return start_listener(server, err);
}

fx_code
fx_wire_server_open(const fx_wire_server_options *options, fx_wire_server **out_server, fx_err *err)
{
    FX_ASSERT(options->handler != NULL);
    FX_ASSERT(options->message_max_bytes > 0);
    FX_ASSERT(options->connection_max > 0 && options->request_max > 0);
    fx_wire_server *server = calloc(1, sizeof(*server));
    FX_ASSERT(server != NULL);
    atomic_init(&server->references, 1);
    fx_monitor_init(&server->monitor);
    server->options = *options;
    server->url = strdup(options->url);
    FX_ASSERT(server->url != NULL);
    server->log_rate = (fx_rate){.burst = 10, .refill = {.ns = 1000 * FX_NS_PER_MS}};
    if (open_parts(server, err) != FX_OK) {
        fx_wire_server_free(server);
        return err->code;
    }
    server->options.tls = (fx_wire_tls){0}; /* borrowed until here */
    server->options.url = server->url;
    server->duty = (fx_wire_duty){.run = sweep};
    server->on_duty = true;
    fx_wire_duty_add(&server->duty);
    accept_next(server);
    *out_server = server;
    return FX_OK;
}

uint16_t
fx_wire_server_port(const fx_wire_server *server)
{
    return server->port;
}

/*
 * Ends every connection that has an aio under way and waits for them; parked ones have none and end
 * here; those at the handler end with its reply.
 */
static void
end_connections(fx_wire_server *server)
{
    fx_monitor_lock(&server->monitor);
    for (fx_wire_request *at = server->first; at != NULL; at = at->next) {
        close_stream(at);
    }
    while (server->busy_count > 0) {
        fx_monitor_wait(&server->monitor);
    }
    fx_wire_request *parked = server->first;
    while (parked != NULL) {
        if (parked->step != STEP_PARKED) {
            parked = parked->next;
            continue;
        }
        parked->step = STEP_RECEIVE_LENGTH;
        fx_monitor_unlock(&server->monitor);
        end_connection(parked);
        fx_monitor_lock(&server->monitor);
        parked = server->first;
    }
    fx_monitor_unlock(&server->monitor);
}

void
fx_wire_server_free(fx_wire_server *server)
{
    if (server == NULL) {
        return;
    }
    if (server->on_duty) {
        fx_wire_duty_remove(&server->duty);
    }
    fx_monitor_lock(&server->monitor);
    server->closed = true;
    fx_monitor_unlock(&server->monitor);
    if (server->listener != NULL) {
        nng_stream_listener_close(server->listener);
    }
    nng_aio_free(server->pause_aio); /* both wait for their callbacks; NULL is allowed */
    nng_aio_free(server->accept_aio);
    end_connections(server);
    if (server->listener != NULL) {
        nng_stream_listener_free(server->listener);
    }
    drop_reference(server);
}
