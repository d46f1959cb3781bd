#include <stdio.h>
#include <string.h>

#include <nng/nng.h>
#include <nng/supplemental/tls/tls.h>
#include <sys/random.h>

#include "common/base/clock.h"
#include "common/base/monitor.h"
#include "common/base/rng.h"
#include "common/wire/frame.h"
#include "common/wire/service.h"
#include "common/wire/tls.h"
#include "common/wire/wire.h"

enum { REASON_BYTES = 256 };

/*
 * The calling thread does all the work. One receive is always under way while connected, so that a
 * lost connection is known before the next call; it runs by callbacks.
 */
struct fx_wire_client {
    fx_wire_duty duty; /* first: run() casts back. Ends what passes the deadline of the call */
    fx_wire_client_options options;
    char *url;
    fx_tls *tls;
    nng_tls_config *config;
    nng_stream_dialer *dialer;
    nng_aio *dial_aio;    /* waited for by the caller */
    nng_aio *send_aio;    /* likewise */
    nng_aio *hello_aio;   /* likewise */
    nng_aio *receive_aio; /* received() */
    fx_rng rng;

    /* Of the receive under way; between two receives of the caller, under the monitor. */
    unsigned char head[FX_FRAME_LENGTH_BYTES];
    unsigned char *message; /* NULL while the length is received */
    size_t message_bytes;
    size_t done_bytes;

    fx_monitor monitor; /* of what follows; never held across a call of nng that can block */
    bool busy;
    bool cancelled;
    bool expired; /* the deadline of the call has passed */
    bool dialing;
    nng_stream *stream;
    bool connected;    /* hellos exchanged and not lost since */
    bool receiving;    /* receive_aio is under way */
    bool received;     /* `message` is complete */
    uint32_t failures; /* in a row */
    fx_mono dial_at;   /* not before */
    uint32_t last_id;
    char reason[REASON_BYTES]; /* of the last failed dial */
};

/* ---- what others may interrupt
 * --------------------------------------------------------------------- */

/* With the monitor held. */
static void
interrupt(fx_wire_client *client)
{
    if (client->dialing) {
        nng_aio_cancel(client->dial_aio);
    }
    if (client->stream != NULL) {
        nng_stream_close(client->stream);
    }
    fx_monitor_wake(&client->monitor);
}

/* On the service's thread: the deadline of the call has passed. */
static void
expire(fx_wire_duty *duty, fx_mono now)
{
    (void)now;
    fx_wire_client *client = (fx_wire_client *)(void *)duty;
    fx_monitor_lock(&client->monitor);
    if (client->busy) {
        client->expired = true;
        interrupt(client);
    }
    fx_monitor_unlock(&client->monitor);
    duty->due = FX_WIRE_NEVER;
}

void
fx_wire_client_cancel(fx_wire_client *client)
{
    fx_monitor_lock(&client->monitor);
    client->cancelled = true;
    interrupt(client);
    fx_monitor_unlock(&client->monitor);
}

/* With the monitor held. */
static bool
is_over(const fx_wire_client *client)
{
    return client->cancelled || client->expired;
}

/* ---- receiving
 * ------------------------------------------------------------------------------------- */

static void
submit_receive(fx_wire_client *client)
{
    bool head = client->message == NULL;
    nng_iov vector = {
        .iov_buf = (head ? client->head : client->message) + client->done_bytes,
        .iov_len = (head ? sizeof(client->head) : client->message_bytes) - client->done_bytes,
    };
    int set = nng_aio_set_iov(client->receive_aio, 1, &vector);
    FX_ASSERT(set == 0);
    nng_stream_recv(client->stream, client->receive_aio);
}

static bool
begin_message(fx_wire_client *client)
{
    uint64_t size_bytes = fx_frame_get(client->head, sizeof(client->head));
    if (size_bytes < FX_FRAME_ID_BYTES ||
        size_bytes - FX_FRAME_ID_BYTES > client->options.message_max_bytes) {
        return false;
    }
    client->message = malloc((size_t)size_bytes);
    FX_ASSERT(client->message != NULL);
    client->message_bytes = (size_t)size_bytes;
    client->done_bytes = 0;
    return true;
}

static void
received(void *ctx)
{
    fx_wire_client *client = ctx;
    bool good = nng_aio_result(client->receive_aio) == 0;
    bool complete = false;
    if (good) {
        client->done_bytes += nng_aio_count(client->receive_aio);
        complete = client->message != NULL && client->done_bytes == client->message_bytes;
    }
    if (good && client->message == NULL && client->done_bytes == sizeof(client->head)) {
        good = begin_message(client);
    }
    if (good && !complete) {
        submit_receive(client);
        return;
    }
    fx_monitor_lock(&client->monitor);
    client->receiving = false;
    client->received = complete;
    client->connected = client->connected && complete;
    fx_monitor_wake(&client->monitor);
    fx_monitor_unlock(&client->monitor);
}

/* With the monitor held. */
static void
start_receiving(fx_wire_client *client)
{
    free(client->message);
    client->message = NULL;
    client->done_bytes = 0;
    client->received = false;
    client->receiving = true;
    submit_receive(client);
}

/* ---- connection
 * ------------------------------------------------------------------------------------ */

/* With the monitor held, which it gives up meanwhile. */
static void
drop_stream(fx_wire_client *client)
{
    nng_stream *stream = client->stream;
    client->connected = false;
    if (stream == NULL) {
        return;
    }
    nng_stream_close(stream);
    while (client->receiving) {
        fx_monitor_wait(&client->monitor);
    }
    client->stream = NULL;
    client->received = false;
    nng_stream_free(stream);
}

/* Sends all of `bytes` and waits; a nng result. Only the caller's thread. */
static int
/* NOLINTNEXTLINE(readability-non-const-parameter): nng's vectors are not const */
send_all(fx_wire_client *client, unsigned char *bytes, size_t size_bytes)
{
    size_t done_bytes = 0;
    while (done_bytes < size_bytes) {
        nng_iov vector = {.iov_buf = bytes + done_bytes, .iov_len = size_bytes - done_bytes};
        int set = nng_aio_set_iov(client->send_aio, 1, &vector);
        FX_ASSERT(set == 0);
        nng_stream_send(client->stream, client->send_aio);
        nng_aio_wait(client->send_aio);
        int result = nng_aio_result(client->send_aio);
        if (result != 0) {
            return result;
        }
        done_bytes += nng_aio_count(client->send_aio);
    }
    return 0;
}

static void
/* NOLINTNEXTLINE(readability-non-const-parameter): nng writes to it */
begin_hello(fx_wire_client *client, unsigned char *hello, size_t done_bytes)
{
    nng_iov vector = {.iov_buf = hello + done_bytes, .iov_len = FX_FRAME_HELLO_BYTES - done_bytes};
    int set = nng_aio_set_iov(client->hello_aio, 1, &vector);
    FX_ASSERT(set == 0);
    nng_stream_recv(client->stream, client->hello_aio);
}

/* Waits for the rest of the server's hello; a nng result. */
static int
end_hello(fx_wire_client *client, unsigned char *hello)
{
    size_t done_bytes = 0;
    nng_aio_wait(client->hello_aio);
    int result = nng_aio_result(client->hello_aio);
    while (result == 0) {
        done_bytes += nng_aio_count(client->hello_aio);
        if (done_bytes == FX_FRAME_HELLO_BYTES) {
            break;
        }
        begin_hello(client, hello, done_bytes);
        nng_aio_wait(client->hello_aio);
        result = nng_aio_result(client->hello_aio);
    }
    return result;
}

/* Receives from the start: nng tells of a lost connection only those that wait already. */
static int
swap_hellos(fx_wire_client *client, unsigned char *hello)
{
    unsigned char own[FX_FRAME_HELLO_BYTES];
    fx_frame_put_hello(own, FX_FRAME_REQ);
    begin_hello(client, hello, 0);
    int sent = send_all(client, own, sizeof(own));
    if (sent != 0) {
        nng_stream_close(client->stream);
    }
    int result = end_hello(client, hello);
    return sent != 0 && result != NNG_EPEERAUTH ? sent : result;
}

static int
exchange_hellos(fx_wire_client *client)
{
    unsigned char hello[FX_FRAME_HELLO_BYTES];
    bool verified = false;
    fx_wire_peer peer;
    int result = swap_hellos(client, hello);
    if (result != 0) {
        return result;
    }
    result = nng_stream_get_bool(client->stream, NNG_OPT_TLS_VERIFIED, &verified);
    if (result != 0 || !verified || !fx_tls_noted_peer(&peer) ||
        !fx_name_is(&peer.name, &client->options.peer_name)) {
        return NNG_EPEERAUTH;
    }
    return fx_frame_is_hello(hello, FX_FRAME_REP) ? 0 : NNG_EPROTO;
}

/* With the monitor held, which it gives up meanwhile: a TCP connection, or a nng result. */
static int
dial_stream(fx_wire_client *client)
{
    client->dialing = true;
    nng_stream_dialer_dial(client->dialer, client->dial_aio);
    fx_monitor_unlock(&client->monitor);
    nng_aio_wait(client->dial_aio);
    int result = nng_aio_result(client->dial_aio);
    fx_monitor_lock(&client->monitor);
    client->dialing = false;
    if (result == 0) {
        client->stream = nng_aio_get_output(client->dial_aio, 0);
        if (is_over(client)) {
            nng_stream_close(client->stream);
        }
    }
    return result;
}

/* With the monitor held. */
static void
note_failed_dial(fx_wire_client *client, int result)
{
    char failure[REASON_BYTES];
    fx_tls_take_failure(client->tls, failure, sizeof(failure));
    (void)snprintf(
        client->reason,
        sizeof(client->reason),
        "%s",
        failure[0] != '\0' ? failure
                           : (client->expired ? "no connection in time" : nng_strerror(result)));
    int64_t limit_ns = client->options.redial_min.ns;
    for (uint32_t i = 0; i < client->failures && limit_ns < client->options.redial_max.ns; i++) {
        limit_ns *= 2;
    }
    if (limit_ns > client->options.redial_max.ns) {
        limit_ns = client->options.redial_max.ns;
    }
    fx_dur wait = {.ns = (int64_t)fx_rng_below(&client->rng, (uint64_t)limit_ns)};
    client->dial_at = fx_mono_after(fx_clock_mono(), wait);
    client->failures++;
}

/* With the monitor held, which it gives up meanwhile. A nng result. */
static int
dial(fx_wire_client *client)
{
    char failure[REASON_BYTES];
    fx_tls_take_failure(client->tls, failure, sizeof(failure));
    client->reason[0] = '\0';
    int result = dial_stream(client);
    if (result == 0) {
        fx_monitor_unlock(&client->monitor);
        result = exchange_hellos(client);
        fx_monitor_lock(&client->monitor);
    }
    if (result != 0) {
        drop_stream(client);
        note_failed_dial(client, result);
        return result;
    }
    client->failures = 0;
    client->connected = true;
    start_receiving(client);
    return 0;
}

/* With the monitor held: not all clients at once after a server's restart. */
static void
note_lost(fx_wire_client *client)
{
    if (client->stream != NULL && !client->connected) {
        uint64_t limit_ns = (uint64_t)client->options.redial_min.ns;
        fx_dur wait = {.ns = (int64_t)fx_rng_below(&client->rng, limit_ns)};
        client->dial_at = fx_mono_after(fx_clock_mono(), wait);
        drop_stream(client);
    }
}

static fx_code
fail_cancelled(const fx_wire_client *client, fx_err_class outcome, fx_err *err)
{
    return fx_fail_as(
        err,
        outcome,
        FX_ERR_CANCELLED,
        "could not call %s: cancelled",
        client->options.peer_name.text);
}

/* With the monitor held. */
static fx_code
connect_by(fx_wire_client *client, fx_mono deadline, fx_err *err)
{
    note_lost(client);
    while (!client->connected && !is_over(client)) {
        fx_mono now = fx_clock_mono();
        if (client->dial_at.ns > now.ns) {
            fx_mono until = client->dial_at.ns < deadline.ns ? client->dial_at : deadline;
            (void)fx_monitor_wait_until(&client->monitor, until);
            client->expired = client->expired || fx_clock_mono().ns >= deadline.ns;
        } else if (dial(client) == NNG_EPEERAUTH && !is_over(client)) {
            return fx_fail(
                err,
                FX_ERR_DENIED,
                "could not connect to %s at \"%s\": %s",
                client->options.peer_name.text,
                client->url,
                client->reason);
        }
    }
    if (client->cancelled) {
        return fail_cancelled(client, FX_CLASS_TRANSIENT, err);
    }
    if (!client->connected || client->expired) {
        return fx_fail(
            err,
            FX_ERR_UNREACHABLE,
            "could not connect to %s at \"%s\": %s",
            client->options.peer_name.text,
            client->url,
            client->reason[0] != '\0' ? client->reason : "no connection in time");
    }
    return FX_OK;
}

/* ---- exchange
 * -------------------------------------------------------------------------------------- */

/* With the monitor held. The connection may be dead without a sign: the next call dials anew. */
static fx_code
fail_exchange(fx_wire_client *client, fx_err *err)
{
    const char *peer = client->options.peer_name.text;
    bool cancelled = client->cancelled;
    bool expired = client->expired;
    drop_stream(client);
    if (cancelled) {
        return fail_cancelled(client, FX_CLASS_UNKNOWN, err);
    }
    if (expired) {
        return fx_fail(
            err,
            FX_ERR_TIMEOUT,
            "could not get the reply of %s at \"%s\": no reply in time",
            peer,
            client->url);
    }
    return fx_fail_as(
        err,
        FX_CLASS_UNKNOWN,
        FX_ERR_UNREACHABLE,
        "could not get the reply of %s at \"%s\": the connection was lost",
        peer,
        client->url);
}

/* With the monitor held. */
static fx_code
exchange(fx_wire_client *client, fx_bytes request, fx_buf *reply, fx_err *err)
{
    uint32_t id = ++client->last_id | FX_FRAME_ID_MARK;
    size_t size_bytes = FX_FRAME_LENGTH_BYTES + FX_FRAME_ID_BYTES + request.size_bytes;
    unsigned char *frame = malloc(size_bytes);
    FX_ASSERT(frame != NULL);
    fx_frame_put_message(frame, id, request);
    fx_monitor_unlock(&client->monitor);
    int result = send_all(client, frame, size_bytes);
    fx_monitor_lock(&client->monitor);
    free(frame);
    while (result == 0 && client->connected && !client->received && !is_over(client)) {
        fx_monitor_wait(&client->monitor);
    }
    if (!client->received || fx_frame_get(client->message, FX_FRAME_ID_BYTES) != id) {
        return fail_exchange(client, err);
    }
    fx_buf_clear(reply);
    fx_code code = fx_buf_append(
        reply, client->message + FX_FRAME_ID_BYTES, client->message_bytes - FX_FRAME_ID_BYTES, err);
    start_receiving(client);
    return code;
}

fx_code
fx_wire_client_call(
    fx_wire_client *client, fx_bytes request, fx_mono deadline, fx_buf *reply, fx_err *err)
{
    if (request.size_bytes > client->options.message_max_bytes) {
        return fx_fail(
            err,
            FX_ERR_LIMIT,
            "could not call %s: the message has %zu bytes, at most %zu are allowed",
            client->options.peer_name.text,
            request.size_bytes,
            client->options.message_max_bytes);
    }
    fx_monitor_lock(&client->monitor);
    FX_ASSERT(!client->busy);
    client->busy = true;
    client->expired = false;
    fx_monitor_unlock(&client->monitor);
    fx_mono connect_by_time = deadline;
    if (client->options.connect_max.ns > 0) {
        fx_mono limit = fx_mono_after(fx_clock_mono(), client->options.connect_max);
        connect_by_time = limit.ns < deadline.ns ? limit : deadline;
    }
    fx_wire_duty_set_due(&client->duty, connect_by_time);

    fx_monitor_lock(&client->monitor);
    fx_code code = connect_by(client, connect_by_time, err);
    if (code == FX_OK && connect_by_time.ns != deadline.ns) {
        fx_monitor_unlock(&client->monitor); /* the duty's own lock comes before the monitor */
        fx_wire_duty_set_due(&client->duty, deadline);
        fx_monitor_lock(&client->monitor);
        code = client->connected && !is_over(client) ? FX_OK
                                                     : connect_by(client, connect_by_time, err);
    }
    if (code == FX_OK) {
        code = exchange(client, request, reply, err);
    }
    client->busy = false;
    fx_monitor_unlock(&client->monitor);
    fx_wire_duty_set_due(&client->duty, FX_WIRE_NEVER);
    return code;
}

/* ---- opening and closing
 * --------------------------------------------------------------------------- */

static fx_code
open_parts(fx_wire_client *client, fx_err *err)
{
    fx_tls_options tls = {
        .files = client->options.tls,
        .peer_name = client->options.peer_name,
        .peer_role = client->options.peer_role,
    };
    void *config = NULL;
    if (fx_tls_new(&tls, &client->tls, err) != FX_OK ||
        fx_tls_config(client->tls, &config, err) != FX_OK) {
        return fx_err_wrap(err, "opening the wire client for \"%s\"", client->url);
    }
    client->config = config;
    int result = nng_aio_alloc(&client->dial_aio, NULL, NULL);
    if (result == 0) {
        result = nng_aio_alloc(&client->send_aio, NULL, NULL);
    }
    if (result == 0) {
        result = nng_aio_alloc(&client->hello_aio, NULL, NULL);
    }
    if (result == 0) {
        result = nng_aio_alloc(&client->receive_aio, received, client);
    }
    if (result != 0) {
        return fx_fail(err, FX_ERR_LIMIT, "could not prepare a connection: out of memory");
    }
    result = strncmp(client->url, "tls+tcp", strlen("tls+tcp")) == 0 ? 0 : NNG_EADDRINVAL;
    if (result == 0) {
        result = nng_stream_dialer_alloc(&client->dialer, client->url);
    }
    if (result == 0) {
        result = nng_stream_dialer_set_ptr(client->dialer, NNG_OPT_TLS_CONFIG, client->config);
    }
    if (result != 0) {
        return fx_fail(
            err,
            FX_ERR_INVALID,
            "could not use the address \"%s\": %s",
            client->url,
            nng_strerror(result));
    }
    return FX_OK;
}

fx_code
fx_wire_client_open(const fx_wire_client_options *options, fx_wire_client **out_client, fx_err *err)
{
    FX_ASSERT(options->message_max_bytes > 0);
    FX_ASSERT(options->redial_min.ns > 0 && options->redial_max.ns >= options->redial_min.ns);
    fx_wire_client *client = calloc(1, sizeof(*client));
    FX_ASSERT(client != NULL);
    uint64_t seed = 0;
    ssize_t got = getrandom(&seed, sizeof(seed), 0);
    FX_ASSERT(got == (ssize_t)sizeof(seed));
    fx_rng_init(&client->rng, seed);
    fx_monitor_init(&client->monitor);
    client->options = *options;
    client->url = strdup(options->url);
    FX_ASSERT(client->url != NULL);
    client->last_id = (uint32_t)fx_rng_next(&client->rng);
    client->duty = (fx_wire_duty){.due = FX_WIRE_NEVER, .run = expire};
    fx_wire_duty_add(&client->duty);
    if (open_parts(client, err) != FX_OK) {
        fx_wire_client_free(client);
        return err->code;
    }
    client->options.tls = (fx_wire_tls){0}; /* borrowed until here */
    client->options.url = client->url;
    *out_client = client;
    return FX_OK;
}

void
fx_wire_client_free(fx_wire_client *client)
{
    if (client == NULL) {
        return;
    }
    fx_wire_duty_remove(&client->duty);
    fx_monitor_lock(&client->monitor);
    FX_ASSERT(!client->busy);
    drop_stream(client);
    fx_monitor_unlock(&client->monitor);
    if (client->dialer != NULL) {
        nng_stream_dialer_close(client->dialer);
        nng_stream_dialer_free(client->dialer);
    }
    nng_aio_free(client->dial_aio); /* each waits for its callback; NULL is allowed */
    nng_aio_free(client->send_aio);
    nng_aio_free(client->hello_aio);
    nng_aio_free(client->receive_aio);
    if (client->config != NULL) {
        nng_tls_config_free(client->config);
    }
    fx_tls_free(client->tls);
    fx_monitor_deinit(&client->monitor);
    free(client->message);
    free(client->url);
    free(client);
}
