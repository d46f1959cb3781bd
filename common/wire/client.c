#include <stdio.h>
#include <string.h>

#include <nng/nng.h>
#include <nng/protocol/reqrep0/req.h>
#include <nng/supplemental/tls/tls.h>
#include <sys/random.h>

#include "common/base/clock.h"
#include "common/base/monitor.h"
#include "common/base/rng.h"
#include "common/wire/service.h"
#include "common/wire/tls.h"
#include "common/wire/wire.h"

enum {
    REASON_BYTES = 256,
    /* nng dials again by itself after a random part of this; we close the dialer long before. */
    NNG_REDIAL_MS = INT32_MAX,
};

/* The highest bit ends the path of a request. source: nng, REQ/REP protocol */
#define ID_END_MARK UINT32_C(0x80000000)

struct fx_wire_client {
    fx_wire_duty duty; /* first: run() casts back. Ends a dial at its deadline */
    fx_wire_client_options options;
    char *url;
    fx_tls *tls;
    nng_tls_config *config;
    nng_socket socket;
    nng_aio *send_aio;
    nng_aio *receive_aio;
    fx_rng rng;

    fx_monitor monitor; /* of what follows; never held across a call of nng that can block */
    bool busy;
    bool cancelled;
    bool dialing;
    nng_dialer dialer; /* id 0: none */
    uint32_t pipe;     /* 0: not connected */
    uint32_t closed_pipe;
    uint32_t failures; /* in a row */
    fx_mono dial_at;   /* not before */
    uint32_t last_id;
    bool receive_ended;
    char reason[REASON_BYTES]; /* of the last failed dial */
};

/* ---- connection
 * ------------------------------------------------------------------------------------ */

static void
connection_opening(nng_pipe pipe, nng_pipe_ev event, void *ctx)
{
    (void)event;
    fx_wire_client *client = ctx;
    bool verified = false;
    fx_wire_peer peer = {0};
    bool good = nng_pipe_get_bool(pipe, NNG_OPT_TLS_VERIFIED, &verified) == 0 && verified &&
                fx_tls_noted_peer(&peer) && fx_name_is(&peer.name, &client->options.peer_name);
    fx_monitor_lock(&client->monitor);
    good = good && client->dialing && client->pipe == 0;
    fx_monitor_unlock(&client->monitor);
    if (!good) {
        (void)nng_pipe_close(pipe);
    }
}

static void
connection_opened(nng_pipe pipe, nng_pipe_ev event, void *ctx)
{
    (void)event;
    fx_wire_client *client = ctx;
    uint32_t id = (uint32_t)nng_pipe_id(pipe);
    fx_monitor_lock(&client->monitor);
    if (id != client->closed_pipe) { /* nng may tell of the end first */
        client->pipe = id;
    }
    fx_monitor_wake(&client->monitor);
    fx_monitor_unlock(&client->monitor);
}

/* Not all at once after a server's restart, also at the first try. */
static void
connection_closed(nng_pipe pipe, nng_pipe_ev event, void *ctx)
{
    (void)event;
    fx_wire_client *client = ctx;
    fx_monitor_lock(&client->monitor);
    client->closed_pipe = (uint32_t)nng_pipe_id(pipe);
    if (client->pipe == client->closed_pipe) {
        client->pipe = 0;
        fx_dur wait = {
            .ns = (int64_t)fx_rng_below(&client->rng, (uint64_t)client->options.redial_min.ns)};
        client->dial_at = fx_mono_after(fx_clock_mono(), wait);
    }
    fx_monitor_wake(&client->monitor);
    fx_monitor_unlock(&client->monitor);
}

/* On the service's thread: the call that dials has reached its deadline. */
static void
end_dial(fx_wire_duty *duty, fx_mono now)
{
    (void)now;
    fx_wire_client *client = (fx_wire_client *)(void *)duty;
    fx_monitor_lock(&client->monitor);
    nng_dialer dialer = client->dialer;
    bool dialing = client->dialing;
    fx_monitor_unlock(&client->monitor);
    if (dialing) {
        (void)nng_dialer_close(dialer);
    }
    duty->due = FX_WIRE_NEVER;
}

static int
make_dialer(const fx_wire_client *client, nng_dialer *out_dialer)
{
    nng_dialer dialer = NNG_DIALER_INITIALIZER;
    int result = nng_dialer_create(&dialer, client->socket, client->url);
    if (result != 0) {
        return result;
    }
    result = nng_dialer_set_ptr(dialer, NNG_OPT_TLS_CONFIG, client->config);
    if (result == 0) {
        result = nng_dialer_set_size(
            dialer, NNG_OPT_RECVMAXSZ, client->options.message_max_bytes + FX_TLS_ID_BYTES);
    }
    if (result == 0) {
        result = nng_dialer_set_ms(dialer, NNG_OPT_RECONNMINT, NNG_REDIAL_MS);
    }
    if (result != 0) {
        (void)nng_dialer_close(dialer);
        return result;
    }
    *out_dialer = dialer;
    return 0;
}

/* With the monitor held: forgets the dialer of an earlier connection. */
static void
close_dialer(fx_wire_client *client)
{
    nng_dialer old = client->dialer;
    client->dialer = (nng_dialer)NNG_DIALER_INITIALIZER;
    if (old.id != 0) {
        fx_monitor_unlock(&client->monitor);
        (void)nng_dialer_close(old);
        fx_monitor_lock(&client->monitor);
    }
}

/* With the monitor held. */
static void
note_failed_dial(fx_wire_client *client)
{
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

/* With the monitor held; gives it up meanwhile. A nng result. */
static int
dial(fx_wire_client *client, fx_mono deadline)
{
    close_dialer(client);
    client->reason[0] = '\0';
    nng_dialer dialer = NNG_DIALER_INITIALIZER;
    fx_monitor_unlock(&client->monitor);
    int result = make_dialer(client, &dialer);
    fx_monitor_lock(&client->monitor);
    if (result != 0) {
        note_failed_dial(client);
        (void)snprintf(client->reason, sizeof(client->reason), "%s", nng_strerror(result));
        return result;
    }
    client->dialer = dialer;
    client->dialing = !client->cancelled;
    if (client->cancelled) {
        return NNG_ECANCELED;
    }
    fx_monitor_unlock(&client->monitor);

    char failure[REASON_BYTES];
    fx_tls_take_failure(client->tls, failure, sizeof(failure));
    fx_wire_duty_set_due(&client->duty, deadline);
    result = nng_dialer_start(dialer, 0);
    fx_wire_duty_set_due(&client->duty, FX_WIRE_NEVER);
    fx_tls_take_failure(client->tls, failure, sizeof(failure));

    fx_monitor_lock(&client->monitor);
    client->dialing = false;
    if (result == 0) {
        client->failures = 0;
        return 0;
    }
    if (result == NNG_ECLOSED && !client->cancelled) {
        result = NNG_ETIMEDOUT;
    }
    (void)snprintf(
        client->reason,
        sizeof(client->reason),
        "%s",
        failure[0] != '\0' ? failure : nng_strerror(result));
    close_dialer(client);
    note_failed_dial(client);
    return result;
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
    while (!client->cancelled && client->pipe == 0 && fx_clock_mono().ns < deadline.ns) {
        if (client->dial_at.ns > fx_clock_mono().ns) {
            fx_mono until = client->dial_at.ns < deadline.ns ? client->dial_at : deadline;
            (void)fx_monitor_wait_until(&client->monitor, until);
            continue;
        }
        int result = dial(client, deadline);
        if (result == NNG_EPEERAUTH) {
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
    if (client->pipe == 0) {
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

static void
receive_ended(void *ctx)
{
    fx_wire_client *client = ctx;
    fx_monitor_lock(&client->monitor);
    client->receive_ended = true;
    fx_monitor_wake(&client->monitor);
    fx_monitor_unlock(&client->monitor);
}

/* The message if it answers request `id`; NULL, freed, if it is an old one. */
static nng_msg *
take_reply(const fx_wire_client *client, uint32_t id)
{
    nng_msg *message = nng_aio_get_msg(client->receive_aio);
    nng_aio_set_msg(client->receive_aio, NULL);
    const unsigned char *header = nng_msg_header(message);
    uint32_t answered = 0;
    if (nng_msg_header_len(message) == FX_TLS_ID_BYTES) {
        answered = ((uint32_t)header[0] << 24U) | ((uint32_t)header[1] << 16U) |
                   ((uint32_t)header[2] << 8U) | (uint32_t)header[3];
    }
    if (answered != id) {
        nng_msg_free(message);
        return NULL;
    }
    return message;
}

/* With the monitor held: waits until the reply is there, the connection gone, or the time over. */
static nng_msg *
await_reply(fx_wire_client *client, uint32_t id, fx_mono deadline)
{
    uint32_t pipe = client->pipe;
    bool in_time = true;
    for (;;) {
        if (client->receive_ended) {
            if (nng_aio_result(client->receive_aio) != 0) {
                return NULL;
            }
            nng_msg *message = take_reply(client, id);
            if (message != NULL) {
                return message;
            }
            client->receive_ended = false;
            fx_monitor_unlock(&client->monitor);
            nng_recv_aio(client->socket, client->receive_aio);
            fx_monitor_lock(&client->monitor);
        } else if (client->cancelled || client->pipe != pipe || pipe == 0 || !in_time) {
            return NULL;
        } else {
            in_time = fx_monitor_wait_until(&client->monitor, deadline);
        }
    }
}

/* With the monitor held: neither aio runs any more afterwards; a reply of the last moment counts.
 */
static nng_msg *
end_exchange(fx_wire_client *client, nng_msg *reply, uint32_t id, bool *out_sent)
{
    fx_monitor_unlock(&client->monitor);
    nng_aio_cancel(client->send_aio);
    nng_aio_wait(client->send_aio);
    nng_aio_cancel(client->receive_aio);
    nng_aio_wait(client->receive_aio);
    *out_sent = nng_aio_result(client->send_aio) == 0;
    if (!*out_sent) {
        nng_msg_free(nng_aio_get_msg(client->send_aio)); /* no connection ever took it */
    }
    nng_aio_set_msg(client->send_aio, NULL);
    if (reply == NULL && nng_aio_result(client->receive_aio) == 0 &&
        nng_aio_get_msg(client->receive_aio) != NULL) {
        reply = take_reply(client, id);
    }
    fx_monitor_lock(&client->monitor);
    return reply;
}

/* With the monitor held. */
static fx_code
fail_exchange(fx_wire_client *client, bool sent, fx_mono deadline, fx_err *err)
{
    const char *peer = client->options.peer_name.text;
    if (client->cancelled) {
        return fail_cancelled(client, sent ? FX_CLASS_UNKNOWN : FX_CLASS_TRANSIENT, err);
    }
    if (!sent) {
        return fx_fail(
            err,
            FX_ERR_UNREACHABLE,
            "could not call %s at \"%s\": the connection was lost before",
            peer,
            client->url);
    }
    bool lost = client->pipe == 0;
    uint32_t pipe = client->pipe;
    if (pipe != 0) {
        /* It may be dead without a sign; the next call shall not wait for it too. */
        client->pipe = 0;
        fx_monitor_unlock(&client->monitor);
        (void)nng_pipe_close((nng_pipe){.id = pipe});
        fx_monitor_lock(&client->monitor);
    }
    if (lost && fx_clock_mono().ns < deadline.ns) {
        return fx_fail_as(
            err,
            FX_CLASS_UNKNOWN,
            FX_ERR_UNREACHABLE,
            "could not get the reply of %s at \"%s\": the connection was lost",
            peer,
            client->url);
    }
    return fx_fail(
        err,
        FX_ERR_TIMEOUT,
        "could not get the reply of %s at \"%s\": no reply in time",
        peer,
        client->url);
}

/* With the monitor held. */
static fx_code
exchange(fx_wire_client *client, fx_bytes request, fx_mono deadline, fx_buf *reply, fx_err *err)
{
    nng_msg *message = NULL;
    uint32_t id = ++client->last_id | ID_END_MARK;
    if (nng_msg_alloc(&message, 0) != 0) {
        return fx_fail(err, FX_ERR_LIMIT, "could not make a message: out of memory");
    }
    if (nng_msg_append(message, request.data, request.size_bytes) != 0 ||
        nng_msg_header_append_u32(message, id) != 0) {
        nng_msg_free(message);
        return fx_fail(err, FX_ERR_LIMIT, "could not make a message: out of memory");
    }
    client->receive_ended = false;
    nng_aio_set_msg(client->send_aio, message);
    fx_monitor_unlock(&client->monitor);
    nng_recv_aio(client->socket, client->receive_aio);
    nng_send_aio(client->socket, client->send_aio);
    fx_monitor_lock(&client->monitor);

    bool sent = false;
    nng_msg *answer = await_reply(client, id, deadline);
    answer = end_exchange(client, answer, id, &sent);
    if (answer == NULL) {
        return fail_exchange(client, sent, deadline, err);
    }
    fx_buf_clear(reply);
    fx_code code = fx_buf_append(reply, nng_msg_body(answer), nng_msg_len(answer), err);
    nng_msg_free(answer);
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
    fx_code code = connect_by(client, deadline, err);
    if (code == FX_OK) {
        code = exchange(client, request, deadline, reply, err);
    }
    client->busy = false;
    fx_monitor_unlock(&client->monitor);
    return code;
}

void
fx_wire_client_cancel(fx_wire_client *client)
{
    fx_monitor_lock(&client->monitor);
    client->cancelled = true;
    nng_dialer dialer = client->dialer;
    bool dialing = client->dialing;
    fx_monitor_wake(&client->monitor);
    fx_monitor_unlock(&client->monitor);
    if (dialing) {
        (void)nng_dialer_close(dialer);
    }
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
    int result = nng_req0_open_raw(&client->socket);
    if (result == 0) {
        result = nng_pipe_notify(client->socket, NNG_PIPE_EV_ADD_PRE, connection_opening, client);
    }
    if (result == 0) {
        result = nng_pipe_notify(client->socket, NNG_PIPE_EV_ADD_POST, connection_opened, client);
    }
    if (result == 0) {
        result = nng_pipe_notify(client->socket, NNG_PIPE_EV_REM_POST, connection_closed, client);
    }
    if (result == 0) {
        result = nng_aio_alloc(&client->send_aio, NULL, NULL);
    }
    if (result == 0) {
        result = nng_aio_alloc(&client->receive_aio, receive_ended, client);
    }
    if (result != 0) {
        return fx_fail(err, FX_ERR_LIMIT, "could not open a socket: %s", nng_strerror(result));
    }
    nng_dialer probe = NNG_DIALER_INITIALIZER;
    result = strncmp(client->url, "tls+tcp", strlen("tls+tcp")) == 0 ? 0 : NNG_EADDRINVAL;
    if (result == 0) {
        result = make_dialer(client, &probe);
    }
    if (result != 0) {
        return fx_fail(
            err,
            FX_ERR_INVALID,
            "could not use the address \"%s\": %s",
            client->url,
            nng_strerror(result));
    }
    (void)nng_dialer_close(probe);
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
    client->duty = (fx_wire_duty){.due = FX_WIRE_NEVER, .run = end_dial};
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
    FX_ASSERT(!client->busy);
    fx_wire_duty_remove(&client->duty);
    if (nng_socket_id(client->socket) > 0) {
        (void)nng_close(client->socket); /* dialers and connections too */
    }
    if (client->send_aio != NULL) {
        nng_aio_free(client->send_aio);
    }
    if (client->receive_aio != NULL) {
        nng_aio_free(client->receive_aio);
    }
    if (client->config != NULL) {
        nng_tls_config_free(client->config);
    }
    fx_tls_free(client->tls);
    fx_monitor_deinit(&client->monitor);
    free(client->url);
    free(client);
}
