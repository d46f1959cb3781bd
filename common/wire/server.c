#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include <nng/nng.h>
#include <nng/protocol/reqrep0/rep.h>
#include <nng/supplemental/tls/tls.h>

#include "common/base/clock.h"
#include "common/base/rate.h"
#include "common/wire/service.h"
#include "common/wire/tls.h"
#include "common/wire/wire.h"

enum { RECEIVE_MAX = 16, BUCKETS = 1024, SWEEP_MS = 1000, CLOSE_MAX = 64 };

typedef struct connection {
    struct connection *next; /* in its bucket */
    uint32_t pipe;
    fx_wire_peer peer;
    fx_mono heard_at;
    bool spoke;
    unsigned unanswered;
} connection;

typedef struct receiver {
    fx_wire_server *server;
    nng_aio *aio;
    struct receiver *next_parked;
} receiver;

/* Counted: its owner and every request hold it. */
struct fx_wire_server {
    fx_wire_duty duty; /* first: run() casts back */
    atomic_int references;
    fx_wire_server_options options;
    char *url;
    fx_tls *tls;
    nng_tls_config *config;
    nng_socket socket;
    nng_listener listener;
    uint16_t port;
    bool on_duty;
    receiver receivers[RECEIVE_MAX];
    size_t receiver_count;

    pthread_mutex_t lock; /* of what follows; never held across a call of nng */
    bool closed;
    connection *buckets[BUCKETS];
    size_t connection_count;
    size_t unanswered;
    size_t armed;
    receiver *parked;
    fx_rate log_rate;
};

struct fx_wire_request {
    fx_wire_server *server;
    nng_msg *message;
    nng_aio *aio; /* of the reply */
    fx_wire_peer peer;
    uint32_t pipe;
};

static void
drop_reference(fx_wire_server *server)
{
    if (atomic_fetch_sub(&server->references, 1) != 1) {
        return;
    }
    for (size_t i = 0; i < BUCKETS; i++) {
        while (server->buckets[i] != NULL) {
            connection *gone = server->buckets[i];
            server->buckets[i] = gone->next;
            free(gone);
        }
    }
    if (server->config != NULL) {
        nng_tls_config_free(server->config);
    }
    fx_tls_free(server->tls);
    (void)pthread_mutex_destroy(&server->lock);
    free(server->url);
    free(server);
}

/* ---- connections
 * ----------------------------------------------------------------------------------- */

static connection **
find_slot(fx_wire_server *server, uint32_t pipe)
{
    connection **slot = &server->buckets[pipe % BUCKETS];
    while (*slot != NULL && (*slot)->pipe != pipe) {
        slot = &(*slot)->next;
    }
    return slot;
}

static void
log_refused(fx_wire_server *server, const fx_wire_peer *peer, const char *reason)
{
    uint64_t suppressed = 0;
    (void)pthread_mutex_lock(&server->lock);
    bool log = fx_rate_take(&server->log_rate, fx_clock_mono(), &suppressed);
    (void)pthread_mutex_unlock(&server->lock);
    if (log) {
        FX_LOG(
            server->options.log,
            WARN,
            "connection.closed",
            FX_STR("peer", peer->name.text),
            FX_STR("role", peer->role.text),
            FX_STR("reason", reason),
            FX_INT("suppressed", suppressed));
    }
}

/* Before nng uses a new connection: closing it here keeps it from ever being used. */
static void
connection_opened(nng_pipe pipe, nng_pipe_ev event, void *ctx)
{
    (void)event;
    fx_wire_server *server = ctx;
    bool verified = false;
    fx_wire_peer peer = {0};
    if (nng_pipe_get_bool(pipe, NNG_OPT_TLS_VERIFIED, &verified) != 0 || !verified ||
        !fx_tls_noted_peer(&peer)) {
        (void)nng_pipe_close(pipe);
        return;
    }
    connection *fresh = calloc(1, sizeof(*fresh));
    FX_ASSERT(fresh != NULL);
    fresh->pipe = (uint32_t)nng_pipe_id(pipe);
    fresh->peer = peer;
    fresh->heard_at = fx_clock_mono();
    (void)pthread_mutex_lock(&server->lock);
    bool room = !server->closed && server->connection_count < server->options.connection_max;
    if (room) {
        connection **slot = find_slot(server, fresh->pipe);
        FX_ASSERT(*slot == NULL);
        *slot = fresh;
        server->connection_count++;
    }
    (void)pthread_mutex_unlock(&server->lock);
    if (!room) {
        free(fresh);
        log_refused(server, &peer, "too many connections");
        (void)nng_pipe_close(pipe);
    }
}

static void
forget_connection(fx_wire_server *server, uint32_t pipe)
{
    (void)pthread_mutex_lock(&server->lock);
    connection **slot = find_slot(server, pipe);
    connection *gone = *slot;
    if (gone != NULL) {
        *slot = gone->next;
        server->connection_count--;
    }
    (void)pthread_mutex_unlock(&server->lock);
    free(gone);
}

static void
connection_closed(nng_pipe pipe, nng_pipe_ev event, void *ctx)
{
    (void)event;
    forget_connection(ctx, (uint32_t)nng_pipe_id(pipe));
}

static bool
is_idle(const connection *candidate, fx_mono now)
{
    int64_t limit_ms = candidate->spoke ? FX_WIRE_IDLE_MAX_MS : FX_WIRE_FIRST_REQUEST_MAX_MS;
    return candidate->unanswered == 0 &&
           fx_dur_over(fx_mono_since(now, candidate->heard_at), FX_DUR_MS(limit_ms));
}

static size_t
collect_idle(fx_wire_server *server, fx_mono now, uint32_t out_pipes[CLOSE_MAX])
{
    size_t count = 0;
    (void)pthread_mutex_lock(&server->lock);
    for (size_t i = 0; i < BUCKETS; i++) {
        for (connection *at = server->buckets[i]; at != NULL && count < CLOSE_MAX; at = at->next) {
            if (is_idle(at, now)) {
                out_pipes[count++] = at->pipe;
            }
        }
    }
    (void)pthread_mutex_unlock(&server->lock);
    return count;
}

/* ---- requests
 * -------------------------------------------------------------------------------------- */

static void
free_request(fx_wire_request *request)
{
    fx_wire_server *server = request->server;
    if (request->message != NULL) {
        nng_msg_free(request->message);
    }
    free(request);
    drop_reference(server);
}

/* Counts a request as done, and begins to receive again if that had to stop. */
static void
end_request(const fx_wire_request *request)
{
    fx_wire_server *server = request->server;
    (void)pthread_mutex_lock(&server->lock);
    FX_ASSERT(server->unanswered > 0);
    server->unanswered--;
    connection *from = *find_slot(server, request->pipe);
    if (from != NULL && from->unanswered > 0) {
        from->unanswered--;
    }
    receiver *again = NULL;
    if (!server->closed && server->parked != NULL &&
        server->unanswered + server->armed < server->options.request_max) {
        again = server->parked;
        server->parked = again->next_parked;
        server->armed++;
    }
    (void)pthread_mutex_unlock(&server->lock);
    if (again != NULL) {
        nng_recv_aio(server->socket, again->aio);
    }
}

/* Takes the message over, or gives NULL and the reason why its connection must end. */
static fx_wire_request *
accept_message(fx_wire_server *server, nng_msg *message, fx_wire_peer *out_peer, bool *out_excess)
{
    uint32_t pipe = (uint32_t)nng_pipe_id(nng_msg_get_pipe(message));
    fx_wire_request *request = calloc(1, sizeof(*request));
    FX_ASSERT(request != NULL);
    request->server = server;
    request->pipe = pipe;
    (void)pthread_mutex_lock(&server->lock);
    connection *from = *find_slot(server, pipe);
    bool excess = from != NULL && from->unanswered >= FX_WIRE_UNANSWERED_MAX;
    bool taken = from != NULL && !excess && !server->closed;
    if (from != NULL) {
        *out_peer = from->peer;
    }
    if (taken) {
        from->heard_at = fx_clock_mono();
        from->spoke = true;
        from->unanswered++;
        server->unanswered++;
        request->peer = from->peer;
    }
    (void)pthread_mutex_unlock(&server->lock);
    *out_excess = excess;
    if (!taken) {
        free(request);
        return NULL;
    }
    request->message = message;
    (void)atomic_fetch_add(&server->references, 1);
    return request;
}

static void
handle_message(fx_wire_server *server, nng_msg *message)
{
    nng_pipe pipe = nng_msg_get_pipe(message);
    fx_wire_peer peer = {0};
    bool excess = false;
    fx_wire_request *request = accept_message(server, message, &peer, &excess);
    if (request != NULL) {
        server->options.handler(server->options.ctx, request);
        return;
    }
    nng_msg_free(message);
    if (excess) {
        log_refused(server, &peer, "too many requests at once");
        (void)nng_pipe_close(pipe);
    }
}

static void
received(void *ctx)
{
    receiver *self = ctx;
    fx_wire_server *server = self->server;
    int result = nng_aio_result(self->aio);
    if (result == 0) {
        nng_msg *message = nng_aio_get_msg(self->aio);
        nng_aio_set_msg(self->aio, NULL);
        handle_message(server, message);
    }
    (void)pthread_mutex_lock(&server->lock);
    FX_ASSERT(server->armed > 0);
    server->armed--;
    bool again = !server->closed && result != NNG_ECLOSED && result != NNG_ECANCELED;
    if (again && server->unanswered + server->armed >= server->options.request_max) {
        self->next_parked = server->parked;
        server->parked = self;
        again = false;
    } else if (again) {
        server->armed++;
    }
    (void)pthread_mutex_unlock(&server->lock);
    if (again) {
        nng_recv_aio(server->socket, self->aio);
    }
}

fx_bytes
fx_wire_request_bytes(const fx_wire_request *request)
{
    return (fx_bytes){
        .data = nng_msg_body(request->message), .size_bytes = nng_msg_len(request->message)};
}

const fx_wire_peer *
fx_wire_request_peer(const fx_wire_request *request)
{
    return &request->peer;
}

static void
reply_sent(void *ctx)
{
    fx_wire_request *request = ctx;
    if (nng_aio_result(request->aio) != 0) {
        nng_msg_free(nng_aio_get_msg(request->aio)); /* the connection or the server has gone */
    }
    nng_aio_reap(request->aio);
    free_request(request);
}

void
fx_wire_reply(fx_wire_request *request, fx_bytes reply)
{
    nng_msg *message = NULL;
    int result = nng_msg_alloc(&message, 0);
    FX_ASSERT(result == 0);
    if (nng_msg_append(message, reply.data, reply.size_bytes) != 0 ||
        nng_msg_header_append(
            message, nng_msg_header(request->message), nng_msg_header_len(request->message)) != 0) {
        nng_msg_free(message);
        fx_wire_drop(request);
        return;
    }
    result = nng_aio_alloc(&request->aio, reply_sent, request);
    FX_ASSERT(result == 0);
    nng_aio_set_msg(request->aio, message);
    end_request(request);
    nng_send_aio(request->server->socket, request->aio);
}

void
fx_wire_drop(fx_wire_request *request)
{
    (void)nng_pipe_close((nng_pipe){.id = request->pipe});
    end_request(request);
    free_request(request);
}

/* ---- opening and closing
 * --------------------------------------------------------------------------- */

static fx_code
start_listener(fx_wire_server *server, const char *url, fx_err *err)
{
    int result = nng_listener_create(&server->listener, server->socket, url);
    if (result != 0) {
        return fx_fail(
            err, FX_ERR_INVALID, "could not listen on \"%s\": %s", url, nng_strerror(result));
    }
    result = nng_listener_set_ptr(server->listener, NNG_OPT_TLS_CONFIG, server->config);
    if (result == 0) {
        result = nng_listener_set_size(
            server->listener,
            NNG_OPT_RECVMAXSZ,
            server->options.message_max_bytes + FX_TLS_ID_BYTES);
    }
    if (result == 0) {
        result = nng_listener_start(server->listener, 0);
    }
    if (result != 0) {
        (void)nng_listener_close(server->listener);
        fx_code code = result == NNG_EADDRINUSE ? FX_ERR_BUSY : FX_ERR_INVALID;
        return fx_fail(err, code, "could not listen on \"%s\": %s", url, nng_strerror(result));
    }
    int port = 0;
    (void)nng_listener_get_int(server->listener, NNG_OPT_TCP_BOUND_PORT, &port);
    server->port = (uint16_t)port;
    return FX_OK;
}

/*
 * nng 1.5 ends its accept loop if a connection breaks at one certain moment of its negotiation.
 * Then only a new listener helps; the connections of the old one end with it and are dialled again.
 */
static void
restart_listener(fx_wire_server *server)
{
    fx_err err;
    FX_LOG(server->options.log, WARN, "listener.restarted", FX_STR("url", server->url));
    (void)nng_listener_close(server->listener);
    if (start_listener(server, server->url, &err) != FX_OK) {
        FX_LOG(server->options.log, ERROR, "listener.failed", FX_ERR_FIELD(&err));
    }
}

static void
sweep(fx_wire_duty *duty, fx_mono now)
{
    fx_wire_server *server = (fx_wire_server *)(void *)duty;
    uint32_t pipes[CLOSE_MAX];
    size_t count = collect_idle(server, now, pipes);
    for (size_t i = 0; i < count; i++) {
        if (nng_pipe_close((nng_pipe){.id = pipes[i]}) == NNG_ENOENT) {
            forget_connection(server, pipes[i]); /* nng told of its end before its beginning */
        }
    }
    if (fx_tls_is_stuck(server->tls, now)) {
        restart_listener(server);
    }
    duty->due = fx_mono_after(now, FX_DUR_MS(SWEEP_MS));
}

static fx_code
prepare_socket(fx_wire_server *server, fx_err *err)
{
    int result = nng_rep0_open_raw(&server->socket);
    if (result == 0) {
        result = nng_socket_set_int(server->socket, NNG_OPT_MAXTTL, 1);
    }
    if (result == 0) {
        result = nng_pipe_notify(server->socket, NNG_PIPE_EV_ADD_PRE, connection_opened, server);
    }
    if (result == 0) {
        result = nng_pipe_notify(server->socket, NNG_PIPE_EV_REM_POST, connection_closed, server);
    }
    for (size_t i = 0; i < server->receiver_count && result == 0; i++) {
        server->receivers[i].server = server;
        result = nng_aio_alloc(&server->receivers[i].aio, received, &server->receivers[i]);
    }
    if (result != 0) {
        return fx_fail(err, FX_ERR_LIMIT, "could not open a socket: %s", nng_strerror(result));
    }
    return FX_OK;
}

static void
begin_receiving(fx_wire_server *server)
{
    (void)pthread_mutex_lock(&server->lock);
    server->armed = server->receiver_count;
    (void)pthread_mutex_unlock(&server->lock);
    for (size_t i = 0; i < server->receiver_count; i++) {
        nng_recv_aio(server->socket, server->receivers[i].aio);
    }
}

static fx_code
open_parts(fx_wire_server *server, fx_err *err)
{
    const fx_wire_server_options *options = &server->options;
    fx_tls_options tls = {
        .files = options->tls,
        .server = true,
        .connection_max = options->connection_max,
        .log = options->log,
    };
    void *config = NULL;
    if (fx_tls_new(&tls, &server->tls, err) != FX_OK ||
        fx_tls_config(server->tls, &config, err) != FX_OK) {
        return fx_err_wrap(err, "opening the wire server on \"%s\"", server->url);
    }
    server->config = config;
    if (prepare_socket(server, err) != FX_OK) {
        return err->code;
    }
    begin_receiving(server);
    return start_listener(server, server->url, err);
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
    int result = pthread_mutex_init(&server->lock, NULL);
    FX_ASSERT(result == 0);
    server->options = *options;
    server->url = strdup(options->url);
    FX_ASSERT(server->url != NULL);
    server->log_rate = (fx_rate){.burst = 10, .refill = {.ns = 1000 * FX_NS_PER_MS}};
    server->receiver_count =
        options->request_max < RECEIVE_MAX ? options->request_max : (size_t)RECEIVE_MAX;
    if (open_parts(server, err) != FX_OK) {
        fx_wire_server_free(server);
        return err->code;
    }
    server->duty = (fx_wire_duty){.run = sweep};
    server->on_duty = true;
    fx_wire_duty_add(&server->duty);
    *out_server = server;
    return FX_OK;
}

uint16_t
fx_wire_server_port(const fx_wire_server *server)
{
    return server->port;
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
    (void)pthread_mutex_lock(&server->lock);
    server->closed = true;
    server->parked = NULL;
    (void)pthread_mutex_unlock(&server->lock);
    for (size_t i = 0; i < server->receiver_count; i++) {
        if (server->receivers[i].aio != NULL) {
            nng_aio_stop(server->receivers[i].aio);
        }
    }
    if (nng_socket_id(server->socket) > 0) {
        (void)nng_close(server->socket); /* waits until every connection has gone */
    }
    for (size_t i = 0; i < server->receiver_count; i++) {
        if (server->receivers[i].aio != NULL) {
            nng_aio_free(server->receivers[i].aio);
        }
    }
    drop_reference(server);
}
